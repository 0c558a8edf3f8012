//! Calldata of the contracts' functions, by the ABI of their artifacts: well formed, or not quite.

use serde::Deserialize;

use super::values::Values;

/// A function of a contract.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Function {
    #[serde(default)]
    pub name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    inputs: Vec<Input>,
    #[serde(default)]
    state_mutability: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Input {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The functions of an artifact.
pub(super) fn functions(artifact: &str) -> Vec<Function> {
    #[derive(Deserialize)]
    struct Artifact {
        abi: Vec<Function>,
    }
    let artifact: Artifact = serde_json::from_str(artifact).expect("a checked-in artifact");
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

    /// A call that the function can decode.
    pub(super) fn call(&self, values: &mut Values) -> Vec<u8> {
        let (mut heads, mut tails) = (Vec::new(), Vec::new());
        for Input { name, kind } in &self.inputs {
            let tail = match (kind.as_str(), kind.strip_suffix("[]")) {
                ("bytes", _) => padded(values.bytes(name)),
                ("string", _) => padded(values.text(name)),
                (_, Some(item)) => {
                    let items: Vec<[u8; 32]> =
                        (0..values.length()).map(|_| values.word(name, item)).collect();
                    [number(items.len()).to_vec(), items.concat()].concat()
                }
                (word, None) => {
                    heads.extend(values.word(name, word));
                    continue;
                }
            };
            heads.extend(number(32 * self.inputs.len() + tails.len()));
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

fn number(value: usize) -> [u8; 32] {
    alloy_primitives::U256::from(value).to_be_bytes()
}

/// The length, and the bytes up to the end of their last word.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = number(bytes.len());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    [length.to_vec(), bytes].concat()
}
