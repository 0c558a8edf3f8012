//! The rules of a header, given its parent and its body: for Trefoil's networks and for
//! Ethereum itself (the official fixtures).
//!
//! What always holds: a header of Trefoil's has exactly the fields that [`draft_header`]
//! and [`seal`] give it, both when it is built and when it is checked. So building and
//! checking cannot drift apart.

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{Encodable2718, eip1559::BaseFeeParams, eip4895::Withdrawal};
use alloy_primitives::{B64, Bytes, U256, bytes::BufMut as _};
use alloy_trie::root::ordered_trie_root_with_encoder;
use revm::primitives::hardfork::SpecId;
use trefoil_types::{
    Address, Attached, B256, Evidence, Header, RecoveredBlock, Transaction, keccak256, limits,
};

use crate::{BlockRules, ChainSettings, Executed};

/// The longest `extra_data`, bytes (yellow paper, section 4.3).
const EXTRA_DATA_BYTES_MAX: usize = 32;

/// The proposer's decisions about a block, besides its transactions.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Seconds since the Unix epoch, not before the parent's.
    pub timestamp: u64,
    pub fee_recipient: Address,
    /// The parent's certificate, and evidence that `Ledger::check_evidence` takes.
    pub attached: Attached,
}

/// Base fee of the block after `parent`, wei (EIP-1559 with elasticity 2 and
/// denominator 8, and a floor; 0 where gas is free), under the settings of
/// `parent`'s state.
pub fn next_base_fee(settings: &ChainSettings, parent: &Header) -> u64 {
    if settings.is_gas_free() {
        return 0;
    }
    let free = parent.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or(0);
    free.max(settings.min_base_fee)
}

/// The header of a block before it is executed: everything except what the body and its
/// execution give ([`seal`]). `turns` is what it binds of the turns of its height
/// (`Turns::hash`).
pub(crate) fn draft_header(
    settings: &ChainSettings,
    parent_hash: B256,
    parent: &Header,
    draft: &Draft,
    turns: B256,
) -> Header {
    let certificate = draft.attached.certificate_hash();
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: draft.fee_recipient,
        difficulty: U256::ZERO,
        number: parent.number + 1,
        // The parent's state names it: proposers do not vote on it block by block as
        // Ethereum's do.
        gas_limit: settings.gas_limit,
        timestamp: draft.timestamp,
        extra_data: draft.attached.extra_data(),
        mix_hash: randao(parent_hash, certificate, turns),
        nonce: B64::ZERO,
        base_fee_per_gas: Some(next_base_fee(settings, parent)),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(certificate),
        ..Default::default()
    }
}

// Not zero, since contracts use it as randomness.
/// The block's `prev_randao`. Its randomness is weak: a proposer can bias it. It chooses which
/// signatures above the quorum the parent's certificate includes, and whether to propose. It
/// binds the turns of the block's height besides, which no proposer can choose: a header has no
/// other field for what a node that joins by a snapshot must know of them (ADR 26).
pub(crate) fn randao(parent_hash: B256, certificate: B256, turns: B256) -> B256 {
    let parts = [parent_hash, certificate, turns];
    keccak256([b"trefoil/randao/2".as_slice(), parts.concat().as_slice()].concat())
}

/// Fills in what a body and its execution give, except the state root.
pub(crate) fn seal(header: &mut Header, executed: &Executed, transactions_root: B256) {
    header.transactions_root = transactions_root;
    header.receipts_root = executed.receipts_root();
    header.logs_bloom = executed.bloom;
    header.gas_used = executed.gas_used;
    header.requests_hash = executed.requests_hash;
    header.blob_gas_used = executed.blob_gas_used;
}

/// Root of the trie of a body's transactions.
pub fn transactions_root(transactions: &[Transaction]) -> B256 {
    ordered_trie_root_with_encoder(transactions, |tx, out| tx.inner().encode_2718(out))
}

/// The same of their bytes (EIP-2718).
pub fn raw_transactions_root(raw: &[Bytes]) -> B256 {
    ordered_trie_root_with_encoder(raw, |raw, out| out.put_slice(raw))
}

// These checks cost nothing. They come before the execution, which may cost as much as a
// full block: a proposer of nonsense must not buy that from every validator.
/// Checks the rules of a header that need no execution.
pub(crate) fn check_draft(
    settings: &ChainSettings,
    parent_hash: B256,
    parent: &Header,
    turns: B256,
    block: &RecoveredBlock,
) -> Result<(), String> {
    let header = &block.header;
    let draft = Draft {
        timestamp: header.timestamp,
        fee_recipient: header.beneficiary,
        attached: block.attached.clone(),
    };
    match &draft.attached.parent_certificate {
        None if parent.number == 0 => {}
        None => return Err("the parent's certificate is missing".into()),
        Some(_) if parent.number == 0 => return Err("genesis has no certificate".into()),
        Some(c) if (c.height, c.block) == (parent.number, parent_hash) => {}
        Some(c) => {
            let block = c.block;
            return Err(format!("the certificate of {block} is not of the parent {parent_hash}"));
        }
    }
    // Equal is allowed: blocks come each half second, and a header counts whole seconds.
    let (time, before) = (header.timestamp, parent.timestamp);
    if time < before {
        return Err(format!("timestamp {time} is before the parent's {before}"));
    }
    check_evidence_list(&draft.attached.evidence)?;
    let mut wanted = draft_header(settings, parent_hash, parent, &draft, turns);
    // Only the execution gives these; they are compared after it.
    wanted.state_root = header.state_root;
    wanted.transactions_root = header.transactions_root;
    wanted.receipts_root = header.receipts_root;
    wanted.logs_bloom = header.logs_bloom;
    wanted.gas_used = header.gas_used;
    wanted.requests_hash = header.requests_hash;
    same(header, &wanted)
}

