//! Who calls the system contracts by chance: governance keys, owners of stakes, those whom a
//! decision gives an office, and anybody.

use std::collections::{BTreeMap, BTreeSet};

use alloy_consensus::{TxEip1559, transaction::Recovered};
use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall as _;
use trefoil_crypto::{Address, B256, PublicKey};
use trefoil_node::{Call, Node, Reply, io::CallId};
use trefoil_types::{
    KeyProof, KeyRole, Millis, Receipt, RecoveredBlock, Transaction,
    spec::{
        ACCOUNT_ACTIONS, CHAIN_ACTIONS, CONTENT_REGISTRY, GOVERNING_ACTIONS, GOVERNING_CONTRACT,
    },
};

use super::{
    calls::{CA_KEYS, Dice, Function, PEER_KEYS, VALIDATOR_KEYS, Values, functions},
    secret,
};
use crate::{
    governors::{
        acceptSeatCall, action, approveCall, depositCall, executeCall, governor, objectCall,
        proofs, proposeCall, proposeOwnCall, proveCall, standby_of_stake, withdrawCall,
    },
    plan::{Act, Motion, SimPlan},
    rng::Rng,
    workload::{CHAIN_ID, SimWallet},
};

const GOVERNANCE: &str = include_str!("../../../../contracts/artifacts/Governance.json");
const ACTIONS: &str = include_str!("../../../../contracts/artifacts/GovernanceActions.json");
const STAKING: &str = include_str!("../../../../contracts/artifacts/Staking.json");
const REGISTRY: &str = include_str!("../../../../contracts/artifacts/ContentRegistry.json");

/// Those that become guardians, administrators and recovery keys more often than others.
const OFFICERS: usize = 4;
/// Those that have no office.
const OTHERS: usize = 4;

/// Beyond the reserves, those whom a decision makes validators though nobody runs the key.
const ABSENT: usize = 2;

/// The gas limit of a call.
const GAS: u64 = 6_000_000;

/// More than any base fee that a vote may set, twice: a call that waits still pays.
const FEE: u128 = 4_000_000_000_000;

/// A founder's stake and any other, many times.
const BALANCE: u128 = 1 << 110;

const ROLES: [(KeyRole, std::ops::Range<u8>); 3] =
    [(KeyRole::Peer, PEER_KEYS), (KeyRole::Validator, VALIDATOR_KEYS), (KeyRole::Ca, CA_KEYS)];

/// A call that an account is about to make.
#[derive(Clone, Debug)]
struct Deed {
    by: usize,
    to: Address,
    input: Vec<u8>,
    value: U256,
}

pub struct Actors {
    values: Values,
    validators: usize,
    has_members: bool,
    wallets: Vec<SimWallet>,
    /// Each contract with its functions.
    contracts: Vec<(Address, Vec<Function>)>,
    /// Between calls; `None`: nobody calls.
    pub every: Option<Millis>,
    /// What comes first: keys agree to their use.
    first: Vec<Deed>,
    /// Those who asked for their next nonce.
    asked: BTreeMap<CallId, Deed>,
    sent: BTreeSet<B256>,
    limit: u64,
}

/// The accounts at genesis that only act here, and their balances, wei.
pub fn funded(plan: &SimPlan) -> impl Iterator<Item = (Address, u128)> {
    // None where nobody acts: another genesis is another course of every seed.
    let count = if acts(plan) { OFFICERS + OTHERS } else { 0 };
    (0..count).map(|index| (SimWallet::new("actor", index).address, BALANCE))
}

fn acts(plan: &SimPlan) -> bool {
    plan.script.iter().any(|(_, act)| matches!(act, Act::Actions(_)))
}

impl Actors {
    pub fn new(plan: &SimPlan, network: B256) -> Self {
        let has_members = plan.chain.kind.has_members();
        let governors = (0..plan.validators).map(governor);
        let others = (0..OFFICERS + OTHERS).map(|index| SimWallet::new("actor", index));
        let wallets: Vec<_> = governors.chain(others).collect();
        let governing = functions(if has_members { GOVERNANCE } else { STAKING });
        let actions = functions(ACTIONS);
        let mut contracts =
            vec![(GOVERNING_CONTRACT, governing), (CONTENT_REGISTRY, functions(REGISTRY))];
        if has_members {
            let at = [GOVERNING_CONTRACT, GOVERNING_ACTIONS, CHAIN_ACTIONS, ACCOUNT_ACTIONS];
            contracts.extend(at.map(|at| (at, actions.clone())));
        }
        let addresses = || wallets.iter().map(|wallet| wallet.address);
        let names = (0..plan.validators).map(|id| format!("org-{id}"));
        let values = Values {
            dice: Dice(Rng::new(plan.seed, "actors").word()),
            accounts: addresses().chain([Address::ZERO, GOVERNING_CONTRACT]).collect(),
            officers: addresses().skip(plan.validators).take(OFFICERS).collect(),
            names: names.chain(["org-new".into(), "ORG-0".into()]).collect(),
            network,
            height: 1,
            time: 0,
            proposals: 0,
            actions: actions.into_iter().filter(|action| !action.reads()).collect(),
        };
        let mut actors = Self {
            values,
            validators: plan.validators,
            has_members,
            wallets,
            contracts,
            every: None,
            first: vec![],
            asked: BTreeMap::new(),
            sent: BTreeSet::new(),
            limit: plan.chain.gas_limit,
        };
        if has_members && acts(plan) {
            actors.prepare();
        }
        actors
    }

