mod model;

use alloy_consensus::{TxEip1559, TxEip7702, TxLegacy, transaction::Recovered};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Bytes, Signature, TxKind};
use trefoil_crypto::{PublicKey, SecretKey};
use trefoil_types::{TxEnvelope, spec::Fork};

use super::*;

const ETHER: u128 = 1_000_000_000_000_000_000;

fn rules() -> TxRules {
    TxRules {
        chain_id: 7,
        fork: Fork::Osaka,
        gas_limit: 30_000_000,
        base_fee: 10,
        gas_free: false,
        tx_gas_max: None,
        code_bytes_max: None,
    }
}

fn rich(nonce: u64) -> SenderState {
    SenderState { nonce, balance: U256::from(ETHER), ..SenderState::default() }
}

fn template() -> TxEip1559 {
    TxEip1559 {
        chain_id: 7,
        gas_limit: 21_000,
        max_fee_per_gas: 100,
        max_priority_fee_per_gas: 5,
        to: TxKind::Call(Address::ZERO),
        ..TxEip1559::default()
    }
}

/// The pool never looks at a signature: the caller has recovered the sender from it.
fn from(sender: u8, tx: impl Into<TxEnvelope>) -> Transaction {
    Recovered::new_unchecked(tx.into(), Address::repeat_byte(sender)).into()
}

fn sign<T: alloy_consensus::SignableTransaction<Signature>>(tx: T) -> alloy_consensus::Signed<T> {
    tx.into_signed(Signature::test_signature())
}

/// The recipient sets apart what two senders offer alike.
fn tx(sender: u8, nonce: u64, cap: u128, tip: u128) -> Transaction {
    let tx = TxEip1559 {
        nonce,
        max_fee_per_gas: cap,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::repeat_byte(sender)),
        ..template()
    };
    from(sender, sign(tx))
}

fn peer(n: u8) -> PeerId {
    let key: PublicKey = SecretKey::from_seed(&[n; 32]).public();
    PeerId(key)
}

fn pool() -> Mempool {
    Mempool::new(MempoolLimits::default())
}

fn admit(pool: &mut Mempool, tx: Transaction, next: u64) -> Result<(), MempoolError> {
    pool.admit(Time(0), tx, None, &rules(), || rich(next))
}

#[test]
fn the_account_is_looked_up_only_for_what_is_new_and_well_formed() {
    let never = || -> SenderState { panic!("a look at the state") };
    let mut pool = pool();
    admit(&mut pool, tx(1, 0, 100, 5), 0).unwrap();
    let again = pool.admit(Time(0), tx(1, 0, 100, 5), Some(peer(1)), &rules(), never);
    assert_eq!(again, Err(MempoolError::AlreadyKnown));
    let cheap = pool.admit(Time(0), tx(2, 0, 0, 0), Some(peer(1)), &rules(), never);
    assert!(matches!(cheap, Err(MempoolError::FeeCapTooLow { .. })), "{cheap:?}");
}

fn order(pool: &Mempool, base_fee: u64) -> Vec<(u8, u64)> {
    pool.best(base_fee, Time(0)).map(|p| (p.tx.signer().0[0], p.nonce)).collect()
}

#[test]
fn a_network_may_have_bounds_of_its_own() {
    let own = TxRules { tx_gas_max: Some(20_000_000), code_bytes_max: Some(30_000), ..rules() };
    let large = |gas_limit, bytes| {
        let input = vec![0; bytes].into();
        from(1, sign(TxEip1559 { to: TxKind::Create, input, gas_limit, ..template() }))
    };
    assert_eq!(own.check(&large(20_000_000, 60_000)), Ok(()));
    assert!(
        rules().check(&large(20_000_000, 9)).is_err()
            && rules().check(&large(10_000_000, 60_000)).is_err()
    );
    let error = own.check(&large(20_000_001, 9)).expect_err("too much gas").to_string();
    assert!(error.contains("limit 20000000"), "{error}");
    let error = own.check(&large(20_000_000, 60_001)).expect_err("too long").to_string();
    assert!(error.contains("limit 60000"), "{error}");
    // Of a block that holds less, a transaction has no more.
    assert!(TxRules { gas_limit: 1_000_000, ..own }.check(&large(1_000_001, 9)).is_err());
}