// Otherwise a proposer could make many blocks of one content, and convict a key twice in
// one.
/// One list for each set of convictions: ascending by validator, each once.
fn check_evidence_list(evidence: &[Evidence]) -> Result<(), String> {
    let (count, max) = (evidence.len(), limits::BLOCK_EVIDENCE_MAX);
    if count > max {
        return Err(format!("evidence against {count} validators, at most {max}"));
    }
    if !evidence.is_sorted_by(|a, b| a.validator() < b.validator()) {
        return Err("evidence that does not ascend by validator, each once".into());
    }
    Ok(())
}

/// The first field in which a header is wrong. The caller that computes the state root
/// compares it.
pub(crate) fn same(got: &Header, wanted: &Header) -> Result<(), String> {
    macro_rules! fields {
        ($($field:ident),*) => {$(
            if got.$field != wanted.$field {
                return Err(format!(
                    "{} is {:?}, must be {:?}",
                    stringify!($field), got.$field, wanted.$field
                ));
            }
        )*};
    }
    fields!(
        parent_hash,
        number,
        ommers_hash,
        difficulty,
        nonce,
        gas_limit,
        timestamp,
        extra_data,
        mix_hash,
        base_fee_per_gas,
        withdrawals_root,
        blob_gas_used,
        excess_blob_gas,
        parent_beacon_block_root,
        transactions_root,
        gas_used,
        requests_hash,
        receipts_root,
        logs_bloom,
        beneficiary,
        block_access_list_hash,
        slot_number
    );
    Ok(())
}

/// Checks the rules of an Ethereum header (Paris or later) that need no execution.
pub(crate) fn check_ethereum(
    rules: &BlockRules,
    parent_hash: B256,
    parent: &Header,
    header: &Header,
    withdrawals: Option<&[Withdrawal]>,
) -> Result<(), String> {
    let (time, before) = (header.timestamp, parent.timestamp);
    if time <= before {
        return Err(format!("timestamp {time} is not after the parent's {before}"));
    }
    let extra_bytes = header.extra_data.len();
    if extra_bytes > EXTRA_DATA_BYTES_MAX {
        return Err(format!("extra_data has {extra_bytes} bytes, at most {EXTRA_DATA_BYTES_MAX}"));
    }
    check_gas_limit(parent.gas_limit, header.gas_limit)?;
    if header.gas_used > header.gas_limit {
        return Err(format!("gas used {} is over the limit {}", header.gas_used, header.gas_limit));
    }
    let cancun = rules.is(SpecId::CANCUN);
    if header.parent_beacon_block_root.is_some() != cancun {
        return Err("parent_beacon_block_root belongs to blocks from Cancun on".into());
    }
    if withdrawals.is_some() != rules.is(SpecId::SHANGHAI) {
        return Err("withdrawals belong to blocks from Shanghai on".into());
    }
    let wanted = Header {
        parent_hash,
        number: parent.number + 1,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        difficulty: U256::ZERO,
        nonce: B64::ZERO,
        base_fee_per_gas: parent.next_block_base_fee(BaseFeeParams::ethereum()),
        withdrawals_root: withdrawals.map(alloy_consensus::proofs::calculate_withdrawals_root),
        excess_blob_gas: excess_blob_gas(rules, parent),
        block_access_list_hash: None,
        slot_number: None,
        ..header.clone()
    };
    same(header, &wanted)
}

/// EIP-1559's bound on the change of a gas limit, and the floor of 5,000.
fn check_gas_limit(parent: u64, limit: u64) -> Result<(), String> {
    if limit.abs_diff(parent) >= parent / 1024 || limit < 5_000 {
        return Err(format!("gas limit {limit} is too far from the parent's {parent}"));
    }
    Ok(())
}

/// EIP-4844, and EIP-7918 from Osaka: the excess blob gas of `parent`'s child.
pub(crate) fn excess_blob_gas(rules: &BlockRules, parent: &Header) -> Option<u64> {
    let blobs = rules.blobs.as_ref()?;
    let (excess, used) = (parent.excess_blob_gas.unwrap_or(0), parent.blob_gas_used.unwrap_or(0));
    if rules.is(SpecId::OSAKA) {
        let base_fee = parent.base_fee_per_gas.unwrap_or(0);
        return Some(blobs.next_block_excess_blob_gas_osaka(excess, used, base_fee));
    }
    Some(excess.saturating_add(used).saturating_sub(blobs.target_blob_gas_per_block()))
}
