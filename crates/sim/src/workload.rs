//! Wallets that send transfers and use a contract, through any machine.

use std::collections::BTreeMap;

use alloy_consensus::{TxEip1559, TxLegacy, transaction::Recovered};
use alloy_primitives::{Bytes, Signature, TxKind, U256, hex};
use secp256k1::{Message as Digest, Secp256k1, SecretKey as EthKey};
use trefoil_crypto::{Address, B256, keccak256};
use trefoil_node::{Call, Reply, io::CallId};
use trefoil_types::{Millis, Transaction, TxEnvelope, TxError, decode_tx};

use crate::{plan::ChainOptions, rng::Rng, wire::Id};

/// Any number will do: the transactions and the chain only have to name the same (EIP-155).
pub const CHAIN_ID: u64 = 7331;

/// An account that nobody touches; its balance is a pattern that is found on a
/// disk (see [`crate::injected_bug::InjectedBug::BitRot`]).
pub const MISER: Address = Address::repeat_byte(0x4d);
pub const MISER_BALANCE: u128 = 0xd15e_a5e0_ff1c_edfe_edbe_efca_fef0_0d5e;

// 1,000 ether. The dearest transaction, a vote of 5 million gas at 4 gwei, costs 0.02: no
// account runs out within a run.
/// The balance of a wallet at genesis, wei.
pub const WALLET_BALANCE: u128 = 1_000_000_000_000_000_000_000;

/// Counts its calls in slot 0, adds the random value and the time to slot 1, and logs the
/// count: `SSTORE(0, SLOAD(0)+1)`, `MSTORE(0, SLOAD(0))`,
/// `SSTORE(1, SLOAD(1)+PREVRANDAO+TIMESTAMP)`, `LOG1(0, 32, 0x2a)`.
const RUNTIME: [u8; 33] = hex!(
    "600054600101600055" // slot 0
    "60015444014201600155" // slot 1
    "600054600052" // memory 0
    "602a60206000a1" // log
    "00"
);

// With 16 transactions each, six wallets can fill a pool of 64 (the bounds of a plan).
/// The wallets that submit.
const WALLETS: usize = 6;

#[derive(Debug)]
pub struct Workload {
    rng: Rng,
    chain: ChainOptions,
    tx_bytes: usize,
    wallets: Vec<SimWallet>,
    /// Between submissions; `None`: nothing is submitted.
    pub every: Option<Millis>,
    /// The wallet of each call for a nonce that has no reply yet.
    nonces: BTreeMap<CallId, usize>,
    contracts: Vec<Address>,
    /// The workers of all machines remember together what they recovered.
    recovered: BTreeMap<Bytes, Result<Transaction, TxError>>,
    calls: u64,
}

/// An account and its key.
#[derive(Debug)]
pub struct SimWallet {
    key: EthKey,
    pub address: Address,
}

impl Workload {
    /// `tx_bytes`: what a transfer carries.
    pub fn new(chain: ChainOptions, tx_bytes: usize, rng: Rng) -> Self {
        Self {
            rng,
            chain,
            tx_bytes,
            wallets: (0..WALLETS).map(|i| SimWallet::new("wallet", i)).collect(),
            every: None,
            nonces: BTreeMap::new(),
            contracts: vec![],
            recovered: BTreeMap::new(),
            calls: 0,
        }
    }

    /// Every account whose state the judges compare.
    pub fn watched(&self) -> Vec<Address> {
        self.wallets.iter().map(|wallet| wallet.address).chain([MISER]).collect()
    }

    /// The accounts of genesis.
    pub fn funded() -> impl Iterator<Item = (Address, u128)> {
        let wallets = (0..WALLETS).map(|i| (SimWallet::new("wallet", i).address, WALLET_BALANCE));
        wallets.chain([(MISER, MISER_BALANCE)])
    }

    /// How long until the next submission.
    pub fn pause(&mut self) -> Option<Millis> {
        self.every.map(|every| Millis(self.rng.range(1, every.0 * 2)))
    }

    /// The next machine to ask, and the call: a wallet begins with its next nonce.
    pub fn begin(&mut self, machines: &[Id]) -> (Id, CallId, Call) {
        let wallet = self.rng.index(self.wallets.len());
        // A wallet mostly stays with one machine, so that its nonces are right.
        let home = machines[wallet % machines.len()];
        let at = if self.rng.permille(800) { home } else { *self.rng.pick(machines) };
        let id = self.new_call();
        self.nonces.insert(id, wallet);
        (at, id, Call::PendingNonce(self.wallets[wallet].address))
    }

    /// The call that follows a reply, if any does.
    pub fn replied(&mut self, id: CallId, reply: &Reply) -> Option<(CallId, Call)> {
        let wallet = self.nonces.remove(&id)?;
        let Reply::PendingNonce(nonce) = reply else { return None };
        let tx = self.transaction(wallet, *nonce);
        Some((self.new_call(), Call::Submit(tx)))
    }

