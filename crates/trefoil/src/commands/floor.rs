//! Whether a vote would leave too few to decide or to validate, where members do.
//!
//! The contract permits both, and a command asks first.

use crate::chain_client::governance::{Organisations, abi::IGovernance::Node, status};

// Of four, one that is away stops nothing: three are more than two thirds.
/// So few should not be left.
const FLOOR: usize = 4;

/// What is wrong with the organisations without `leaving`.
pub fn few_organisations(organisations: &Organisations, leaving: u32) -> Option<String> {
    let joined = organisations.0.iter().filter(|o| matches!(status(o), "active" | "suspended"));
    let (leave, stay): (Vec<_>, Vec<_>) = joined.partition(|o| o.id == leaving);
    (!leave.is_empty() && stay.len() < FLOOR).then(|| {
        format!(
            "{} organisations would stay: with fewer than {FLOOR}, one that is away can block what all decide",
            stay.len()
        )
    })
}

/// What is wrong with the validators if each node has the power that `change` gives it.
pub fn few_validators(nodes: &[Node], change: impl Fn(&Node) -> u64) -> Option<String> {
    let serving = nodes.iter().filter(|n| !n.revoked && n.power > 0 && n.until == 0);
    let (before, after): (Vec<_>, Vec<_>) = serving.map(|n| (n.power, change(n))).unzip();
    let after: Vec<_> = after.into_iter().filter(|power| *power > 0).collect();
    if after.len() < before.len() && after.len() < FLOOR {
        return Some(format!(
            "{} validators would stay: with fewer than {FLOOR}, one that is away stops the chain",
            after.len()
        ));
    }
    let ((had, of), (largest, all)) = (largest(&before), largest(&after));
    // Who has more than a third with less than before is on its way to a better share.
    (3 * largest > all && largest * of > had * all).then(|| {
        format!(
            "one validator would have {} % of the power: with more than a third, it stops the chain when it is away",
            100 * largest / all
        )
    })
}

/// The largest power, and that of all.
fn largest(powers: &[u64]) -> (u128, u128) {
    let powers = || powers.iter().copied().map(u128::from);
    (powers().max().unwrap_or(0), powers().sum())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use trefoil_types::Address;

    use super::*;
    use crate::chain_client::governance::abi::IGovernance::Organisation;

    fn nodes(powers: &[u64]) -> Vec<Node> {
        let node = |(n, &power): (usize, &u64)| Node {
            peer: B256::ZERO,
            organisation: n as u32 + 1,
            role: 1,
            revoked: false,
            validatorKey: B256::ZERO,
            power,
            feeRecipient: Address::ZERO,
            from: 0,
            until: 0,
        };
        powers.iter().enumerate().map(node).collect()
    }

    fn with(powers: &[u64], organisation: u32, power: u64) -> Option<String> {
        few_validators(&nodes(powers), |n| match n.organisation == organisation {
            true => power,
            false => n.power,
        })
    }

    #[test]
    fn fewer_than_four_validators_are_asked_about() {
        assert_eq!(with(&[100; 5], 5, 0), None);
        assert!(with(&[100; 4], 4, 0).unwrap().contains("3 validators would stay"));
        assert!(with(&[100], 1, 0).unwrap().contains("0 validators would stay"));
        assert_eq!(with(&[100; 3], 4, 0), None, "it is no validator");
    }

    #[test]
    fn more_than_a_third_of_the_power_is_asked_about() {
        assert_eq!(with(&[100; 4], 1, 150), None, "a third");
        assert!(with(&[100; 4], 1, 151).unwrap().contains("33 % of the power"));
        assert!(with(&[200, 100, 100, 100, 100], 5, 0).unwrap().contains("40 % of the power"));
        assert_eq!(with(&[100, 49], 2, 100), None, "the largest share becomes smaller");
        assert!(with(&[1 << 60; 5], 1, 1).is_none());
    }

    #[test]
    fn fewer_than_four_organisations_are_asked_about() {
        let organisation = |(n, &status): (usize, &u8)| Organisation {
            id: n as u32 + 1,
            status,
            threshold: 1,
            name: String::new(),
            keys: vec![],
            caKeys: vec![],
        };
        let organisations = |statuses: &[u8]| {
            Organisations(statuses.iter().enumerate().map(organisation).collect())
        };
        assert_eq!(few_organisations(&organisations(&[1; 5]), 5), None);
        let asked = few_organisations(&organisations(&[1, 1, 1, 2, 3]), 4).unwrap();
        assert!(asked.contains("3 organisations would stay"), "{asked}");
        let invited = organisations(&[1, 1, 1, 4]);
        assert_eq!(few_organisations(&invited, 4), None, "an invitation is taken back");
    }
}
