//! Blocks of many logs, which take long to decode and much memory.

use futures::{StreamExt as _, poll, stream::FuturesUnordered};
use tokio::time::timeout;

use super::{
    hostile::{LIMIT, all_turns},
    *,
};

/// A contract's block of many logs, which is on the disk: its number, and the hash of its last
/// transaction.
async fn large_block(server: &TestServer) -> (String, String) {
    server.submit(&tx(0, TxKind::Create, 0, LOGS)).await;
    server.mine();
    let mut last = String::new();
    for nonce in 1..=20 {
        last = server.submit(&tx(nonce, SENDER.create(0).into(), 0, Bytes::new())).await;
    }
    server.mine();
    server.store();
    ("0x2".into(), last)
}

/// Half a million logs in a block of 200 million gas take 60 MiB and more.
#[tokio::test]
async fn a_block_is_decoded_only_if_there_is_room_for_it() {
    let server = TestServer::holding(1 << 20).await;
    let (number, hash) = large_block(&server).await;
    let one = value!([number, "0x13"]);
    // Without its logs it is small.
    let tx = server.call("eth_getTransactionByBlockNumberAndIndex", one).await;
    assert_eq!(tx["hash"], value!(hash));
    assert_eq!(server.call("eth_getTransactionByHash", value!([hash])).await, tx);
    let count = "eth_getBlockTransactionCountByNumber";
    assert_eq!(server.call(count, value!([number])).await, "0x14");
    let block = server.call("eth_getBlockByNumber", value!([number, true])).await;
    assert_eq!(block["transactions"][19], tx);
    let history = server.call("eth_feeHistory", value!(["0x1", number, [50]])).await;
    assert_eq!(history["reward"][0], value!(["0x77359400"]));
    let logs = value!([{ "fromBlock": number, "topics": [format!("{:#066x}", 42)] }]);
    for (method, params) in [
        ("eth_getBlockReceipts", value!([number])),
        ("eth_getTransactionReceipt", value!([hash])),
        ("debug_getRawReceipts", value!([number])),
        ("eth_getLogs", value!([{ "fromBlock": number }])),
    ] {
        let (code, text) = server.error(method, params).await;
        assert!(code == -32005 && text.contains("`rpc.memory_mib`"), "{method}: {code} {text}");
        assert!(text.contains("more than"), "who tries again gets no more: {method}: {text}");
    }
    // No log has it, so no block is read.
    assert_eq!(server.call("eth_getLogs", logs).await, value!([]));
    assert!(server.rpc.memory.used() <= (1 << 20) / 8, "{} bytes", server.rpc.memory.used());
}

/// Whoever asks for one block after the other makes the node keep no more than a part of its memory.
#[tokio::test]
async fn the_blocks_that_are_kept_are_counted_and_yield_to_callers() {
    let server = TestServer::holding(32 << 20).await;
    let (number, hash) = large_block(&server).await;
    let receipt = server.call("eth_getTransactionReceipt", value!([hash])).await;
    let one = server.rpc.memory.used();
    assert!(one > 440 * 20 * 80, "{one} bytes for its logs");
    assert_eq!(server.call("eth_getTransactionReceipt", value!([hash])).await, receipt);
    assert_eq!(server.rpc.memory.used(), one, "it was kept");
    for nonce in 1..=8 {
        for at in 1..=20 {
            let raw = tx(20 * nonce + at, SENDER.create(0).into(), 0, Bytes::new());
            server.submit(&raw).await;
        }
        server.mine();
    }
    server.store();
    for height in 2..=10 {
        let number = format!("{height:#x}");
        let count = server.call("eth_getBlockReceipts", value!([number])).await;
        assert_eq!(count.as_array().map(Vec::len), Some(20));
        let used = server.rpc.memory.used();
        assert!((one..=(32 << 20) / 16).contains(&used), "{used} bytes");
    }
    // A caller that lacks room gets theirs.
    let rest = server.rpc.memory.claim_max() - server.rpc.memory.used();
    let held = server.rpc.memory.claim(rest).unwrap();
    assert!(server.rpc.memory.claim(100_000).is_err());
    server.rpc.relieve();
    assert_eq!(server.rpc.memory.used(), rest);
    drop(held);
    assert_eq!(
        server.call("eth_getBlockByNumber", value!([number, false])).await["number"],
        number
    );
}

/// An answer that is longer than the memory of all callers never fits, whoever holds what.
#[tokio::test]
async fn an_answer_that_can_never_fit_is_told_so() {
    let server = TestServer::holding(4 << 20).await;
    let (number, _) = large_block(&server).await;
    // Its logs fit, and 5 MB of JSON about them do not.
    let never = server.error("eth_getBlockReceipts", value!([number])).await;
    assert!(never.0 == -32005 && never.1.contains("more than"), "{never:?}");
    assert!(!never.1.contains("try again") && never.1.contains("`rpc.memory_mib`"), "{never:?}");
}

/// On the threads of all calls they would keep everybody waiting, for a second each.
#[tokio::test]
async fn large_blocks_are_read_in_turns_and_small_ones_at_once() {
    let server = TestServer::new().await;
    let (number, hash) = large_block(&server).await;
    server.mine();
    server.store();
    let turns = all_turns(&server).await;
    for (method, params) in [
        ("eth_getBlockTransactionCountByNumber", value!([number])),
        ("eth_getTransactionByBlockNumberAndIndex", value!(["0x1", "0x0"])),
        ("eth_getTransactionByBlockNumberAndIndex", value!(["0x3", "0x0"])),
        ("eth_getBalance", value!([SENDER, number])),
    ] {
        let answer = timeout(LIMIT, server.ask(method, params)).await.expect("at once");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
    }
    let large = [
        ("eth_getTransactionByBlockNumberAndIndex", value!([number, "0x0"])),
        ("eth_getTransactionByHash", value!([hash])),
        ("eth_getTransactionReceipt", value!([hash])),
        ("debug_getRawTransaction", value!([hash])),
        ("trefoil_getEvidence", value!([number])),
        ("eth_feeHistory", value!(["0x1", number, [50]])),
        // Genesis was not committed since the start.
        ("eth_gasPrice", value!([])),
        ("eth_maxPriorityFeePerGas", value!([])),
    ];
    let asks = &server;
    let ask = |(method, params): (&'static str, Value)| async move {
        (method, asks.ask(method, params).await)
    };
    let mut asked: FuturesUnordered<_> = large.into_iter().map(ask).collect();
    for _ in 0..100 {
        assert!(poll!(asked.next()).is_pending(), "one was answered without a turn");
        tokio::task::yield_now().await;
    }
    drop(turns);
    while let Some((method, answer)) = timeout(LIMIT, asked.next()).await.expect("in time") {
        assert!(answer.get("error").is_none(), "{method}: {answer}");
    }
}

/// Wallets ask for it all the time: what blocks paid is known when they are committed.
#[tokio::test]
async fn the_price_of_gas_needs_no_block_that_was_committed_since_the_start() {
    let server = TestServer::new().await;
    server.mine();
    let price = server.call("eth_gasPrice", value!([])).await;
    large_block(&server).await;
    let tips = &server.rpc.events.tips;
    let known = async {
        while !tips.missing(3).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, known).await.expect("the blocks are looked at");
    let _turns = all_turns(&server).await;
    for method in ["eth_gasPrice", "eth_maxPriorityFeePerGas"] {
        let answer = timeout(LIMIT, server.ask(method, value!([]))).await.expect("at once");
        assert!(answer["result"].is_string(), "{answer}");
        assert_ne!(answer["result"], price);
    }
}
