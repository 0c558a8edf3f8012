//! The answers of the methods on a chain with transfers, a contract, logs and a
//! transaction that reverts.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind, hex};
use serde_json::{Value, json as value};
use trefoil_crypto::SecretKey;
use trefoil_mempool::MempoolError;
use trefoil_node::NodeStatus;

use crate::tests::{CONTRACT, Limits, SENDER, TestServer, VALIDATOR_KEYS, legacy, tx};

/// `Error("user error")` in Solidity's ABI.
const REASON: [u8; 100] = hex!(
    "08c379a0"
    "0000000000000000000000000000000000000000000000000000000000000020"
    "000000000000000000000000000000000000000000000000000000000000000a"
    "75736572206572726f7200000000000000000000000000000000000000000000"
);
const SOMEONE: Address = Address::repeat_byte(0xab);

/// Hashes of what was sent, in order, and the contract.
struct MinedChain {
    server: TestServer,
    hashes: Vec<String>,
    contract: Address,
}

/// Block 1: a deployment and a transfer. Block 2: a call that logs, one that
/// reverts, and a legacy transfer.
async fn chain() -> MinedChain {
    let server = TestServer::new().await;
    let contract = SENDER.create(0);
    let mut hashes = vec![];
    let blocks = [
        vec![tx(0, TxKind::Create, 0, CONTRACT), tx(1, TxKind::Call(SOMEONE), 5, Bytes::new())],
        vec![
            tx(2, TxKind::Call(contract), 0, Bytes::new()),
            tx(3, TxKind::Call(contract), 0, REASON),
            legacy(4, SOMEONE),
        ],
    ];
    for txs in blocks {
        for raw in &txs {
            hashes.push(server.submit(raw).await);
        }
        server.mine();
    }
    MinedChain { server, hashes, contract }
}

#[tokio::test]
async fn a_block_is_found_by_every_name_it_has() {
    let MinedChain { server, hashes, .. } = chain().await;
    let latest = server.call("eth_getBlockByNumber", value!(["latest", false])).await;
    assert_eq!(latest["number"], "0x2");
    assert_eq!(latest["transactions"], value!(hashes[2..]));
    for (method, params) in [
        ("eth_getBlockByNumber", value!(["safe", false])),
        ("eth_getBlockByNumber", value!(["finalized", false])),
        ("eth_getBlockByNumber", value!(["0x2", false])),
        ("eth_getBlockByHash", value!([latest["hash"], false])),
    ] {
        assert_eq!(server.call(method, params.clone()).await, latest, "{method} {params}");
    }
    for (method, params) in [
        ("eth_getBlockByNumber", value!(["0x3", true])),
        ("eth_getBlockByHash", value!([hashes[0], true])),
        ("eth_getBlockReceipts", value!(["0x3"])),
        ("eth_getTransactionByHash", value!([latest["hash"]])),
        ("eth_getTransactionReceipt", value!([latest["hash"]])),
        ("eth_getTransactionByBlockNumberAndIndex", value!(["0x2", "0x3"])),
        ("eth_getBlockTransactionCountByNumber", value!(["0x3"])),
        ("eth_getUncleByBlockNumberAndIndex", value!(["0x2", "0x0"])),
    ] {
        assert_eq!(server.call(method, params.clone()).await, Value::Null, "{method} {params}");
    }
    assert_eq!(server.call("eth_blockNumber", value!([])).await, "0x2");
    assert_eq!(server.call("eth_getUncleCountByBlockNumber", value!(["0x2"])).await, "0x0");
    let count = "eth_getBlockTransactionCountByNumber";
    assert_eq!(server.call(count, value!(["earliest"])).await, "0x0");
    assert_eq!(server.call(count, value!(["latest"])).await, "0x3");
    // web3.py refuses more than 32 bytes.
    let genesis = server.call("eth_getBlockByNumber", value!(["0x0", true])).await;
    assert!(genesis["extraData"].as_str().unwrap().len() <= 66);
}

