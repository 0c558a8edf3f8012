//! Tells the operator of a node with two validator keys what the chain says of them.

use std::path::{Path, PathBuf};

use trefoil_os::keystore::{self, KeyKind};
use trefoil_types::{PublicKey, ValidatorSet};

/// The two validator keys of a node, and what the operator was told since its start.
pub struct KeyRotation {
    old: PublicKey,
    next: PublicKey,
    old_file: PathBuf,
    next_file: PathBuf,
    has_told_of_both: bool,
    has_told_of_end: bool,
}

impl KeyRotation {
    /// Of the keys of the node in `dir`, oldest first; none, unless there are two.
    pub fn of(dir: &Path, keys: &[PublicKey]) -> Option<Self> {
        let &[old, next] = keys else { return None };
        Some(Self {
            old,
            next,
            old_file: keystore::path(dir, KeyKind::Validator, ""),
            next_file: keystore::path(dir, KeyKind::NextValidator, ""),
            has_told_of_both: false,
            has_told_of_end: false,
        })
    }

    /// What the operator should know of the next height's validators, each once.
    pub fn note(&mut self, set: &ValidatorSet) -> Option<String> {
        let (old, next) = (self.old, self.next);
        let (old_file, next_file) = (self.old_file.display(), self.next_file.display());
        match (set.get(&old).is_some(), set.get(&next).is_some()) {
            (true, true) if !self.has_told_of_both => {
                self.has_told_of_both = true;
                Some(format!(
                    "both validator keys of this node have a seat: it signs with {old} \
                     ({old_file}), and with {next} ({next_file}) only if that one loses its \
                     seat. No other machine may sign with either"
                ))
            }
            // A key that is in no set for now, as in jail, may come back. So the old one may go
            // only when the next one has taken its place, which two seats are not.
            (false, true) if !self.has_told_of_end && !self.has_told_of_both => {
                self.has_told_of_end = true;
                Some(format!(
                    "the chain no longer names {old}, and this node signs with {next}: \
                     `mv {next_file} {old_file}` may be done at any time"
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use trefoil_crypto::SecretKey;
    use trefoil_types::Validator;

    use super::*;

    #[test]
    fn the_operator_is_told_once_when_the_old_key_may_go() {
        let key = |n: u8| SecretKey::from_seed(&[n; 32]).public();
        let set = |keys: &[u8]| {
            let validators = keys.iter().map(|n| Validator { key: key(*n), power: 1 });
            ValidatorSet::new(validators.collect()).unwrap()
        };
        let dir = Path::new("/node");
        assert!(KeyRotation::of(dir, &[key(1)]).is_none());
        let mut rotation = KeyRotation::of(dir, &[key(1), key(2)]).unwrap();
        for before in [set(&[1, 3]), set(&[3])] {
            assert_eq!(rotation.note(&before), None);
        }
        let told = rotation.note(&set(&[2, 3])).unwrap();
        let mv = "`mv /node/keys/next-validator.json /node/keys/validator.json`";
        assert!(told.contains(mv), "{told}");
        assert_eq!(rotation.note(&set(&[2, 3])), None);

        let mut seats = KeyRotation::of(dir, &[key(1), key(2)]).unwrap();
        let told = seats.note(&set(&[1, 2, 3])).unwrap();
        assert!(told.contains(&format!("signs with {}", key(1))), "{told}");
        for after in [set(&[1, 2, 3]), set(&[2, 3])] {
            assert_eq!(seats.note(&after), None);
        }
    }
}
