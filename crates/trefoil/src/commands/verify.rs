//! `trefoil verify`: a block and its certificate, checked against nothing but
//! the chain specification.
//!
//! It proves that validators with more than two thirds of the power signed this
//! block on this network, and that its header fits its transactions and (with
//! `--from`) its ancestors. From block 1 on it executes each block, as a node does:
//! it follows every change of the validators, and the state root is checked too.
//! Without that the validators are those that `chain.toml` founds, so from the
//! first change of the set on nothing is proven, and the command says so.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_eips::Encodable2718 as _;
use alloy_rlp::{Decodable, Encodable as _};
use clap::Args;
use serde_json::json;
use trefoil_host::home::read_spec;
use trefoil_ledger::{History, Ledger};
use trefoil_os::operator_file;
use trefoil_rpc::backend::recover;
use trefoil_types::{
    Attached, B256, Block, Certificate, CertifiedBlock, ChainSpec, CommitCertificateError, Height,
    MemDisk, RecoveredBlock, limits,
};

use super::block_on::block_on;
use crate::{
    chain_client::client::{Client, ClientError},
    error::CommandError,
};

/// Why a block that is good may fail here.
const CHANGED: &str = "The set is the one that chain.toml founds; if validators came or went \
     since, give --from 1, which executes every block and follows them";

// The file is read into memory whole.
/// The largest file of blocks that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The chain specification: the only thing that is trusted
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// Ask this node for the blocks
    #[arg(long, value_name = "URL", required_unless_present = "file", requires = "height")]
    rpc: Option<String>,
    /// Or read them from a file that --save wrote
    #[arg(long, value_name = "FILE", conflicts_with = "rpc")]
    file: Option<PathBuf>,
    /// The block to check
    #[arg(long, conflicts_with = "file")]
    height: Option<Height>,
    /// Check every block from this height on, and that each follows from the one
    /// before; from 1 on also what it does: state, and who validates next
    #[arg(long, value_name = "HEIGHT", requires = "height")]
    from: Option<Height>,
    /// Write the blocks with their certificates, to be checked elsewhere
    #[arg(long, value_name = "FILE", requires = "rpc")]
    save: Option<PathBuf>,
}

impl VerifyArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let spec = read_spec(&self.chain)?;
        let mut trusted = Trusted::of(&spec)?;
        let mut kept = Vec::new();
        let mut check = |block: CertifiedBlock| {
            if self.save.is_some() {
                block.encode(&mut kept);
            }
            trusted.check(block)
        };
        match (&self.rpc, &self.file, self.height) {
            (Some(url), _, Some(height)) => block_on(async {
                let client = Client::new(url);
                for height in self.from.unwrap_or(height)..=height {
                    check(fetch(&client, height).await?)?;
                }
                Ok(())
            }),
            (_, Some(file), _) => read_blocks(file, check),
            _ => Err(CommandError::with_cure(
                "no blocks to check",
                "name --rpc and --height, or --file",
            )),
        }?;
        if let Some(path) = &self.save {
            fs::write(path, kept).map_err(|e| CommandError::file("write", path, e))?;
        }
        trusted.print_result()
    }
}

/// The state that follows from the chain specification alone.
struct Trusted {
    /// At the block that was checked last, if all from block 1 on were; else at genesis.
    ledger: Ledger,
    /// The hash and the certificate of the block that was checked last.
    before: Option<(B256, Certificate)>,
    checked: u64,
    /// The block that was checked last, in words.
    summary: String,
}

impl Trusted {
    fn of(spec: &Arc<ChainSpec>) -> Result<Self, CommandError> {
        let disk = Arc::new(MemDisk::default());
        let ledger = Ledger::open(disk, spec.clone(), History::Window(1))?;
        Ok(Self { ledger, before: None, checked: 0, summary: String::new() })
    }

    /// Checks a block by itself and against those before it.
    fn check(&mut self, certified: CertifiedBlock) -> Result<(), CommandError> {
        let height = certified.block.header.number;
        self.accept(certified).map_err(|reason| {
            let what = format!("block {height} is NOT proven: {reason}");
            CommandError::with_cure(what, "do not rely on it; ask another node")
        })
    }

    fn accept(&mut self, certified: CertifiedBlock) -> Result<(), String> {
        self.summary = self.check_one(&certified)?;
        self.check_parent(&certified)?;
        let CertifiedBlock { block, certificate, attached } = certified;
        let (hash, height) = (certificate.block, certificate.height);
        let parent = self.before.replace((hash, certificate.clone()));
        self.checked += 1;
        if height == self.ledger.tip().number + 1 {
            let parent_certificate = parent.map(|(_, certificate)| certificate);
            self.execute(block, Attached { parent_certificate, ..attached }, certificate)?;
        }
        Ok(())
    }

