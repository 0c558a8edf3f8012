//! A request's parameters. Their readers are hand-written, so that an error describes
//! the parameter and never this program's types.

use std::{fmt::Display, net::IpAddr, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, value::RawValue};
use trefoil_types::Height;

use crate::{
    RpcError, RpcResult,
    memory::{Claim, MemoryAccount},
};

// serde_json keeps a value in 32 bytes and lets a list grow to twice its length; an object takes
// a node of 11 entries of 56 bytes each. `[[],[],…` is 20 times, `[{"":0},…` 90 times its text.
/// What a parsed value takes besides its text, bytes.
const VALUE_BYTES: usize = 64;
/// What a parsed object takes besides that, bytes.
const OBJECT_BYTES: usize = 640;

/// Positional parameters. Absent, `null` and `[]` are the same; trailing ones
/// may be absent or `null`.
#[derive(Clone, Debug, Default)]
pub struct Params {
    values: Vec<Value>,
    /// What they hold, as long as anybody works on them.
    claim: Option<Arc<Claim>>,
    /// Where their caller's connection comes from, if it has one: work is shared by it.
    pub source: Option<IpAddr>,
}

/// What JSON text takes at most when it is parsed, and when a reader has made of it what it means.
fn parsed_bytes(text: &str) -> usize {
    let sizes = text.bytes().map(|byte| match byte {
        b',' | b'[' => VALUE_BYTES,
        b'{' => OBJECT_BYTES,
        _ => 0,
    });
    2 * (text.len() + sizes.sum::<usize>())
}

impl Params {
    /// As [`Params::parse`], of a caller from `source`, with what they hold claimed first.
    ///
    /// # Errors
    /// As there; or there is no room for them.
    pub fn parse_within(
        (memory, source): (&MemoryAccount, Option<IpAddr>),
        raw: Option<&RawValue>,
        max: usize,
    ) -> RpcResult<Self> {
        let claim = memory.claim(raw.map_or(0, |raw| parsed_bytes(raw.get())))?;
        Ok(Self { claim: Some(Arc::new(claim)), source, ..Self::parse(raw, max)? })
    }

    /// # Errors
    /// Something other than a list, or more than `max` of them.
    pub fn parse(raw: Option<&RawValue>, max: usize) -> RpcResult<Self> {
        let Some(raw) = raw else { return Ok(Self::default()) };
        let values = match serde_json::from_str(raw.get()) {
            Ok(Value::Null) => vec![],
            Ok(Value::Array(values)) => values,
            _ => return Err(RpcError::InvalidParams("params must be a list".into())),
        };
        if values.len() > max {
            let text = format!("too many arguments, want at most {max}");
            return Err(RpcError::InvalidParams(text));
        }
        Ok(Self { values, ..Self::default() })
    }

    /// What may be kept of them: the values, or what they mean, but not both.
    pub fn bytes(&self) -> usize {
        self.claim.as_ref().map_or(0, |claim| claim.bytes() / 2)
    }

    /// The account that they are claimed of.
    pub fn account(&self) -> Option<&MemoryAccount> {
        self.claim.as_ref().map(|claim| claim.account())
    }

    /// # Errors
    /// The parameter is absent or wrong.
    pub fn get<T: Arg>(&self, at: usize) -> RpcResult<T> {
        self.opt(at)?.ok_or_else(|| missing(at))
    }

    /// # Errors
    /// The parameter is wrong; absent is fine.
    pub fn opt<T: Arg>(&self, at: usize) -> RpcResult<Option<T>> {
        optional(self.values.get(at), format_args!("invalid argument {at}"))
            .map_err(RpcError::InvalidParams)
    }

    /// A parameter with a shape of its own. `wants` describes it in an error.
    ///
    /// # Errors
    /// The parameter is wrong; absent is fine.
    pub fn shaped<T: DeserializeOwned>(&self, at: usize, wants: &str) -> RpcResult<Option<T>> {
        let wrong = |_| RpcError::InvalidParams(format!("invalid argument {at}: {wants}"));
        self.value(at).map(T::deserialize).transpose().map_err(wrong)
    }

    /// An object of our own, which its type describes.
    ///
    /// # Errors
    /// The parameter is absent or wrong.
    pub fn object<T: DeserializeOwned>(&self, at: usize) -> RpcResult<T> {
        let value = self.value(at).ok_or_else(|| missing(at))?;
        T::deserialize(value).map_err(|error| RpcError::InvalidParams(error.to_string()))
    }

    fn value(&self, at: usize) -> Option<&Value> {
        self.values.get(at).filter(|value| !value.is_null())
    }
}

fn missing(at: usize) -> RpcError {
    RpcError::InvalidParams(format!("missing value for required argument {at}"))
}

/// A type that a parameter can be read as. The error describes the fault.
pub trait Arg: Sized {
    fn parse(value: &Value) -> Result<Self, String>;
}

/// A member of an object; absent and `null` are the same.
pub fn member<T: Arg>(object: &Map<String, Value>, key: &str) -> Result<Option<T>, String> {
    optional(object.get(key), key)
}

/// A value that may be absent; an error begins with `name`.
fn optional<T: Arg>(value: Option<&Value>, name: impl Display) -> Result<Option<T>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::parse(value).map(Some).map_err(|why| format!("{name}: {why}")),
    }
}