#[test]
fn each_broken_rule_has_its_words() {
    let create = |bytes: Vec<u8>, gas_limit| TxEip1559 {
        to: TxKind::Create,
        input: bytes.into(),
        gas_limit,
        ..template()
    };
    let with = |change: fn(&mut TxEip1559)| {
        let mut tx = template();
        change(&mut tx);
        from(1, sign(tx))
    };
    let old = TxLegacy {
        gas_price: 100,
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        ..Default::default()
    };
    let poor = SenderState { balance: U256::from(2_099_999), ..rich(0) };
    let contract = SenderState { is_contract: true, ..rich(0) };
    let barred = SenderState { is_barred: true, ..rich(0) };
    let no_deployer = SenderState { deploys_nothing: true, ..rich(0) };
    let cases: Vec<(Transaction, SenderState, &str)> = vec![
        (with(|t| t.chain_id = 8), rich(0), "invalid chain id for signer: have 8 want 7"),
        (
            from(1, sign(old)),
            rich(0),
            "only replay-protected (EIP-155) transactions allowed over RPC",
        ),
        (
            with(|t| t.gas_limit = 30_000_001),
            rich(0),
            "exceeds block gas limit: gas 30000001, limit 16777216",
        ),
        (
            with(|t| t.max_priority_fee_per_gas = 101),
            rich(0),
            "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: 101, maxFeePerGas: 100",
        ),
        (
            with(|t| t.gas_limit = 20_999),
            rich(0),
            "intrinsic gas too low: gas 20999, minimum needed 21000",
        ),
        (
            with(|t| (t.max_fee_per_gas, t.max_priority_fee_per_gas) = (9, 0)),
            rich(0),
            "max fee per gas less than block base fee: maxFeePerGas: 9, baseFee: 10",
        ),
        (
            tx(1, 0, 100, 5),
            barred,
            "sender 0x0101010101010101010101010101010101010101 is not on this network's list of accounts; an organisation proposes it with `trefoil org set allow 0x0101010101010101010101010101010101010101`",
        ),
        (
            from(1, sign(create(vec![], 100_000))),
            no_deployer,
            "sender 0x0101010101010101010101010101010101010101 is not on this network's list of deployers; an organisation proposes it with `trefoil org set allow 0x0101010101010101010101010101010101010101 --deploy`",
        ),
        (tx(1, 4, 100, 5), rich(5), "nonce too low: next nonce 5, tx nonce 4"),
        (
            tx(1, 1_006, 100, 5),
            rich(5),
            "nonce too high: next nonce 5, tx nonce 1006, at most 1000 ahead",
        ),
        (
            tx(1, 0, 100, 5),
            poor,
            "insufficient funds for gas * price + value: have 2099999 want 2100000",
        ),
        (tx(1, 0, 100, 5), contract, "sender not an eoa"),
        (tx(1, u64::MAX, 100, 5), rich(u64::MAX - 1), "nonce has max value"),
        (
            from(1, sign(create(vec![0; 49_153], 10_000_000))),
            rich(0),
            "max initcode size exceeded: code size 49153, limit 49152",
        ),
    ];
    for (tx, sender, words) in cases {
        let mut pool = pool();
        let refused = pool.admit(Time(0), tx, None, &rules(), || sender).unwrap_err();
        assert_eq!(refused.to_string(), words);
        assert_eq!((pool.pending(), pool.queued(), pool.bytes()), (0, 0, 0));
    }
}

