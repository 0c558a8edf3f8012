//! An answer as JSON-RPC 2.0 writes it, with the memory that it holds until it is read.

use std::io::{self, Write};

use serde::Serialize;
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
        let mut claim = memory.claim(outcome.as_ref().map_or(0, |result| result.get().len()))?;
        let text = text(id, outcome);
        claim.grow(text.len().saturating_sub(claim.bytes()))?;
        Ok(Self { text, claim })
    }

    /// An error's few words, for which there always is room.
    pub fn refusal(memory: &MemoryAccount, id: &RawValue, error: RpcError) -> Self {
        let text = text(id, Err(error));
        let claim = memory.claim_anyway(text.len());
        Self { text, claim }
    }
}

fn text(id: &RawValue, outcome: RpcResult) -> String {
    match outcome {
        Ok(result) => {
            let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#);
            // Around the result where it is: a copy of 43 MB would be twice what is claimed.
            let mut text = String::from(Box::<str>::from(result));
            text.reserve_exact(head.len() + 1);
            text.insert_str(0, &head);
            text.push('}');
            text
        }
        Err(error) => {
            let error = serde_json::to_string(&error).expect("an error is plain data");
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
        }
    }
}

/// JSON whose length only its writing shows: its memory is claimed meanwhile.
struct ClaimedText<'a> {
    memory: &'a MemoryAccount,
    /// The most that it may be of.
    max: usize,
    text: Vec<u8>,
    claim: Claim,
    /// What was written, kept or not.
    length: usize,
    refused: Option<RpcError>,
}

impl Write for ClaimedText<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.length += part.len();
        if self.length > self.max {
            self.refused = Some(self.memory.too_large(self.max));
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // Without room it is still counted: what can never fit must not be told to try again.
        if self.refused.is_none() {
            match self.claim.make_room(&mut self.text, part.len(), self.max) {
                Ok(()) => self.text.extend_from_slice(part),
                Err(busy) => self.refused = Some(busy),
            }
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// A block of 30 M gas may have 80,000 logs, which are 43 MB of JSON, and twice that while it grows.
/// Writes what may be long: as [`crate::json`], with memory for it while it is written, beside so
/// many bytes that the work holds for it.
///
/// # Errors
/// There is no room for it.
pub fn json_within(memory: &MemoryAccount, beside: usize, value: &impl Serialize) -> RpcResult {
    let max = memory.answer_max().saturating_sub(beside);
    let (text, claim) = (Vec::new(), memory.claim_anyway(0));
    let mut written = ClaimedText { memory, max, text, claim, length: 0, refused: None };
    let done = serde_json::to_writer(&mut written, value);
    if let Some(busy) = written.refused {
        return Err(busy);
    }
    let json = done.ok().and_then(|()| {
        let text = String::from_utf8(written.text).ok()?;
        RawValue::from_string(text).ok()
    });
    json.ok_or_else(|| RpcError::Internal("an answer is no JSON".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_long_answer_is_claimed_while_it_is_written() {
        let memory = MemoryAccount::new(1 << 20);
        let list = vec!["0123456789"; 10_000];
        let written = json_within(&memory, 0, &list).unwrap();
        assert_eq!(written.get(), json(&list).unwrap().get());
        let held = memory.claim_anyway(1 << 19);
        let refused = json_within(&memory, 0, &list).unwrap_err();
        assert!(matches!(refused, RpcError::Busy(_)), "{refused}");
        assert_eq!(json_within(&memory, 0, &"short").unwrap().get(), "\"short\"");
        // More than could be held if nobody held anything: by itself, or beside what it is made of.
        let long = vec!["0123456789"; 100_000];
        for (beside, value) in [(0, &long), (memory.answer_max() - 100_000, &list)] {
            let refused = json_within(&memory, beside, value).unwrap_err();
            assert!(matches!(refused, RpcError::TooLarge(_)), "{refused}");
        }
        drop(held);
        let refused = json_within(&memory, 0, &long).unwrap_err();
        assert!(matches!(refused, RpcError::TooLarge(_)), "{refused}");
        assert_eq!(memory.used(), 0);
    }
}
