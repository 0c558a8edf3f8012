//! The rules of JSON-RPC 2.0 and of the port, as clients rely on them.

use axum::{
    body::Body,
    http::{HeaderName, Method, Request, StatusCode, header},
};
use futures::stream::iter;
use proptest::prelude::*;
use serde_json::{Value, json as value};
use tower::ServiceExt as _;

use crate::{
    dispatch::METHODS,
    tests::{HttpAccess, Limits, TestServer, spec},
};

/// The body that is sent, the HTTP status, and the answer (`null`: an empty body). An
/// error's `message` is left out.
#[tokio::test]
async fn one_body_one_answer() {
    let chain_id = value!("0x1ca3");
    let ok = |id: Value| value!({ "jsonrpc": "2.0", "id": id, "result": chain_id });
    let error =
        |id: Value, code: i64| value!({ "jsonrpc": "2.0", "id": id, "error": { "code": code } });
    let table = [
        (r#"{"jsonrpc":"2.0","id":7,"method":"eth_chainId","params":[]}"#, ok(value!(7))),
        (r#"{"jsonrpc":"2.0","id":"a","method":"eth_chainId"}"#, ok(value!("a"))),
        (r#"{"jsonrpc":"2.0","id":null,"method":"eth_chainId","params":null}"#, ok(Value::Null)),
        (r#" {"id":1.5,"method":"eth_chainId"} "#, ok(value!(1.5))),
        (r#"{"jsonrpc":"2.0","id":1,"method":"foo_bar"}"#, error(value!(1), -32601)),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"anvil_nodeInfo","params":null}"#,
            error(value!(1), -32601),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_fillTransaction","params":[{}]}"#,
            error(value!(1), -32601),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#,
            error(value!(1), -32601),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}"#,
            error(value!(1), -32602),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[1]}"#,
            error(value!(1), -32602),
        ),
        (r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#, error(value!(1), -32600)),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, error(Value::Null, -32600)),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, error(Value::Null, -32600)),
        (r#"{"jsonrpc":"2.0","id":1}"#, error(Value::Null, -32600)),
        (r#"17"#, error(Value::Null, -32600)),
        (r#"{"jsonrpc":"2.0","id":1"#, error(Value::Null, -32700)),
        ("", error(Value::Null, -32700)),
        ("[", error(Value::Null, -32700)),
        ("[]", error(Value::Null, -32600)),
        ("[1]", value!([error(Value::Null, -32600)])),
        (
            r#"[{"id":1,"method":"eth_chainId"},{"id":2,"method":"nope"},{"method":"eth_chainId"}]"#,
            value!([{ "jsonrpc": "2.0", "id": 1, "result": chain_id }, error(value!(2), -32601)]),
        ),
    ];
    let server = TestServer::new().await;
    for (body, want) in table {
        let (status, got) = server.post(body).await;
        let mut got: Value = serde_json::from_slice(&got).expect(body);
        strip_messages(&mut got);
        assert_eq!((status, got), (StatusCode::OK, want), "{body}");
    }
}

fn strip_messages(answer: &mut Value) {
    match answer {
        Value::Array(items) => items.iter_mut().for_each(strip_messages),
        Value::Object(members) => {
            if let Some(error) = members.get_mut("error").and_then(Value::as_object_mut) {
                assert!(error.remove("message").is_some_and(|m| m.is_string()));
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_notification_has_no_answer() {
    let server = TestServer::new().await;
    for body in [r#"{"method":"eth_chainId"}"#, r#"[{"method":"eth_chainId"},{"method":"x"}]"#] {
        assert_eq!(server.post(body).await, (StatusCode::NO_CONTENT, vec![]), "{body}");
    }
}

#[tokio::test]
async fn an_unknown_method_is_named_in_the_words_that_ethers_knows() {
    let (code, text) = TestServer::new().await.error("foo_bar", value!([])).await;
    assert_eq!(
        (code, text.as_str()),
        (-32601, "the method foo_bar does not exist/is not available")
    );
}

#[tokio::test]
async fn batches_are_capped_in_number_and_in_answers() {
    let limits = Limits { batch: 2, batch_reply_bytes: 200, ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let batch = |method: &str, n: usize| {
        let one = value!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
        Value::from(vec![one; n]).to_string()
    };
    for (body, want) in [
        (batch("eth_chainId", 3), "the batch has 3 requests, at most 2 are taken"),
        (batch("rpc_modules", 2), "answers are over 200 bytes"),
    ] {
        let answer: Value = serde_json::from_slice(&server.post(body).await.1).unwrap();
        assert_eq!(answer["error"]["code"], -32600);
        assert!(answer["error"]["message"].as_str().unwrap().contains(want), "{answer}");
    }
    let (_, body) = server.post(batch("eth_chainId", 2)).await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused() {
    let server = TestServer::limited(Limits { body_bytes: 100, ..Limits::default() }).await;
    let (status, _) = server.post(vec![b' '; 101]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    // In parts of which none is.
    let part = || Ok::<_, std::io::Error>(vec![b' '; 60]);
    let (status, _) = server.post(Body::from_stream(iter([part(), part()]))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn browsers_may_call_from_anywhere_unless_origins_are_listed() {
    let preflight = || {
        Request::builder()
            .method(Method::OPTIONS)
            .uri("/any/path")
            .header(header::HOST, "127.0.0.1:8545")
            .header(header::ORIGIN, "https://dapp.example")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type")
            .body(Body::empty())
            .unwrap()
    };
    let (status, headers, _) = TestServer::new().await.send(preflight()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    for (allowed, want) in [
        ("https://dapp.example", StatusCode::OK),
        ("https://*", StatusCode::OK),
        ("https://other.example", StatusCode::FORBIDDEN),
    ] {
        let access = HttpAccess { origins: vec![allowed.into()], ..HttpAccess::default() };
        let server = TestServer::with(access, Limits::default(), spec()).await;
        let (status, headers, text) = server.send(preflight()).await;
        assert_eq!(status, want, "{allowed}");
        let origin = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(
            origin.is_some_and(|origin| origin == "https://dapp.example"),
            want.is_success()
        );
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.contains("`rpc.origins`"), !want.is_success(), "{text}");
    }
}

/// An encoder takes 300 kB: beyond its places answers leave as they are.
#[tokio::test]
async fn so_many_answers_are_compressed_at_once() {
    let server = TestServer::new().await;
    let one = r#"{"id":1,"method":"rpc_modules"}"#;
    let batch = format!("[{}]", vec![one; 30].join(","));
    let ask = || {
        let request = Request::post("/").header(header::ACCEPT_ENCODING, "gzip");
        server.router.clone().oneshot(request.body(axum::body::Body::from(batch.clone())).unwrap())
    };
    let mut unread = Vec::new();
    for _ in 0..crate::limits::GZIPS_MAX {
        let answer = ask().await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
        unread.push(answer);
    }
    let plain = ask().await.unwrap();
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    unread.pop();
    assert!(ask().await.unwrap().headers().contains_key(header::CONTENT_ENCODING));
}

/// Among members a page is nobody, whether it posts or opens a WebSocket.
#[tokio::test]
async fn a_network_of_members_lets_in_its_own_pages_only() {
    let server = TestServer::with(HttpAccess::default(), Limits::default(), spec()).await;
    for (origin, want) in [
        (None, StatusCode::OK),
        (Some("http://127.0.0.1:8545"), StatusCode::OK),
        (Some("http://127.0.0.1:3000"), StatusCode::FORBIDDEN),
        (Some("null"), StatusCode::FORBIDDEN),
    ] {
        for method in [Method::POST, Method::GET] {
            let mut request = Request::builder().method(method.clone()).uri("/");
            request = request.header(header::HOST, "127.0.0.1:8545");
            if let Some(origin) = origin {
                request = request.header(header::ORIGIN, origin);
            }
            let body = r#"{"id":1,"method":"eth_chainId"}"#;
            let (status, _, text) = server.send(request.body(body.into()).unwrap()).await;
            assert_eq!(status, want, "{method} {origin:?}");
            let named = String::from_utf8(text).unwrap().contains("`rpc.origins`");
            assert_eq!(named, want == StatusCode::FORBIDDEN);
        }
    }
}

#[tokio::test]
async fn debug_methods_are_not_there_unless_they_are_asked_for() {
    let server = TestServer::with(HttpAccess::default(), Limits::default(), spec()).await;
    let (code, text) = server.error("debug_traceBlockByNumber", value!(["0x1"])).await;
    assert_eq!(code, -32601);
    let known = "the method debug_traceBlockByNumber does not exist/is not available";
    assert!(text.starts_with(known) && text.contains("`rpc.debug`"), "{text}");
    assert!(server.call("rpc_modules", value!([])).await.get("debug").is_none());
    server.mine();
    // What `trefoil verify` needs is the chain's own, and cheap.
    assert!(server.call("trefoil_getRawBlock", value!(["latest"])).await.is_string());
    assert!(TestServer::new().await.call("rpc_modules", value!([])).await.get("debug").is_some());
}

/// Counted, and not kept: a batch of millions of items takes no memory for them.
#[tokio::test]
async fn what_a_request_takes_when_it_is_parsed_is_claimed_first() {
    let server = TestServer::holding(1 << 20).await;
    let objects = vec!["{}"; 2_000].join(",");
    let body = format!(r#"{{"id":1,"method":"eth_getLogs","params":[[{objects}]]}}"#);
    let answer: Value = serde_json::from_slice(&server.post(body).await.1).unwrap();
    assert_eq!(answer["error"]["code"], -32005, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("`rpc.memory_mib`"), "{answer}");
    assert!(!server.rpc.memory.has_refused(), "it was looked for who could give it back");
    let items = format!("[{}1]", "1,".repeat(100_000));
    let answer: Value = serde_json::from_slice(&server.post(items).await.1).unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("100001"), "{answer}");
    assert_eq!(server.call("eth_chainId", value!([])).await, "0x1ca3");
    assert_eq!(server.rpc.memory.used(), 0);
}

/// A page that this machine's user visits asks from this machine.
#[tokio::test]
async fn pages_read_content_only_where_origins_are_listed() {
    for (origins, want) in [
        (vec![], None),
        (vec!["https://dapp.example".into()], Some("https://dapp.example")),
        (vec!["*".into()], Some("*")),
    ] {
        // On a public network, where any page may use JSON-RPC.
        let access = HttpAccess { origins, any_origin: true, ..HttpAccess::default() };
        let server = TestServer::with(access, Limits::default(), spec()).await;
        let request = Request::get("/content/x").header(header::HOST, "127.0.0.1:8545");
        let request = request.header(header::ORIGIN, "https://dapp.example").body(Body::empty());
        let (status, headers, _) = server.send(request.unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed.map(|value| value.to_str().unwrap()), want);
        assert_eq!(headers.contains_key(header::ACCESS_CONTROL_EXPOSE_HEADERS), want.is_some());
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    let any = HttpAccess { hosts: vec!["*".into()], ..HttpAccess::default() };
    let server = TestServer::with(any, Limits::default(), spec()).await;
    let request = Request::post("/").header(header::HOST, "any.example");
    let request = request.body(r#"{"id":1,"method":"eth_chainId"}"#.into()).unwrap();
    assert_eq!(server.send(request).await.0, StatusCode::OK);
    // Also where the operator named none.
    let server = TestServer::with(HttpAccess::default(), Limits::default(), spec()).await;
    let request = Request::post("/").header(header::HOST, "evil.example");
    let request = request.body(r#"{"id":1,"method":"eth_chainId"}"#.into()).unwrap();
    assert_eq!(server.send(request).await.0, StatusCode::FORBIDDEN);
    let access = HttpAccess { hosts: vec!["node.example".into()], ..HttpAccess::default() };
    let server = TestServer::with(access, Limits::default(), spec()).await;
    for (host, want) in [
        ("127.0.0.1:8545", StatusCode::OK),
        ("localhost", StatusCode::OK),
        ("[::1]:8545", StatusCode::OK),
        ("node.example:8545", StatusCode::OK),
        ("evil.example", StatusCode::FORBIDDEN),
        ("127.0.0.1.evil.example:8545", StatusCode::FORBIDDEN),
        ("[::1", StatusCode::OK),
        ("", StatusCode::FORBIDDEN),
    ] {
        let body = r#"{"id":1,"method":"eth_chainId"}"#;
        let request = Request::post("/").header(header::HOST, host).body(body.into()).unwrap();
        assert_eq!(server.send(request).await.0, want, "{host:?}");
    }
}

/// The first would count here, and perhaps the other one for a proxy before the node.
#[tokio::test]
async fn a_second_host_or_origin_is_a_bad_request() {
    let server = TestServer::new().await;
    let table: [(HeaderName, &[&str], StatusCode); 5] = [
        (header::HOST, &["127.0.0.1:8545"], StatusCode::OK),
        (header::HOST, &["127.0.0.1:8545", "evil.example"], StatusCode::BAD_REQUEST),
        (header::HOST, &["localhost", "localhost"], StatusCode::BAD_REQUEST),
        (header::ORIGIN, &["https://dapp.example"], StatusCode::OK),
        (header::ORIGIN, &["https://dapp.example", "null"], StatusCode::BAD_REQUEST),
    ];
    for (name, values, want) in table {
        for path in ["/", "/livez", "/content/x"] {
            let method = if path == "/" { Method::POST } else { Method::GET };
            let mut request = Request::builder().method(method).uri(path);
            for value in values {
                request = request.header(&name, *value);
            }
            let body = r#"{"id":1,"method":"eth_chainId"}"#;
            let (status, _, text) = server.send(request.body(body.into()).unwrap()).await;
            assert_eq!(status, want, "{path} {name} {values:?}");
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text.contains("more than one"), want != StatusCode::OK, "{text}");
        }
    }
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let server = TestServer::new().await;
    let body = r#"{"id":1,"method":"eth_config"}"#;
    let request = Request::post("/").header(header::ACCEPT_ENCODING, "gzip");
    let (_, headers, _) = server.send(request.body(body.into()).unwrap()).await;
    assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
}

#[tokio::test]
async fn health_says_what_is_missing() {
    let server = TestServer::new().await;
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(server.send(get("/livez")).await.0, StatusCode::OK);
    let ready = async |peers, height, syncing_to| {
        let status = trefoil_node::NodeStatus {
            peers,
            height,
            syncing_to,
            validators: 4,
            ..Default::default()
        };
        server.status.send_replace(status.into());
        let (code, _, text) = server.send(get("/readyz")).await;
        (code, String::from_utf8(text).unwrap())
    };
    let no = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(ready(0, 5, None).await, (no, "no peers\n".into()));
    assert_eq!(ready(3, 5, None).await, (StatusCode::OK, "ok\n".into()));
    // One block behind: the newest block has not arrived yet.
    assert_eq!(ready(3, 5, Some(6)).await, (StatusCode::OK, "ok\n".into()));
    let text = "syncing: at block 5, the chain is at 90\n".into();
    assert_eq!(ready(3, 5, Some(90)).await, (no, text));
    // The node's thread waits, and its status is of before.
    let full = "no room for the journal: free some space";
    assert_eq!(server.call("trefoil_status", value!([])).await["lacksRoom"], value!(null));
    server.lacks_room.send_replace(Some(full.into()));
    assert_eq!(ready(3, 5, None).await, (no, format!("{full}\n")));
    assert_eq!(server.call("trefoil_status", value!([])).await["lacksRoom"], full);
    server.lacks_room.send_replace(None);
    assert_eq!(ready(3, 5, None).await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_requests_under_known_names_only() {
    let server = TestServer::new().await;
    server.call("eth_chainId", value!([])).await;
    server.ask("evil\"} 1", value!([])).await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let text = String::from_utf8(server.send(request).await.2).unwrap();
    for line in [
        "trefoil_rpc_requests_total{method=\"eth_chainId\",outcome=\"ok\"} 1",
        "trefoil_rpc_requests_total{method=\"(unknown)\",outcome=\"error\"} 1",
        "# TYPE trefoil_height gauge",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains("evil"));
}

#[test]
fn the_table_is_sorted_so_that_every_method_is_found() {
    assert!(METHODS.is_sorted_by_key(|method| method.name));
}

/// JSON of any shape, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "0x[0-9a-f]{0,70}".prop_map(Value::from),
        Just(value!("latest")),
        Just(value!("pending")),
        Just(value!(super::SENDER)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            Just("to".to_owned()),
            Just("data".to_owned()),
            Just("fromBlock".to_owned()),
            Just("topics".to_owned()),
            Just("address".to_owned()),
            Just("blockHash".to_owned()),
            "[a-z]{0,4}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let request = (0..METHODS.len(), any_json(), prop::option::of(any_json())).prop_map(
        |(at, id, params)| value!({ "id": id, "method": METHODS[at].name, "params": params }),
    );
    let list = (0..METHODS.len(), prop::collection::vec(any_json(), 0..4))
        .prop_map(|(at, params)| value!({ "id": 1, "method": METHODS[at].name, "params": params }));
    prop_oneof![
        4 => list.prop_map(|v| v.to_string().into_bytes()),
        2 => request.prop_map(|v| v.to_string().into_bytes()),
        1 => any_json().prop_map(|v| v.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

/// Whether this is an answer as JSON-RPC 2.0 has it.
fn is_answer(answer: &Value) -> bool {
    let id = matches!(answer["id"], Value::Null | Value::Number(_) | Value::String(_));
    let (result, error) = (answer.get("result"), answer.get("error"));
    let error_ok = error.is_none_or(|e| e["code"].is_i64() && e["message"].is_string());
    answer["jsonrpc"] == "2.0" && id && result.is_some() != error.is_some() && error_ok
}

/// With any body the server lives, and its answer is JSON-RPC without a word about
/// this program's types.
#[test]
fn any_body_gets_a_json_rpc_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(TestServer::new());
    proptest!(ProptestConfig::with_cases(1_000), |(body in any_body())| {
        let (status, answer) = runtime.block_on(server.post(body));
        if status == StatusCode::NO_CONTENT {
            prop_assert!(answer.is_empty());
            return Ok(());
        }
        prop_assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let all = answer.as_array().is_none_or(|items| items.iter().all(is_answer));
        prop_assert!(all && (answer.is_array() || is_answer(&answer)), "{}", answer);
        prop_assert!(!answer.to_string().contains("::"), "{}", answer);
        prop_assert!(answer["error"]["code"] != -32603, "{}", answer);
    });
}
