//! The way from genesis to a block: the validator set of each height, with each change
//! proven in a state that the validators before it made final. A light client's walk.

use std::{collections::BTreeMap, ops::RangeInclusive};

use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, RlpEncodable};
use trefoil_types::{B256, Certificate, ChainSpec, Header, Height, ValidatorSet, keccak256};

use super::error::{JoinError, unproven};
use crate::{
    Governed, LedgerError, Snapshot,
    governance::founding,
    overlay::Outcome,
    trie::witness::{Proven, Recorder},
};

/// A final block and, if other validators follow it, the proof of the change.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable)]
pub(super) struct Handover {
    pub header: Header,
    /// The certificate that its child binds.
    pub certificate: Certificate,
    /// Trie nodes of the state after it: those that the governing contract reads to name
    /// the next validators. Empty: the same validators follow.
    pub witness: Vec<Bytes>,
}

/// The bytes of a trie node that is no part of its parent (yellow paper, appendix D). A branch of
/// 16 hashes is the longest.
const NODE_BYTES: RangeInclusive<usize> = 32..=532;

impl Decodable for Handover {
    // Attack: 4 MiB of nodes of one byte, each of which takes 64 bytes once it is decoded. With the
    // least bytes of a node, a witness takes twice its bytes.
    fn decode(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let fields = &mut alloy_rlp::Header::decode_bytes(bytes, true)?;
        let (header, certificate) = (Header::decode(fields)?, Certificate::decode(fields)?);
        let (mut nodes, mut witness) = (alloy_rlp::Header::decode_bytes(fields, true)?, vec![]);
        while !nodes.is_empty() {
            let node = alloy_rlp::Header::decode_bytes(&mut nodes, false)?;
            if !NODE_BYTES.contains(&node.len()) {
                return Err(alloy_rlp::Error::Custom("the length of a trie node"));
            }
            witness.push(Bytes::copy_from_slice(node));
        }
        match fields.is_empty() {
            true => Ok(Self { header, certificate, witness }),
            false => Err(alloy_rlp::Error::UnexpectedLength),
        }
    }
}

/// The witness for the validators of the block after the tip.
pub(crate) fn prove_validators(
    spec: &ChainSpec,
    snapshot: &Snapshot,
) -> Result<Vec<Bytes>, LedgerError> {
    let state = snapshot.state(snapshot.tip().number)?;
    let recorder = Recorder::new(&state);
    Governed::read_validators(spec, snapshot.tip(), &recorder)?;
    recorder.witness(&*snapshot.view)
}

/// The validator set of each height, as far as it is proven.
pub(super) struct Trail<'a> {
    spec: &'a ChainSpec,
    pub genesis: B256,
    // The contracts' code is known from the specification, so a witness need not carry it,
    // and no file can bring another.
    /// The code of the governing contracts, by hash.
    codes: BTreeMap<B256, Bytes>,
    /// The newest set.
    pub validators: ValidatorSet,
    /// The highest block that was checked.
    newest: Height,
}

impl<'a> Trail<'a> {
    pub fn new(spec: &'a ChainSpec, genesis: &Outcome) -> Self {
        let first = genesis.governed.as_ref().expect("genesis has read what it founds");
        let codes = founding::contracts(spec).into_iter().filter_map(|(_, c)| c.code);
        Self {
            spec,
            genesis: genesis.block.hash,
            codes: codes.map(|code| (keccak256(&code), code)).collect(),
            validators: first.validators.clone(),
            newest: 0,
        }
    }

    fn check(&mut self, header: &Header, certificate: &Certificate) -> Result<(), JoinError> {
        let height = header.number;
        // Ascending, so that no block is verified by a set that a later handover already
        // replaced.
        if height <= self.newest || height == Height::MAX {
            return Err(unproven(format!("block {height} is out of order")));
        }
        check_block(header, certificate)?;
        // It holds from the block after `newest` on at the latest.
        let verified = certificate.verify(&self.validators, &self.genesis);
        verified.map_err(|e| unproven(e.to_string()))?;
        self.newest = height;
        Ok(())
    }

    /// Checks that a block above all before it is final, and takes over the validators that
    /// follow it. Whether it proves any.
    pub fn follow(&mut self, handover: &Handover) -> Result<bool, JoinError> {
        let Handover { header, certificate, witness } = handover;
        self.check(header, certificate)?;
        if witness.is_empty() {
            return Ok(false);
        }
        let state = Proven::new(header.state_root, witness, &self.codes);
        let set = Governed::read_validators(self.spec, header, &state);
        let height = header.number;
        let set = set.map_err(|e| unproven(format!("who validates after {height}: {e}")))?;
        if set == self.validators {
            return Err(unproven(format!("block {height} does not change the validators")));
        }
        self.validators = set;
        // Attack: true handovers, each filled up to the longest with nodes that nothing reads: so a
        // stranger would have gigabytes fetched before its false block is looked at.
        match state.is_exact(witness) {
            true => Ok(true),
            false => {
                Err(unproven(format!("the witness of block {height} holds more than it proves")))
            }
        }
    }
}

/// Checks that a certificate is of a block.
pub(super) fn check_block(header: &Header, certificate: &Certificate) -> Result<(), JoinError> {
    match (certificate.height, certificate.block) == (header.number, header.hash_slow()) {
        true => Ok(()),
        false => Err(unproven(format!("the certificate is not of block {}", header.number))),
    }
}
