//! Transactions that are not meant, and those that other manners need.

use std::{io, sync::Arc, time::Duration};

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Bytes, Signature, TxKind, U256, hex};
use alloy_signer_local::MnemonicBuilder;
use serde_json::json;
use tokio::time::sleep;
use trefoil::chain_client::account_key::{AccountKey, SignedTx};
use trefoil_crypto::{Address, B256};
use trefoil_types::{Message, limits};

use crate::{
    arena::Arena,
    http, manners,
    peer::{GOSSIP, Peer},
};

const PAUSE: Duration = Duration::from_millis(10);
const ANSWERED_IN: Duration = Duration::from_secs(20);
/// The accounts of a devnet, which everybody knows.
const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// Accounts that manners use, so that they do not meet: of the ten.
const TRACED: u32 = 4;
const GAPS: u32 = 5;
const POOLED: u32 = 6;
const PAYABLE: [u32; 2] = [8, 9];
/// So far ahead a pool lets a nonce be.
const AHEAD_MAX: u64 = 1_000;
/// What is pooled for good has a nonce so far ahead: no block holds it.
const GAP: u64 = 500;
/// Wei for gas, and of it for the proposer: 1,000 and 1 gwei, which a devnet's fees never reach.
/// Fixed, so that each process of attackers makes the same transactions.
const FEE_MAX: u128 = 1_000_000_000_000;
const TIP: u128 = 1_000_000_000;

manners! {
    "transactions-alone-payable" "H9" "2,000 transactions of two accounts, each alone payable" {}
        alone_payable;
    "transactions-unsigned" "-" "transactions with signatures of nobody" {} unsigned;
    "transactions-of-nobody-and-away" "-" "512 KiB of other accounts each, and the peer leaves" {} and_away;
    "transactions-of-gaps" "-" "transactions whose nonces are far ahead, each another" {} gaps;
    "transactions-of-the-poor" "-" "well signed, by accounts that own nothing" {} poor;
    "transactions-of-other-chains" "-" "well signed, for another chain" {} other_chain;
    "transactions-replaced" "-" "the same nonce again and again, a wei dearer each time" {} replaced;
    "transactions-too-large" "-" "junk of 128 KiB and beyond" {} junk;
    "transactions-of-no-type" "-" "all 256 types of EIP-2718" {} types;
    "transactions-repeated" "-" "one transaction, thousands of times" {} repeated;
    "transactions-without-gas" "-" "gas limits of 0 and 2^64 - 1" {} gas;
}

fn account(index: u32) -> AccountKey {
    let signer = MnemonicBuilder::from_phrase_nth(MNEMONIC, index);
    AccountKey::new(&signer.to_bytes()).expect("a sound key")
}

/// Someone who owns nothing.
fn stranger() -> AccountKey {
    AccountKey::new(&rand::random()).expect("nearly every number is a key")
}

async fn ask(
    arena: &Arena,
    method: &str,
    params: serde_json::Value,
) -> io::Result<serde_json::Value> {
    http::call(arena.rpc(), method, params, ANSWERED_IN).await
}

fn quantity(value: &serde_json::Value) -> io::Result<u64> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    number.ok_or_else(|| io::Error::other(format!("no quantity: {value}")))
}

/// What a transaction of this chain says if nothing else is meant.
async fn usual(arena: &Arena) -> io::Result<TxEip1559> {
    Ok(TxEip1559 {
        chain_id: quantity(&ask(arena, "eth_chainId", json!([])).await?)?,
        nonce: 0,
        gas_limit: 21_000,
        max_fee_per_gas: FEE_MAX,
        max_priority_fee_per_gas: TIP,
        to: TxKind::Call(Address::repeat_byte(7)),
        value: U256::from(1),
        access_list: Default::default(),
        input: Bytes::new(),
    })
}

async fn nonce(arena: &Arena, key: &AccountKey) -> io::Result<u64> {
    quantity(&ask(arena, "eth_getTransactionCount", json!([key.address(), "latest"])).await?)
}

/// The hashes of 20 transactions of 100 kB in the victim's pool, which stay there.
pub async fn pooled(arena: &Arc<Arena>) -> io::Result<Vec<B256>> {
    let submit = || async {
        let (usual, key) = (usual(arena).await?, account(POOLED));
        let first = nonce(arena, &key).await? + GAP;
        let mut hashes = vec![];
        for nonce in first..first + 20 {
            let input = Bytes::from(vec![0; 100_000]);
            let tx = key.sign(TxEip1559 { nonce, gas_limit: 1_500_000, input, ..usual.clone() });
            // It may be there, from an earlier manner.
            if let Err(error) = ask(arena, "eth_sendRawTransaction", json!([tx.raw])).await
                && !error.to_string().contains("already known")
            {
                return Err(error);
            }
            hashes.push(tx.hash);
        }
        Ok(hashes)
    };
    arena.pooled.get_or_try_init(submit).await.cloned()
}

