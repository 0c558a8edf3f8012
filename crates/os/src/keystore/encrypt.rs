//! Secrets into the text of Web3 Secret Storage, version 3: scrypt, AES-128-CTR, keccak256.

use aes::Aes128;
use alloy_primitives::{hex, keccak256};
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use rand_08::{RngCore as _, rngs::OsRng};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// What each guess of a key file's password costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScryptCost {
    /// That of geth and of the standard's examples, N = 262144: 256 MiB, and about a second.
    #[default]
    Standard,
    // For passwords that are public or long and random: devnets, tests.
    /// geth's `--lightkdf`, but N = 8192: 8 MiB, 25 ms.
    Light,
}

impl ScryptCost {
    const fn log_n(self) -> u8 {
        match self {
            Self::Standard => 18,
            Self::Light => 13,
        }
    }
}

const R: u32 = 8;
const P: u32 = 1;
const KEY_BYTES: usize = 32;

/// The keystore's JSON.
pub fn encrypt(secret: &[u8; 32], password: &str, cost: ScryptCost) -> Value {
    let (salt, iv, mut id) = (random::<32>(), random::<16>(), random::<16>());
    let params = scrypt::Params::new(cost.log_n(), R, P, KEY_BYTES).expect("they are in range");
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    scrypt::scrypt(password.as_bytes(), &salt, &params, &mut *key).expect("32 bytes are a key");
    let mut text = *secret;
    let cipher = Ctr128BE::<Aes128>::new_from_slices(&key[..16], &iv);
    cipher.expect("a key and an iv of 16 bytes").apply_keystream(&mut text);
    let mac = keccak256([&key[16..], &text].concat());
    // A random UUID (RFC 9562, version 4).
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let id = hex::encode(id);
    json!({
        "version": 3,
        "id": format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": hex::encode(iv) },
            "ciphertext": hex::encode(text),
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": KEY_BYTES,
                "n": 1u32 << cost.log_n(),
                "p": P,
                "r": R,
                "salt": hex::encode(salt),
            },
            "mac": hex::encode(mac),
        },
    })
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}