    /// Most keys agree to their use by one organisation each, and the machines' own to what
    /// [`Self::motion`] needs.
    fn prepare(&mut self) {
        for (role, keys) in ROLES {
            for number in keys {
                let organisation = format!("org-{}", self.values.dice.below(self.validators));
                let deed = self.proof(number, role, organisation);
                self.first.push(deed);
            }
        }
        let network = self.values.network;
        let first = self.validators;
        let added = (first..first + super::RESERVES + ABSENT).map(Motion::AddValidator);
        let rotated = (0..self.validators).map(Motion::RotateKey);
        for input in added.chain(rotated).flat_map(|motion| proofs(motion, &network)) {
            let by = self.values.dice.below(self.wallets.len());
            self.first.push(governs(by, input));
        }
    }

    fn proof(&mut self, number: u8, role: KeyRole, organisation: String) -> Deed {
        let proof =
            KeyProof::sign(&secret(number), &self.values.network, role, organisation.as_str());
        let (key, signature) = (proof.key.0, proof.signature.0.into());
        let call = proveCall { key, role: role as u8, organisation, signature };
        governs(self.values.dice.below(self.wallets.len()), call.abi_encode())
    }

    /// An index into so many machines.
    pub fn any(&mut self, machines: usize) -> usize {
        self.values.dice.below(machines)
    }

    /// The calls by which some ask a machine for their next nonces, each with an id of `new_call`.
    /// `proposals`: how many there are at the machine's tip.
    pub fn begin(
        &mut self,
        node: &Node,
        proposals: u64,
        mut new_call: impl FnMut() -> CallId,
    ) -> Vec<(CallId, Call)> {
        self.values.proposals = proposals;
        let deeds = self.deeds(node).into_iter().map(|deed| (new_call(), deed));
        let ask = |(id, deed): (CallId, Deed)| {
            let call = Call::PendingNonce(self.wallets[deed.by].address);
            self.asked.insert(id, deed);
            (id, call)
        };
        deeds.collect::<Vec<_>>().into_iter().map(ask).collect()
    }

    /// The call that follows a machine's reply, if any does.
    pub fn replied(&mut self, id: CallId, reply: &Reply) -> Option<Call> {
        let deed = self.asked.remove(&id)?;
        let Reply::PendingNonce(nonce) = reply else { return None };
        Some(Call::Submit(self.sign(deed, *nonce)))
    }

    /// What some do next, of each account one call at most: their order would be open.
    fn deeds(&mut self, node: &Node) -> Vec<Deed> {
        let ledger = node.ledger();
        let tip = ledger.tip();
        (self.values.height, self.values.time) = (tip.number + 1, tip.timestamp);
        self.limit = tip.gas_limit;
        if !self.first.is_empty() {
            let at = self.first.len().saturating_sub(3);
            return self.first.split_off(at);
        }
        let deeds = match self.values.dice.below(12) {
            0..4 if self.has_members => self.propose(node),
            4..8 if self.has_members => self.approve(node),
            8 if self.has_members => self.follow(node),
            9 if self.has_members => self.prove(),
            0..4 => self.stake(),
            _ => self.call_any(),
        };
        let mut seen = BTreeSet::new();
        deeds.into_iter().filter(|deed| seen.insert(deed.by)).collect()
    }

    /// The governance keys of the active organisations, as numbers of wallets.
    fn voters(&self, node: &Node) -> Vec<usize> {
        let organisations = &node.ledger().governed().members.organisations;
        let keys = organisations.values().flat_map(|organisation| &organisation.keys);
        keys.filter_map(|key| self.wallets.iter().position(|it| it.address == *key)).collect()
    }

    fn propose(&mut self, node: &Node) -> Vec<Deed> {
        let voters = self.voters(node);
        if voters.is_empty() {
            return vec![];
        }
        let by = self.values.dice.one(&voters);
        let function = self.values.dice.one(&self.values.actions.clone());
        let (action, alone) = match self.values.dice.below(12) {
            0..=3 => {
                let motion = self.motion();
                let own = matches!(motion, Motion::RotateKey(_) | Motion::NameStandby { .. });
                (action(motion), own)
            }
            4 => (function.damaged(&mut self.values), false),
            5 => (function.nonsense(&mut self.values), false),
            _ => (function.call(&mut self.values), self.values.dice.once_in(4)),
        };
        let action = Bytes::from(action);
        let input = match alone {
            true => proposeOwnCall { action }.abi_encode(),
            false => proposeCall { action }.abi_encode(),
        };
        vec![governs(by, input)]
    }

