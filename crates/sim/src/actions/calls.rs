//! Calldata of the contracts' functions, by the ABI of their artifacts: well formed, or not quite.
//! Its values are those that exist, those at the limits, and those that are none.

use alloy_primitives::U256;
use serde::Deserialize;
use trefoil_crypto::SecretKey;
use trefoil_types::{Address, B256, Height, keccak256};

use super::secret;

/// A sequence of numbers that follows from its seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// The numbers of the secrets in a walk: of consensus, peer and CA keys.
pub(super) const VALIDATOR_KEYS: std::ops::Range<u8> = 1..12;
pub(super) const PEER_KEYS: std::ops::Range<u8> = 101..110;
pub(super) const CA_KEYS: std::ops::Range<u8> = 201..209;

/// What arguments are made of.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub dice: Dice,
    pub accounts: Vec<Address>,
    /// Those that are more often than others guardian, administrator or recovery key.
    pub officers: Vec<Address>,
    pub names: Vec<String>,
    pub network: B256,
    /// Of the block to come.
    pub height: Height,
    pub time: u64,
    /// Of proposals, the newest.
    pub proposals: u64,
    /// Calls that a decision may carry out.
    pub actions: Vec<Function>,
}

impl Values {
    /// The length of a list.
    pub(super) fn length(&mut self) -> usize {
        match self.dice.below(12) {
            0 => self.dice.one(&[4, 5, 15, 16, 17, 64, 65]),
            _ => self.dice.below(4),
        }
    }

    pub(super) fn noise(&mut self, most: usize) -> Vec<u8> {
        (0..self.dice.below(most + 1)).map(|_| self.dice.next() as u8).collect()
    }

    pub(super) fn secret(&mut self, keys: std::ops::Range<u8>) -> SecretKey {
        secret(keys.start + self.dice.below(keys.len()) as u8)
    }

    /// A word for an argument by its name and type.
    pub(super) fn word(&mut self, name: &str, kind: &str) -> [u8; 32] {
        if self.dice.once_in(200) {
            // More bits than the type has.
            return self.noise_word();
        }
        match kind {
            "address" => self.account_for(name).into_word().0,
            "bool" => self.small(2).to_be_bytes(),
            "bytes32" => self.key(name),
            _ => {
                let bits: usize = kind.trim_start_matches("uint").parse().unwrap_or(256);
                let value = self.number(name, bits);
                let unused = 256 - bits;
                ((value << unused) >> unused).to_be_bytes()
            }
        }
    }

    fn account_for(&mut self, name: &str) -> Address {
        let office = matches!(name, "guardian" | "account" | "accounts" | "senders");
        if office && self.dice.once_in(2) { self.dice.one(&self.officers) } else { self.account() }
    }

    pub(super) fn account(&mut self) -> Address {
        match self.dice.below(24) {
            0 => Address::from_slice(&self.noise_word()[12..]),
            // Precompiles, and words of organisations.
            1 => Address::with_last_byte(self.dice.below(20) as u8),
            _ => self.dice.one(&self.accounts),
        }
    }

    fn key(&mut self, name: &str) -> [u8; 32] {
        let keys = match name {
            "peer" => PEER_KEYS,
            "validatorKey" | "absent" | "equivocators" | "failed" => VALIDATOR_KEYS,
            "caKeys" => CA_KEYS,
            _ => self.dice.one(&[VALIDATOR_KEYS, PEER_KEYS, CA_KEYS]),
        };
        match self.dice.below(30) {
            0 => self.noise_word(),
            1 => self.dice.one(&[[0; 32], [0xff; 32], number_word(1)]),
            2 => self.secret(VALIDATOR_KEYS).public().0.0,
            _ => self.secret(keys).public().0.0,
        }
    }