#[tokio::test]
async fn receipts_tell_status_gas_and_logs() {
    let MinedChain { server, hashes, contract } = chain().await;
    let receipt = |hash: String| {
        let server = &server;
        async move { server.call("eth_getTransactionReceipt", value!([hash])).await }
    };
    let made = receipt(hashes[0].clone()).await;
    assert_eq!(made["contractAddress"], value!(contract));
    assert_eq!(
        (&made["to"], &made["status"], &made["type"]),
        (&Value::Null, &value!("0x1"), &value!("0x2"))
    );
    assert_eq!(receipt(hashes[1].clone()).await["gasUsed"], "0x5208");
    let logged = receipt(hashes[2].clone()).await;
    assert_eq!(logged["logs"][0]["topics"][0], format!("{:#066x}", 42));
    assert_eq!(logged["logs"][0]["logIndex"], "0x0");
    assert_eq!(receipt(hashes[3].clone()).await["status"], "0x0");
    let all = server.call("eth_getBlockReceipts", value!(["latest"])).await;
    assert_eq!(all[0], logged);
    assert_eq!(all[2], receipt(hashes[4].clone()).await);
    // Allowed in logs only: the schema refuses it in a receipt.
    assert!(logged.get("blockTimestamp").is_none());
    assert!(logged["logs"][0].get("blockTimestamp").is_some());
}

#[tokio::test]
async fn transactions_are_found_in_the_pool_and_in_blocks() {
    let MinedChain { server, hashes, .. } = chain().await;
    let by_hash = server.call("eth_getTransactionByHash", value!([hashes[4]])).await;
    let by_place =
        server.call("eth_getTransactionByBlockNumberAndIndex", value!(["0x2", "0x2"])).await;
    assert_eq!(by_hash, by_place);
    assert_eq!((&by_hash["type"], &by_hash["blockNumber"]), (&value!("0x0"), &value!("0x2")));
    assert!(by_hash["blockTimestamp"].is_string());
    let whole = server.call("eth_getBlockByNumber", value!(["0x2", true])).await;
    assert_eq!(whole["transactions"][2], by_hash);

    let hash = server.submit(&tx(5, TxKind::Call(SOMEONE), 1, Bytes::new())).await;
    let pooled = server.call("eth_getTransactionByHash", value!([hash])).await;
    assert_eq!((&pooled["hash"], &pooled["blockHash"]), (&value!(hash), &Value::Null));
    let me = SENDER;
    assert_eq!(server.call("eth_getTransactionCount", value!([me, "latest"])).await, "0x5");
    assert_eq!(server.call("eth_getTransactionCount", value!([me])).await, "0x5");
    assert_eq!(server.call("eth_getTransactionCount", value!([me, "0x1"])).await, "0x2");
    let pool = server.call("txpool_content", value!([])).await;
    assert_eq!(pool["pending"][format!("{me:#x}")]["5"]["hash"], value!(hash), "{pool}");
    let own = server.call("txpool_contentFrom", value!([me])).await;
    assert_eq!(own["pending"]["5"], pooled);
    let pending = server.call("eth_getBlockByNumber", value!(["pending", false])).await;
    assert_eq!((&pending["number"], &pending["transactions"]), (&value!("0x3"), &value!([hash])));
}

#[tokio::test]
async fn state_is_read_at_any_block_by_any_kind_of_name() {
    let MinedChain { server, contract, .. } = chain().await;
    let balance = "eth_getBalance";
    assert_eq!(server.call(balance, value!([SOMEONE])).await, "0x6");
    assert_eq!(server.call(balance, value!([SOMEONE, "pending"])).await, "0x6");
    assert_eq!(server.call(balance, value!([SOMEONE, "0x1"])).await, "0x5");
    assert_eq!(server.call(balance, value!([SOMEONE, "earliest"])).await, "0x0");
    assert_eq!(server.call(balance, value!([SOMEONE, { "blockNumber": "0x1" }])).await, "0x5");
    let block = server.call("eth_getBlockByNumber", value!(["0x1", false])).await;
    assert_eq!(server.call(balance, value!([SOMEONE, block["hash"]])).await, "0x5");
    let by_hash = value!([SOMEONE, { "blockHash": block["hash"], "requireCanonical": true }]);
    assert_eq!(server.call(balance, by_hash).await, "0x5");

    let code = server.call("eth_getCode", value!([contract, "latest"])).await;
    assert_eq!(code, hex::encode_prefixed(&CONTRACT[11..]));
    assert_eq!(server.call("eth_getCode", value!([SOMEONE])).await, "0x");
    let seven = format!("{:#066x}", 7);
    assert_eq!(server.call("eth_getStorageAt", value!([contract, "0x0", "latest"])).await, seven);
    let many =
        server.call("eth_getStorageValues", value!([{ format!("{contract:?}"): ["0x0"] }])).await;
    assert_eq!(many[format!("{contract:?}")], value!([seven]));
}