#[test]
fn the_least_gas_is_what_the_yellow_paper_and_the_eips_say() {
    let item = AccessListItem { address: Address::ZERO, storage_keys: vec![B256::ZERO; 2] };
    let auth = SignedAuthorization::new_unchecked(
        Authorization { chain_id: U256::from(7), address: Address::ZERO, nonce: 0 },
        0,
        U256::from(1),
        U256::from(1),
    );
    let call = |input: Vec<u8>| TxEip1559 { input: Bytes::from(input), ..template() };
    let set_code = alloy_consensus::TxEip7702 {
        chain_id: 7,
        max_fee_per_gas: 100,
        authorization_list: vec![auth.clone(), auth],
        ..Default::default()
    };
    let cases: Vec<(TxEnvelope, Fork, u64)> = vec![
        (sign(call(vec![])).into(), Fork::Cancun, 21_000),
        // One zero byte (4) and two others (16 each); the floor is 10 a token.
        (sign(call(vec![0, 1, 1])).into(), Fork::Cancun, 21_036),
        (sign(call(vec![0, 1, 1])).into(), Fork::Prague, 21_090),
        (
            sign(TxEip1559 { to: TxKind::Create, ..call(vec![1; 33]) }).into(),
            Fork::Cancun,
            21_000 + 33 * 16 + 32_000 + 2 * 2,
        ),
        (
            sign(TxEip1559 { access_list: AccessList(vec![item]), ..template() }).into(),
            Fork::Prague,
            21_000 + 2_400 + 2 * 1_900,
        ),
        (sign(set_code).into(), Fork::Prague, 21_000 + 2 * 25_000),
    ];
    for (tx, fork, least) in cases {
        let with_gas = |gas| {
            let mut tx = tx.clone();
            match &mut tx {
                TxEnvelope::Eip1559(tx) => {
                    let mut inner = tx.tx().clone();
                    inner.gas_limit = gas;
                    *tx = sign(inner);
                }
                TxEnvelope::Eip7702(tx) => {
                    let mut inner = tx.tx().clone();
                    inner.gas_limit = gas;
                    *tx = sign(inner);
                }
                _ => unreachable!(),
            }
            TxRules { fork, ..rules() }.check(&tx)
        };
        assert_eq!(with_gas(least), Ok(()));
        let refused = MempoolError::IntrinsicGas { got: least - 1, min: least };
        assert_eq!(with_gas(least - 1), Err(refused));
    }
}

#[test]
fn peers_may_hand_on_unprotected_transactions() {
    let old = TxLegacy {
        gas_price: 100,
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        ..Default::default()
    };
    let tx = from(1, sign(old));
    assert_eq!(pool().admit(Time(0), tx, Some(peer(1)), &rules(), || rich(0)), Ok(()));
}

#[test]
fn a_gas_free_network_asks_for_no_funds_but_the_value() {
    let free = TxRules { base_fee: 0, gas_free: true, ..rules() };
    let penniless = SenderState::default();
    assert_eq!(pool().admit(Time(0), tx(1, 0, 0, 0), None, &free, || penniless), Ok(()));
    let valued = from(1, sign(TxEip1559 { value: U256::from(1), ..template() }));
    assert!(matches!(
        pool().admit(Time(0), valued, None, &free, || penniless),
        Err(MempoolError::InsufficientFunds { .. })
    ));
}

#[test]
fn a_gap_queues_and_filling_it_frees_the_run() {
    let mut pool = pool();
    admit(&mut pool, tx(1, 5, 100, 5), 5).unwrap();
    admit(&mut pool, tx(1, 7, 100, 5), 5).unwrap();
    assert_eq!((pool.pending(), pool.queued()), (1, 1));
    assert_eq!(pool.pending_nonce(&Address::repeat_byte(1)), Some(6));
    admit(&mut pool, tx(1, 6, 100, 5), 5).unwrap();
    assert_eq!((pool.pending(), pool.queued()), (3, 0));
    assert_eq!(pool.pending_nonce(&Address::repeat_byte(1)), Some(8));
    assert_eq!(admit(&mut pool, tx(1, 6, 100, 5), 5), Err(MempoolError::AlreadyKnown));
}

