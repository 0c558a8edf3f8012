//! `trefoil connect`: ready snippets for wallets and tools.
//!
//! A chain of short blocks feels slow to a client that rarely polls, and most
//! defaults are made for 12-second blocks (4 s). So each snippet states the chain
//! id and a polling interval that fits the block interval.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use trefoil_host::logging;

use super::block_on::block_on;
use crate::{chain_client::client::Client, error::CommandError};

// `trefoil devnet` has the same defaults.
/// The chain id and block interval of a devnet, for a node that is not up.
const CHAIN_ID: u64 = 7331;
const BLOCK_INTERVAL_MS: u64 = 500;
// hardhat-viem polls a development node this often. It binds for blocks under 250 ms.
/// Polls are not made more often than this, milliseconds.
const POLL_MS_MIN: u64 = 50;

/// A wallet or tool that speaks Ethereum's JSON-RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    Cast,
    Ethers,
    Viem,
    Web3py,
    Hardhat,
    Metamask,
}

#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// The wallet or tool
    tool: Tool,
    /// The node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8545")]
    rpc: String,
}

impl ConnectArgs {
    /// Prints the snippet; with a devnet's values if the node does not answer.
    pub fn run(self) -> Result<(), CommandError> {
        let client = Client::new(&self.rpc);
        let status = block_on(client.call("trefoil_status", json!([])));
        if let Err(error) = &status {
            logging::say(&format!("{error}\nThese are a devnet's values:\n"));
        }
        let chain = ChainParameters::read(client.url(), &status.unwrap_or_default());
        print!("{}", chain.snippet(self.tool));
        Ok(())
    }
}

/// The parameters of a chain that a client must know.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ChainParameters {
    url: String,
    id: u64,
    name: String,
    block_interval_ms: u64,
    gas_free: bool,
}

impl ChainParameters {
    /// From the answer to `trefoil_status`; what it lacks is as on a devnet.
    fn read(url: &str, status: &Value) -> Self {
        Self {
            url: url.into(),
            id: status["chainId"].as_u64().unwrap_or(CHAIN_ID),
            name: status["chain"].as_str().unwrap_or("devnet").into(),
            block_interval_ms: status["blockIntervalMs"].as_u64().unwrap_or(BLOCK_INTERVAL_MS),
            gas_free: status["gasFree"].as_bool().unwrap_or(false),
        }
    }

    /// Five looks a block: on average a tenth of a block late.
    fn poll_ms(&self) -> u64 {
        (self.block_interval_ms / 5).max(POLL_MS_MIN)
    }

    fn socket(&self) -> String {
        self.url.replacen("http", "ws", 1)
    }

    fn snippet(&self, tool: Tool) -> String {
        let text = match tool {
            Tool::Cast => include_str!("connect/cast.txt"),
            Tool::Ethers => include_str!("connect/ethers.txt"),
            Tool::Viem => include_str!("connect/viem.txt"),
            Tool::Web3py => include_str!("connect/web3py.txt"),
            Tool::Hardhat => include_str!("connect/hardhat.txt"),
            Tool::Metamask => include_str!("connect/metamask.txt"),
        };
        // Foundry offers a tip of at least 1 wei unless a price is given.
        let price = if self.gas_free { " --gas-price 0 --priority-gas-price 0" } else { "" };
        let latency = self.poll_ms() as f64 / 1000.0;
        text.replace("{price}", price)
            .replace("{id_hex}", &format!("{:#x}", self.id))
            .replace("{id}", &self.id.to_string())
            .replace("{poll}", &self.poll_ms().to_string())
            .replace("{latency}", &latency.to_string())
            .replace("{block_interval_ms}", &self.block_interval_ms.to_string())
            .replace("{socket}", &self.socket())
            .replace("{url}", &self.url)
            // Last, since the node chose it: braces in it are no placeholders.
            .replace("{name}", &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> ChainParameters {
        let status = json!({
            "chainId": 9, "chain": "acme", "blockIntervalMs": 1000, "gasFree": true
        });
        ChainParameters::read("http://10.0.0.1:8545", &status)
    }

    #[test]
    fn every_snippet_names_the_node_and_the_chain() {
        for tool in Tool::value_variants() {
            let text = chain().snippet(*tool);
            assert!(text.contains("http://10.0.0.1:8545"), "{tool:?}: {text}");
            assert!(text.contains('9'), "{tool:?}: {text}");
            assert!(!text.contains("{{"), "{tool:?}: {text}");
        }
    }

    #[test]
    fn polls_fit_the_block_interval() {
        assert_eq!(chain().poll_ms(), 200);
        assert_eq!(ChainParameters { block_interval_ms: 10, ..chain() }.poll_ms(), POLL_MS_MIN);
        assert!(chain().snippet(Tool::Viem).contains("blockTime: 1000"));
        assert!(chain().snippet(Tool::Web3py).contains("poll_latency=0.2"));
    }

    #[test]
    fn a_gas_free_chain_tells_foundry_so() {
        assert!(chain().snippet(Tool::Cast).contains("--gas-price 0"));
        let paying = ChainParameters { gas_free: false, ..chain() };
        assert!(!paying.snippet(Tool::Cast).contains("--gas-price"));
    }

    #[test]
    fn a_silent_node_leaves_a_devnets_values() {
        let chain = ChainParameters::read("http://127.0.0.1:8545", &Value::Null);
        assert_eq!((chain.id, chain.block_interval_ms), (CHAIN_ID, BLOCK_INTERVAL_MS));
        assert_eq!(chain.socket(), "ws://127.0.0.1:8545");
    }
}