    /// Something about validators that has a good chance to be accepted.
    fn motion(&mut self) -> Motion {
        let founder = self.values.dice.below(self.validators);
        let reserve = self.validators + self.values.dice.below(super::RESERVES);
        match self.values.dice.below(9) {
            0 => Motion::AddValidator(reserve),
            1..=2 => {
                let absent = super::RESERVES + self.values.dice.below(ABSENT);
                Motion::AddValidator(self.validators + absent)
            }
            3..=4 => Motion::RotateKey(founder),
            5..=6 => Motion::NameStandby { seat: founder, standby: reserve },
            7 => Motion::RemoveValidator(founder),
            _ => Motion::RevokeNode(founder),
        }
    }

    /// All who can approve one of the newest proposals.
    fn approve(&mut self, node: &Node) -> Vec<Deed> {
        let back = self.values.dice.below(3) as u64;
        let id = U256::from(self.values.proposals.saturating_sub(back));
        let approve = |by| governs(by, approveCall { id }.abi_encode());
        self.voters(node).into_iter().map(approve).collect()
    }

    /// Somebody goes on with what was proposed before, or takes a seat that was offered.
    fn follow(&mut self, node: &Node) -> Vec<Deed> {
        let back = self.values.dice.below(8) as u64;
        let id = U256::from(self.values.proposals.saturating_sub(back));
        let input = match self.values.dice.below(8) {
            0 => objectCall { id }.abi_encode(),
            1 => withdrawCall { id }.abi_encode(),
            2..=4 => executeCall { id }.abi_encode(),
            _ => {
                let organisation = 1 + self.values.dice.below(self.validators + 1) as u32;
                let input = acceptSeatCall { organisation }.abi_encode();
                return (0..self.wallets.len()).map(|by| governs(by, input.clone())).collect();
            }
        };
        let voters = self.voters(node);
        voters.into_iter().take(2).map(|by| governs(by, input.clone())).collect()
    }

    /// A key agrees to its use, or to be a standby.
    fn prove(&mut self) -> Vec<Deed> {
        let (role, keys) = self.values.dice.one(&ROLES);
        let number = keys.start + self.values.dice.below(keys.len()) as u8;
        let organisation = self.values.dice.one(&self.values.names);
        vec![self.proof(number, role, organisation)]
    }

    /// A deposit with the key's own proof, or a standby.
    fn stake(&mut self) -> Vec<Deed> {
        let by = self.values.dice.below(self.wallets.len());
        let (owner, network) = (self.wallets[by].address, self.values.network);
        if self.values.dice.once_in(3) {
            let seat = self.values.dice.below(self.validators);
            let standby = self.validators + self.values.dice.below(super::RESERVES);
            return vec![governs(seat, standby_of_stake(seat, standby, &network))];
        }
        let number = VALIDATOR_KEYS.start + self.values.dice.below(VALIDATOR_KEYS.len()) as u8;
        let proof = KeyProof::sign(&secret(number), &network, KeyRole::Validator, owner);
        let (PublicKey(key), fees) = (proof.key, self.values.account());
        let call = depositCall { key, feeRecipient: fees, proof: proof.signature.0.into() };
        vec![Deed { value: self.values.wei(), ..governs(by, call.abi_encode()) }]
    }

    /// Anybody calls any function of a contract.
    fn call_any(&mut self) -> Vec<Deed> {
        let (to, functions) = self.values.dice.one(&self.contracts);
        let function = self.values.dice.one(&functions);
        let input = function.input(&mut self.values);
        let by = match self.values.dice.below(3) {
            0 => self.validators + self.values.dice.below(OFFICERS),
            _ => self.values.dice.below(self.wallets.len()),
        };
        let value = if function.is_payable() { self.values.wei() } else { U256::ZERO };
        vec![Deed { by, to, input, value }]
    }

    /// The transaction of whoever has its nonce now.
    fn sign(&mut self, deed: Deed, nonce: u64) -> Transaction {
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: GAS.min(self.limit),
            max_fee_per_gas: FEE,
            max_priority_fee_per_gas: 0,
            to: deed.to.into(),
            value: deed.value,
            access_list: Default::default(),
            input: deed.input.into(),
        };
        let wallet = &self.wallets[deed.by];
        let tx = Recovered::new_unchecked(wallet.sign(tx), wallet.address);
        self.sent.insert(*tx.tx_hash());
        tx.into()
    }

    /// How many of a block's transactions are such calls: accepted, and refused.
    pub fn outcomes(&mut self, block: &RecoveredBlock, receipts: &[Receipt]) -> [u64; 2] {
        let mut outcomes = [0; 2];
        for (tx, receipt) in block.transactions.iter().zip(receipts) {
            // Each once, though every machine tells of it.
            if self.sent.remove(tx.tx_hash()) {
                outcomes[usize::from(!receipt.status())] += 1;
            }
        }
        outcomes
    }
}

fn governs(by: usize, input: Vec<u8>) -> Deed {
    Deed { by, to: GOVERNING_CONTRACT, input, value: U256::ZERO }
}
