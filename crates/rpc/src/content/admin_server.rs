//! The `admin_*` methods over HTTP: `POST /admin`, for who holds the token.
//!
//! The token is made anew at each start, in `DIR/data/admin.token`, which only
//! the node's user can read. What always holds: without it, and from another
//! machine, nothing is answered.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::post,
};
use serde::Deserialize;
use serde_json::{Value, json};
use trefoil_os::disk::remove_file;
use trefoil_swarm::Content;
use trefoil_types::keccak256;

use super::admin::Api;
use crate::From;

/// What is served of this node's content.
#[derive(Clone, Debug)]
pub struct Admin {
    api: Arc<Api>,
    token: Arc<str>,
}

#[derive(Debug, Deserialize)]
struct Call {
    #[serde(default)]
    id: Value,
    method: String,
    #[serde(default)]
    params: Value,
}

/// Where a node's token lies.
pub fn token_file(data: &Path) -> PathBuf {
    data.join("admin.token")
}

impl Admin {
    /// Makes a new token and writes it down.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(content: Content, data: &Path) -> std::io::Result<Self> {
        let token = hex::encode(rand::random::<[u8; 16]>());
        let path = token_file(data);
        remove_file(&path)?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(token.as_bytes())?;
        Ok(Self { api: Arc::new(Api::new(content)), token: token.into() })
    }

    pub fn router(self) -> Router {
        Router::new().route("/admin", post(answer)).with_state(self)
    }

    fn admits(&self, from: SocketAddr, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        // Hashes are compared, so that the time taken says nothing of the token.
        let same = given.is_some_and(|given| keccak256(given) == keccak256(&*self.token));
        from.ip().is_loopback() && same
    }
}

async fn answer(
    State(admin): State<Admin>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    Json(call): Json<Call>,
) -> (StatusCode, Json<Value>) {
    if !admin.admits(from, &headers) {
        let text = "admin methods are for this machine and need the token in data/admin.token";
        let error = json!({ "code": -32001, "message": text });
        let body = json!({ "jsonrpc": "2.0", "id": call.id, "error": error });
        return (StatusCode::FORBIDDEN, Json(body));
    }
    let body = match admin.api.call(&call.method, &call.params).await {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": call.id, "result": result }),
        Err(error) => {
            let error = json!({ "code": -32000, "message": error.to_string() });
            json!({ "jsonrpc": "2.0", "id": call.id, "error": error })
        }
    };
    (StatusCode::OK, Json(body))
}
