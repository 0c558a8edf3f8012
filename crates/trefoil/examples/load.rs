//! Puts any Ethereum node or network under load and measures it.
//!
//! Signs beforehand, submits over JSON-RPC to every URL, waits for receipts.
//! A transaction counts as included when the first URL serves its receipt.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_consensus::{TxEip1559, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use clap::{Parser, ValueEnum};
use rayon::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use trefoil::chain_client::account_key::{AccountKey, SignedTx};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(about = "Load any Ethereum network over JSON-RPC and measure it")]
struct Args {
    /// JSON-RPC addresses; transactions are spread over all of them.
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:8545")]
    rpc: Vec<String>,
    /// How many transactions to send.
    #[arg(long, default_value_t = 20_000)]
    txs: usize,
    #[arg(long, value_enum, default_value_t = Kind::Transfer)]
    kind: Kind,
    /// Transactions a second to offer; without it, as many as are taken.
    #[arg(long)]
    rate: Option<f64>,
    /// Accounts that send; each one's transactions follow each other.
    #[arg(long, default_value_t = 400)]
    senders: usize,
    /// Private key of the account that funds the senders.
    #[arg(
        long,
        default_value = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    )]
    funder: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Transfer,
    Erc20,
}

impl Kind {
    /// Gas limit of one transaction.
    const fn gas(self) -> u64 {
        match self {
            Self::Transfer => 21_000,
            Self::Erc20 => 100_000,
        }
    }
}

/// Transactions in one JSON-RPC batch.
const BATCH: usize = 50;
/// Requests under way at once to each URL.
const REQUESTS_PER_URL: usize = 4;
/// Transactions submitted and not yet included, at most, when no rate is given.
const OUTSTANDING_MAX: usize = 20_000;
/// Gives up when no receipt has come for so long.
const PATIENCE: Duration = Duration::from_secs(60);
const ETHER: u128 = 1_000_000_000_000_000_000;

/// One JSON-RPC endpoint.
#[derive(Clone)]
struct Rpc {
    url: String,
    http: reqwest::Client,
}

impl Rpc {
    async fn post(&self, body: &Value) -> Result<Value> {
        Ok(self.http.post(&self.url).json(body).send().await?.json().await?)
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = self.post(&body).await?;
        match answer.get("error") {
            Some(error) => Err(format!("{method}: {error}").into()),
            None => Ok(answer["result"].take()),
        }
    }

    async fn number(&self, method: &str, params: Value) -> Result<u64> {
        quantity(&self.call(method, params).await?)
    }

    /// Submits in one batch; returns for each whether it was taken, or why not.
    async fn submit(&self, txs: &[SignedTx]) -> Result<Vec<std::result::Result<(), String>>> {
        let one = |(id, tx): (usize, &SignedTx)| json!({"jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [tx.raw]});
        let answers = self.post(&Value::Array(txs.iter().enumerate().map(one).collect())).await?;
        let mut results = vec![Err("no answer".to_string()); txs.len()];
        for answer in answers.as_array().ok_or("a batch was not answered with a list")? {
            let id = answer["id"].as_u64().ok_or("an answer without id")? as usize;
            let error = answer.get("error").map(|e| e["message"].to_string());
            *results.get_mut(id).ok_or("an unknown id")? = error.map_or(Ok(()), Err);
        }
        Ok(results)
    }
}

fn quantity(value: &Value) -> Result<u64> {
    let text = value.as_str().ok_or_else(|| format!("expected a quantity, got {value}"))?;
    Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
}

/// The fields that all transactions share.
#[derive(Clone, Copy)]
struct Terms {
    chain_id: u64,
    max_fee: u128,
    tip: u128,
}

impl Terms {
    async fn of(rpc: &Rpc) -> Result<Self> {
        let chain_id = rpc.number("eth_chainId", json!([])).await?;
        let latest = rpc.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let base_fee = u128::from(quantity(&latest["baseFeePerGas"])?);
        let tip = if base_fee == 0 { 0 } else { 1_000_000 };
        // Room for the base fee to grow while the load lasts.
        Ok(Self { chain_id, max_fee: base_fee * 20 + tip, tip })
    }

    fn tx(self, nonce: u64, to: TxKind, value: u128, gas_limit: u64, input: Bytes) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: self.max_fee,
            max_priority_fee_per_gas: self.tip,
            to,
            value: U256::from(value),
            access_list: Default::default(),
            input,
        }
    }
}

