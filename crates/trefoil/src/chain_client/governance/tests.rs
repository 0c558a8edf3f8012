use std::sync::Arc;

use alloy_primitives::{B256, Bytes, TxKind, U160, U256, address, b256, bytes, hex};
use alloy_sol_types::{SolCall as _, SolError as _};
use axum::{Json, Router, routing::post};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use trefoil_os::keystore::SealingKey;
use trefoil_types::{Address, spec::GOVERNING_CONTRACT};

use super::{
    abi::{
        Governance::{
            self, NotAGovernanceKey, ProposalClosed, approveCall, proposalCall, proposalReturn,
            proposeCall, waitingReturn,
        },
        GovernanceActions::*,
        IGovernance::Organisation,
        Staking::{NothingDue, TooLittleStake, depositCall},
    },
    *,
};
use crate::chain_client::{
    account_key::AccountKey, client::Client, contract::Contract, revert_reasons::revert_reason,
};

const ACCOUNT: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const KEY: B256 = b256!("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
/// The peer id of that key.
const PEER: &str = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV";

fn organisations() -> Organisations {
    let named = |(id, name): (u32, &str)| Organisation {
        id,
        status: 1,
        threshold: 1,
        name: name.into(),
        keys: vec![Address::with_last_byte(id as u8)],
        caKeys: vec![],
    };
    let mut list: Vec<_> = [(1, "acme"), (2, "bolt"), (3, "delta"), (4, "bolt")].map(named).into();
    list[1].status = 3;
    Organisations(list)
}

#[test]
fn an_action_is_said_in_words() {
    let (id, peer, key) = (1, KEY, KEY);
    let from_key = format!("{KEY}");
    let table: Vec<(Vec<u8>, String)> = vec![
        (
            addOrganisationCall {
                name: "cora".into(),
                threshold: 1,
                keys: vec![ACCOUNT],
                caKeys: vec![KEY],
            }
            .abi_encode(),
            format!("add organisation cora: 1 of 1 keys ({ACCOUNT}); CA keys {from_key}"),
        ),
        (removeOrganisationCall { id }.abi_encode(), "remove acme (1) for ever".into()),
        (suspendOrganisationCall { id: 9 }.abi_encode(), "suspend organisation 9".into()),
        (resumeOrganisationCall { id: 2 }.abi_encode(), "resume bolt (2)".into()),
        (
            setKeysCall { id, threshold: 1, keys: vec![ACCOUNT] }.abi_encode(),
            format!("acme (1) votes with 1 of 1 keys ({ACCOUNT}) once they accept"),
        ),
        (
            addCaKeyCall { id, key, from: 0 }.abi_encode(),
            format!("add CA key {from_key} of acme (1), from the next block on"),
        ),
        (
            endCaKeyCall { id, key, until: 12 }.abi_encode(),
            format!("end CA key {from_key} of acme (1), from height 12 on"),
        ),
        (
            setSealingKeyCall { id, key: B256::ZERO }.abi_encode(),
            "content is sealed to acme (1) no more".into(),
        ),
        (
            setSealingKeyCall { id, key: B256::repeat_byte(7) }.abi_encode(),
            format!("content is sealed to acme (1) by {}", SealingKey([7; 32])),
        ),
        (
            revokeSerialCall { id, serial: U160::from(0xab) }.abi_encode(),
            "revoke certificate 0xab of acme (1)".into(),
        ),
        (
            forgetSerialsCall { id }.abi_encode(),
            "forget the revoked certificates of acme (1)".into(),
        ),
        (
            revokeNodeCall { peer, organisation: 1 }.abi_encode(),
            format!("revoke node {PEER} of acme (1) for ever"),
        ),
        (
            addValidatorCall {
                peer,
                organisation: 1,
                validatorKey: KEY,
                power: 3,
                feeRecipient: ACCOUNT,
            }
            .abi_encode(),
            format!(
                "add validator {PEER} of acme (1) with key {from_key}, power 3, fees to {ACCOUNT}"
            ),
        ),
        (removeValidatorCall { peer }.abi_encode(), format!("remove validator {PEER}")),
        (setPowerCall { peer, power: 2 }.abi_encode(), format!("validator {PEER} has power 2")),
        (
            rotateValidatorKeyCall { peer, validatorKey: KEY }.abi_encode(),
            format!("validator {PEER} signs with key {from_key}"),
        ),
        (
            setStandbyCall { peer, validatorKey: KEY }.abi_encode(),
            format!("the seat of validator {PEER} moves to key {from_key} when its own is away"),
        ),
        (
            setStandbyCall { peer, validatorKey: B256::ZERO }.abi_encode(),
            format!("validator {PEER} has no standby"),
        ),
        (
            setFeeRecipientCall { peer, feeRecipient: ACCOUNT }.abi_encode(),
            format!("fees of validator {PEER} go to {ACCOUNT}"),
        ),
        (setGasLimitCall { gasLimit: 5 }.abi_encode(), "a block may use 5 gas".into()),
        (setMinBaseFeeCall { minBaseFee: 0 }.abi_encode(), "gas is free".into()),
        (
            setAccountsListedCall { listed: true }.abi_encode(),
            "only listed accounts may send transactions".into(),
        ),
        (
            setDeployersListedCall { listed: false }.abi_encode(),
            "all accounts may deploy contracts".into(),
        ),
        (
            setPermissionsCall {
                accounts: vec![ACCOUNT; 2],
                granted: vec![U256::from(3), U256::ZERO],
            }
            .abi_encode(),
            format!(
                "{ACCOUNT} may send transactions and deploy contracts; {ACCOUNT} is on no list"
            ),
        ),
        (
            setQuorumCall { numerator: 2, denominator: 3 }.abi_encode(),
            "a vote passes with more than 2/3 of the organisations".into(),
        ),
        (
            scheduleForkCall { name: "osaka".into(), height: 900 }.abi_encode(),
            "the rules of osaka hold from height 900".into(),
        ),
        (
            setParameterCall { name: "tx-gas".into(), value: 7, from: 0 }.abi_encode(),
            "tx-gas is 7, 101 blocks after the vote".into(),
        ),
        (
            setParameterCall { name: "tx_gas".into(), value: 7, from: 900 }.abi_encode(),
            "tx_gas is 7, from height 900 on; this program does not know it and stops before block 900"
                .into(),
        ),
        (
            setParameterCall { name: "blobs".into(), value: 7, from: 0 }.abi_encode(),
            "blobs is 7, 101 blocks after the vote; this program does not know it and stops before that block"
                .into(),
        ),
        (
            setAdministratorsCall { id, accounts: vec![ACCOUNT] }.abi_encode(),
            format!("{ACCOUNT} add and freeze accounts of acme (1)"),
        ),
        (
            addAccountsCall { id, accounts: vec![] }.abi_encode(),
            "no action, but the call of one account: it is refused".into(),
        ),
        (
            cancelForkCall { name: "osaka".into() }.abi_encode(),
            "call off the rules of osaka".into(),
        ),
        (
            setValidatorDelayCall { blocks: 7 }.abi_encode(),
            "changes of validators hold 7 blocks after the vote".into(),
        ),
        (FORKS_MAXCall {}.abi_encode(), "nothing: it reads FORKS_MAX".into()),
        (hex!("12345678").into(), "no action of the contract: 0x12345678".into()),
        (vec![], "no action of the contract: 0x".into()),
    ];
    for (action, expected) in table {
        assert_eq!(words(&action, &organisations()), expected);
    }
}

/// Words at the limits of types, offsets and lengths, and of text.
fn word() -> impl Strategy<Value = [u8; 32]> {
    let number = |n: u64| U256::from(n).to_be_bytes::<32>();
    let small = (0u64..12).prop_map(move |n| number(32 * n));
    let edges = [0, 1, 2, 16_384, u64::MAX].map(number);
    let edges = proptest::sample::select([edges.as_slice(), &[[0xff; 32]]].concat());
    prop_oneof![small, edges, proptest::array::uniform32(proptest::num::u8::ANY)]
}

proptest! {
    /// Anyone may propose any bytes, and no terminal obeys them.
    #[test]
    fn any_bytes_have_words(
        selector in proptest::sample::select(GovernanceActionsCalls::SELECTORS),
        words_of_it in proptest::collection::vec(word(), 0..12),
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
    ) {
        let action = [selector.as_slice(), words_of_it.as_flattened(), &bytes].concat();
        let text = words(&action, &organisations());
        prop_assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
        prop_assert!(!revert_reason(&action).is_empty());
    }

    /// Names are not judged before an action runs.
    #[test]
    fn a_name_in_an_action_is_no_command_to_a_terminal(name in any::<String>()) {
        let (keys, threshold, height) = (vec![], 1, 900);
        let actions = [
            addOrganisationCall { name: name.clone(), threshold, keys, caKeys: vec![] }.abi_encode(),
            scheduleForkCall { name: name.clone(), height }.abi_encode(),
            cancelForkCall { name: name.clone() }.abi_encode(),
            setParameterCall { name, value: 7, from: 0 }.abi_encode(),
        ];
        for action in actions {
            let text = words(&action, &organisations());
            prop_assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}

// The output of `cast calldata` for the same.
const CAST_REVOKE: &str = "7d501a1bd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a0000000000000000000000000000000000000000000000000000000000000003";
const CAST_PROPOSE: &str = "37558af5000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000447d501a1bd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a000000000000000000000000000000000000000000000000000000000000000300000000000000000000000000000000000000000000000000000000";
const CAST_APPROVE: &str =
    "b759f9540000000000000000000000000000000000000000000000000000000000000007";
const CAST_ADD: &str = "e47c066f0000000000000000000000000000000000000000000000000000000000000080000000000000000000000000000000000000000000000000000000000000000200000000000000000000000000000000000000000000000000000000000000c000000000000000000000000000000000000000000000000000000000000001200000000000000000000000000000000000000000000000000000000000000004636f726100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000200000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000000000000000000000000000000000000000000000090000000000000000000000000000000000000000000000000000000000000001d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const CAST_DEPOSIT: &str = "b07e54bbd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c8000000000000000000000000000000000000000000000000000000000000006000000000000000000000000000000000000000000000000000000000000000020102000000000000000000000000000000000000000000000000000000000000";

#[test]
fn calls_are_encoded_as_other_wallets_encode_them() {
    let revoke = revokeNodeCall { peer: KEY, organisation: 3 }.abi_encode();
    assert_eq!(hex::encode(&revoke), CAST_REVOKE);
    let propose = proposeCall { action: revoke.into() }.abi_encode();
    assert_eq!(hex::encode(propose), CAST_PROPOSE);
    assert_eq!(hex::encode(approveCall { id: U256::from(7) }.abi_encode()), CAST_APPROVE);
    let add = addOrganisationCall {
        name: "cora".into(),
        threshold: 2,
        keys: vec![ACCOUNT, Address::with_last_byte(9)],
        caKeys: vec![KEY],
    };
    assert_eq!(hex::encode(add.abi_encode()), CAST_ADD);
    let deposit = depositCall { validatorKey: KEY, feeRecipient: ACCOUNT, proof: bytes!("0102") };
    assert_eq!(hex::encode(deposit.abi_encode()), CAST_DEPOSIT);
}

#[test]
fn a_refusal_names_the_error_and_the_cure() {
    let table: Vec<(Vec<u8>, [&str; 3])> = vec![
        (
            NotAGovernanceKey { sender: ACCOUNT }.abi_encode(),
            ["NotAGovernanceKey", "0x70997970C5", "--account"],
        ),
        (NameInUse { name: "acme".into() }.abi_encode(), ["NameInUse", "acme", "another name"]),
        (
            OutOfRange {
                what: "gasLimit".into(),
                got: U256::from(5),
                least: U256::from(10),
                most: U256::from(20),
            }
            .abi_encode(),
            ["OutOfRange", "gasLimit is 5", "10 to 20"],
        ),
        (PeerRevoked { peer: KEY }.abi_encode(), ["PeerRevoked", PEER, "new node key"]),
        (NothingDue { first: 90 }.abi_encode(), ["NothingDue", "height 90", "try again"]),
        (
            TooLittleStake { got: U256::from(1), least: U256::from(10u64.pow(18)) }.abi_encode(),
            ["TooLittleStake", "0.000000000000000001 ether", "at least 1 ether"],
        ),
        // The errors of most contracts.
        (
            [
                &hex!("08c379a0")[..],
                &U256::from(32).to_be_bytes::<32>(),
                &U256::from(2).to_be_bytes::<32>(),
                &hex!("6e6f000000000000000000000000000000000000000000000000000000000000"),
            ]
            .concat(),
            ["no", "no", "no"],
        ),
        (hex!("12345678").into(), ["reverted", "0x12345678", "with"]),
    ];
    for (data, expected) in table {
        let said = revert_reason(&data);
        for part in expected {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    }
}

#[test]
fn an_organisation_is_found_by_name_or_number() {
    let organisations = organisations();
    assert_eq!(organisations.find("acme").unwrap(), 1);
    assert_eq!(organisations.find("1").unwrap(), 1);
    // The one that remains, of two of that name.
    assert_eq!(organisations.find("bolt").unwrap(), 4);
    assert_eq!(organisations.find("2").unwrap(), 2);
    let refused = organisations.find("dora").unwrap_err().to_string();
    assert!(refused.contains("dora") && refused.contains("trefoil org list"), "{refused}");
    assert_eq!(organisations.of_key(Address::with_last_byte(4)).unwrap().id, 4);
    assert!(organisations.of_key(ACCOUNT).is_none());
}

/// A JSON-RPC server that answers as `answer` does: a result, or an error.
async fn node(
    answer: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static,
) -> Contract {
    let answer = Arc::new(answer);
    let handler = move |Json(request): Json<Value>| async move {
        let answered = answer(request["method"].as_str().unwrap(), &request["params"]);
        let (key, value) = match answered {
            Ok(result) => ("result", result),
            Err(error) => ("error", error),
        };
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], key: value }))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum::serve(listener, Router::new().route("/", post(handler))).into_future();
    tokio::spawn(server);
    Contract::governing(Client::new(&address.to_string()))
}

fn wallet() -> AccountKey {
    AccountKey::new(&[1; 32]).unwrap()
}

#[tokio::test]
async fn a_refused_call_is_said_in_words_before_anything_is_sent() {
    let contract = node(|method, _| {
        assert_eq!(method, "eth_estimateGas", "nothing else is asked");
        let data = Bytes::from(ProposalClosed { id: U256::from(3) }.abi_encode());
        Err(json!({ "code": 3, "message": "execution reverted", "data": data }))
    });
    let sent = contract.await.send(&wallet(), Bytes::new(), U256::ZERO).await;
    let said = sent.unwrap_err().to_string();
    assert!(said.contains("open proposal 3") && said.contains("trefoil org proposals"), "{said}");
}

/// Gas is capped by the block, a gas-free network is paid nothing, and the
/// receipt is waited for.
#[tokio::test]
async fn a_call_is_signed_sent_and_waited_for() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let contract = node(move |method, params| {
        Ok(match method {
            "eth_estimateGas" => json!("0x10000"),
            "eth_chainId" => json!("0x7"),
            "eth_getBalance" => json!("0x2"),
            "eth_getTransactionCount" => json!("0x5"),
            "eth_getBlockByNumber" => json!({ "gasLimit": "0xf4240", "baseFeePerGas": "0x0" }),
            "eth_sendRawTransaction" => {
                check_sent(params[0].as_str().unwrap());
                json!(KEY)
            }
            "eth_getTransactionReceipt" => {
                match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => Value::Null,
                    _ => json!({
                        "transactionHash": params[0], "blockNumber": "0x9", "status": "0x1",
                        "logs": [], "gasUsed": "0x1",
                    }),
                }
            }
            other => panic!("{other} is not asked"),
        })
    });
    let receipt = contract.await.send(&wallet(), hex!("abcd").into(), U256::from(2)).await.unwrap();
    assert_eq!(receipt.block_number.to::<u64>(), 9);
}

