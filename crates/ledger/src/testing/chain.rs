//! A small network of ours on a [`World`].

use std::sync::Arc;

use alloy_consensus::{Signed, TxEip1559, transaction::Recovered};
use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use trefoil_crypto::PublicKey;
use trefoil_ledger::{Built, ChainSettings, Draft, Governed, Parent, build};
use trefoil_types::{
    Attached, Certificate, ChainSpec, Header, Kind, Transaction, Turns, TxEnvelope, Validator,
    ValidatorSet, spec::Fork,
};

use super::world::World;

pub const GWEI: u64 = 1_000_000_000;

/// A network on Osaka from the start; `base_fee` 0 makes it gas-free.
pub fn spec(base_fee: u64) -> ChainSpec {
    ChainSpec {
        name: "test".into(),
        kind: Kind::Consortium,
        chain_id: 7331,
        genesis_time: 1_000,
        gas_limit: 30_000_000,
        base_fee,
        min_base_fee: None,
        block_interval_ms: 500,
        idle_block_s: 60,
        validator_delay: 2,
        decision_delay_s: 172_800,
        quorum: [2, 3],
        snapshot_every: 1_024,
        accounts: None,
        deployers: None,
        parameters: Default::default(),
        staking: None,
        organisations: vec![],
        forks: [(Fork::Cancun, 0), (Fork::Prague, 0), (Fork::Osaka, 0)].into(),
        validators: vec![],
        alloc: Default::default(),
    }
}

/// A state with what every genesis of ours has.
pub fn world() -> World {
    let mut world = World::default();
    for (address, code) in [
        (eip4788::BEACON_ROOTS_ADDRESS, &eip4788::BEACON_ROOTS_CODE),
        (eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE),
        (
            eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE,
        ),
        (
            eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE,
        ),
    ] {
        world.set(address, 1, U256::ZERO, code, []);
    }
    world
}

pub fn fund(world: &mut World, address: Address, wei: U256) {
    world.set(address, 0, wei, &Bytes::new(), []);
}

pub fn address(byte: u8) -> Address {
    Address::repeat_byte(byte)
}

/// A chain whose state is a [`World`], without a governing contract: its answers are set by
/// hand.
pub struct TestChain {
    pub spec: ChainSpec,
    pub governed: Governed,
    /// Of the tip.
    pub turns: Turns,
    pub world: World,
    pub tip: Header,
    pub tip_hash: B256,
}

impl TestChain {
    pub fn new(spec: ChainSpec, world: World) -> Self {
        let tip = Header {
            timestamp: spec.genesis_time,
            gas_limit: spec.gas_limit,
            base_fee_per_gas: Some(spec.base_fee),
            state_root: world.root(),
            excess_blob_gas: Some(0),
            blob_gas_used: Some(0),
            ..Default::default()
        };
        let (power, fee_recipient) = (1, address(0xfe));
        let key = PublicKey::default();
        let validator = Validator { key, power };
        let governed = Governed {
            validators: ValidatorSet::new(vec![validator]).expect("one validator is a set"),
            fee_recipients: [(key, fee_recipient)].into(),
            members: Default::default(),
            settings: ChainSettings::of_founding(&spec),
            forks: spec.forks.clone(),
            parameters: Default::default(),
            unknown_fork: None,
        };
        let turns = Turns::first(governed.validators.clone());
        Self { spec, governed, turns, world, tip_hash: tip.hash_slow(), tip }
    }

    /// The tip, as the next block sees it.
    pub fn parent(&self) -> Parent<'_, World> {
        Parent {
            spec: &self.spec,
            hash: self.tip_hash,
            header: &self.tip,
            state: &self.world,
            governed: &self.governed,
            turns: (self.tip.number > 0).then_some(&self.turns),
        }
    }

    pub fn draft(&self) -> Draft {
        let certificate = Certificate {
            height: self.tip.number,
            round: 0,
            block: self.tip_hash,
            signatures: vec![],
        };
        Draft {
            timestamp: self.tip.timestamp + 1,
            fee_recipient: address(0xfe),
            attached: Attached {
                parent_certificate: (self.tip.number > 0).then_some(certificate),
                ..Default::default()
            },
        }
    }

    pub fn build(&self, txs: impl IntoIterator<Item = Transaction>) -> Built {
        let root = |diff: &mut _| {
            let mut world = self.world.clone();
            world.apply(diff).expect("the diff starts from this state");
            Ok(world.root())
        };
        let (draft, txs) = (self.draft(), &mut txs.into_iter());
        build(&self.parent(), draft, txs, root).expect("memory can be read")
    }

    pub fn extend(&mut self, built: Built) {
        self.world.apply(&built.executed.diff).expect("built on this state");
        self.turns = self.parent().next_turns();
        self.tip_hash = built.block.hash;
        self.tip = built.block.header;
        self.world.blocks.insert(self.tip.number, self.tip_hash);
    }
}

/// A transfer that offers no fee.
pub fn transfer(to: Address, value: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: 7331,
        gas_limit: 21_000,
        to: TxKind::Call(to),
        value: U256::from(value),
        ..Default::default()
    }
}

/// As if signed by `sender`: execution trusts the sender that was recovered.
pub fn sent(tx: impl Into<alloy_consensus::TypedTransaction>, sender: Address) -> Transaction {
    use alloy_consensus::{SignableTransaction, TypedTransaction};
    let signature = Signature::test_signature();
    let tx = match tx.into() {
        TypedTransaction::Legacy(tx) => TxEnvelope::Legacy(tx.into_signed(signature)),
        TypedTransaction::Eip2930(tx) => TxEnvelope::Eip2930(tx.into_signed(signature)),
        TypedTransaction::Eip1559(tx) => TxEnvelope::Eip1559(tx.into_signed(signature)),
        TypedTransaction::Eip4844(tx) => {
            TxEnvelope::Eip4844(Signed::new_unhashed(tx.into(), signature))
        }
        TypedTransaction::Eip7702(tx) => TxEnvelope::Eip7702(tx.into_signed(signature)),
    };
    Arc::new(Recovered::new_unchecked(tx, sender))
}