/// The digits after `0x`.
fn digits(value: &Value) -> Result<&str, String> {
    let text = value.as_str().ok_or_else(|| format!("want a hex string, got {}", kind(value)))?;
    text.strip_prefix("0x").ok_or_else(|| "hex string without 0x prefix".into())
}

/// JSON's name for the type of `value`.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Exactly `N` bytes of hex.
fn fixed<const N: usize>(value: &Value, what: &str) -> Result<[u8; N], String> {
    let digits = digits(value)?;
    // Not padded: a shortened address or hash is a mistake, and padded it would name another
    // one.
    if digits.len() != 2 * N {
        return Err(format!("hex string has length {}, want {} for {what}", digits.len(), 2 * N));
    }
    hex::decode_to_array(digits).map_err(|_| "invalid hex string".into())
}

impl Arg for Value {
    fn parse(value: &Value) -> Result<Self, String> {
        Ok(value.clone())
    }
}

// A reader that took a copy of each object on its way down would take many times what is claimed.
/// An object where it is.
pub fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("want an object, got {}", kind(value)))
}

impl Arg for Map<String, Value> {
    fn parse(value: &Value) -> Result<Self, String> {
        object(value).cloned()
    }
}

impl Arg for bool {
    fn parse(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| format!("want true or false, got {}", kind(value)))
    }
}

impl Arg for f64 {
    fn parse(value: &Value) -> Result<Self, String> {
        value.as_f64().ok_or_else(|| format!("want a number, got {}", kind(value)))
    }
}

impl Arg for String {
    fn parse(value: &Value) -> Result<Self, String> {
        Ok(value.as_str().ok_or_else(|| format!("want a string, got {}", kind(value)))?.to_owned())
    }
}

impl Arg for Address {
    fn parse(value: &Value) -> Result<Self, String> {
        fixed(value, "an address").map(Self::new)
    }
}

impl Arg for B256 {
    fn parse(value: &Value) -> Result<Self, String> {
        fixed(value, "a hash").map(Self::new)
    }
}

impl Arg for Bytes {
    fn parse(value: &Value) -> Result<Self, String> {
        let digits = digits(value)?;
        if digits.len() % 2 == 1 {
            return Err("hex string of odd length".into());
        }
        hex::decode(digits).map(Self::from).map_err(|_| "invalid hex string".into())
    }
}

/// A quantity: hex, or a JSON number as some clients send it.
impl Arg for U256 {
    fn parse(value: &Value) -> Result<Self, String> {
        if let Some(number) = value.as_u64() {
            return Ok(Self::from(number));
        }
        match digits(value)? {
            "" => Err("hex string \"0x\" is no number; zero is \"0x0\"".into()),
            digits if !digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Err("invalid hex string".into())
            }
            digits => Self::from_str_radix(digits, 16)
                .map_err(|_| "number is larger than 256 bits".into()),
        }
    }
}

impl Arg for u64 {
    fn parse(value: &Value) -> Result<Self, String> {
        U256::parse(value)?.try_into().map_err(|_| "number is larger than 64 bits".into())
    }
}

impl Arg for u128 {
    fn parse(value: &Value) -> Result<Self, String> {
        U256::parse(value)?.try_into().map_err(|_| "number is larger than 128 bits".into())
    }
}

impl Arg for usize {
    fn parse(value: &Value) -> Result<Self, String> {
        u64::parse(value)?.try_into().map_err(|_| "number is too large".into())
    }
}

impl<T: Arg> Arg for Vec<T> {
    fn parse(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| format!("want a list, got {}", kind(value)))?;
        list.iter().map(T::parse).collect()
    }
}

/// Which block a caller means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRef {
    /// `latest`, `safe` and `finalized`: all the same, a final block.
    Latest,
    Pending,
    Number(Height),
    Hash(B256),
}

/// A tag, a number, a hash, or an object with either (EIP-1898).
impl Arg for BlockRef {
    fn parse(value: &Value) -> Result<Self, String> {
        if let Some(object) = value.as_object() {
            let (number, hash) = (member(object, "blockNumber")?, member(object, "blockHash")?);
            return match (number, hash) {
                (Some(number), None) => Ok(number),
                (None, Some(hash)) => Ok(Self::Hash(hash)),
                (Some(_), Some(_)) => {
                    Err("cannot specify both blockHash and blockNumber, choose one".into())
                }
                (None, None) => Err("want blockNumber or blockHash".into()),
            };
        }
        match value.as_str() {
            Some("latest" | "safe" | "finalized") => Ok(Self::Latest),
            Some("pending") => Ok(Self::Pending),
            Some("earliest") => Ok(Self::Number(0)),
            // No height has so many digits.
            Some(text) if text.len() == 66 => B256::parse(value).map(Self::Hash),
            Some(_) => u64::parse(value).map(Self::Number),
            None => Err(format!("want a block number, tag or hash, got {}", kind(value))),
        }
    }
}

/// A storage slot's key: up to 32 bytes of hex, an odd number of digits too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageKey {
    pub key: B256,
    /// Whether it was written with all its 64 digits.
    pub whole: bool,
}

impl Arg for StorageKey {
    fn parse(value: &Value) -> Result<Self, String> {
        let digits = digits(value)?;
        if digits.len() > 64 {
            return Err(format!("storage key too long (want at most 32 bytes): {value}"));
        }
        let key = hex::decode_to_array(format!("{digits:0>64}"))
            .map_err(|_| format!("invalid hex in storage key: {value}"))?;
        Ok(Self { key: B256::new(key), whole: digits.len() == 64 })
    }
}
