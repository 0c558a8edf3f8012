//! The devnet's line: where the network stands, refreshed in place on a
//! terminal, a plain line every few seconds elsewhere.

use std::{
    collections::VecDeque,
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};
use trefoil_os::clock;

use crate::chain_client::client::Client;

// The default block interval: the line moves with each block.
/// How often the nodes are asked.
const POLL: Duration = Duration::from_millis(500);

// A log of a day is 17,000 lines then.
/// Between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

// About twenty blocks at the default interval; on an idle chain, ten.
/// Rates are of the blocks of this time, or of the newest two.
const WINDOW: Duration = Duration::from_secs(10);

pub struct Live {
    view: Arc<Mutex<DevnetStatus>>,
    poller: JoinHandle<()>,
    terminal: bool,
    shown: Instant,
    /// The text on the terminal's line now.
    line: String,
}

/// The newest answers of the nodes.
#[derive(Debug, Default)]
struct DevnetStatus {
    nodes: usize,
    /// The start of this run: the pace of older blocks is another run's.
    since_ms: u64,
    /// Of the nodes that answer.
    answers: Vec<Value>,
    blocks: VecDeque<BlockSample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockSample {
    height: u64,
    txs: u64,
    committed_ms: u64,
}

impl Live {
    /// Polls the nodes at `addresses` from now on.
    pub fn new(addresses: impl Iterator<Item = SocketAddr>) -> Self {
        let clients: Vec<Client> =
            addresses.map(|address| Client::new(&address.to_string())).collect();
        let view = Arc::new(Mutex::new(DevnetStatus {
            nodes: clients.len(),
            since_ms: clock::wall().0,
            ..DevnetStatus::default()
        }));
        let poller = tokio::spawn(poll(clients, view.clone()));
        let terminal = std::io::stdout().is_terminal();
        // The first plain line comes soon, the terminal's at once.
        let shown = Instant::now() - PLAIN_EVERY + Duration::from_secs(2);
        Self { view, poller, terminal, shown, line: String::new() }
    }

    /// Prints a line of its own above the live one.
    pub fn print(&mut self, text: &str) {
        self.clear();
        println!("{text}");
    }

    /// Shows the newest view, if it is time.
    pub fn refresh(&mut self) {
        let every = if self.terminal { POLL } else { PLAIN_EVERY };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let line = self.view.lock().expect("no holder panics").line();
        if self.terminal {
            self.clear();
            print!("{line}");
        } else {
            println!("{line}");
        }
        // A stdout that is gone is no reason to end the nodes.
        let _ = std::io::stdout().flush();
        self.line = line;
    }

