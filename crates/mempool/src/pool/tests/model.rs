//! The pool against a model that scans a plain list for everything.

use proptest::prelude::*;

use super::*;

const TXS_MAX: usize = 12;
const PER_SENDER_MAX: usize = 5;

#[derive(Clone, Debug)]
enum Op {
    Admit { sender: u8, nonce: u64, cap: u128, tip: u128 },
    Advance { sender: u8, by: u64, balance: u64 },
    Remove(usize),
}

#[derive(Clone)]
struct ModelTx {
    sender: u8,
    nonce: u64,
    cap: u128,
    tip: u128,
    arrival: u64,
    tx: Transaction,
}

#[derive(Default)]
struct PoolModel {
    entries: Vec<ModelTx>,
    accounts: BTreeMap<u8, (u64, u64)>,
    arrivals: u64,
}

impl PoolModel {
    fn account(&self, sender: u8) -> (u64, u64) {
        self.accounts.get(&sender).copied().unwrap_or((0, 1_000_000_000))
    }

    fn of(&self, sender: u8) -> Vec<ModelTx> {
        let mut all: Vec<ModelTx> =
            self.entries.iter().filter(|e| e.sender == sender).cloned().collect();
        all.sort_by_key(|e| e.nonce);
        all
    }

    fn runs(&self, entry: &ModelTx) -> bool {
        let (next, _) = self.account(entry.sender);
        (next..=entry.nonce).all(|n| self.of(entry.sender).iter().any(|e| e.nonce == n))
    }

    fn worth_of_tail(&self, sender: u8) -> Option<(Worth, Reverse<u64>, ModelTx)> {
        let tail = self.of(sender).pop()?;
        let worth = (self.runs(&tail), tail.tip, tail.cap);
        Some((worth, Reverse(tail.arrival), tail))
    }

    fn admit(&mut self, new: ModelTx) -> bool {
        let (next, balance) = self.account(new.sender);
        if self.entries.iter().any(|e| e.tx.tx_hash() == new.tx.tx_hash())
            || new.tip > new.cap
            || new.nonce < next
            || 21_000 * new.cap > u128::from(balance)
        {
            return false;
        }
        let old = self.entries.iter().position(|e| (e.sender, e.nonce) == (new.sender, new.nonce));
        if let Some(old) = old {
            let more = |new: u128, old: u128| new > old && 10 * new >= 11 * old;
            let entry = &self.entries[old];
            if !more(new.cap, entry.cap) || !more(new.tip, entry.tip) {
                return false;
            }
            self.entries.remove(old);
        } else {
            if self.of(new.sender).len() >= PER_SENDER_MAX {
                return false;
            }
            let would_run =
                (next..new.nonce).all(|n| self.of(new.sender).iter().any(|e| e.nonce == n));
            if self.entries.len() >= TXS_MAX {
                let tails = (0..4).filter_map(|sender| self.worth_of_tail(sender));
                let (worth, _, least) = tails.min_by_key(|(w, a, _)| (*w, *a)).unwrap();
                let under = least.sender == new.sender && least.nonce <= new.nonce;
                if worth >= (would_run, new.tip, new.cap) || under {
                    return false;
                }
                self.entries.retain(|e| e.arrival != least.arrival);
            }
        }
        self.entries.push(ModelTx { arrival: self.arrivals, ..new });
        self.arrivals += 1;
        true
    }

    fn advance(&mut self, sender: u8, by: u64, balance: u64) {
        let nonce = self.account(sender).0 + by;
        self.accounts.insert(sender, (nonce, balance));
        self.entries.retain(|e| {
            e.sender != sender || (e.nonce >= nonce && 21_000 * e.cap <= u128::from(balance))
        });
    }

    fn best(&self, base_fee: u128) -> Vec<B256> {
        let mut next: BTreeMap<u8, u64> = (0..4).map(|s| (s, self.account(s).0)).collect();
        let mut order = Vec::new();
        loop {
            let ready = self.entries.iter().filter(|e| next[&e.sender] == e.nonce);
            let paying = ready.filter(|e| e.cap >= base_fee);
            let best = paying.max_by_key(|e| (e.tip.min(e.cap - base_fee), Reverse(e.arrival)));
            let Some(best) = best else { return order };
            order.push(*best.tx.tx_hash());
            next.insert(best.sender, best.nonce + 1);
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u8..4, 0u64..9, 10u128..40, 0u128..40)
            .prop_map(|(sender, nonce, cap, tip)| Op::Admit { sender, nonce, cap, tip }),
        2 => (0u8..4, 0u64..3, 400_000u64..1_000_000)
            .prop_map(|(sender, by, balance)| Op::Advance { sender, by, balance }),
        1 => any::<usize>().prop_map(Op::Remove),
    ]
}

proptest! {
    #[test]
    fn the_pool_does_as_the_model(ops in proptest::collection::vec(op(), 1..120)) {
        let limits = MempoolLimits {
            txs_max: TXS_MAX,
            txs_per_sender_max: PER_SENDER_MAX,
            ..MempoolLimits::default()
        };
        let (mut pool, mut model) = (Mempool::new(limits), PoolModel::default());
        for op in ops {
            match op {
                Op::Admit { sender, nonce, cap, tip } => {
                    let (next, balance) = model.account(sender);
                    let balance = U256::from(balance);
                    let state = SenderState { nonce: next, balance, ..SenderState::default() };
                    let tx = tx(sender, nonce, cap, tip);
                    let entry = ModelTx { sender, nonce, cap, tip, arrival: 0, tx: tx.clone() };
                    let taken = pool.admit(Time(0), tx, None, &rules(), || state);
                    prop_assert_eq!(taken.is_ok(), model.admit(entry), "{:?}", taken);
                }
                Op::Advance { sender, by, balance } => {
                    model.advance(sender, by, balance);
                    let (nonce, balance) = model.account(sender);
                    pool.advance(&Address::repeat_byte(sender), nonce, U256::from(balance));
                }
                Op::Remove(n) if !model.entries.is_empty() => {
                    let at = n % model.entries.len();
                    pool.remove(model.entries.remove(at).tx.tx_hash());
                }
                Op::Remove(_) => {}
            }
            let running = model.entries.iter().filter(|e| model.runs(e)).count();
            prop_assert_eq!(pool.pending(), running);
            prop_assert_eq!(pool.queued(), model.entries.len() - running);
            let held: usize = pool.iter().map(|(pooled, _)| pooled.held).sum();
            prop_assert_eq!(pool.bytes(), held);
            for base_fee in [0u64, 15, 30] {
                let order: Vec<B256> =
                    pool.best(base_fee, Time(0)).map(|pooled| pooled.hash).collect();
                prop_assert_eq!(order, model.best(u128::from(base_fee)));
            }
        }
    }
}
