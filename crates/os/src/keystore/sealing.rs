//! Keys that content is sealed to: X25519, written as age writes them
//! (<https://c2sp.org/age>, "The X25519 recipient type").

use std::{fmt, str::FromStr};

use age::{secrecy::ExposeSecret as _, x25519};
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

/// The public half, whose text is `age1…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealingKey(pub [u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealing key is age1 and 58 letters and digits; `trefoil keys list` shows a node's")]
pub struct SealingKeyError;

impl SealingKey {
    pub fn of(secret: &[u8; 32]) -> Self {
        identity(secret).to_public().to_string().parse().expect("age writes what it reads")
    }

    pub fn recipient(self) -> x25519::Recipient {
        self.to_string().parse().expect("any 32 bytes are one")
    }
}

impl fmt::Display for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode("age", &self.0))
    }
}

impl FromStr for SealingKey {
    type Err = SealingKeyError;

    fn from_str(text: &str) -> Result<Self, SealingKeyError> {
        // Its checks are stricter than bech32's own.
        text.parse::<x25519::Recipient>().map_err(|_| SealingKeyError)?;
        let (_, bytes) = bech32::decode(text).map_err(|_| SealingKeyError)?;
        bytes.try_into().map(Self).map_err(|_| SealingKeyError)
    }
}

/// The secret half, as age takes it.
pub fn identity(secret: &[u8; 32]) -> x25519::Identity {
    // age has no constructor from bytes, so the secret passes through its text.
    let text = Zeroizing::new(encode("age-secret-key-", secret).to_ascii_uppercase());
    text.parse().expect("any 32 bytes are one")
}

/// The secret half, as the age tools read it.
pub fn secret_text(secret: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(identity(secret).to_string().expose_secret().to_owned())
}

/// The secret half, out of what the age tools write.
pub fn secret(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    text.parse::<x25519::Identity>().ok()?;
    let bytes = Zeroizing::new(bech32::decode(text).ok()?.1);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

fn encode(kind: &str, bytes: &[u8; 32]) -> String {
    let kind = Hrp::parse(kind).expect("it is in lower case");
    bech32::encode::<Bech32>(kind, bytes).expect("it is short")
}