async fn receipt(rpc: &Rpc, hash: B256) -> Result<Value> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let receipt = rpc.call("eth_getTransactionReceipt", json!([hash])).await?;
        if !receipt.is_null() {
            return match receipt["status"].as_str() {
                Some("0x1") => Ok(receipt),
                _ => Err(format!("setup transaction {hash} failed").into()),
            };
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("no receipt of {hash} after {PATIENCE:?}").into())
}

async fn send_all(rpc: &Rpc, txs: &[SignedTx]) -> Result<()> {
    for batch in txs.chunks(BATCH) {
        for result in rpc.submit(batch).await? {
            result?;
        }
    }
    Ok(())
}

/// Funds the senders and, for ERC-20, deploys the token and mints; returns its address.
async fn prepare(
    rpc: &Rpc,
    args: &Args,
    terms: Terms,
    senders: &[AccountKey],
) -> Result<Option<Address>> {
    let funder = AccountKey::new(&hex::decode_to_array(&args.funder)?)?;
    let mut nonce =
        rpc.number("eth_getTransactionCount", json!([funder.address(), "pending"])).await?;
    let mut next = || {
        nonce += 1;
        nonce - 1
    };
    // The most that its transactions can cost, and the token's mint.
    let each = args.txs.div_ceil(senders.len()) as u128 + 1;
    let purse = each * (terms.max_fee * args.kind.gas() as u128 + 1);
    let fund = |key: &AccountKey| {
        funder.sign(terms.tx(next(), TxKind::Call(key.address()), purse, 21_000, Bytes::new()))
    };
    let funding: Vec<_> = senders.iter().map(fund).collect();
    send_all(rpc, &funding).await?;
    receipt(rpc, funding.last().ok_or("no senders")?.hash).await?;
    if args.kind == Kind::Transfer {
        return Ok(None);
    }
    let artifact: Value =
        serde_json::from_str(include_str!("../../../contracts/artifacts/Token.json"))?;
    let code = artifact["bytecode"].as_str().ok_or("the artifact has no bytecode")?.parse()?;
    let deploy = funder.sign(terms.tx(next(), TxKind::Create, 0, 2_000_000, code));
    send_all(rpc, std::slice::from_ref(&deploy)).await?;
    let deployed = receipt(rpc, deploy.hash).await?;
    let token: Address = deployed["contractAddress"].as_str().ok_or("no address")?.parse()?;
    let mint: Vec<_> = senders
        .iter()
        .map(|key| {
            let input = call_data("mint(uint256)", &[U256::from(ETHER)]);
            key.sign(terms.tx(0, TxKind::Call(token), 0, args.kind.gas(), input))
        })
        .collect();
    send_all(rpc, &mint).await?;
    receipt(rpc, mint.last().ok_or("no senders")?.hash).await?;
    Ok(Some(token))
}

fn call_data(signature: &str, words: &[U256]) -> Bytes {
    let mut data = keccak256(signature)[..4].to_vec();
    words.iter().for_each(|word| data.extend(word.to_be_bytes::<32>()));
    data.into()
}

/// The measured transactions, per sender in order of nonce.
fn sign_load(
    args: &Args,
    terms: Terms,
    senders: &[AccountKey],
    token: Option<Address>,
) -> Vec<Vec<SignedTx>> {
    let each = args.txs.div_ceil(senders.len());
    senders
        .par_iter()
        .enumerate()
        .map(|(s, key)| {
            let count = each.min(args.txs.saturating_sub(s * each));
            (0..count as u64)
                .map(|n| {
                    // Recipients vary, so that state grows as it would in use.
                    let to =
                        Address::from_word(keccak256([s as u64, n].map(u64::to_be_bytes).concat()));
                    key.sign(match token {
                        None => terms.tx(n, TxKind::Call(to), 1, args.kind.gas(), Bytes::new()),
                        Some(token) => {
                            let words = [to.into_word().into(), U256::from(1)];
                            let input = call_data("transfer(address,uint256)", &words);
                            terms.tx(n + 1, TxKind::Call(token), 0, args.kind.gas(), input)
                        }
                    })
                })
                .collect()
        })
        .collect()
}