#[tokio::test]
async fn proofs_take_short_keys_and_tell_them_back() {
    let MinedChain { server, contract, .. } = chain().await;
    let whole = format!("{:#066x}", 0);
    let proof = server.call("eth_getProof", value!([contract, ["0x0", whole], "latest"])).await;
    let slots = proof["storageProof"].as_array().unwrap();
    assert_eq!(slots.iter().map(|s| &s["key"]).collect::<Vec<_>>(), ["0x0", whole.as_str()]);
    assert!(slots.iter().all(|slot| slot["value"] == "0x7" && slot["proof"][0].is_string()));
    let block = server.call("eth_getBlockByNumber", value!(["latest", false])).await;
    let root: Bytes = serde_json::from_value(proof["accountProof"][0].clone()).unwrap();
    assert_eq!(block["stateRoot"], value!(alloy_primitives::keccak256(root)));
}

#[tokio::test]
async fn logs_are_found_by_range_block_address_and_topic() {
    let MinedChain { server, contract, .. } = chain().await;
    let topic = format!("{:#066x}", 42);
    let block = server.call("eth_getBlockByNumber", value!(["0x2", false])).await;
    for (filter, want) in [
        (value!({ "fromBlock": "earliest" }), 1),
        (value!({ "fromBlock": "0x0", "toBlock": "latest", "address": contract, "topics": [] }), 1),
        (value!({ "fromBlock": "0x0", "address": [SOMEONE, contract], "topics": [topic] }), 1),
        (value!({ "fromBlock": "0x0", "topics": [null] }), 1),
        (value!({ "fromBlock": "0x0", "topics": [[SOMEONE.into_word(), topic]] }), 1),
        (value!({ "fromBlock": "0x0", "topics": [null, topic] }), 0),
        (value!({ "fromBlock": "0x0", "address": SOMEONE }), 0),
        (value!({ "fromBlock": "0x0", "toBlock": "0x1" }), 0),
        (value!({ "blockHash": block["hash"] }), 1),
        (value!({}), 1),
    ] {
        let found = server.call("eth_getLogs", value!([filter])).await;
        assert_eq!(found.as_array().unwrap().len(), want, "{filter}");
    }
}

/// With an index that is asked for two blocks at a time.
#[tokio::test]
async fn log_queries_find_what_a_look_at_each_block_finds() {
    let server = TestServer::limited(Limits { log_step: 2, ..Limits::default() }).await;
    let contracts = [SENDER.create(0), SENDER.create(1)];
    let mut nonce = 0..;
    let mut send = async |to: TxKind, input: &[u8]| {
        let raw = tx(nonce.next().unwrap(), to, 0, Bytes::copy_from_slice(input));
        server.submit(&raw).await;
    };
    send(TxKind::Create, &CONTRACT).await;
    send(TxKind::Create, &CONTRACT).await;
    server.mine();
    for called in [&[0][..], &[], &[1], &[0, 1], &[], &[0]] {
        for contract in called {
            send(contracts[*contract].into(), &[]).await;
        }
        server.mine();
    }
    let mut blocks = vec![];
    for height in 0..=7 {
        let receipts = server.call("eth_getBlockReceipts", value!([format!("{height:#x}")])).await;
        let receipts = receipts.as_array().unwrap().clone();
        blocks.push(
            receipts.iter().flat_map(|one| one["logs"].as_array().unwrap().clone()).collect(),
        );
    }
    let blocks: Vec<Vec<Value>> = blocks;
    assert_eq!(blocks.iter().map(Vec::len).sum::<usize>(), 5);
    let [logged, other] = [42, 43].map(|topic| value!(format!("{topic:#066x}")));
    let addresses =
        [vec![], vec![contracts[0]], vec![contracts[1]], vec![SOMEONE], contracts.into()];
    let topics = [vec![], vec![logged.clone()], vec![other.clone()], vec![other, logged]];
    for (from, to) in [(0, 7), (1, 1), (2, 5), (3, 3), (4, 7), (6, 6), (7, 7)] {
        for (addresses, topics) in
            addresses.iter().flat_map(|some| topics.iter().map(move |any| (some, any)))
        {
            let filter = value!({
                "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
                "address": addresses, "topics": [topics],
            });
            let is_wanted = |log: &&Value| {
                let of = addresses.iter().any(|address| log["address"] == value!(address));
                let about = topics.contains(&log["topics"][0]);
                (addresses.is_empty() || of) && (topics.is_empty() || about)
            };
            let want: Vec<_> = blocks[from..=to].iter().flatten().filter(is_wanted).collect();
            assert_eq!(
                server.call("eth_getLogs", value!([filter])).await,
                value!(want),
                "{filter}"
            );
        }
    }
}