    /// The work of a [`trefoil_node::WorkerJob::Recover`].
    pub fn recover(&mut self, txs: &[Bytes]) -> Vec<Result<Transaction, TxError>> {
        let mut one = |bytes: &Bytes| {
            let known = self.recovered.entry(bytes.clone());
            known.or_insert_with(|| recover(bytes)).clone()
        };
        txs.iter().map(&mut one).collect()
    }

    /// The id of a further call.
    pub fn new_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    fn transaction(&mut self, wallet: usize, nonce: u64) -> Transaction {
        // Twice the base fee: it may rise by an eighth a block (EIP-1559), and a transaction
        // that waits a few blocks must still pay.
        let gas_price = u128::from(self.chain.base_fee) * 2;
        let (to, value, input, gas_limit) = self.deed(wallet, nonce);
        let tip = gas_price / 10 * u128::from(self.rng.range(0, 5));
        let key = &self.wallets[wallet];
        // Both types: the pool reads fees from each in another way.
        let envelope: TxEnvelope = if self.rng.permille(300) {
            let chain_id = Some(CHAIN_ID);
            key.sign(TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input })
        } else {
            key.sign(TxEip1559 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit,
                max_fee_per_gas: gas_price + tip,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list: Default::default(),
                input,
            })
        };
        std::sync::Arc::new(Recovered::new_unchecked(envelope, key.address))
    }

    /// Receiver, value, input and gas limit of a transaction: mostly a transfer, now and then
    /// a contract's creation or call.
    fn deed(&mut self, wallet: usize, nonce: u64) -> (TxKind, U256, Bytes, u64) {
        let deploys = self.contracts.len() < 4 && self.rng.permille(100);
        if deploys {
            self.contracts.push(self.wallets[wallet].address.create(nonce));
            // PUSH1 length, DUP1, PUSH1 offset, PUSH1 0, CODECOPY, PUSH1 0, RETURN
            let head = [0x60, RUNTIME.len() as u8, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3];
            return (TxKind::Create, U256::ZERO, [&head[..], &RUNTIME].concat().into(), 200_000);
        }
        if !self.contracts.is_empty() && self.rng.permille(300) {
            let contract = *self.rng.pick(&self.contracts);
            return (TxKind::Call(contract), U256::ZERO, Bytes::new(), 100_000);
        }
        let to = self.wallets[self.rng.index(self.wallets.len())].address;
        let value = U256::from(self.rng.range(0, 1_000_000));
        // 10 a byte of zero (EIP-7623).
        let gas_limit = 30_000 + 10 * self.tx_bytes as u64;
        (TxKind::Call(to), value, vec![0; self.tx_bytes].into(), gas_limit)
    }
}

impl SimWallet {
    pub fn new(purpose: &str, index: usize) -> Self {
        let secret = keccak256(format!("trefoil-sim/{purpose}/{index}"));
        let key = EthKey::from_byte_array(secret.0).expect("a hash is a key");
        let public = key.public_key(&Secp256k1::signing_only()).serialize_uncompressed();
        Self { key, address: Address::from_slice(&keccak256(&public[1..])[12..]) }
    }

    pub fn sign<T>(&self, tx: T) -> TxEnvelope
    where
        T: alloy_consensus::SignableTransaction<Signature>,
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let digest: B256 = tx.signature_hash();
        let signature = Secp256k1::signing_only()
            .sign_ecdsa_recoverable(Digest::from_digest(digest.0), &self.key);
        let (parity, bytes) = signature.serialize_compact();
        let odd = i32::from(parity) & 1 == 1;
        tx.into_signed(Signature::from_bytes_and_parity(&bytes, odd)).into()
    }
}

fn recover(bytes: &[u8]) -> Result<Transaction, TxError> {
    use alloy_consensus::transaction::SignerRecoverable as _;
    let envelope = decode_tx(bytes)?;
    let signer = envelope.recover_signer().map_err(|_| TxError::Signature)?;
    Ok(std::sync::Arc::new(Recovered::new_unchecked(envelope, signer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_eips::eip2718::Encodable2718 as _;

    #[test]
    fn a_worker_recovers_the_sender_that_a_wallet_signed_as() {
        let chain = ChainOptions { base_fee: 7, ..ChainOptions::default() };
        let mut workload = Workload::new(chain, 0, Rng::new(1, "workload"));
        for nonce in 0..50 {
            let tx = workload.transaction(nonce as usize % WALLETS, nonce);
            let [recovered] = &workload.recover(&[tx.inner().encoded_2718().into()])[..] else {
                panic!("one in, one out");
            };
            assert_eq!(recovered.as_ref().unwrap(), &tx);
        }
    }
}
