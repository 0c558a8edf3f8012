//! The trace of a run: a digest for each step. Two runs of a seed must agree on every one.

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use trefoil_ledger::Record;
use trefoil_node::{Effects, Event, Input, PeerCommand, RecoveryJob, To, WorkerJob};
use trefoil_types::{Message, Time};

use crate::wire::Id;

#[derive(Debug, Default)]
pub struct Trace {
    /// The digest of everything up to and with each step.
    pub steps: Vec<u64>,
    /// What was said since the last step.
    said: DefaultHasher,
    /// Whether to print each step as it happens.
    pub prints: bool,
    /// When the plan started, for the prints.
    pub start: Time,
}

impl Trace {
    pub fn new(start: Time, prints: bool) -> Self {
        Self { prints, start, ..Self::default() }
    }

    /// A step whose whole content is its text.
    pub fn note(&mut self, now: Time, text: impl FnOnce() -> String) {
        let text = text();
        if self.prints {
            println!("{:>9.3} {text}", self.seconds(now));
        }
        self.push(now, |hasher| text.hash(hasher));
    }

    /// A machine says something, as bytes: a part of the next step.
    pub fn said(&mut self, by: Id, bytes: &[u8]) {
        (by, bytes).hash(&mut self.said);
    }

    pub fn input(&mut self, now: Time, id: Id, input: &Input) {
        if self.prints {
            println!("{:>9.3} {id} <- {}", self.seconds(now), input_text(input));
        }
        self.push(now, |hasher| {
            id.hash(hasher);
            match input {
                // What it says was a part of an earlier step.
                Input::Message { peer, message } => {
                    (peer, std::mem::discriminant(message)).hash(hasher);
                }
                other => input_text(other).hash(hasher),
            }
        });
    }

    pub fn effects(&mut self, now: Time, id: Id, effects: &Effects) {
        if self.prints {
            for line in effect_lines(effects) {
                println!("{:>9.3} {id} -> {line}", self.seconds(now));
            }
        }
        self.push(now, |hasher| {
            id.hash(hasher);
            effects.records.iter().for_each(|record| digest_record(record, hasher));
            // The messages themselves are parts of the next step, as bytes.
            effects.sends.iter().for_each(|(to, _)| match to {
                To::Peer(peer) => peer.hash(hasher),
                To::AllBut(except) => except.hash(hasher),
            });
            effects.orders.iter().for_each(|order| digest_order(order, hasher));
            digest_text(format_args!("{:?}{:?}", effects.replies, effects.prune_journal), hasher);
            effects.jobs.iter().for_each(|job| job_text(job).hash(hasher));
            effects.events.iter().for_each(|event| digest_event(event, hasher));
        });
    }

    fn push(&mut self, now: Time, feed: impl FnOnce(&mut DefaultHasher)) {
        // `DefaultHasher::new` has fixed keys; `RandomState` would not.
        let mut hasher = DefaultHasher::new();
        (self.steps.last(), self.said.finish()).hash(&mut hasher);
        now.hash(&mut hasher);
        feed(&mut hasher);
        self.steps.push(hasher.finish());
    }

    fn seconds(&self, now: Time) -> f64 {
        now.since(self.start).0 as f64 / 1000.0
    }
}

// Most of a run's steps have records and messages, and their texts would cost more than the node.
fn digest_record(record: &Record, hasher: &mut DefaultHasher) {
    match record {
        // It is the hash of all of it.
        Record::Block(block) => block.hash.hash(hasher),
        Record::Consensus { height, bytes } => (height, bytes).hash(hasher),
        Record::Decided(certificate) => certificate.hash().hash(hasher),
    }
}

fn digest_order(order: &PeerCommand, hasher: &mut DefaultHasher) {
    match order {
        // Its members follow from the chain.
        PeerCommand::Admission(admission) => (admission.height, admission.time).hash(hasher),
        order => digest_text(format_args!("{order:?}"), hasher),
    }
}

fn digest_event(event: &Event, hasher: &mut DefaultHasher) {
    match event {
        // Of the block, too, which the snapshot shows, and of the receipts.
        Event::Committed { block, .. } => block.hash.hash(hasher),
        event => event_text(event).hash(hasher),
    }
}