#[test]
fn a_replacement_pays_a_tenth_more_in_both_fees() {
    for (cap, tip, accepted) in
        [(110, 11, true), (109, 11, false), (110, 10, false), (200, 10, false), (100, 20, false)]
    {
        let mut pool = pool();
        admit(&mut pool, tx(1, 0, 100, 10), 0).unwrap();
        admit(&mut pool, tx(1, 1, 100, 10), 0).unwrap();
        let new = tx(1, 0, cap, tip);
        let result = admit(&mut pool, new.clone(), 0);
        let refused = Err(MempoolError::ReplacementUnderpriced);
        assert_eq!(result, if accepted { Ok(()) } else { refused }, "{cap} {tip}");
        assert_eq!(pool.contains(new.tx_hash()), accepted);
        assert_eq!((pool.pending(), pool.queued()), (2, 0));
    }
    // Nothing for nothing is not more: a free replacement could go on for ever.
    let free = TxRules { base_fee: 0, gas_free: true, ..rules() };
    let mut pool = pool();
    pool.admit(Time(0), tx(1, 0, 0, 0), None, &free, || rich(0)).unwrap();
    let other = from(
        1,
        sign(TxEip1559 {
            max_fee_per_gas: 0,
            max_priority_fee_per_gas: 0,
            gas_limit: 22_000,
            ..template()
        }),
    );
    let refused = pool.admit(Time(0), other, None, &free, || rich(0));
    assert_eq!(refused, Err(MempoolError::ReplacementUnderpriced));
}

#[test]
fn the_best_tip_at_this_base_fee_comes_first_and_nonces_stay_in_order() {
    let mut pool = pool();
    admit(&mut pool, tx(1, 0, 100, 5), 0).unwrap();
    admit(&mut pool, tx(1, 1, 100, 50), 0).unwrap();
    // The highest tip on offer, but at a base fee of 95 it pays only 3.
    admit(&mut pool, tx(2, 0, 98, 60), 0).unwrap();
    admit(&mut pool, tx(3, 0, 200, 5), 0).unwrap();
    admit(&mut pool, tx(3, 1, 94, 5), 0).unwrap();
    assert_eq!(order(&pool, 10), [(2, 0), (1, 0), (1, 1), (3, 0), (3, 1)]);
    assert_eq!(order(&pool, 95), [(1, 0), (1, 1), (3, 0), (2, 0)]);
    assert_eq!(order(&pool, 99), [(3, 0), (1, 0), (1, 1)]);
}

#[test]
fn what_is_too_young_holds_back_what_follows_it() {
    let mut pool = pool();
    pool.admit(Time(10), tx(1, 0, 100, 5), None, &rules(), || rich(0)).unwrap();
    pool.admit(Time(30), tx(1, 1, 100, 5), None, &rules(), || rich(0)).unwrap();
    pool.admit(Time(20), tx(1, 2, 100, 5), None, &rules(), || rich(0)).unwrap();
    assert_eq!(pool.best(10, Time(20)).count(), 1);
    assert_eq!(pool.best(10, Time(30)).count(), 3);
}

#[test]
fn a_full_pool_gives_up_the_last_of_the_cheapest_sender() {
    let mut pool = Mempool::new(MempoolLimits { txs_max: 3, ..MempoolLimits::default() });
    admit(&mut pool, tx(1, 0, 100, 9), 0).unwrap();
    admit(&mut pool, tx(1, 1, 100, 2), 0).unwrap();
    admit(&mut pool, tx(2, 0, 100, 3), 0).unwrap();
    assert_eq!(admit(&mut pool, tx(3, 0, 100, 2), 0), Err(MempoolError::PoolFull));
    // Its own last is the cheapest: it would open a gap under itself.
    assert_eq!(admit(&mut pool, tx(1, 2, 100, 9), 0), Err(MempoolError::PoolFull));
    admit(&mut pool, tx(3, 0, 100, 4), 0).unwrap();
    assert_eq!(order(&pool, 10), [(1, 0), (3, 0), (2, 0)]);
    // A transaction behind a gap is worth less than anything that could run.
    assert_eq!(admit(&mut pool, tx(4, 1, 100, 90), 0), Err(MempoolError::PoolFull));
    // Replacing needs no room.
    admit(&mut pool, tx(2, 0, 110, 5), 0).unwrap();
}

