//! Asks a running node over its JSON-RPC, for the commands that report on it.

use std::time::Duration;

use alloy_primitives::Bytes;
use serde_json::{Value, json};

// A node on this machine answers within milliseconds. One that is elsewhere, or busy with other
// callers, gets some seconds.
/// How long a command waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A JSON-RPC server.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    http: reqwest::Client,
    token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no node answers at {url}: {reason}; start it with `trefoil run`, or name it with --rpc or --dir"
    )]
    NoAnswer { url: String, reason: String },
    #[error("{url} answers to {method}: {message}")]
    Refused { url: String, method: String, message: String, data: Option<Bytes> },
    #[error("{url} answers to {method} with something else than was asked; is it a trefoil node?")]
    Odd { url: String, method: String },
}

impl ClientError {
    /// The data of a contract's revert, if a revert is the reason.
    pub fn reverted(&self) -> Option<Bytes> {
        match self {
            Self::Refused { message, data: Some(data), .. } => {
                // Other errors may carry data too, which is not a contract's answer.
                message.contains("revert").then(|| data.clone())
            }
            _ => None,
        }
    }
}

impl Client {
    pub fn new(url: &str) -> Self {
        let url = if url.contains("://") { url.into() } else { format!("http://{url}") };
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A node serves plain HTTP: no certificates are loaded.
            .tls_certs_only([])
            .build()
            .expect("a client without TLS needs nothing of the system");
        Self { url, http, token: None }
    }

    /// Shows a node's token with each call.
    #[must_use]
    pub fn with_token(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// # Errors
    /// No answer, or a refusal.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, ClientError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let no_answer = |e: reqwest::Error| ClientError::NoAnswer {
            url: self.url.clone(),
            reason: innermost(&e),
        };
        let mut post = self.http.post(&self.url).json(&request);
        if let Some(token) = &self.token {
            // Only the `admin_*` methods ask for it: a client without a token never sends one.
            post = post.bearer_auth(token);
        }
        let response = post.send().await.map_err(no_answer)?;
        // A body that is no JSON comes from another server: a proxy, or a page on that port.
        let mut answer: Value = response.json().await.map_err(|_| self.odd(method))?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let (url, method) = (self.url.clone(), method.into());
            let message = error["message"].as_str().unwrap_or("an error").into();
            // geth and this node put what a revert returned into `data`.
            let data = error["data"].as_str().and_then(|data| data.parse().ok());
            return Err(ClientError::Refused { url, method, message, data });
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(self.odd(method)),
        }
    }

    pub fn odd(&self, method: &str) -> ClientError {
        ClientError::Odd { url: self.url.clone(), method: method.into() }
    }
}

/// The system's own words ("Connection refused"), without the layers above it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