#[tokio::test]
async fn log_queries_are_bounded_and_say_how() {
    let MinedChain { server, .. } = chain().await;
    let hash = format!("{:#066x}", 1);
    for (filter, code, text) in [
        (
            value!({ "fromBlock": "0x1", "toBlock": "0x9" }),
            -32602,
            "block range extends beyond current head block",
        ),
        (value!({ "fromBlock": "0x2", "toBlock": "0x1" }), -32602, "invalid block range params"),
        (value!({ "blockHash": hash, "fromBlock": "0x1" }), -32602, "choose one or the other"),
        (value!({ "blockHash": hash }), -32000, "unknown block"),
        (value!({ "topics": [1, 2, 3, 4, 5] }), -32602, "topics: 5 positions, at most 4"),
        (value!({ "address": "0x1" }), -32602, "hex string has length 1, want 40 for an address"),
    ] {
        let (got, message) = server.error("eth_getLogs", value!([filter])).await;
        assert_eq!(got, code, "{filter}");
        assert!(message.contains(text), "{message}");
    }
    let tight = TestServer::limited(Limits { log_blocks: 2, ..Limits::default() }).await;
    (0..2).for_each(|_| tight.mine());
    let (_, message) = tight.error("eth_getLogs", value!([{ "fromBlock": "0x0" }])).await;
    assert!(message.contains("the range 0 to 2 is over 2 blocks"), "{message}");
}

#[tokio::test]
async fn filters_tell_only_what_is_new() {
    let MinedChain { server, contract, .. } = chain().await;
    let new = |method: &'static str, params| server.call(method, params);
    let logs =
        new("eth_newFilter", value!([{ "fromBlock": "earliest", "address": contract }])).await;
    let blocks = new("eth_newBlockFilter", value!([])).await;
    let pending = new("eth_newPendingTransactionFilter", value!([])).await;
    assert_eq!(server.call("eth_getFilterLogs", value!([logs])).await.as_array().unwrap().len(), 1);
    for id in [&logs, &blocks, &pending] {
        assert_eq!(server.call("eth_getFilterChanges", value!([id])).await, value!([]));
    }
    server.submit(&tx(5, TxKind::Call(contract), 0, Bytes::new())).await;
    server.mine();
    let changes = server.call("eth_getFilterChanges", value!([logs])).await;
    assert_eq!(changes[0]["blockNumber"], "0x3");
    let head = server.call("eth_getBlockByNumber", value!(["latest", false])).await;
    assert_eq!(server.call("eth_getFilterChanges", value!([blocks])).await, value!([head["hash"]]));
    for id in [&logs, &blocks] {
        assert_eq!(server.call("eth_getFilterChanges", value!([id])).await, value!([]));
    }
    assert_eq!(server.call("eth_uninstallFilter", value!([logs])).await, true);
    assert_eq!(server.call("eth_uninstallFilter", value!([logs])).await, false);
    let gone = server.error("eth_getFilterChanges", value!([logs])).await;
    assert_eq!(gone, (-32000, "filter not found".into()));
}

