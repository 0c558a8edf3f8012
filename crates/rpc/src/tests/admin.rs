//! `POST /admin`: its callers, and that it answers as JSON-RPC does.

use axum::http::{Request, header::AUTHORIZATION};
use serde_json::{Value, json as value};
use tempfile::TempDir;
use tower::ServiceExt as _;
use trefoil_content::scheduler::{Rates, UploadPolicy};
use trefoil_swarm::{Content, ContentConfig, http::Credentials};

use super::*;
use crate::{
    content::admin_server::{Admin, token_file},
    remote_addr::RemoteAddr,
};

const NEAR: &str = "127.0.0.1:1";
const FAR: &str = "192.0.2.1:1";

struct AdminServer {
    router: Router,
    token: String,
    _dir: TempDir,
}

impl AdminServer {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (net, lanes) = network().await;
        let config = ContentConfig {
            me: PeerId(SecretKey::from_seed(&[2; 32]).public()),
            organisation: None,
            dir: dir.path().join("content"),
            upload_policy: UploadPolicy::Fair,
            rates: Rates::default(),
            quota: None,
            open_bytes_max: trefoil_swarm::OPEN_BYTES_MAX,
            origins: None,
            credentials: Credentials::default(),
        };
        let content = Content::start(config, net, lanes.content).unwrap();
        let router = Admin::new(content, dir.path()).unwrap().router();
        let token = std::fs::read_to_string(token_file(dir.path())).unwrap();
        Self { router, token, _dir: dir }
    }

    async fn post(&self, from: &str, token: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::post("/admin")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .extension(RemoteAddr::of(from.parse().unwrap(), None))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[test]
fn this_machine_is_known_whatever_address_the_node_listens_on() {
    // What the gateway asks, and what the admin server asks of who shows the token.
    let table = [
        ("127.0.0.1:1", "127.0.0.1:8545", [true, true]),
        ("[::1]:1", "[::1]:8545", [true, true]),
        // It listens on `[::]`.
        ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:8545", [true, true]),
        ("192.0.2.1:1", "192.0.2.1:8545", [false, true]),
        ("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.1]:8545", [false, true]),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1:8545", [false, true]),
        ("192.0.2.2:1", "192.0.2.1:8545", [false, false]),
        ("[2001:db8::2]:1", "[2001:db8::1]:8545", [false, false]),
    ];
    for (from, to, is) in table {
        let remote = RemoteAddr::of(from.parse().unwrap(), Some(to.parse().unwrap()));
        assert_eq!([remote.is_loopback(), remote.is_this_machine()], is, "{from} to {to}");
    }
}

// The content service hands blocking work to its runtime, which must have threads for it.
#[tokio::test(flavor = "multi_thread")]
async fn admin_methods_are_answered_as_the_standard_has_it() {
    let server = AdminServer::new().await;
    let long = r#"{"id":1,"method":"admin_job","params":[1,2]}"#;
    let table = [
        (r#"{"id":1,"method":"admin_contents","params":[]}"#, Value::Null),
        (r#"{"id":1,"method":"admin_nothing","params":[]}"#, value!(-32601)),
        // The chain is asked elsewhere.
        (r#"{"id":1,"method":"eth_chainId","params":[]}"#, value!(-32601)),
        (r#"{"id":1,"method":"admin_get","params":[]}"#, value!(-32602)),
        (r#"{"id":1,"method":"admin_get","params":[{"link":"x","colour":1}]}"#, value!(-32602)),
        (r#"{"id":1,"method":"admin_get","params":[{"link":"x"}]}"#, value!(-32602)),
        (long, value!(-32602)),
        (r#"{"id":1,"method":"admin_job","params":[7]}"#, value!(-32000)),
        (r#"{"id":1"#, value!(-32700)),
    ];
    for (body, code) in table {
        let (status, answer) = server.post(NEAR, &server.token, body).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::OK, &code), "{body}: {answer}");
    }
}

// The content service hands blocking work to its runtime, which must have threads for it.
#[tokio::test(flavor = "multi_thread")]
async fn admin_methods_need_the_token_and_this_machine() {
    let server = AdminServer::new().await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"admin_contents","params":[]}"#;
    let text = "admin methods are for this machine and need the token in data/admin.token";
    let error = value!({ "code": -32001, "message": text });
    let refusal = value!({ "jsonrpc": "2.0", "id": Value::Null, "error": error });
    for (from, token) in [(FAR, &*server.token), (NEAR, "guess"), (NEAR, "")] {
        let answer = server.post(from, token, body).await;
        assert_eq!(answer, (StatusCode::FORBIDDEN, refusal.clone()), "{from} {token:?}");
    }
    // Not even whether a method exists, or that the body can be read.
    for body in [&*body.replace("contents", "x"), "{"] {
        assert_eq!(
            server.post(NEAR, "guess", body).await,
            (StatusCode::FORBIDDEN, refusal.clone())
        );
    }
}

#[tokio::test]
async fn the_open_port_has_no_admin_methods() {
    let server = TestServer::new().await;
    for method in ["admin_contents", "admin_remove"] {
        // As of a method that no node has.
        let unknown = format!("the method {method} does not exist/is not available");
        assert_eq!(server.error(method, value!([])).await, (-32601, unknown));
    }
    let modules = server.call("rpc_modules", value!([])).await;
    assert!(modules.get("eth").is_some() && modules.get("admin").is_none(), "{modules}");
}