#[tokio::test]
async fn who_cannot_pay_is_told_how_much_before_anything_is_sent() {
    let contract = node(|method, _| {
        Ok(match method {
            "eth_estimateGas" => json!("0x10000"),
            "eth_chainId" => json!("0x7"),
            "eth_getTransactionCount" => json!("0x5"),
            "eth_maxPriorityFeePerGas" => json!("0x1"),
            "eth_getBalance" => json!("0x1"),
            "eth_getBlockByNumber" => {
                json!({ "gasLimit": "0xf4240", "baseFeePerGas": "0x3b9aca00" })
            }
            other => panic!("{other} is not asked"),
        })
    });
    let sent = contract.await.send(&wallet(), Bytes::new(), U256::ZERO).await;
    let said = sent.unwrap_err().to_string();
    let (account, price) =
        (wallet().address(), "this may cost 0.002000000001 ether; send it coins");
    assert!(said.contains(&account.to_string()) && said.contains(price), "{said}");
    assert!(said.contains("owns 0.000000000000000001 ether"), "{said}");
}

/// The estimate would refuse it in wei, also where gas is free.
#[tokio::test]
async fn who_owns_less_than_it_sends_is_told_before_the_call_is_estimated() {
    let contract = node(|method, _| {
        assert_eq!(method, "eth_getBalance", "nothing else is asked");
        Ok(json!("0x1"))
    });
    let sent = contract.await.send(&wallet(), Bytes::new(), U256::from(2)).await;
    let said = sent.unwrap_err().to_string();
    assert!(said.contains(&wallet().address().to_string()), "{said}");
    assert!(said.contains("this may cost 0.000000000000000002 ether"), "{said}");
}