#[tokio::test]
async fn filters_are_capped_and_forgotten_when_nobody_asks() {
    let server = TestServer::limited(Limits { filters: 1, ..Limits::default() }).await;
    server.call("eth_newBlockFilter", value!([])).await;
    let (code, text) = server.error("eth_newBlockFilter", value!([])).await;
    assert!(code == -32005 && text.contains("1 filters are alive"), "{text}");
    let idle = std::time::Duration::ZERO;
    let server = TestServer::limited(Limits { filter_idle: idle, ..Limits::default() }).await;
    let id = server.call("eth_newBlockFilter", value!([])).await;
    assert_eq!(server.error("eth_getFilterChanges", value!([id])).await.1, "filter not found");
}

#[tokio::test]
async fn calls_run_and_reverts_carry_reason_and_data() {
    let MinedChain { server, contract, .. } = chain().await;
    let me = SENDER;
    let ok = value!([{ "from": me, "to": contract }, "latest"]);
    assert_eq!(server.call("eth_call", ok).await, "0x");
    // Without `to` the input is init code, and the code it returns comes back.
    let init = value!([{ "input": Bytes::from(CONTRACT) }, "pending"]);
    assert_eq!(server.call("eth_call", init).await, hex::encode_prefixed(&CONTRACT[11..]));
    for (method, data, text) in [
        ("eth_call", hex::encode_prefixed(REASON), "execution reverted: user error"),
        ("eth_estimateGas", hex::encode_prefixed(REASON), "execution reverted: user error"),
        (
            "eth_call",
            format!("0x4e487b71{:064x}", 0x11),
            "execution reverted: arithmetic underflow or overflow",
        ),
        ("eth_call", "0x12345678".into(), "execution reverted"),
    ] {
        let request = value!({ "to": contract, "data": data, "input": data });
        let error = server.ask(method, value!([request])).await["error"].take();
        assert_eq!(error, value!({ "code": 3, "message": text, "data": data }), "{method}");
    }
    assert_eq!(
        server.call("eth_estimateGas", value!([{ "from": me, "to": SOMEONE }])).await,
        "0x5208"
    );
    let list = server.call("eth_createAccessList", value!([{ "from": me, "to": contract }])).await;
    assert_eq!(list["accessList"][0]["address"], value!(contract));
}

#[tokio::test]
async fn a_simulation_answers_with_whole_blocks() {
    let MinedChain { server, contract, .. } = chain().await;
    let head = server.call("eth_getBlockByNumber", value!(["latest", false])).await;
    let reverts = value!({ "from": SENDER, "to": contract, "input": hex::encode_prefixed(REASON) });
    let blocks = value!([
        { "calls": [
            { "from": SENDER, "to": SOMEONE, "value": "0x5" },
            { "from": SENDER, "to": contract },
            reverts,
        ] },
        { "blockOverrides": { "number": "0x5", "feeRecipient": SOMEONE }, "calls": [] },
    ]);
    let asks = value!({
        "blockStateCalls": blocks, "traceTransfers": true, "returnFullTransactions": true,
    });
    let answer = server.call("eth_simulateV1", value!([asks, "latest"])).await;
    let numbers: Vec<_> = answer.as_array().unwrap().iter().map(|b| &b["number"]).collect();
    assert_eq!(numbers, ["0x3", "0x4", "0x5"]);
    let [first, second, third] = &answer.as_array().unwrap()[..] else { panic!("three blocks") };
    assert_eq!(first["parentHash"], head["hash"]);
    assert_eq!((&third["parentHash"], &third["miner"]), (&second["hash"], &value!(SOMEONE)));
    assert_eq!(first["transactions"][0]["from"], value!(SENDER));
    assert_eq!(first["transactions"][0]["nonce"], "0x5");
    let [paid, logged, reverted] = &first["calls"].as_array().unwrap()[..] else { panic!("3") };
    assert_eq!((&paid["status"], &paid["gasUsed"]), (&value!("0x1"), &value!("0x5208")));
    let log = &paid["logs"][0];
    assert_eq!(log["address"], value!(Address::repeat_byte(0xee)));
    assert_eq!(log["blockHash"], first["hash"]);
    assert_eq!(log["transactionHash"], first["transactions"][0]["hash"]);
    assert_eq!(logged["logs"][0]["logIndex"], "0x1");
    assert_eq!(reverted["error"]["message"], "execution reverted: user error");
    assert_eq!((&reverted["error"]["code"], &reverted["status"]), (&value!(3), &value!("0x0")));
    // Nothing of it happened.
    assert_eq!(server.call("eth_blockNumber", value!([])).await, "0x2");
}

