//! The `admin_*` methods over HTTP: `POST /admin`, for callers that hold the token.
//!
//! The token is made anew at each start, in `DIR/data/admin.token`, which only
//! the node's user can read. What always holds: without it, and from another
//! machine, nothing is answered.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
    routing::post,
};
use trefoil_os::disk::remove_file;
use trefoil_swarm::Content;
use trefoil_types::keccak256;

use crate::{
    Limits, MemoryAccount, RemoteAddr,
    content::{admin::AdminApi, gateway_keys::GatewayKeys},
    dispatch::{self, Caller},
    error::RpcError,
    http::{answered, respond},
};

/// Serves `POST /admin`.
#[derive(Clone, Debug)]
pub struct Admin {
    api: Arc<AdminApi>,
    token: Arc<str>,
    limits: Limits,
    memory: MemoryAccount,
    keys: Arc<GatewayKeys>,
}

/// The file of a node's token.
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
        // Made anew, not emptied: an old file may be readable for others, or open in another
        // process.
        remove_file(&path)?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(token.as_bytes())?;
        let keys = Arc::new(GatewayKeys::new(token.clone()));
        let api = Arc::new(AdminApi::new(content).opening(keys.clone()));
        let (limits, memory) = (Limits::default(), MemoryAccount::default());
        Ok(Self { api, token: token.into(), limits, memory, keys })
    }

    /// What callers make it hold draws on `memory`.
    #[must_use]
    pub fn drawing_on(self, memory: MemoryAccount) -> Self {
        Self { memory, ..self }
    }

    /// What the gateway knows the operator's browser by.
    pub fn gateway_keys(&self) -> Arc<GatewayKeys> {
        self.keys.clone()
    }

    pub fn router(self) -> Router {
        Router::new().route("/admin", post(answer)).with_state(self)
    }

    fn admits(&self, from: RemoteAddr, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        // Hashes are compared, so that the time taken reveals nothing about the token.
        let same = given.is_some_and(|given| keccak256(given) == keccak256(&*self.token));
        // The token goes over plain HTTP: a wire would show it to others.
        from.is_this_machine() && same
    }
}

async fn answer(
    State(admin): State<Admin>,
    Extension(from): Extension<RemoteAddr>,
    request: Request,
) -> Response {
    // Before the body is read: a caller without the token holds no connection by sending a
    // byte a minute, and learns of no method whether it exists.
    if !admin.admits(from, request.headers()) {
        let refusal = dispatch::refusal(&admin.memory, RpcError::NotAdmitted);
        let refusal = answered(Some(refusal));
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    let caller = Caller::Admin(&admin.api, &admin.limits, &admin.memory);
    respond(caller, request).await
}
