//! `trefoil verify`: a block and its certificate, checked against nothing but
//! the chain specification.
//!
//! What it proves: validators with more than two thirds of the power signed
//! this block on this network, and its header fits its transactions and (with
//! `--from`) its ancestors. What it does not: it executes nothing, so whether
//! the state root follows from the transactions is the signers' word.
//! Validators are those that `chain.toml` founds: blocks do not say who came and
//! went since, so from the first change of the set on nothing is proven here, and
//! the command says so.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_rlp::{Decodable as _, Encodable as _};
use clap::Args;
use serde_json::{Value, json};
use trefoil_ledger::{History, Ledger};
use trefoil_types::{
    Attached, B256, Block, Certificate, CertificateError, CertifiedBlock, ChainSpec, Height,
    MemDisk, ValidatorSet, limits,
};

use super::block_on;
use crate::{
    client::{Client, ClientError},
    failure::Failure,
    home::read_spec,
};

/// Why a block that is good may fail here.
const CHANGED: &str = "The set is the one that chain.toml founds; if validators were voted in or \
     out since, only a node that has executed every block knows them";

/// The largest file of blocks that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Args)]
pub struct Verify {
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
    /// Check every block from this height on, and that each follows from the one before
    #[arg(long, value_name = "HEIGHT", requires = "height")]
    from: Option<Height>,
    /// Write the blocks with their certificates, to be checked elsewhere
    #[arg(long, value_name = "FILE", requires = "rpc")]
    save: Option<PathBuf>,
}

impl Verify {
    pub fn run(self) -> Result<(), Failure> {
        let spec = read_spec(&self.chain)?;
        let trusted = Trusted::of(&spec)?;
        let blocks = match (&self.rpc, &self.file, self.height) {
            (Some(url), _, Some(height)) => {
                let first = self.from.unwrap_or(height);
                block_on(fetch(&Client::new(url), first, height))?
            }
            (_, Some(file), _) => read_blocks(file)?,
            _ => {
                return Err(Failure::told(
                    "no blocks to check",
                    "name --rpc and --height, or --file",
                ));
            }
        };
        let checked = trusted.check(&blocks)?;
        if let Some(path) = &self.save {
            fs::write(path, encode(&blocks)).map_err(|e| Failure::file("write", path, e))?;
        }
        println!("genesis  {}", trusted.genesis);
        println!("{checked}");
        println!("not checked here: the state root, for which a node executes every block");
        Ok(())
    }
}

/// What follows from the chain specification alone.
struct Trusted {
    genesis: B256,
    set: ValidatorSet,
}

impl Trusted {
    fn of(spec: &Arc<ChainSpec>) -> Result<Self, Failure> {
        let ledger = Ledger::open(Arc::new(MemDisk::default()), spec.clone(), History::Archive)?;
        Ok(Self { genesis: ledger.genesis_hash(), set: ledger.next_validators().clone() })
    }

    /// Checks each block by itself and each against the one before it.
    fn check(&self, blocks: &[CertifiedBlock]) -> Result<String, Failure> {
        let mut before: Option<&CertifiedBlock> = None;
        let mut last = Err(Failure::told("there are no blocks in it", "name the right file"));
        for block in blocks {
            let wrong = |reason: String| {
                let what = format!("block {} is NOT proven: {reason}", block.block.header.number);
                Failure::told(what, "do not rely on it; ask another node")
            };
            last = Ok(self.check_one(block).map_err(wrong)?);
            self.check_parent(block, before).map_err(wrong)?;
            before = Some(block);
        }
        Ok(format!("{}\n{} blocks checked", last?, blocks.len()))
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
        certificate.verify(&self.set, &self.genesis).map_err(|e| match e {
            CertificateError::Stranger { .. } | CertificateError::NoQuorum { .. } => {
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
        for evidence in &attached.evidence {
            let convicts = evidence.verify(&self.set, &self.genesis);
            convicts.map_err(|e| format!("its evidence convicts nobody: {e}. {CHANGED}"))?;
        }
        Ok(format!(
            "block {} ({hash}) is final: {} of {} validators signed it, {} transactions",
            block.header.number,
            certificate.signatures.len(),
            self.set.len(),
            block.body.transactions.len(),
        ))
    }

    /// Genesis is the parent of block 1; others need the block before them.
    fn check_parent(
        &self,
        block: &CertifiedBlock,
        before: Option<&CertifiedBlock>,
    ) -> Result<(), String> {
        let header = &block.block.header;
        let (parent, bound) = match before {
            Some(before) => (before.block.header.hash_slow(), before.certificate.hash()),
            None if header.number == 1 => (self.genesis, B256::ZERO),
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
}

async fn fetch(
    client: &Client,
    first: Height,
    last: Height,
) -> Result<Vec<CertifiedBlock>, Failure> {
    let mut blocks = Vec::new();
    for height in first..=last {
        let height = format!("{height:#x}");
        let method = "trefoil_getCertificate";
        let certificate = client.call(method, json!([height])).await?;
        let certificate =
            Certificate::decode(&mut raw(client, method, &certificate["rlp"])?.as_slice())
                .map_err(|_| client.odd(method))?;
        let method = "debug_getRawBlock";
        let block = client.call(method, json!([height])).await?;
        let block = Block::decode(&mut raw(client, method, &block)?.as_slice())
            .map_err(|_| client.odd(method))?;
        let method = "trefoil_getEvidence";
        let evidence = client.call(method, json!([height])).await?;
        let evidence = Vec::decode(&mut raw(client, method, &evidence["rlp"])?.as_slice())
            .map_err(|_| client.odd(method))?;
        let attached = Attached { evidence, parent_certificate: None };
        blocks.push(CertifiedBlock { block, certificate, attached });
    }
    Ok(blocks)
}

fn raw(client: &Client, method: &str, value: &Value) -> Result<Vec<u8>, ClientError> {
    let text = value.as_str().filter(|text| text.len() <= 2 * limits::MESSAGE_BYTES_MAX);
    let bytes = text.and_then(|text| hex::decode(text.strip_prefix("0x")?).ok());
    bytes.ok_or_else(|| client.odd(method))
}

/// The blocks' RLP, one after another.
fn encode(blocks: &[CertifiedBlock]) -> Vec<u8> {
    let mut bytes = Vec::new();
    blocks.iter().for_each(|block| block.encode(&mut bytes));
    bytes
}

fn read_blocks(path: &Path) -> Result<Vec<CertifiedBlock>, Failure> {
    let failed = |e| Failure::file("read", path, e);
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(Failure::told(format!("{} is too long", path.display()), "check fewer blocks"));
    }
    let bytes = fs::read(path).map_err(failed)?;
    let (mut rest, mut blocks) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let block = CertifiedBlock::decode(&mut rest).map_err(|e| {
            let what = format!("{} is no file of blocks: {e}", path.display());
            Failure::told(what, "write one with `trefoil verify --rpc URL --height H --save FILE`")
        })?;
        blocks.push(block);
    }
    Ok(blocks)
}