#[tokio::test]
async fn a_simulation_that_is_wrong_says_why() {
    let MinedChain { server, contract, .. } = chain().await;
    let number = |number: &str| value!({ "blockOverrides": { "number": number } });
    let call = |call: Value| value!({ "blockStateCalls": [{ "calls": [call] }] });
    for (asks, code, text) in [
        (value!({}), -32602, "empty input"),
        (value!({ "blockStateCalls": vec![value!({}); 257] }), -38026, "too many blocks"),
        (
            value!({ "blockStateCalls": [number("0x4"), number("0x4")] }),
            -38020,
            "block numbers must be in order: 4 <= 4",
        ),
        (
            call(value!({ "from": contract, "to": SOMEONE, "value": "0x1" })),
            -38014,
            "err: insufficient funds for gas * price + value: address",
        ),
        (call(value!({ "to": SOMEONE, "gas": "0x1" })), -38013, "err: intrinsic gas too low"),
        (call(value!({ "to": SOMEONE, "blobVersionedHashes": [] })), -32000, "type 3"),
        (
            call(value!({ "to": "0x1" })),
            -32602,
            "invalid argument 0: blockStateCalls: calls: to: hex string has length 1, want 40",
        ),
        (
            value!({ "blockStateCalls": [{ "blockOverrides": { "time": "soon" } }] }),
            -32602,
            "invalid argument 0: blockStateCalls: blockOverrides: want {number, time,",
        ),
    ] {
        let (got, message) = server.error("eth_simulateV1", value!([asks])).await;
        assert!(got == code && message.contains(text), "{got} {message}");
    }
    let missing = value!([{ "blockStateCalls": [{}] }, "0x63"]);
    let missing = server.error("eth_simulateV1", missing).await;
    assert_eq!(missing, (-32000, "header not found".into()));
}

#[tokio::test]
async fn a_trace_shows_the_steps_and_no_more_than_asked() {
    let MinedChain { server, hashes, .. } = chain().await;
    let trace = server.call("debug_traceTransaction", value!([hashes[2]])).await;
    let ops: Vec<_> = trace["structLogs"].as_array().unwrap().iter().map(|s| &s["op"]).collect();
    assert_eq!((ops[0], ops.last().unwrap()), (&value!("CALLDATASIZE"), &&value!("STOP")));
    let two = server.call("debug_traceTransaction", value!([hashes[2], { "limit": 2 }])).await;
    assert_eq!(two["structLogs"].as_array().unwrap().len(), 2);
    assert_eq!(two["gas"], trace["gas"]);
    let calls = value!(["0x2", { "tracer": "callTracer" }]);
    let block = server.call("debug_traceBlockByNumber", calls).await;
    assert_eq!(block[1]["txHash"], value!(hashes[3]));
    assert_eq!(block[1]["result"]["error"], "execution reverted");
    let genesis = server.error("debug_traceBlockByNumber", value!(["0x0"])).await;
    assert_eq!(genesis, (-32000, "genesis is not traceable".into()));
}

