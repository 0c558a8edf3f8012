//! What the log says of validators that are away, where members govern: the chain does not punish it.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_types::{Certificate, PublicKey, Validator, ValidatorSet};

/// So many heights in a row are worth a warning; as many move a seat to its standby (`PRESENCE_BLOCKS`).
const ROW: u64 = 64;
/// So many turns in a row that came to nothing are worth one; as many are the last that are waited for.
const TURNS: u32 = 3;

#[derive(Debug, Default)]
pub struct AbsenceLog {
    /// How many heights in a row each validator missed last, since this node runs.
    missed: BTreeMap<PublicKey, u64>,
    /// Of whose turns it was told.
    in_vain: BTreeSet<PublicKey>,
}

impl AbsenceLog {
    /// What the operator should know after a block that binds `parent`, which was for `set` to sign; the next block is
    /// for `next`.
    pub fn note(
        &mut self,
        parent: &Certificate,
        set: &ValidatorSet,
        next: &ValidatorSet,
    ) -> Vec<String> {
        let mut notices = vec![];
        for validator in set.iter() {
            let key = validator.key;
            let signed = parent.vote_of(&key).is_some();
            if next.get(&key).is_none() {
                let row = self.missed.remove(&key).filter(|row| *row > 0 && !signed);
                let heir = |n: &&Validator| n.power == validator.power && set.get(&n.key).is_none();
                if let (Some(row), Some(heir)) = (row, next.iter().find(heir)) {
                    notices.push(format!(
                        "the seat of validator {key}, which missed the last {} heights, moved to \
                         {}: its standby, unless its key was to change",
                        row + 1,
                        heir.key
                    ));
                }
                continue;
            }
            let row = self.missed.entry(key).or_default();
            *row = if signed { 0 } else { *row + 1 };
            if *row == ROW {
                notices.push(format!(
                    "validator {key} missed {ROW} heights in a row: `trefoil validator list` \
                     says whose it is"
                ));
            }
        }
        notices
    }

    /// What the operator should know of turns to propose: how many of each validator came to nothing in a row.
    pub fn note_turns(&mut self, failed: &[(PublicKey, u32)]) -> Vec<String> {
        let failing: BTreeSet<_> =
            failed.iter().filter(|(_, row)| *row >= TURNS).map(|(key, _)| *key).collect();
        let new = failing.difference(&self.in_vain).map(|key| {
            format!(
                "validator {key} votes, and its last {TURNS} turns to propose came to nothing: it is waited for \
                 now and then only. Its operator should look at its clock, its disk and its connections"
            )
        });
        let notices = new.collect();
        self.in_vain = failing;
        notices
    }
}

#[cfg(test)]
mod tests {
    use trefoil_crypto::SecretKey;
    use trefoil_types::{B256, Signature, ValidatorSignature};

    use super::*;

    fn key(n: u8) -> PublicKey {
        SecretKey::from_seed(&[n; 32]).public()
    }

    fn set(keys: &[u8]) -> ValidatorSet {
        let validators = keys.iter().map(|n| Validator { key: key(*n), power: 1 });
        ValidatorSet::new(validators.collect()).unwrap()
    }

    fn signed_by(keys: &[u8]) -> Certificate {
        let of = |n: &u8| ValidatorSignature { validator: key(*n), signature: Signature([0; 64]) };
        let mut signatures: Vec<_> = keys.iter().map(of).collect();
        signatures.sort_by_key(|signature| signature.validator);
        Certificate { height: 1, round: 0, block: B256::ZERO, signatures }
    }

    #[test]
    fn a_row_of_missed_heights_is_told_once() {
        let (mut log, all) = (AbsenceLog::default(), set(&[1, 2, 3, 4]));
        let mut told = |keys: &[u8], heights: u64| {
            (0..heights).flat_map(|_| log.note(&signed_by(keys), &all, &all)).collect::<Vec<_>>()
        };
        assert!(told(&[1, 2, 3], ROW - 1).is_empty());
        assert!(told(&[1, 2, 3, 4], 1).is_empty(), "it came back");
        assert!(told(&[1, 2, 3], ROW - 1).is_empty());
        let said = told(&[1, 2, 3], 2 * ROW);
        assert!(said.len() == 1 && said[0].contains(&key(4).to_string()), "{said:?}");
    }

    #[test]
    fn turns_in_vain_are_told_once_each_time() {
        let mut log = AbsenceLog::default();
        let mut told = |failed: &[(u8, u32)]| {
            let failed: Vec<_> = failed.iter().map(|(n, row)| (key(*n), *row)).collect();
            log.note_turns(&failed).len()
        };
        assert_eq!(told(&[(1, TURNS - 1), (2, 1)]), 0);
        assert_eq!(told(&[(1, TURNS), (2, 1)]), 1);
        assert_eq!(told(&[(1, TURNS + 1), (2, TURNS)]), 1);
        assert_eq!(told(&[(2, TURNS)]), 0);
        assert_eq!(told(&[(1, TURNS), (2, TURNS)]), 1, "it proposed, and fails again");
    }

    #[test]
    fn a_seat_that_moves_is_told_once() {
        let (before, after) = (set(&[1, 2, 3, 4]), set(&[1, 2, 3, 5]));
        let mut log = AbsenceLog::default();
        assert!(log.note(&signed_by(&[1, 2, 3]), &before, &before).is_empty());
        // The next block is decided by the set before, too.
        let said = log.note(&signed_by(&[1, 2, 3]), &before, &after);
        assert!(said.len() == 1 && said[0].contains("last 2 heights"), "{said:?}");
        assert!(said[0].contains(&format!("moved to {}", key(5))), "{said:?}");
        assert!(log.note(&signed_by(&[1, 2, 3]), &before, &after).is_empty());
        // Who signs and leaves did not move.
        let back = (set(&[1, 2, 3, 5]), set(&[1, 2, 3, 6]));
        assert!(log.note(&signed_by(&[1, 2, 3, 5]), &back.0, &back.0).is_empty());
        assert!(log.note(&signed_by(&[1, 2, 3, 5]), &back.0, &back.1).is_empty());
    }
}
