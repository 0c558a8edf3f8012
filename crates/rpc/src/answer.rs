//! An answer as JSON-RPC 2.0 writes it, with the memory that it holds until it is read.

use serde_json::value::RawValue;

use crate::{
    RpcError, RpcResult,
    memory::{Claim, MemoryAccount},
};

/// JSON text, with what it holds of the memory account.
pub struct RpcAnswer {
    pub text: String,
    pub claim: Claim,
}

impl RpcAnswer {
    /// # Errors
    /// There is no room for it.
    pub fn new(memory: &MemoryAccount, id: &RawValue, outcome: RpcResult) -> RpcResult<Self> {
        let text = text(id, &outcome);
        // Two copies would be twice what is claimed.
        drop(outcome);
        let claim = memory.claim(text.len())?;
        Ok(Self { text, claim })
    }

    /// An error's few words, for which there always is room.
    pub fn refusal(memory: &MemoryAccount, id: &RawValue, error: RpcError) -> Self {
        let text = text(id, &Err(error));
        let claim = memory.claim_anyway(text.len());
        Self { text, claim }
    }
}

fn text(id: &RawValue, outcome: &RpcResult) -> String {
    match outcome {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(error) => {
            let error = serde_json::to_string(error).expect("an error is plain data");
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
        }
    }
}