/// Senders that one core recovers in a second: what bounds any node, since each
/// must recover every sender once.
fn recoveries(load: &[Vec<SignedTx>]) -> Result<f64> {
    let some: Vec<_> = load.iter().flatten().take(2_000).collect();
    let start = Instant::now();
    for tx in &some {
        let tx = TxEnvelope::decode_2718(&mut hex::decode(&tx.raw)?.as_slice())?;
        std::hint::black_box(tx.recover_signer()?);
    }
    Ok(some.len() as f64 / start.elapsed().as_secs_f64())
}

/// The state of the load, shared by the submitters and the watcher.
#[derive(Default)]
struct Ledger {
    /// When each transaction was submitted, and how long until its receipt.
    waiting: Mutex<HashMap<B256, Instant>>,
    latencies: Mutex<Vec<Duration>>,
    accepted: AtomicUsize,
    refused: Mutex<BTreeMap<String, usize>>,
    /// Submitting has ended.
    ended: AtomicUsize,
}

struct Submitter {
    rpc: Rpc,
    ledger: Arc<Ledger>,
    room: Arc<Semaphore>,
    start: Instant,
    /// Seconds between this submitter's batches, when a rate is given.
    pause: Option<f64>,
}

impl Submitter {
    /// Sends its senders' transactions, one of each sender in turn.
    async fn run(self, senders: Vec<Vec<SignedTx>>) -> Result<()> {
        let longest = senders.iter().map(Vec::len).max().unwrap_or(0);
        let order = (0..longest).flat_map(|n| senders.iter().filter_map(move |txs| txs.get(n)));
        let order: Vec<SignedTx> = order.cloned().collect();
        for (i, batch) in order.chunks(BATCH).enumerate() {
            match self.pause {
                Some(pause) => {
                    let due = self.start + Duration::from_secs_f64(pause * i as f64);
                    tokio::time::sleep_until(due.into()).await;
                }
                None => self.room.acquire_many(batch.len() as u32).await?.forget(),
            }
            self.submit(batch).await?;
        }
        Ok(())
    }

    async fn submit(&self, batch: &[SignedTx]) -> Result<()> {
        let now = Instant::now();
        self.ledger.waiting.lock().unwrap().extend(batch.iter().map(|tx| (tx.hash, now)));
        for (tx, result) in batch.iter().zip(self.rpc.submit(batch).await?) {
            match result {
                Ok(()) => drop(self.ledger.accepted.fetch_add(1, Ordering::Relaxed)),
                Err(why) => {
                    self.ledger.waiting.lock().unwrap().remove(&tx.hash);
                    self.room.add_permits(1);
                    let why: String = why.chars().take(60).collect();
                    *self.ledger.refused.lock().unwrap().entry(why).or_default() += 1;
                }
            }
        }
        Ok(())
    }
}

/// One block that held some of the load.
struct SeenBlock {
    at: Instant,
    ours: usize,
}

