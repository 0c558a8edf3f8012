//! The accounts that vote for organisations, one for each founding validator.

use std::sync::Arc;

use alloy_consensus::{TxEip1559, transaction::Recovered};
use alloy_primitives::{Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, sol};
use trefoil_crypto::{Address, PeerId, PublicKey};
use trefoil_types::{B256, KeyProof, KeyRole, Kind, Transaction, spec::GOVERNING_CONTRACT};

use crate::{
    machine::secret,
    plan::{ChainOptions, Motion},
    wire::Id,
    workload::{CHAIN_ID, SimWallet, WALLET_BALANCE},
};

// Of contracts/src/Decisions.sol and its actions.
sol! {
    function propose(bytes action) external returns (uint256 id);
    function proposeOwn(bytes action) external returns (uint256 id);
    function approve(uint256 id) external;
    function execute(uint256 id) external;
    function object(uint256 id) external;
    function withdraw(uint256 id) external;
    function acceptSeat(uint32 organisation) external;
    function proposalCount() external view returns (uint64);
    function deposit(bytes32 key, address feeRecipient, bytes proof) external payable;
    function prove(bytes32 key, uint8 role, string organisation, bytes signature) external;
    function addValidator(bytes32 peer, uint32 organisation, bytes32 key, uint64 power, address fees) external;
    function removeValidator(bytes32 peer) external;
    function revokeNode(bytes32 peer, uint32 organisation) external;
    function rotateValidatorKey(bytes32 peer, bytes32 validatorKey) external;
    function setStandby(bytes32 peer, bytes32 validatorKey) external;
    function setGasLimit(uint64 gasLimit) external;
}
// Of contracts/src/StakedStandbys.sol.
sol! {
    interface Staked {
        function setStandby(bytes32 validatorKey, bytes proof) external;
    }
}

/// The gas limit of a vote.
const VOTE_GAS: u64 = 5_000_000;

#[derive(Debug)]
pub struct Governors {
    accounts: Vec<(SimWallet, u64)>,
    chain: ChainOptions,
    proposals: u64,
}

impl Governors {
    /// One for each of so many organisations.
    pub fn new(organisations: usize, chain: ChainOptions) -> Self {
        let accounts = (0..organisations).map(|id| (governor(id), 0)).collect();
        Self { accounts, chain, proposals: 0 }
    }

    /// Their accounts and balances at genesis, wei.
    pub fn funded(organisations: usize) -> impl Iterator<Item = (Address, u128)> {
        (0..organisations).map(|id| (governor(id).address, WALLET_BALANCE))
    }

    /// The proposal of a motion, after the proofs of the keys in it, and its number, if others
    /// are to approve it. `network` is the genesis hash.
    pub fn propose(&mut self, motion: Motion, network: &B256) -> (Option<u64>, Vec<Transaction>) {
        if let (Motion::NameStandby { seat, standby }, Kind::Public) = (motion, self.chain.kind) {
            return (None, vec![self.sign(seat, standby_of_stake(seat, standby, network))]);
        }
        self.proposals += 1;
        let action = action(motion).into();
        let (by, open, proposal) = match motion {
            Motion::RotateKey(id) | Motion::NameStandby { seat: id, .. } => {
                (id, None, proposeOwnCall { action }.abi_encode())
            }
            _ => (0, Some(self.proposals), proposeCall { action }.abi_encode()),
        };
        let calls = proofs(motion, network).chain([proposal]);
        (open, calls.map(|call| self.sign(by, call)).collect())
    }

    /// As many approvals as a proposal lacks yet: more than two thirds decide.
    pub fn approve(&mut self, proposal: u64) -> Vec<Transaction> {
        let enough = self.accounts.len() * 2 / 3 + 1;
        let call = approveCall { id: U256::from(proposal) }.abi_encode();
        (1..enough).map(|id| self.sign(id, call.clone())).collect()
    }

    fn sign(&mut self, id: usize, input: Vec<u8>) -> Transaction {
        let fee = u128::from(self.chain.base_fee) * 4;
        let (wallet, nonce) = &mut self.accounts[id];
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: *nonce,
            gas_limit: VOTE_GAS,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: fee / 4,
            to: TxKind::Call(GOVERNING_CONTRACT),
            value: U256::ZERO,
            access_list: Default::default(),
            input: Bytes::from(input),
        };
        *nonce += 1;
        Arc::new(Recovered::new_unchecked(wallet.sign(tx), wallet.address))
    }
}

pub(crate) fn governor(organisation: usize) -> SimWallet {
    SimWallet::new("governor", organisation)
}

/// The account that votes for an organisation.
pub fn address(organisation: usize) -> Address {
    governor(organisation).address
}

/// The calls that bring the consent of the keys in a motion.
pub(crate) fn proofs(motion: Motion, network: &B256) -> impl Iterator<Item = Vec<u8>> + use<> {
    let (by, keys) = match motion {
        // New validators belong to the first organisation.
        Motion::AddValidator(id) => (
            0,
            vec![
                (secret("node", id), KeyRole::Peer),
                (secret("validator", id), KeyRole::Validator),
            ],
        ),
        Motion::RotateKey(id) => (id, vec![(secret("next-validator", id), KeyRole::Validator)]),
        Motion::NameStandby { seat, standby } => {
            (seat, vec![(secret("validator", standby), KeyRole::Validator)])
        }
        _ => (0, vec![]),
    };
    let network = *network;
    keys.into_iter().map(move |(secret, role)| {
        let organisation = format!("org-{by}");
        let proof = KeyProof::sign(&secret, &network, role, &*organisation);
        let role = role as u8;
        let (key, signature) = (proof.key.0, proof.signature.0.into());
        proveCall { key, role, organisation, signature }.abi_encode()
    })
}

/// The call by which the owner of a stake names a standby.
pub(crate) fn standby_of_stake(seat: Id, standby: Id, network: &B256) -> Vec<u8> {
    let key = secret("validator", standby);
    let proof = KeyProof::sign(&key, network, KeyRole::Validator, address(seat));
    let (key, signature) = (proof.key.0, proof.signature.0);
    Staked::setStandbyCall { validatorKey: key, proof: signature.into() }.abi_encode()
}

pub(crate) fn action(motion: Motion) -> Vec<u8> {
    let peer = |id: Id| PeerId(secret("node", id).public()).0.0;
    match motion {
        Motion::AddValidator(id) => {
            let PublicKey(key) = secret("validator", id).public();
            let fees = Address::with_last_byte(id as u8 + 1);
            addValidatorCall { peer: peer(id), organisation: 1, key, power: 1, fees }.abi_encode()
        }
        Motion::RemoveValidator(id) => removeValidatorCall { peer: peer(id) }.abi_encode(),
        // A founder's organisation has its number, counted from 1.
        Motion::RevokeNode(id) => {
            revokeNodeCall { peer: peer(id), organisation: id as u32 + 1 }.abi_encode()
        }
        Motion::RotateKey(id) => {
            let PublicKey(key) = secret("next-validator", id).public();
            rotateValidatorKeyCall { peer: peer(id), validatorKey: key }.abi_encode()
        }
        Motion::NameStandby { seat, standby } => {
            let PublicKey(key) = secret("validator", standby).public();
            setStandbyCall { peer: peer(seat), validatorKey: key }.abi_encode()
        }
        Motion::SetGasLimit(gas) => setGasLimitCall { gasLimit: gas }.abi_encode(),
    }
}
