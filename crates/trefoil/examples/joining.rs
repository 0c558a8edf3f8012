//! The cost of joining: a chain that makes ACCOUNTS accounts (default a million), on a real disk, all
//! of it executed again by one node, and taken from a state snapshot by another.
//!
//! `cargo run --release --example joining -- [ACCOUNTS] [DIR]`; DIR must not be there yet.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use alloy_consensus::{Signed, TxLegacy, transaction::Recovered};
use alloy_primitives::{Signature, TxKind, U256};
use trefoil_crypto::{Domain, SecretKey};
use trefoil_ledger::{
    Draft, History, Ledger,
    state_sync::{restore, write_state},
};
use trefoil_os::disk::FileDisk;
use trefoil_types::{
    Address, Attached, Certificate, ChainSpec, PeerId, RecoveredBlock, Transaction, TxEnvelope,
    ValidatorSignature, Vote, VoteKind, keccak256,
};

const TXS: u64 = 28_000;
const SENDER: Address = Address::repeat_byte(0xaa);

fn main() {
    let mut args = std::env::args().skip(1);
    let accounts: u64 = args.next().map_or(1_000_000, |n| n.parse().expect("a number"));
    let dir = args.next().map_or_else(|| std::env::temp_dir().join("trefoil-joining"), Into::into);
    fs::create_dir(&dir).expect("a new directory");
    let mut bench = Bench::new(&dir);
    let blocks = accounts.div_ceil(TXS);
    let decided: Vec<_> = (0..blocks).map(|_| bench.block(TXS)).collect();
    bench.block(0);
    println!("{} accounts in {blocks} blocks", blocks * TXS);

    replay(&dir.join("replayed"), &decided);
    let file = dir.join(format!("state-{blocks}"));
    let alone = bench.block_times();
    bench.write_beside(&file, blocks);
    println!("a block of 1,000 transfers meanwhile, and alone: {:?}, {alone:?}", bench.block_times);

    let started = Instant::now();
    let disk = FileDisk::open(&dir.join("restored")).expect("a disk");
    let read = fs::File::open(&file).expect("it was just written");
    let restored = restore(&disk, &spec(), std::io::BufReader::new(read), None).expect("restored");
    let took = started.elapsed();
    println!("restored {} accounts in {took:.2?}", restored.counts.accounts);
    println!("{}", peak());
    fs::write(dir.join("chain.toml"), spec().to_toml()).expect("written");
}

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn spec() -> Arc<ChainSpec> {
    let owner = Address::repeat_byte(9);
    let text = format!(
        "name = \"bench\"\nkind = \"private\"\nchain_id = 7331\ngenesis_time = 1\n\
         gas_limit = 600000000\nbase_fee = 0\n[forks]\ncancun = 0\n\
         [[organisations]]\nname = \"one\"\nkeys = [\"{owner}\"]\nca_keys = [\"{ca}\"]\n\
         [[validators]]\nkey = \"{key}\"\npower = 1\nfee_recipient = \"{owner}\"\nnode = \"{peer}\"\n\
         organisation = \"one\"\n[alloc.\"{SENDER}\"]\nbalance = \"0xffffffffffffffff\"\n",
        ca = secret(2).public(),
        key = secret(1).public(),
        peer = PeerId(secret(3).public()),
    );
    Arc::new(ChainSpec::from_toml(&text).expect("a specification"))
}

struct Bench {
    ledger: Ledger,
    nonce: u64,
    block_times: (Duration, Duration),
}

type Decided = (Arc<RecoveredBlock>, Certificate);

impl Bench {
    fn new(dir: &Path) -> Self {
        Self { ledger: open(&dir.join("data")), nonce: 0, block_times: Default::default() }
    }