fn digest_text(text: fmt::Arguments<'_>, hasher: &mut DefaultHasher) {
    struct Writer<'a>(&'a mut DefaultHasher);
    impl fmt::Write for Writer<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    _ = fmt::write(&mut Writer(hasher), text);
}

fn input_text(input: &Input) -> String {
    match input {
        Input::Tick => "tick".into(),
        Input::Message { peer, message } => format!("{peer:?} {}", message_text(message)),
        Input::Done(done) => format!("{done:?}"),
        other => format!("{other:?}"),
    }
}

fn effect_lines(effects: &Effects) -> Vec<String> {
    let records = effects.records.iter().map(|record| match record {
        trefoil_ledger::Record::Block(block) => {
            format!("record block {} {:.10}", block.header.number, block.hash.to_string())
        }
        trefoil_ledger::Record::Consensus { height, bytes } => {
            format!("record consensus {height}, {} bytes", bytes.len())
        }
        trefoil_ledger::Record::Decided(certificate) => {
            format!("record decided {} in round {}", certificate.height, certificate.round)
        }
    });
    let sends = effects.sends.iter().map(|(to, message)| {
        let to = match to {
            trefoil_node::To::Peer(peer) => format!("{peer:?}"),
            trefoil_node::To::AllBut(except) => format!("all but {except:?}"),
        };
        format!("{to}: {}", message_text(message))
    });
    let orders = effects.orders.iter().map(|order| format!("{order:?}"));
    let replies = effects.replies.iter().map(|reply| format!("{reply:?}"));
    let jobs = effects.jobs.iter().map(job_text);
    let events = effects.events.iter().map(event_text);
    let prune = effects.prune_journal.iter().map(|height| format!("prune the journal to {height}"));
    records
        .chain(sends)
        .chain(orders)
        .chain(replies)
        .chain(jobs)
        .chain(events)
        .chain(prune)
        .collect()
}

fn job_text(job: &WorkerJob) -> String {
    match job {
        WorkerJob::Recover(RecoveryJob { id, txs, .. }) => {
            format!("job recover {id}, {} transactions", txs.len())
        }
        WorkerJob::Checkpoint(checkpoint) => format!("job checkpoint {}", checkpoint.height()),
    }
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Committed { block, receipts, .. } => {
            format!("committed {} {} {receipts:?}", block.header.number, block.hash)
        }
        Event::Admitted(tx) => format!("admitted {}", tx.tx_hash()),
        Event::Equivocation { height, validator } => format!("equivocation {height} {validator}"),
        Event::SignedElsewhere { height, round } => format!("signed elsewhere {height}/{round}"),
    }
}

/// A message in a few words.
fn message_text(message: &Message) -> String {
    match message {
        Message::Vote(vote) => {
            let block = vote.block.map_or("nil".into(), |block| format!("{block:.10}"));
            format!(
                "{:?} {}/{} {block} by {:?}",
                vote.kind, vote.height, vote.round, vote.validator
            )
        }
        Message::Proposal(proposed) => {
            let p = &proposed.proposal;
            format!(
                "proposal {}/{} {:.10} pol {:?}, {} transactions",
                p.height,
                p.round,
                p.block.to_string(),
                p.pol_round,
                proposed.tx_hashes.len()
            )
        }
        Message::PolkaCertificate(c) => format!("polka {}/{}", c.height, c.round),
        Message::RoundCertificate(c) => format!("round {}/{} skip {}", c.height, c.round, c.skip),
        Message::Tip(tip) => format!("tip {} round {}", tip.height, tip.round),
        Message::GetBlocks(get) => format!("get blocks {} + {}", get.from, get.count),
        Message::Blocks(blocks) => format!("blocks {} + {}", blocks.from, blocks.blocks.len()),
        Message::GetBodies(get) => {
            format!("get {} bodies of {:.10}", get.tx_hashes.len(), get.block.to_string())
        }
        Message::Bodies(bodies) => {
            format!("{} bodies of {:.10}", bodies.txs.len(), bodies.block.to_string())
        }
        Message::TxHashes(hashes) => format!("{} tx hashes", hashes.len()),
        Message::GetTxs(hashes) => format!("get {} txs", hashes.len()),
        Message::Txs(txs) => format!("{} txs", txs.len()),
        Message::Evidence(evidence) => {
            format!("evidence of {} by {:?}", evidence.height(), evidence.validator())
        }
    }
}
