//! The bytes that honest machines send their peers in answer, against the rules of messages.
//!
//! A node counts anew each second, so two of its seconds may fall into one of the judge's. Over
//! a longer time it may send its budget a second and no more. So each count here drains at the
//! rate of its budget, and may hold the worth of two seconds.

use std::collections::BTreeMap;

use trefoil_types::{
    ByteBudget, Message, MessageRule, Time, limits,
    message_rule::{self as rules, ANSWERS},
};

use crate::wire::Id;

/// The name of the budget of all answers together.
const EVERY_ANSWER: &str = "every answer";

/// The receivers of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Receivers {
    Peer(Id),
    /// All that the sender does not favour.
    Strangers,
    All,
}

/// A count that drains.
#[derive(Clone, Copy, Debug, Default)]
struct DrainingCount {
    at: Time,
    /// Thousandths of a byte, so that it drains by whole numbers each millisecond.
    level: u64,
}

impl DrainingCount {
    /// Adds bytes to what is left at a rate of so many bytes a second; whether they are more than
    /// two seconds' worth.
    fn add(&mut self, now: Time, per_second: usize, bytes: usize) -> bool {
        let drained = now.since(self.at).0.saturating_mul(per_second as u64);
        self.level = self.level.saturating_sub(drained) + bytes as u64 * 1_000;
        self.at = now;
        self.level > 2_000 * per_second as u64
    }
}

/// What each machine sent in answer lately.
#[derive(Debug, Default)]
pub struct SentBytes {
    counts: BTreeMap<(Id, Receivers, &'static str), DrainingCount>,
}

impl SentBytes {
    /// A machine sent a message of so many bytes to one peer; the budget that this broke.
    /// `favoured`: the sender may favour the peer.
    pub fn add(
        &mut self,
        now: Time,
        (by, to): (Id, Id),
        favoured: bool,
        message: &Message,
        bytes: usize,
    ) -> Option<String> {
        let (rule, beyond) = answered(message)?;
        let of_class = |budget: ByteBudget| if favoured { budget } else { budget.half() };
        let budgets =
            [(rule.name, rule.answers, beyond), (EVERY_ANSWER, ANSWERS, limits::MESSAGE_BYTES_MAX)];
        for (name, budget, beyond) in budgets {
            let class = of_class(budget);
            let strangers = (!favoured).then_some((Receivers::Strangers, class.all));
            let counts = [(Receivers::Peer(to), class.peer), (Receivers::All, budget.all)];
            for (receivers, budget) in counts.into_iter().chain(strangers) {
                let count = self.counts.entry((by, receivers, name)).or_default();
                if count.add(now, budget + beyond, bytes) {
                    return Some(format!(
                        "machine {by} sends {receivers:?} more than {budget} bytes a second in \
                         answer to {name}"
                    ));
                }
            }
        }
        None
    }
}

/// The rule of the request that a message answers, and by how many bytes an answer may go beyond
/// the budget: one block or transaction is not cut.
fn answered(message: &Message) -> Option<(&'static MessageRule, usize)> {
    match message {
        // Each connection begins with one, too.
        Message::Tip(_) => Some((&rules::TIP, rules::TIP.answers.peer / 2)),
        Message::Blocks(_) => Some((&rules::GET_BLOCKS, limits::MESSAGE_BYTES_MAX)),
        Message::Bodies(_) => Some((&rules::GET_BODIES, limits::TX_BYTES_MAX)),
        Message::Txs(_) => Some((&rules::GET_TXS, limits::TX_BYTES_MAX)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use trefoil_types::{B256, Millis, message::Bodies};

    use super::*;

    /// The first second in which so many bytes, sent every 100 ms, are too many.
    fn broken_after(favoured: bool, bytes: usize) -> Option<u64> {
        let message = Message::Bodies(Bodies { block: B256::ZERO, txs: vec![] });
        let mut sent = SentBytes::default();
        let late = |at: &u64| {
            let now = Time(1_000_000) + Millis(at * 100);
            sent.add(now, (0, 1), favoured, &message, bytes).is_some()
        };
        (0..600).find(late).map(|at| at / 10)
    }

    #[test]
    fn a_budget_a_second_is_no_more_for_a_minute_and_a_twentieth_more_is() {
        let peer = rules::GET_BODIES.answers.peer + limits::TX_BYTES_MAX;
        assert_eq!(broken_after(true, peer / 10), None);
        assert!(broken_after(true, peer / 10 * 21 / 20).is_some_and(|second| second > 10));
        // Two seconds of the node meet, and no three.
        assert_eq!(broken_after(true, 2 * peer / 10), Some(1));
        // A stranger has half.
        assert!(broken_after(false, peer / 10).is_some());
    }
}
