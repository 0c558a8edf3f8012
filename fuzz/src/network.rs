//! A network of one node and the peers that a target plays: what its chain is, who validates,
//! and what is said at each height.

use std::sync::{Arc, LazyLock};

use trefoil_crypto::{Domain, PeerId, SecretKey};
use trefoil_ledger::{Draft, History, Ledger};
use trefoil_mempool::MempoolLimits;
use trefoil_node::{Config, Effects, Node};
use trefoil_types::{
    Attached, B256, Certificate, CertifiedBlock, ChainSpec, Height, MemDisk, Proposal,
    ProposedBlock, Round, Time, ValidatorSignature, Vote, VoteKind,
};

use crate::{TX, secret};

/// The node validates by the first key. The second validator is the attacker's, who is under a
/// third; the others vote for the blocks of [`CHAIN`], and for nothing else.
pub const VALIDATORS: u8 = 4;
pub const ATTACKER: u8 = 2;

/// Heights of which the others' blocks are known.
pub const HEIGHTS: Height = 6;

/// Some time after the last of those blocks.
pub const START: Time = Time(1_000_000);

pub static NETWORK: LazyLock<Arc<ChainSpec>> = LazyLock::new(|| {
    let mut spec = ChainSpec::clone(&crate::SPEC);
    let first = spec.validators[0].clone();
    spec.validators = (1..=VALIDATORS)
        .map(|seed| {
            let mut validator = first.clone();
            validator.key = secret(seed).public();
            validator.node = Some(peer(seed));
            validator
        })
        .collect();
    // A key has one use: that of the example is a validator's here.
    spec.organisations[0].ca_keys = vec![secret(200).public()];
    Arc::new(spec)
});

pub fn peer(seed: u8) -> PeerId {
    PeerId(secret(100 + seed).public())
}

/// The others' chain: each block with the certificate that all signed. The first has [`TX`].
pub struct Chain {
    pub genesis: B256,
    pub blocks: Vec<CertifiedBlock>,
}

pub static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let mut ledger = open_ledger();
    for height in 1..=HEIGHTS {
        let parent_certificate = ledger.tip_certificate().cloned();
        let attached = Attached { parent_certificate, evidence: vec![] };
        let timestamp = ledger.tip().timestamp + 1;
        let fee_recipient = NETWORK.validators[0].fee_recipient;
        let draft = Draft { timestamp, fee_recipient, attached };
        let mut txs = (height == 1).then(|| TX.clone()).into_iter();
        let (outcome, _) = ledger.build(draft, &mut txs);
        let block = outcome.block().hash;
        let certificate = certificate(ledger.genesis_hash(), height, block);
        ledger.commit(outcome, certificate);
    }
    let snapshot = ledger.snapshot();
    let block = |height| snapshot.certified_block(height).expect("memory").expect("committed");
    Chain { genesis: ledger.genesis_hash(), blocks: (1..=HEIGHTS).map(block).collect() }
});

fn open_ledger() -> Ledger {
    Ledger::open(Arc::new(MemDisk::default()), NETWORK.clone(), History::Archive)
        .expect("an empty disk takes any chain")
}

fn certificate(genesis: B256, height: Height, block: B256) -> Certificate {
    let bytes = Vote::signed_bytes(VoteKind::Precommit, height, 0, Some(block));
    let sign = |key: SecretKey| ValidatorSignature {
        validator: key.public(),
        signature: key.sign(Domain::Vote, &genesis, &bytes),
    };
    let mut signatures: Vec<_> = (1..=VALIDATORS).map(secret).map(sign).collect();
    signatures.sort_by_key(|signed| signed.validator);
    Certificate { height, round: 0, block, signatures }
}

/// The node, with nothing but genesis.
pub fn node(effects: &mut Effects) -> Node {
    let config = Config {
        validator_keys: vec![secret(1)],
        peer: peer(1),
        pool: MempoolLimits { txs_max: 64, bytes_max: 1 << 20, ..MempoolLimits::default() },
    };
    Node::open(config, open_ledger(), vec![], START, effects).expect("a new chain")
}

impl Chain {
    /// The block of a height; the last, if the height is beyond.
    pub fn block(&self, height: Height) -> &CertifiedBlock {
        let at = height.clamp(1, HEIGHTS) - 1;
        &self.blocks[at as usize]
    }

    pub fn hash(&self, height: Height) -> B256 {
        self.block(height).certificate.block
    }

    /// What the honest validators vote for at a height, in every round: so they never
    /// contradict themselves.
    pub fn choice(&self, height: Height) -> Option<B256> {
        (1..=HEIGHTS).contains(&height).then(|| self.hash(height))
    }

    pub fn vote(
        &self,
        seed: u8,
        kind: VoteKind,
        height: Height,
        round: Round,
        block: Option<B256>,
    ) -> Vote {
        Vote::sign(&secret(seed), &self.genesis, kind, height, round, block)
    }

    /// The block of `height`, as the validator of this seed proposes it at another one.
    pub fn proposal(&self, seed: u8, height: Height, round: Round) -> ProposedBlock {
        let CertifiedBlock { block, certificate, attached } = self.block(height).clone();
        let key = secret(seed);
        ProposedBlock {
            proposal: Proposal::sign(&key, &self.genesis, height, round, certificate.block, None),
            tx_hashes: block.body.transactions.iter().map(|tx| *tx.tx_hash()).collect(),
            header: block.header,
            attached,
            bytes: 0,
        }
    }
}