/// Follows the chain until every accepted transaction has its receipt.
async fn watch(
    rpc: Rpc,
    from: u64,
    ledger: Arc<Ledger>,
    room: Arc<Semaphore>,
) -> Result<Vec<SeenBlock>> {
    let (mut next, mut blocks, mut last_news) = (from, vec![], Instant::now());
    loop {
        let receipts = rpc.call("eth_getBlockReceipts", json!([format!("{next:#x}")])).await;
        let Some(receipts) = receipts.ok().and_then(|r| r.as_array().cloned()) else {
            let done = ledger.ended.load(Ordering::Acquire) == 1
                && ledger.waiting.lock().unwrap().is_empty();
            if done {
                return Ok(blocks);
            }
            if last_news.elapsed() > PATIENCE {
                eprintln!("no receipt for {PATIENCE:?}; giving up");
                return Ok(blocks);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let now = Instant::now();
        let mut ours = 0;
        for receipt in &receipts {
            let hash: B256 = receipt["transactionHash"].as_str().ok_or("no hash")?.parse()?;
            let Some(sent) = ledger.waiting.lock().unwrap().remove(&hash) else { continue };
            ledger.latencies.lock().unwrap().push(now - sent);
            (ours, last_news) = (ours + 1, now);
        }
        room.add_permits(ours);
        if ours > 0 {
            blocks.push(SeenBlock { at: now, ours });
        }
        next += 1;
    }
}

fn report(args: &Args, ledger: &Ledger, start: Instant, blocks: &[SeenBlock]) {
    let mut latencies = ledger.latencies.lock().unwrap().clone();
    latencies.sort();
    let percentile = |p: f64| latencies.get(((latencies.len() as f64 - 1.0) * p) as usize);
    let ms = |d: Option<&Duration>| d.map_or("-".into(), |d| format!("{} ms", d.as_millis()));
    let took = blocks.last().map_or(Duration::ZERO, |b| b.at - start);
    let mut sizes: Vec<_> = blocks.iter().map(|b| b.ours).collect();
    sizes.sort_unstable();
    let mut gaps: Vec<_> = blocks.windows(2).map(|w| w[1].at - w[0].at).collect();
    gaps.sort();
    let middle = |n: usize| n / 2;
    println!("offered      {}", args.txs);
    println!("accepted     {}", ledger.accepted.load(Ordering::Relaxed));
    println!("included     {}", latencies.len());
    println!("time         {:.1} s", took.as_secs_f64());
    println!(
        "rate         {:.0} transactions a second",
        latencies.len() as f64 / took.as_secs_f64().max(1e-3)
    );
    println!(
        "submit→receipt p50 {}, p99 {}, max {}",
        ms(percentile(0.5)),
        ms(percentile(0.99)),
        ms(latencies.last())
    );
    println!(
        "blocks       {} with load; transactions a block: median {}, max {}",
        blocks.len(),
        sizes.get(middle(sizes.len())).unwrap_or(&0),
        sizes.last().unwrap_or(&0)
    );
    println!("block interval median {}, max {}", ms(gaps.get(middle(gaps.len()))), ms(gaps.last()));
    for (why, count) in ledger.refused.lock().unwrap().iter() {
        println!("refused      {count} × {why}");
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let rpcs: Vec<_> =
        args.rpc.iter().map(|url| Rpc { url: url.clone(), http: http.clone() }).collect();
    let first = rpcs.first().ok_or("--rpc names no address")?.clone();
    let terms = Terms::of(&first).await?;
    // New keys each time, so that a network can be measured again.
    let salt = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let key = |i: usize| Ok(AccountKey::new(&keccak256(format!("load {salt} {i}")).0)?);
    let senders: Vec<_> =
        (0..args.senders.clamp(1, args.txs.max(1))).map(key).collect::<Result<_>>()?;
    let token = prepare(&first, &args, terms, &senders).await?;
    let mut load = sign_load(&args, terms, &senders, token);

    println!("recoveries   {:.0} senders a second on one core", recoveries(&load)?);

    let ledger = Arc::new(Ledger::default());
    let room = Arc::new(Semaphore::new(OUTSTANDING_MAX));
    let from = first.number("eth_blockNumber", json!([])).await? + 1;
    let watcher = tokio::spawn(watch(first, from, ledger.clone(), room.clone()));
    let start = Instant::now();
    let submitters = rpcs.len() * REQUESTS_PER_URL;
    let pause = args.rate.map(|rate| BATCH as f64 * submitters as f64 / rate);
    let tasks: Vec<_> = (0..submitters)
        .map(|i| {
            // Whole senders to one submitter, so that nonces arrive in order.
            let mine = load.iter_mut().skip(i).step_by(submitters).map(std::mem::take).collect();
            let rpc = rpcs[i % rpcs.len()].clone();
            let (ledger, room) = (ledger.clone(), room.clone());
            tokio::spawn(Submitter { rpc, ledger, room, start, pause }.run(mine))
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    ledger.ended.store(1, Ordering::Release);
    let blocks = watcher.await??;
    report(&args, &ledger, start, &blocks);
    let included = ledger.latencies.lock().unwrap().len();
    if included == ledger.accepted.load(Ordering::Relaxed) && included > 0 {
        Ok(())
    } else {
        Err("not every accepted transaction was included".into())
    }
}