#[test]
fn one_sender_and_one_peer_have_their_shares() {
    let limits = MempoolLimits { txs_per_sender_max: 2, txs_per_peer_max: 3, ..Default::default() };
    let mut pool = Mempool::new(limits);
    let mut push = |sender, nonce, n| {
        pool.admit(Time(0), tx(sender, nonce, 100, 5), Some(peer(n)), &rules(), || rich(0))
    };
    assert_eq!(push(1, 0, 1), Ok(()));
    assert_eq!(push(1, 1, 1), Ok(()));
    assert_eq!(push(1, 2, 2), Err(MempoolError::PoolFull));
    assert_eq!(push(2, 0, 1), Ok(()));
    assert_eq!(push(3, 0, 1), Err(MempoolError::PoolFull));
    assert_eq!(push(3, 0, 2), Ok(()));
    // A share is given back when a block takes the transaction.
    pool.advance(&Address::repeat_byte(2), 1, U256::from(ETHER));
    let again = tx(4, 0, 100, 5);
    assert_eq!(pool.admit(Time(0), again, Some(peer(1)), &rules(), || rich(0)), Ok(()));
}

/// A transaction of 513 of the shortest authorisations.
fn authorising(sender: u8, nonce: u64) -> Transaction {
    let nobody = Authorization { chain_id: U256::ZERO, address: Address::ZERO, nonce: 0 };
    let signed = SignedAuthorization::new_unchecked(nobody, 0, U256::ONE, U256::ONE);
    let tx = TxEip7702 {
        chain_id: 7,
        nonce,
        gas_limit: 13_000_000,
        max_fee_per_gas: 100,
        to: Address::repeat_byte(sender),
        authorization_list: vec![signed; 513],
        ..TxEip7702::default()
    };
    from(sender, sign(tx))
}

/// Attack: lists whose items take several times as many bytes in memory as encoded.
#[test]
fn the_pool_counts_what_it_holds_in_memory() {
    let mut pool = pool();
    admit(&mut pool, authorising(1, 0), 0).unwrap();
    let (pooled, _) = pool.iter().next().unwrap();
    assert!(pooled.bytes < 20_000, "{}", pooled.bytes);
    assert!(pool.bytes() >= 513 * size_of::<SignedAuthorization>(), "{}", pool.bytes());
}

#[test]
fn one_peer_has_half_of_the_bytes() {
    let mut pool = Mempool::new(MempoolLimits { bytes_max: 400_000, ..Default::default() });
    let mut push = |sender, nonce, n| {
        pool.admit(Time(0), authorising(sender, nonce), Some(peer(n)), &rules(), || rich(0))
    };
    assert_eq!([push(1, 0, 1), push(2, 0, 1)], [Ok(()), Ok(())]);
    assert_eq!(push(3, 0, 1), Err(MempoolError::PoolFull));
    assert_eq!(push(3, 0, 2), Ok(()));
    // It is given back when a block takes the transaction.
    pool.advance(&Address::repeat_byte(2), 1, U256::from(ETHER));
    let again = authorising(4, 0);
    assert_eq!(pool.admit(Time(0), again, Some(peer(1)), &rules(), || rich(0)), Ok(()));
}

#[test]
fn a_block_takes_its_own_and_what_can_no_longer_be_paid() {
    let mut pool = pool();
    for nonce in 0..5 {
        admit(&mut pool, tx(1, nonce, 100 + u128::from(nonce), 5), 0).unwrap();
    }
    // Enough for 102 wei per gas and no more.
    pool.advance(&Address::repeat_byte(1), 1, U256::from(21_000 * 102));
    assert_eq!(order(&pool, 10), [(1, 1), (1, 2)]);
    assert_eq!((pool.pending(), pool.queued()), (2, 0));
    pool.advance(&Address::repeat_byte(1), 3, U256::from(ETHER));
    assert_eq!((pool.pending(), pool.queued(), pool.bytes()), (0, 0, 0));
}
