//! Numbers that a vote sets: from which block on they hold, and in which they held.

use super::*;
use crate::{CallOptions, CallSite, Estimate};

/// Creates a contract of 30,000 bytes.
fn large_code(net: &mut Net) -> Transaction {
    let create = TxEip1559 {
        to: TxKind::Create,
        gas_limit: 10_000_000,
        input: bytes!("6175305ff3"),
        ..transfer(address(0), 0)
    };
    net.tx(STRANGER, create)
}

fn set(name: &str, value: u64) -> setParameterCall {
    setParameterCall { name: name.into(), value, from: 0 }
}

#[test]
fn the_size_of_code_holds_from_its_height_on_and_traces_know_what_held() {
    let mut net = Net::new(spec());
    let voted = net.decide(set("code-size", 30_000));
    net.reach(voted + 99);
    let early = large_code(&mut net);
    assert_eq!(net.outcomes([early]), (voted + 100, vec![false]));
    let now = large_code(&mut net);
    assert_eq!(net.outcomes([now]), (voted + 101, vec![true]));
    let voted_again = net.decide(set("code-size", 0));
    net.reach(voted_again + 100);
    let late = large_code(&mut net);
    assert_eq!(net.outcomes([late]), (voted_again + 101, vec![false]), "the rule set's");
    let failed = |height| net.traced(height, 0).error.is_some();
    assert_eq!([voted + 100, voted + 101, voted_again + 101].map(failed), [true, false, true]);
}

#[test]
fn the_gas_of_a_transaction_is_the_networks_own() {
    let mut net = Net::new(spec());
    let large = |net: &mut Net| {
        let tx = TxEip1559 { gas_limit: 20_000_000, ..transfer(address(2), 1) };
        net.tx(STRANGER, tx)
    };
    let voted = net.decide(set("tx-gas", 20_000_000));
    net.reach(voted + 99);
    let tx = large(&mut net);
    assert!(net.invalid(&tx).contains("transaction 0"), "EIP-7825's");
    net.block([]);
    net.block([tx]);
    let (spec, snapshot) = (net.ledger.spec().clone(), net.ledger.snapshot());
    let site = CallSite::pending(&spec, &snapshot).expect("a state");
    let simulation = site.simulation(&CallOptions::default()).expect("no override");
    let burns = alloy_rpc_types_eth::TransactionRequest {
        from: Some(address(STRANGER)),
        to: Some(TxKind::Create),
        // Writes a byte so far away that memory costs 18 million gas.
        input: bytes!("6001622e630053").into(),
        ..Default::default()
    };
    let estimate = simulation.estimate_gas(&burns);
    let within = |gas: &u64| (1 << 24..=20_000_000).contains(gas);
    assert!(matches!(&estimate, Ok(Estimate::Gas(gas)) if within(gas)), "{estimate:?}");
}

#[test]
fn a_parameter_that_is_not_known_here_stops_the_node_at_its_height() {
    let mut net = Net::new(spec());
    let voted = net.decide(set("blob-count", 7));
    let governed = net.ledger.governed().clone();
    assert_eq!(governed.unknown_fork, Some((voted + 10_001, "blob-count".into())));
    let error = governed.fork_at(voted + 10_001).expect_err("unknown").to_string();
    assert!(error.contains("`blob-count`") && error.contains("newer trefoil"), "{error}");
    net.decide(set("blob-count", 0));
    assert_eq!(net.ledger.governed().unknown_fork, None, "called off in time");
}

#[test]
fn parameters_hold_from_genesis_and_a_vote_ends_them() {
    let parameters = [(Parameter::CodeSize, 30_000), (Parameter::TxGas, 20_000_000)].into();
    let mut net = Net::new(ChainSpec { parameters, ..spec() });
    let gas = TxEip1559 { gas_limit: 20_000_000, ..transfer(address(2), 1) };
    let txs = [large_code(&mut net), net.tx(STRANGER, gas)];
    assert_eq!(net.outcomes(txs), (1, vec![true, true]));
    let voted = net.decide(set("code-size", 0));
    net.reach(voted + 100);
    let late = large_code(&mut net);
    assert_eq!(net.outcomes([late]), (voted + 101, vec![false]));
    assert!(net.traced(1, 0).error.is_none(), "what held in a block of the past holds in it");
}