/// A transaction in the chain that used 1.5 M gas with a stack of 1,000 words: each step of its
/// trace shows 67 kB.
pub async fn traced(arena: &Arc<Arena>) -> io::Result<B256> {
    let submit = || async {
        let key = account(TRACED);
        // PUSH0 a thousand times, then JUMPDEST, PUSH2 1000, JUMP, until the gas ends.
        let mut code = vec![0x5f; 1_000];
        code.extend([0x5b, 0x61, 0x03, 0xe8, 0x56]);
        let nonce = nonce(arena, &key).await?;
        let (to, value) = (TxKind::Create, U256::ZERO);
        let (gas_limit, input) = (1_500_000, code.into());
        let tx = TxEip1559 { nonce, to, value, gas_limit, input, ..usual(arena).await? };
        let tx = key.sign(tx);
        ask(arena, "eth_sendRawTransaction", json!([tx.raw])).await?;
        for _ in 0..100 {
            if !ask(arena, "eth_getTransactionReceipt", json!([tx.hash])).await?.is_null() {
                return Ok(tx.hash);
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(io::Error::other("the transaction to trace came into no block in 10 s"))
    };
    arena.traced.get_or_try_init(submit).await.copied()
}

/// A raw transaction whose nonce is so far ahead of the first gap, 0x-hexadecimal.
pub async fn of_a_gap(arena: &Arc<Arena>, ahead: u64) -> io::Result<String> {
    let key = account(GAPS);
    let nonce = nonce(arena, &key).await? + 1 + ahead % AHEAD_MAX;
    Ok(key.sign(TxEip1559 { nonce, ..usual(arena).await? }).raw)
}

fn bytes(tx: &SignedTx) -> Bytes {
    hex::decode(&tx.raw).expect("it is hexadecimal").into()
}

/// Tells of each group of transactions, and pauses.
async fn spread(
    arena: &Arc<Arena>,
    n: usize,
    groups: impl Iterator<Item = Vec<Bytes>>,
) -> io::Result<()> {
    let mut peer = Peer::listening(arena, n, 0).await?;
    for txs in groups {
        peer.tell(&Message::Txs(txs)).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

async fn alone_payable(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let (usual, key) = (usual(&arena).await?, account(PAYABLE[n % 2]));
    let first = nonce(&arena, &key).await?;
    // Of the 10,000 that a devnet gives.
    let value = U256::from(9_000) * U256::from(10).pow(U256::from(18));
    let sign = |nonce| bytes(&key.sign(TxEip1559 { nonce, value, ..usual.clone() }));
    let txs: Vec<Bytes> = (first + 1..first + 1_001).map(sign).collect();
    spread(&arena, n, txs.chunks(100).map(<[Bytes]>::to_vec)).await
}

async fn unsigned(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let (usual, key) = (usual(&arena).await?, stranger());
    let broken = |nonce| {
        let mut raw = bytes(&key.sign(TxEip1559 { nonce, ..usual.clone() })).to_vec();
        let end = raw.len();
        raw[end - 40..].fill(0x11);
        vec![raw.into()]
    };
    spread(&arena, n, (0..).map(broken)).await
}

/// The same signature of another transaction is another account's, which owns nothing.
async fn and_away(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let usual = usual(&arena).await?;
    let mut nonce = 0;
    let mut one = || {
        nonce += 1;
        let value = U256::from(n as u64);
        let tx = TxEip1559 { nonce, value, ..usual.clone() };
        Bytes::from(tx.into_signed(Signature::test_signature()).encoded_2718())
    };
    loop {
        let mut peer = Peer::listening(&arena, n, 0).await?;
        let txs = (0..limits::TX_HASHES_MAX).map(|_| one()).collect();
        peer.tell(&Message::Txs(txs)).await?;
        peer.pause(PAUSE).await?;
    }
}

async fn gaps(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let (usual, key) = (usual(&arena).await?, account(GAPS));
    let first = nonce(&arena, &key).await? + 1;
    // Of another value each time, or it is the same transaction.
    let sign = |turn: u64| {
        let (nonce, value) = (first + turn % AHEAD_MAX, U256::from(turn + n as u64));
        bytes(&key.sign(TxEip1559 { nonce, value, ..usual.clone() }))
    };
    let groups = (0..).map(|turn| (0..20).map(|at| sign(turn * 20 + at)).collect());
    spread(&arena, n, groups).await
}

async fn poor(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let usual = usual(&arena).await?;
    let sign = |_| bytes(&stranger().sign(usual.clone()));
    spread(&arena, n, (0..).map(|_: u64| (0..20).map(sign).collect())).await
}

async fn other_chain(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let (usual, key) = (usual(&arena).await?, account(GAPS));
    let sign = |chain_id| bytes(&key.sign(TxEip1559 { chain_id, ..usual.clone() }));
    spread(&arena, n, (1..).map(|chain_id| vec![sign(chain_id)])).await
}

async fn replaced(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let (usual, key) = (usual(&arena).await?, account(GAPS));
    let nonce = nonce(&arena, &key).await? + GAP;
    let sign = |more: u128| {
        let max_fee_per_gas = usual.max_fee_per_gas + more;
        vec![bytes(&key.sign(TxEip1559 { nonce, max_fee_per_gas, ..usual.clone() }))]
    };
    spread(&arena, n, (0..).map(sign)).await
}

async fn junk(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let one = |more| vec![Bytes::from(vec![2; limits::TX_BYTES_MAX + more])];
    spread(&arena, n, (0..).map(|turn| one(turn % 2))).await
}

async fn types(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let one = |kind: u8| vec![vec![kind, 0xc0].into(), Bytes::from(vec![kind])];
    spread(&arena, n, (0..=u8::MAX).cycle().map(one)).await
}

async fn repeated(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let (usual, key) = (usual(&arena).await?, account(GAPS));
    let nonce = nonce(&arena, &key).await? + GAP;
    let one = bytes(&key.sign(TxEip1559 { nonce, ..usual }));
    spread(&arena, n, std::iter::repeat_with(|| vec![one.clone(); 1_000])).await
}

async fn gas(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let (usual, key) = (usual(&arena).await?, account(GAPS));
    let mut peer = Peer::listening(&arena, n, 0).await?;
    for nonce in 0.. {
        let sign = |gas_limit| bytes(&key.sign(TxEip1559 { nonce, gas_limit, ..usual.clone() }));
        let txs = [0, 1, 20_999, u64::MAX].map(sign).to_vec();
        peer.frame(GOSSIP, &Message::Txs(txs).encode()).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}