    /// A block of transfers to addresses that were not there.
    fn block(&mut self, txs: u64) -> Decided {
        let draft = Draft {
            timestamp: self.ledger.tip().timestamp + 1,
            fee_recipient: Address::repeat_byte(9),
            attached: Attached {
                evidence: vec![],
                parent_certificate: self.ledger.tip_certificate().cloned(),
            },
        };
        let first = self.nonce;
        self.nonce += txs;
        let mut offered = (first..self.nonce).map(transfer);
        let (outcome, refused) = self.ledger.build(draft, &mut offered);
        assert!(refused.is_empty());
        let block = outcome.block().clone();
        let (height, hash) = (block.header.number, block.hash);
        let bytes = Vote::signed_bytes(VoteKind::Precommit, height, 0, Some(hash));
        let signature = secret(1).sign(Domain::Vote, &self.ledger.genesis_hash(), &bytes);
        let signatures = vec![ValidatorSignature { validator: secret(1).public(), signature }];
        let certificate = Certificate { height, round: 0, block: hash, signatures };
        self.ledger.commit(outcome, certificate.clone());
        if let Some(checkpoint) = self.ledger.checkpoint(false) {
            self.ledger.checkpointed(checkpoint.run().expect("a checkpoint"));
        }
        (block, certificate)
    }

    /// Median and longest of twenty blocks of 1,000 transfers.
    fn block_times(&mut self) -> (Duration, Duration) {
        let mut times: Vec<_> = (0..20)
            .map(|_| {
                let started = Instant::now();
                self.block(1_000);
                started.elapsed()
            })
            .collect();
        times.sort_unstable();
        (times[10], times[19])
    }

    /// Writes the snapshot while blocks are made.
    fn write_beside(&mut self, file: &PathBuf, height: u64) {
        let (snapshot, path) = (self.ledger.snapshot(), file.clone());
        let done = Arc::new(AtomicBool::new(false));
        let end = done.clone();
        let writer = thread::spawn(move || {
            let started = Instant::now();
            let file = fs::File::create(&path).expect("a file");
            let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
            let counts = write_state(&snapshot, height, &mut file).expect("written");
            file.get_ref().sync_all().expect("synced");
            end.store(true, Ordering::Relaxed);
            (counts, started.elapsed())
        });
        self.block_times = self.block_times();
        let beside = !done.load(Ordering::Relaxed);
        let (counts, took) = writer.join().expect("no panic");
        let bytes = fs::metadata(file).expect("there").len();
        println!(
            "wrote {counts:?}, {bytes} bytes, in {took:.2?}; still at it after 20 blocks: {beside}"
        );
    }
}

fn open(data: &Path) -> Ledger {
    let disk = FileDisk::open(data).expect("a disk");
    Ledger::open(Arc::new(disk), spec(), History::Window(128)).expect("a ledger")
}

fn transfer(nonce: u64) -> Transaction {
    let to = Address::from_slice(&keccak256(nonce.to_be_bytes())[12..]);
    let (gas_limit, to, value) = (21_000, TxKind::Call(to), U256::ONE);
    let tx = TxLegacy { nonce, gas_limit, to, value, ..Default::default() };
    let signed = Signed::new_unhashed(tx, Signature::new(U256::ONE, U256::ONE, false));
    Arc::new(Recovered::new_unchecked(TxEnvelope::Legacy(signed), SENDER))
}

/// Executes all blocks on a new ledger.
fn replay(data: &Path, decided: &[Decided]) {
    let started = Instant::now();
    let mut ledger = open(data);
    for (block, certificate) in decided {
        let outcome = ledger.execute(block.clone()).expect("valid");
        ledger.commit(outcome, certificate.clone());
        if let Some(checkpoint) = ledger.checkpoint(false) {
            ledger.checkpointed(checkpoint.run().expect("a checkpoint"));
        }
    }
    if let Some(checkpoint) = ledger.checkpoint(true) {
        checkpoint.run().expect("a checkpoint");
    }
    println!("executed all again in {:.2?}, senders known already", started.elapsed());
}

/// The most memory this process has held (Linux).
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown").into()
}