fn check_sent(raw: &str) {
    use alloy_consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _};
    use alloy_eips::Decodable2718 as _;
    let raw = hex::decode(raw).unwrap();
    let tx = TxEnvelope::decode_2718(&mut raw.as_slice()).unwrap();
    assert_eq!(tx.recover_signer().unwrap(), wallet().address());
    assert_eq!((tx.chain_id(), tx.nonce(), tx.gas_limit()), (Some(7), 5, 1_000_000));
    assert_eq!((tx.max_fee_per_gas(), tx.max_priority_fee_per_gas()), (0, Some(0)));
    assert_eq!((tx.kind(), tx.value()), (TxKind::Call(GOVERNING_CONTRACT), U256::from(2)));
    assert_eq!(tx.input().as_ref(), hex!("abcd"));
}

/// Four organisations with one key each, and two proposals: the older is closed.
#[tokio::test]
async fn open_proposals_are_found() {
    let action = Bytes::from(suspendOrganisationCall { id: 2 }.abi_encode());
    let proposed = action.clone();
    let contract = node(move |_, params| {
        let input: Bytes = serde_json::from_value(params[0]["input"].clone()).unwrap();
        let output = if input.starts_with(&Governance::proposalCountCall::SELECTOR) {
            Governance::proposalCountCall::abi_encode_returns(&2)
        } else if input.starts_with(&Governance::waitingCall::SELECTOR) {
            let waiting = waitingReturn { delayed: true, ready: 0, concerned: 2, objected: false };
            Governance::waitingCall::abi_encode_returns(&waiting)
        } else {
            let asked = proposalCall::abi_decode(&input).unwrap();
            let open = asked.id == U256::from(2);
            proposalCall::abi_encode_returns(&proposalReturn {
                proposer: ACCOUNT,
                decider: 0,
                closes: if open { 500 } else { 0 },
                action: proposed.clone(),
                approving: vec![1],
                deciding: U256::from(4),
                needed: U256::from(3),
            })
        };
        Ok(json!(Bytes::from(output)))
    });
    let open = contract.await.open_proposals(&organisations()).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id, open[0].closes, open[0].missing), (2, 500, 2));
    assert_eq!(open[0].action, action);
    assert_eq!(open[0].waits_for(&organisations()), "2 more organisations must approve");
}

#[tokio::test]
async fn a_chain_without_the_contract_is_named() {
    let contract = node(|_, _| Ok(json!("0x"))).await;
    let said = contract.view(Governance::versionCall {}).await.unwrap_err().to_string();
    assert!(said.contains("no governing contract") && said.contains("--rpc"), "{said}");
    let contract = node(|_, _| Ok(json!("0x01"))).await;
    let said = contract.view(Governance::versionCall {}).await.unwrap_err().to_string();
    assert!(said.contains("version()"), "{said}");
    let contract = node(|_, _| Ok(json!({ "kind": "public" }))).await;
    let said = contract.expect_members().await.unwrap_err().to_string();
    assert!(said.contains("public") && said.contains("trefoil validator stake"), "{said}");
}
