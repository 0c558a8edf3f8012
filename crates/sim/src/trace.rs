//! The trace of a run: a digest for each step. Two runs of a seed must agree on every one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use trefoil_node::{Effects, Event, Input, RecoveryJob, WorkerJob};
use trefoil_types::{Message, Time};

use crate::wire::Id;

#[derive(Debug, Default)]
pub struct Trace {
    /// The digest of everything up to and with each step.
    pub steps: Vec<u64>,
    /// Whether to print each step as it happens.
    pub prints: bool,
    /// When the plan started, for the prints.
    pub start: Time,
}

impl Trace {
    /// A step whose whole content is its text.
    pub fn note(&mut self, now: Time, text: impl FnOnce() -> String) {
        let text = text();
        if self.prints {
            println!("{:>9.3} {text}", self.seconds(now));
        }
        self.push(now, |hasher| text.hash(hasher));
    }

    pub fn input(&mut self, now: Time, id: Id, input: &Input) {
        if self.prints {
            println!("{:>9.3} {id} <- {}", self.seconds(now), input_text(input));
        }
        self.push(now, |hasher| {
            id.hash(hasher);
            match input {
                Input::Message { peer, message } => {
                    peer.hash(hasher);
                    message.encode().hash(hasher);
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
            format!("{:?}", effects.records).hash(hasher);
            for (to, message) in &effects.sends {
                format!("{to:?}").hash(hasher);
                message.encode().hash(hasher);
            }
            // A snapshot has no content to digest; the block that it shows is in the event's text.
            format!("{:?}{:?}{:?}", effects.orders, effects.replies, effects.prune_journal)
                .hash(hasher);
            effects.jobs.iter().for_each(|job| job_text(job).hash(hasher));
            effects.events.iter().for_each(|event| event_text(event).hash(hasher));
        });
    }

    fn push(&mut self, now: Time, feed: impl FnOnce(&mut DefaultHasher)) {
        // `DefaultHasher::new` has fixed keys; `RandomState` would not.
        let mut hasher = DefaultHasher::new();
        self.steps.last().hash(&mut hasher);
        now.hash(&mut hasher);
        feed(&mut hasher);
        self.steps.push(hasher.finish());
    }

    fn seconds(&self, now: Time) -> f64 {
        now.since(self.start).0 as f64 / 1000.0
    }
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