#[tokio::test]
async fn wrong_parameters_are_named_without_a_type_of_ours() {
    let MinedChain { server, contract, .. } = chain().await;
    for (method, params, text) in [
        ("eth_getBalance", value!([]), "missing value for required argument 0"),
        (
            "eth_getBalance",
            value!(["0x12"]),
            "invalid argument 0: hex string has length 2, want 40 for an address",
        ),
        ("eth_getBalance", value!([5]), "invalid argument 0: want a hex string, got a number"),
        (
            "eth_getBalance",
            value!([SOMEONE, "newest"]),
            "invalid argument 1: hex string without 0x prefix",
        ),
        (
            "eth_getBalance",
            value!([SOMEONE, [1]]),
            "invalid argument 1: want a block number, tag or hash, got a list",
        ),
        ("eth_getBalance", value!([SOMEONE, "latest", 1]), "too many arguments, want at most 2"),
        ("debug_getRawHeader", value!(["2"]), "invalid argument 0: hex string without 0x prefix"),
        (
            "eth_getStorageAt",
            value!([SOMEONE, "0xasdf"]),
            "invalid argument 1: invalid hex in storage key: \"0xasdf\"",
        ),
        ("eth_getStorageValues", value!([{}]), "empty request"),
        (
            "eth_call",
            value!([{ "to": contract, "gas": "many" }]),
            "invalid argument 0: gas: hex string without 0x prefix",
        ),
        (
            "eth_call",
            value!([{ "data": "0x01", "input": "0x02" }]),
            "invalid argument 0: both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data",
        ),
        ("eth_feeHistory", value!(["0x1", "latest", [101]]), "invalid reward percentile: 101"),
        ("eth_sendRawTransaction", value!(["0x0"]), "invalid argument 0: hex string of odd length"),
    ] {
        let got = server.error(method, params.clone()).await;
        assert_eq!(got, (-32602, text.into()), "{method} {params}");
    }
    let missing = server.error("eth_getBalance", value!([SOMEONE, "0x63"])).await;
    assert_eq!(missing, (-32000, "block not found: 99 (the head is 2)".into()));
}

#[tokio::test]
async fn refusals_of_the_pool_keep_their_words() {
    let server = TestServer::new().await;
    for (error, text) in [
        (MempoolError::AlreadyKnown, "already known"),
        (MempoolError::NonceTooLow { next: 5, got: 0 }, "nonce too low: next nonce 5, tx nonce 0"),
        (MempoolError::ReplacementUnderpriced, "replacement transaction underpriced"),
        (
            MempoolError::InsufficientFunds {
                have: Default::default(),
                want: "5".parse().unwrap(),
            },
            "insufficient funds for gas * price + value: have 0 want 5",
        ),
        (
            MempoolError::Unprotected,
            "only replay-protected (EIP-155) transactions allowed over RPC",
        ),
    ] {
        server.refuse(error);
        let raw = tx(0, TxKind::Call(SOMEONE), 1, Bytes::new());
        let got = server.error("eth_sendRawTransaction", value!([raw])).await;
        assert_eq!(got, (-32000, text.into()));
    }
    let blob = server.error("eth_sendRawTransaction", value!(["0x03c0"])).await;
    assert!(blob.0 == -32000 && blob.1.contains("type 3"), "{blob:?}");
    let garbage = server.error("eth_sendRawTransaction", value!(["0x02c0"])).await;
    assert_eq!(garbage.0, -32602);
    for method in ["eth_sendRawTransaction", "eth_sendRawTransactionSync"] {
        let empty = server.error(method, value!(["0x"])).await;
        let text = "transaction cannot be decoded: typed transaction too short";
        assert_eq!(empty, (-32602, text.into()), "{method}");
    }
}

#[tokio::test]
async fn fees_are_what_blocks_paid() {
    let MinedChain { server, .. } = chain().await;
    assert_eq!(server.call("eth_maxPriorityFeePerGas", value!([])).await, "0x77359400");
    let history = server.call("eth_feeHistory", value!(["0xa", "latest", [0, 100]])).await;
    assert_eq!(history["oldestBlock"], "0x0");
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 4);
    assert_eq!(history["reward"][0], value!(["0x0", "0x0"]));
    assert_eq!(history["reward"][1], value!(["0x77359400", "0x77359400"]));
    let head = server.call("eth_getBlockByNumber", value!(["latest", false])).await;
    assert_eq!(history["baseFeePerGas"][2], head["baseFeePerGas"]);
    let next = server.call("eth_baseFee", value!([])).await;
    assert_eq!(history["baseFeePerGas"][3], next);
    let without = server.call("eth_feeHistory", value!(["0x1", "0x1"])).await;
    assert_eq!((&without["oldestBlock"], without.get("reward")), (&value!("0x1"), None));
    let none = server.call("eth_feeHistory", value!(["0x0", "latest", []])).await;
    assert_eq!(none["gasUsedRatio"], value!([]));
}