    fn number(&mut self, name: &str, bits: usize) -> U256 {
        if self.dice.once_in(14) {
            return self.edge(bits);
        }
        match name {
            "id" if bits == 256 => U256::from(self.near(self.proposals)),
            "id" | "organisation" => U256::ONE + self.small(4),
            "threshold" | "role" | "kind" | "version" | "count" => self.small(4),
            "granted" => self.small(4),
            "power" => self.pick(&[1, 1, 2, 50, 100, 300, 1 << 53, 1 << 59, 1 << 60]),
            "from" | "until" | "height" => match self.dice.below(3) {
                0 => U256::ZERO,
                1 => U256::from(self.near(self.height)),
                _ => U256::from(self.near(self.height + 100)),
            },
            "blocks" => self.pick(&[1, 1, 2, 3, 10, 100, 9_999, 10_000, 10_001]),
            "delay" => self.pick(&[0, 0, 1, 60, 86_400, 2_592_000, 2_592_001]),
            "gasLimit" => {
                let limits = [999_999, 1_000_000, 5_000_000, 30_000_000, 600_000_000, 600_000_001];
                self.pick(&limits)
            }
            "minBaseFee" => self.pick(&[0, 1, 7, 1 << 30, 1_000_000_000_000]),
            "value" => {
                let values = [0, 24_576, 24_575, 65_536, 16_777_216, 16_777_215, 600_000_000, 7];
                self.pick(&values)
            }
            "numerator" => self.pick(&[0, 1, 1, 2, 2, 3, 65_534]),
            "denominator" => self.pick(&[0, 1, 2, 2, 3, 3, 4, 65_535]),
            "amount" => self.wei(),
            _ => self.edge(bits),
        }
    }

    /// An amount of coins: none, about a stake, all.
    pub(super) fn wei(&mut self) -> U256 {
        let ether = U256::from(1_000_000_000_000_000_000_u64);
        match self.dice.below(5) {
            0 => U256::ZERO,
            1 => U256::from(self.near(2)),
            2 => ether * U256::from(self.dice.below(40)),
            3 => ether * U256::from(1 << self.dice.below(26)) + self.small(2),
            _ => ether,
        }
    }

    /// A number at a limit.
    fn edge(&mut self, bits: usize) -> U256 {
        let some = self.dice.below(bits) + 1;
        let one = U256::ONE;
        let (power, most) = ((one << (some - 1)), U256::MAX >> (256 - bits));
        let near = [8, 16, 17, 32, 64, 65, 128, 129, 256, 257, 16_384, 16_385].map(U256::from);
        match self.dice.below(8) {
            0 => U256::ZERO,
            1 => most,
            2 => most - self.small(3),
            3 => power,
            4 => power - one,
            5 => U256::from(self.near(self.time)),
            6 => self.dice.one(&near),
            _ => self.small(7),
        }
    }

    fn pick(&mut self, of: &[u64]) -> U256 {
        U256::from(self.dice.one(of))
    }

    fn small(&mut self, bound: usize) -> U256 {
        U256::from(self.dice.below(bound))
    }

    fn near(&mut self, number: u64) -> u64 {
        (number + self.dice.below(4) as u64).saturating_sub(2)
    }

    fn noise_word(&mut self) -> [u8; 32] {
        keccak256(self.dice.next().to_be_bytes()).0
    }

    /// A text: a name that exists or may be, or none.
    pub(super) fn text(&mut self, name: &str) -> Vec<u8> {
        let wrong: [&[u8]; 10] = [
            b"",
            b"12",
            b"a b",
            b"0123456789012345678901234567890a",
            b"0123456789012345678901234567890ab",
            b"\xff\xfe",
            b"a\0b",
            "Größe".as_bytes(),
            b"\x1b[2J",
            &[b'x'; 300],
        ];
        let rules =
            ["code-size", "tx-gas", "Code-Size", "prague", "osaka", "Osaka", "cancun", "blobs"];
        match self.dice.below(16) {
            0 => self.dice.one(&wrong).to_vec(),
            1 => self.noise(40),
            2 => rules[self.dice.below(rules.len())].into(),
            _ if name == "name" && self.dice.once_in(2) => {
                // Those that a node knows more often than others, which end it.
                rules[self.dice.below(2)].into()
            }
            _ => self.dice.one(&self.names).into_bytes(),
        }
    }