    fn clear(&mut self) {
        if self.terminal && !self.line.is_empty() {
            // Back to the first column; erase the line (ECMA-48 EL).
            print!("\r\x1b[2K");
            self.line.clear();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

async fn poll(clients: Vec<Client>, view: Arc<Mutex<DevnetStatus>>) {
    let mut every = tokio::time::interval(POLL);
    // A slow answer must not make a burst of polls.
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let asked = clients.iter().map(|client| client.call("trefoil_status", json!([])));
        let answers: Vec<_> = futures::future::join_all(asked).await;
        let best = answers
            .iter()
            .zip(&clients)
            .filter_map(|(answer, client)| Some((answer.as_ref().ok()?, client)))
            .max_by_key(|(answer, _)| answer["height"].as_u64());
        let block = match best {
            Some((answer, client)) => newest(client, answer).await,
            None => None,
        };
        let answers = answers.into_iter().filter_map(Result::ok).collect();
        view.lock().expect("no holder panics").update(answers, block);
    }
}

/// The tip of the node that is farthest.
async fn newest(client: &Client, status: &Value) -> Option<BlockSample> {
    let height = status["height"].as_u64()?;
    let params = json!([format!("{height:#x}")]);
    let count = client.call("eth_getBlockTransactionCountByNumber", params).await.ok()?;
    let txs = u64::from_str_radix(count.as_str()?.strip_prefix("0x")?, 16).ok()?;
    Some(BlockSample { height, txs, committed_ms: status["committedAtMs"].as_u64()? })
}

impl DevnetStatus {
    fn update(&mut self, answers: Vec<Value>, block: Option<BlockSample>) {
        self.answers = answers;
        let last = self.blocks.back().map_or(0, |last| last.height);
        // A tip that is seen twice would count twice in the rate.
        let new = |block: &BlockSample| block.height > last && block.committed_ms >= self.since_ms;
        if let Some(block) = block.filter(new) {
            self.blocks.push_back(block);
            let window = WINDOW.as_millis() as u64;
            while self.blocks.len() > 2 && self.blocks[0].committed_ms + window < block.committed_ms
            {
                self.blocks.pop_front();
            }
        }
    }

    fn line(&self) -> String {
        let least = |key: &str| {
            self.answers.iter().filter_map(|answer| answer[key].as_u64()).min().unwrap_or(0)
        };
        let Some(tip) = self.answers.iter().max_by_key(|answer| answer["height"].as_u64()) else {
            return format!("starting: 0 of {} nodes answer", self.nodes);
        };
        let lowest = least("height");
        let (height, signers, validators) = (&tip["height"], &tip["signers"], &tip["validators"]);
        let behind = match height.as_u64().unwrap_or(0) - lowest {
            // One block apart is normal: the nodes are asked at slightly different times.
            0 | 1 => String::new(),
            _ => format!(" (lowest {lowest})"),
        };
        let pending = self.answers.iter().filter_map(|a| a["pool"]["pending"].as_u64()).max();
        let (interval, rate) = self.rates();
        format!(
            "height {height}{behind}  {interval}  {signers}/{validators} signing  {}/{} nodes up  peers {}  pending {}  {rate:.0} tx/s",
            self.answers.len(),
            self.nodes,
            least("peers"),
            pending.unwrap_or(0),
        )
    }

    /// The time between blocks, and transactions a second. Blocks that came
    /// between two polls count by the one that was seen.
    fn rates(&self) -> (String, f64) {
        let (Some(first), Some(last)) = (self.blocks.front(), self.blocks.back()) else {
            return ("-".into(), 0.0);
        };
        let seconds = last.committed_ms.saturating_sub(first.committed_ms) as f64 / 1000.0;
        let blocks = last.height - first.height;
        if blocks == 0 || seconds == 0.0 {
            return ("-".into(), 0.0);
        }
        let seen = self.blocks.len() as f64 - 1.0;
        let txs: u64 = self.blocks.iter().skip(1).map(|block| block.txs).sum();
        (
            format!("{:.2} s/block", seconds / blocks as f64),
            txs as f64 * blocks as f64 / seen / seconds,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_height_interval_and_rate() {
        let mut view = DevnetStatus { nodes: 4, ..DevnetStatus::default() };
        assert_eq!(view.line(), "starting: 0 of 4 nodes answer");
        let status = |height: u64| json!({ "height": height, "signers": 3, "validators": 4, "peers": 2, "pool": { "pending": 7 } });
        for (height, txs) in [(5, 9), (6, 100), (8, 200)] {
            let block = BlockSample { height, txs, committed_ms: height * 500 };
            view.update(vec![status(height), status(5)], Some(block));
        }
        let line = view.line();
        for part in [
            "height 8 (lowest 5)",
            "0.50 s/block",
            "3/4 signing",
            "2/4 nodes up",
            "peers 2",
            "pending 7",
        ] {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
        }
        // Two blocks seen of three, 300 transactions in them, 1.5 s.
        assert!(line.ends_with("300 tx/s"), "{line}");
        // The same tip again changes nothing.
        let block = BlockSample { height: 8, txs: 200, committed_ms: 4000 };
        view.update(vec![status(8)], Some(block));
        assert_eq!(view.blocks.len(), 3);
    }
}
