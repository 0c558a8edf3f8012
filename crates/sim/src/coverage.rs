//! How often each kind of event happened: it shows that the faults of plans have an effect.

use std::collections::BTreeMap;

use trefoil_ledger::Record;
use trefoil_node::Effects;
use trefoil_types::Message;

/// How often each kind of event happened.
pub type Coverage = BTreeMap<&'static str, u64>;

/// The events that are counted, of a turn's effects.
pub fn events_of(effects: &Effects) -> Vec<&'static str> {
    let is_late =
        |record: &Record| matches!(record, Record::Decided(certificate) if certificate.round > 0);
    let late = effects.records.iter().filter(|record| is_late(record)).map(|_| "late rounds");
    let checkpoints = effects.prune_journal.map(|_| "checkpoints");
    let sent = effects.sends.iter().filter_map(|(_, message)| match &**message {
        Message::Blocks(blocks) if !blocks.blocks.is_empty() => Some("catch-ups"),
        Message::Bodies(_) => Some("bodies"),
        Message::PolkaCertificate(_) => Some("polka certificates"),
        Message::RoundCertificate(_) => Some("round certificates"),
        _ => None,
    });
    late.chain(checkpoints).chain(sent).collect()
}