    /// A string of bytes: an action, a signature, or nothing of the kind.
    pub(super) fn bytes(&mut self, name: &str) -> Vec<u8> {
        match name {
            _ if self.dice.once_in(8) => self.noise(100),
            "action" => {
                let action = self.dice.one(&self.actions);
                action.call(self)
            }
            "proof" | "signature" => vec![self.dice.next() as u8; self.dice.one(&[63, 64, 65])],
            _ => self.noise(300),
        }
    }
}

fn number_word(value: u64) -> [u8; 32] {
    U256::from(value).to_be_bytes()
}

/// A function of a contract.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Function {
    #[serde(default)]
    pub name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    inputs: Vec<Argument>,
    #[serde(default)]
    state_mutability: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Argument {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The functions of an artifact.
pub(super) fn functions(artifact: &str) -> Vec<Function> {
    #[derive(Deserialize)]
    struct AbiFile {
        abi: Vec<Function>,
    }
    let artifact: AbiFile = serde_json::from_str(artifact).expect("a checked-in artifact");
    artifact.abi.into_iter().filter(|function| function.kind == "function").collect()
}

impl Function {
    /// Whether it changes nothing.
    pub(super) fn reads(&self) -> bool {
        matches!(self.state_mutability.as_str(), "view" | "pure")
    }

    pub(super) fn is_payable(&self) -> bool {
        self.state_mutability == "payable"
    }

    fn selector(&self) -> [u8; 4] {
        let kinds: Vec<&str> = self.inputs.iter().map(|input| input.kind.as_str()).collect();
        let signature = format!("{}({})", self.name, kinds.join(","));
        let hash = trefoil_types::keccak256(signature);
        hash[..4].try_into().expect("four of 32 bytes")
    }

    /// Some input of a call: mostly one that the function can decode.
    pub(super) fn input(&self, values: &mut Values) -> Vec<u8> {
        match values.dice.below(10) {
            0 => values.noise(200),
            1 => self.nonsense(values),
            2 => self.damaged(values),
            _ => self.call(values),
        }
    }

    /// A call that the function can decode.
    pub(super) fn call(&self, values: &mut Values) -> Vec<u8> {
        let (mut heads, mut tails) = (Vec::new(), Vec::new());
        for Argument { name, kind } in &self.inputs {
            let tail = match (kind.as_str(), kind.strip_suffix("[]")) {
                ("bytes", _) => padded(values.bytes(name)),
                ("string", _) => padded(values.text(name)),
                (_, Some(item)) => {
                    let items: Vec<[u8; 32]> =
                        (0..values.length()).map(|_| values.word(name, item)).collect();
                    [length_word(items.len()).to_vec(), items.concat()].concat()
                }
                (word, None) => {
                    heads.extend(values.word(name, word));
                    continue;
                }
            };
            heads.extend(length_word(32 * self.inputs.len() + tails.len()));
            tails.extend(tail);
        }
        [self.selector().to_vec(), heads, tails].concat()
    }

    /// Its selector, and words that mean nothing.
    pub(super) fn nonsense(&self, values: &mut Values) -> Vec<u8> {
        let words = (0..values.length()).flat_map(|_| values.word("", "bytes32"));
        let words: Vec<u8> = words.collect();
        [self.selector().to_vec(), words].concat()
    }

    /// A call in which something is wrong: an offset, a length, a byte, the end.
    pub(super) fn damaged(&self, values: &mut Values) -> Vec<u8> {
        let mut call = self.call(values);
        let words = (call.len() - 4) / 32;
        match values.dice.below(4) {
            0 => call.truncate(values.dice.below(call.len() + 1)),
            1 => call.extend(values.noise(200)),
            2 if words > 0 => {
                let at = 4 + 32 * values.dice.below(words);
                call[at..at + 32].copy_from_slice(&values.word("", "uint256"));
            }
            _ => {
                let at = values.dice.below(call.len());
                call[at] ^= 1 << values.dice.below(8);
            }
        }
        call
    }
}

fn length_word(value: usize) -> [u8; 32] {
    alloy_primitives::U256::from(value).to_be_bytes()
}

/// The length, and the bytes up to the end of their last word.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = length_word(bytes.len());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    [length.to_vec(), bytes].concat()
}