    fn check_one(&self, certified: &CertifiedBlock) -> Result<String, String> {
        let CertifiedBlock { block, certificate, attached } = certified;
        let hash = block.header.hash_slow();
        if certificate.height != block.header.number || certificate.block != hash {
            return Err(format!(
                "its certificate is of {} ({})",
                certificate.height, certificate.block
            ));
        }
        let set = self.ledger.next_validators();
        certificate.verify(set, &self.ledger.genesis_hash()).map_err(|e| match e {
            CommitCertificateError::Stranger { .. } | CommitCertificateError::NoQuorum { .. }
                if self.ledger.tip().number + 1 != certificate.height =>
            {
                format!("{e}. {CHANGED}")
            }
            _ => e.to_string(),
        })?;
        let root = calculate_transaction_root(&block.body.transactions);
        if root != block.header.transactions_root {
            return Err(format!("its transactions have the root {root}, its header says another"));
        }
        if block.header.extra_data != attached.extra_data() {
            return Err("its header binds other evidence".into());
        }
        // A block that is executed has it checked there, by the validators of the evidence's own
        // height.
        if self.ledger.tip().number + 1 != certificate.height {
            for evidence in &attached.evidence {
                let convicts = evidence.verify(set, &self.ledger.genesis_hash());
                convicts.map_err(|e| format!("its evidence convicts nobody: {e}. {CHANGED}"))?;
            }
        }
        Ok(format!(
            "block {} ({hash}) is final: {} of {} validators signed it, {} transactions",
            block.header.number,
            certificate.signatures.len(),
            set.len(),
            block.body.transactions.len(),
        ))
    }

    /// Genesis is the parent of block 1; others need the block before them.
    fn check_parent(&self, block: &CertifiedBlock) -> Result<(), String> {
        let header = &block.block.header;
        let (parent, bound) = match &self.before {
            Some((hash, certificate)) => (*hash, certificate.hash()),
            None if header.number == 1 => (self.ledger.genesis_hash(), B256::ZERO),
            None => return Ok(()),
        };
        if header.parent_hash != parent {
            return Err(format!("its parent is {}, not {parent}", header.parent_hash));
        }
        if header.parent_beacon_block_root != Some(bound) {
            return Err("its header binds another certificate of its parent".into());
        }
        Ok(())
    }

    /// Makes a block the tip: it may change who validates the next one.
    fn execute(
        &mut self,
        block: Block,
        attached: Attached,
        certificate: Certificate,
    ) -> Result<(), String> {
        let raw = block.body.transactions.iter().map(|tx| tx.encoded_2718());
        let txs = raw.map(|raw| recover(&raw)).collect::<Result<_, _>>();
        let txs = txs.map_err(|e| format!("it holds a bad transaction: {e}"))?;
        let block = Arc::new(RecoveredBlock::new(block.header, txs, attached));
        let outcome = self.ledger.execute(block).map_err(|e| e.to_string())?;
        // Its own certificate makes it final, whatever comes after it.
        self.ledger.commit(outcome, certificate);
        // Without checkpoints the changes of all blocks would gather in memory.
        if let Some(checkpoint) = self.ledger.checkpoint(false) {
            self.ledger.checkpointed(checkpoint.run().map_err(|e| e.to_string())?);
        }
        Ok(())
    }

    fn print_result(self) -> Result<(), CommandError> {
        if self.checked == 0 {
            return Err(CommandError::with_cure(
                "there are no blocks in it",
                "name the right file",
            ));
        }
        println!("genesis  {}", self.ledger.genesis_hash());
        println!("{}", self.summary);
        println!("{} blocks checked", self.checked);
        match self.ledger.tip().number {
            0 => println!(
                "not checked here: the state root, for which --from 1 executes every block"
            ),
            height => println!("state root at height {height}: {}", self.ledger.tip().state_root),
        }
        Ok(())
    }
}

async fn fetch(client: &Client, height: Height) -> Result<CertifiedBlock, CommandError> {
    let height = format!("{height:#x}");
    let certificate = decoded(client, "trefoil_getCertificate", &height).await?;
    let evidence = decoded(client, "trefoil_getEvidence", &height).await?;
    let block = decoded(client, "trefoil_getRawBlock", &height).await?;
    let attached = Attached { evidence, parent_certificate: None };
    Ok(CertifiedBlock { block, certificate, attached })
}

/// A method's answer about a block: its RLP as hex, alone or as `rlp` of an object.
async fn decoded<T: Decodable>(
    client: &Client,
    method: &str,
    height: &str,
) -> Result<T, ClientError> {
    let answer = client.call(method, json!([height])).await?;
    let text = answer.get("rlp").unwrap_or(&answer).as_str();
    // The node that is asked is not trusted: an answer larger than any message is refused.
    let text = text.filter(|text| text.len() <= 2 * limits::MESSAGE_BYTES_MAX);
    let bytes = text.and_then(|text| hex::decode(text.strip_prefix("0x")?).ok());
    let value = bytes.and_then(|bytes| T::decode(&mut bytes.as_slice()).ok());
    value.ok_or_else(|| client.odd(method))
}

/// A file is the blocks' RLP, one after another.
fn read_blocks(
    path: &Path,
    mut check: impl FnMut(CertifiedBlock) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let bytes = operator_file::read(path, FILE_BYTES_MAX);
    let bytes = bytes.map_err(|e| CommandError::file("read", path, e))?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        check(CertifiedBlock::decode(&mut rest).map_err(|e| {
            let what = format!("{} is no file of blocks: {e}", path.display());
            CommandError::with_cure(
                what,
                "write one with `trefoil verify --rpc URL --height H --save FILE`",
            )
        })?)?;
    }
    Ok(())
}
