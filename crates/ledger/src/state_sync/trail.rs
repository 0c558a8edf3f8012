//! The way from genesis to a block: the validator set of each height, with each change
//! proven in a state that the validators before it made final. A light client's walk.

use std::collections::BTreeMap;

use alloy_primitives::Bytes;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use trefoil_types::{B256, Certificate, ChainSpec, Header, Height, ValidatorSet, keccak256};

use super::error::{JoinError, unproven};
use crate::{
    Governed, LedgerError, Snapshot,
    governance::founding,
    overlay::Outcome,
    trie::witness::{Proven, Recorder},
};

/// A final block and, if other validators follow it, the proof of the change.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct Handover {
    pub header: Header,
    /// The certificate that its child binds.
    pub certificate: Certificate,
    /// Trie nodes of the state after it: those that the governing contract reads to name
    /// the next validators. Empty: the same validators follow.
    pub witness: Vec<Bytes>,
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

/// The validator set from each height on, as far as it is proven.
pub(super) struct Trail<'a> {
    spec: &'a ChainSpec,
    pub genesis: B256,
    // The contracts' code is known from the specification, so a witness need not carry it,
    // and no file can bring another.
    /// The code of the governing contracts, by hash.
    codes: BTreeMap<B256, Bytes>,
    /// Each set with the height from which it holds.
    pub sets: BTreeMap<Height, ValidatorSet>,
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
            sets: [(1, first.validators.clone())].into(),
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
        if (certificate.height, certificate.block) != (height, header.hash_slow()) {
            return Err(unproven(format!("the certificate is not of block {height}")));
        }
        let (_, set) = self.sets.range(..=height).next_back().expect("from height 1 on");
        certificate.verify(set, &self.genesis).map_err(|e| unproven(e.to_string()))?;
        self.newest = height;
        Ok(())
    }

    /// Checks that a block above all before it is final, and takes over the validators that
    /// follow it.
    pub fn follow(&mut self, handover: &Handover) -> Result<(), JoinError> {
        let Handover { header, certificate, witness } = handover;
        self.check(header, certificate)?;
        if witness.is_empty() {
            return Ok(());
        }
        let state = Proven::new(header.state_root, witness, &self.codes);
        let set = Governed::read_validators(self.spec, header, &state);
        let set =
            set.map_err(|e| unproven(format!("who validates after {}: {e}", header.number)))?;
        self.sets.insert(header.number + 1, set);
        Ok(())
    }
}