#[tokio::test]
async fn on_a_gas_free_network_every_price_is_zero() {
    let server = TestServer::gas_free().await;
    server.mine();
    for method in ["eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_baseFee", "eth_blobBaseFee"] {
        assert_eq!(server.call(method, value!([])).await, "0x0", "{method}");
    }
    let history = server.call("eth_feeHistory", value!(["0x2", "latest", [50]])).await;
    assert_eq!(history["baseFeePerGas"], value!(["0x0", "0x0", "0x0"]));
    assert_eq!(history["reward"], value!([["0x0"], ["0x0"]]));
}

#[tokio::test]
async fn the_node_says_which_chain_and_program_it_is() {
    let server = TestServer::new().await;
    assert_eq!(server.call("eth_chainId", value!([])).await, "0x1ca3");
    assert_eq!(server.call("net_version", value!([])).await, "7331");
    assert_eq!(server.call("eth_accounts", value!([])).await, value!([]));
    assert_eq!(server.call("eth_syncing", value!([])).await, false);
    let version = server.call("web3_clientVersion", value!([])).await;
    assert!(version.as_str().unwrap().starts_with("trefoil/v"));
    let hash = server.call("web3_sha3", value!(["0x"])).await;
    assert_eq!(hash, value!(alloy_primitives::KECCAK256_EMPTY));
    let status = server.call("trefoil_status", value!([])).await;
    assert_eq!((&status["chain"], &status["blockIntervalMs"]), (&value!("test"), &value!(500)));
    assert_eq!(server.call("trefoil_peers", value!([])).await, value!([]));
    assert_eq!(server.call("trefoil_refusedPeers", value!([])).await, value!([]));
    let offences = server.call("trefoil_offences", value!([])).await;
    assert_eq!(offences["table"][0]["offence"], "invalid block");
    assert_eq!((&offences["banAt"], &offences["peers"]), (&value!(100), &value!([])));
}

#[tokio::test]
async fn the_status_names_the_validator_key_in_force_and_the_next_one() {
    let server = TestServer::new().await;
    let [old, next] = VALIDATOR_KEYS.map(|n| SecretKey::from_seed(&[n; 32]).public());
    for (signing, in_force, to_come) in
        [(None, old, Some(next)), (Some(old), old, Some(next)), (Some(next), next, None)]
    {
        let status = NodeStatus { validator: signing, ..NodeStatus::default() };
        server.status.send_replace(Arc::new(status));
        let status = server.call("trefoil_status", value!([])).await;
        assert_eq!(status["validator"], value!(in_force), "{signing:?}");
        assert_eq!(status["nextValidator"], value!(to_come), "{signing:?}");
        assert_eq!(status["validating"], signing.is_some());
    }
}

#[tokio::test]
async fn certificates_and_raw_bytes_are_readable() {
    let MinedChain { server, hashes, .. } = chain().await;
    let head = server.call("eth_getBlockByNumber", value!(["latest", false])).await;
    let certificate = server.call("trefoil_getCertificate", value!(["0x2"])).await;
    assert_eq!(certificate["blockHash"], head["hash"]);
    assert_eq!(server.call("trefoil_getCertificate", value!(["0x0"])).await, Value::Null);
    assert_eq!(head["extraData"], "0x");
    let nobody = value!({ "evidence": [], "rlp": "0xc0" });
    assert_eq!(server.call("trefoil_getEvidence", value!(["0x2"])).await, nobody);
    let keccak = |raw: &Value| {
        let raw: Bytes = serde_json::from_value(raw.clone()).unwrap();
        value!(alloy_primitives::keccak256(raw))
    };
    assert_eq!(keccak(&server.call("debug_getRawHeader", value!(["0x2"])).await), head["hash"]);
    let raw = server.call("debug_getRawTransaction", value!([hashes[4]])).await;
    assert_eq!(keccak(&raw), value!(hashes[4]));
    let receipts = server.call("debug_getRawReceipts", value!(["latest"])).await;
    assert_eq!(receipts.as_array().unwrap().len(), 3);
    let block = server.call("debug_getRawBlock", value!(["latest"])).await;
    let size = (block.as_str().unwrap().len() - 2) / 2;
    assert_eq!(head["size"], format!("{size:#x}"));
}
