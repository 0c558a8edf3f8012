//! Two nodes of different pasts make the same files; what they make brings a
//! third to where they are; nothing else is believed.

use std::{io::Cursor, sync::Arc};

use alloy_consensus::TxEip1559;
use alloy_eips::eip2935;
use alloy_primitives::{Bytes, TxKind, U256, bytes};
use alloy_sol_types::{SolCall, sol};
use proptest::prelude::*;
use trefoil_crypto::{Domain, PublicKey, SecretKey};
use trefoil_types::{
    Address, Attached, B256, Certificate, ChainSpec, Height, KeyProof, KeyRole, Kind, MemDisk,
    PeerId, RecoveredBlock, Transaction, ValidatorSignature, Vote, VoteKind,
    spec::{FoundingOrganisation, FoundingValidator, GOVERNING_CONTRACT},
};

use super::{frames::FrameReader, *};
use crate::{
    Draft, History, Ledger, LedgerError, StateReader,
    testing::chain::{address, sent, spec as plain, transfer},
};

mod archives;
mod files;
mod forged;
mod golden;

// Of contracts/src/Decisions.sol and its actions.
sol! {
    function prove(bytes32 key, uint8 role, string organisation, bytes signature) external;
    function propose(bytes action) external returns (uint256 id);
    function addValidator(bytes32 peer, uint32 organisation, bytes32 key, uint64 power, address fees) external;
    function removeValidator(bytes32 peer) external;
}

const OWNER: u8 = 0x0f;

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn peer(n: u8) -> PeerId {
    PeerId(secret(100 + n).public())
}

/// A private network of two validators whose owner decides at once.
fn spec() -> Arc<ChainSpec> {
    let validator = |n| FoundingValidator {
        key: secret(n).public(),
        power: 100,
        fee_recipient: address(n),
        owner: None,
        node: Some(peer(n)),
        organisation: Some("owner".into()),
    };
    let rich = alloy_genesis::GenesisAccount::default().with_balance(U256::from(1u64 << 60));
    Arc::new(ChainSpec {
        kind: Kind::Private,
        organisations: vec![FoundingOrganisation {
            name: "owner".into(),
            threshold: 1,
            keys: vec![address(OWNER)],
            recovery_key: None,
            ca_keys: vec![secret(200).public()],
            senders: vec![],
        }],
        validators: vec![validator(1), validator(2)],
        alloc: [(address(OWNER), rich)].into(),
        snapshot_every: 4,
        ..plain(0)
    })
}

/// A chain: its blocks as they were decided, to be followed by other nodes.
struct SourceChain {
    ledger: Ledger,
    nonce: u64,
    decided: Vec<(Arc<RecoveredBlock>, Certificate)>,
}

/// Deploys what stores its second word under its first: `sstore(cd[0], cd[32])`.
const STORE: Bytes = bytes!("6760203560003555006000526008 6018f3");

impl SourceChain {
    fn new() -> Self {
        let ledger = Ledger::open(Arc::new(MemDisk::default()), spec(), History::Archive);
        Self { ledger: ledger.unwrap(), nonce: 0, decided: vec![] }
    }

    fn tx(&mut self, tx: TxEip1559) -> Transaction {
        self.nonce += 1;
        let tx = TxEip1559 { nonce: self.nonce - 1, gas_limit: 5_000_000, ..tx };
        sent(tx, address(OWNER))
    }

    fn decide(&mut self, action: impl SolCall) -> Height {
        let input = proposeCall { action: action.abi_encode().into() }.abi_encode().into();
        let tx = self.tx(TxEip1559 { input, ..transfer(GOVERNING_CONTRACT, 0) });
        self.block([tx])
    }

    /// The proof that a key agrees to its use by the owner.
    fn proof(&mut self, secret: &SecretKey, role: KeyRole) -> Transaction {
        let proof = KeyProof::sign(secret, &self.ledger.genesis_hash(), role, "owner");
        let call = proveCall {
            key: proof.key.0,
            role: role as u8,
            organisation: "owner".into(),
            signature: proof.signature.0.into(),
        };
        let input = call.abi_encode().into();
        self.tx(TxEip1559 { input, ..transfer(GOVERNING_CONTRACT, 0) })
    }

    /// Deploys a store; its address.
    fn deploy(&mut self) -> Address {
        let contract = address(OWNER).create(self.nonce);
        let tx = TxEip1559 { to: TxKind::Create, input: STORE, ..transfer(contract, 0) };
        let tx = self.tx(tx);
        self.block([tx]);
        contract
    }

    fn store(&mut self, contract: Address, slot: u64, value: u64) -> Transaction {
        let word = |n| U256::from(n).to_be_bytes::<32>();
        let input = [word(slot), word(value)].concat().into();
        self.tx(TxEip1559 { input, ..transfer(contract, 0) })
    }

    /// A block that all validators of its height sign.
    fn block(&mut self, txs: impl IntoIterator<Item = Transaction>) -> Height {
        let draft = Draft {
            timestamp: self.ledger.tip().timestamp + 1,
            fee_recipient: *self.ledger.governed().fee_recipients.values().next().unwrap(),
            attached: Attached {
                parent_certificate: self.ledger.tip_certificate().cloned(),
                evidence: vec![],
            },
        };
        let (outcome, refused) = self.ledger.build(draft, &mut txs.into_iter());
        assert_eq!(refused, []);
        assert!(outcome.receipts().iter().all(|receipt| receipt.status()));
        let block = outcome.block().clone();
        let height = block.header.number;
        let certificate = self.certificate(height, block.hash);
        self.decided.push((block, certificate.clone()));
        self.ledger.commit(outcome, certificate);
        height
    }

    fn certificate(&self, height: Height, block: B256) -> Certificate {
        let bytes = Vote::signed_bytes(VoteKind::Precommit, height, 0, Some(block));
        let network = self.ledger.genesis_hash();
        let sign = |key: PublicKey| {
            let secret = (1..=9).map(secret).find(|secret| secret.public() == key).unwrap();
            let signature = secret.sign(Domain::Vote, &network, &bytes);
            ValidatorSignature { validator: key, signature }
        };
        let signatures = self.ledger.next_validators().iter().map(|v| sign(v.key)).collect();
        Certificate { height, round: 0, block, signatures }
    }

    /// Contracts with storage that comes and goes, accounts, and in the middle
    /// other validators: all of those of before are gone.
    fn busy() -> Self {
        let mut chain = Self::new();
        let contracts = [chain.deploy(), chain.deploy()];
        for n in 0..12u64 {
            let contract = contracts[n as usize % 2];
            let mut txs: Vec<Transaction> =
                (0..6).map(|k| chain.store(contract, n * k % 7, (n + k) % 3)).collect();
            txs.push(chain.tx(transfer(address(0x80 + n as u8 % 5), n)));
            chain.block(txs);
            match n {
                2 | 4 => {
                    let n = n as u8 / 2 + 2;
                    let proofs = [
                        chain.proof(&secret(100 + n), KeyRole::Peer),
                        chain.proof(&secret(n), KeyRole::Validator),
                    ];
                    chain.block(proofs);
                    let call = addValidatorCall {
                        peer: peer(n).0.0,
                        organisation: 1,
                        key: secret(n).public().0,
                        power: 5,
                        fees: address(n),
                    };
                    chain.decide(call);
                }
                5 | 6 => _ = chain.decide(removeValidatorCall { peer: peer(n as u8 - 4).0.0 }),
                _ => {}
            }
        }
        assert!(chain.ledger.snapshot().view.handovers().unwrap().len() > 2);
        chain
    }

    fn tip(&self) -> Height {
        self.ledger.tip().number
    }

    /// Brings another ledger up to `height` by executing blocks.
    fn replay(&self, ledger: &mut Ledger, height: Height) {
        for (block, certificate) in &self.decided {
            if (ledger.tip().number + 1..=height).contains(&block.header.number) {
                let outcome = ledger.execute(block.clone()).unwrap();
                ledger.commit(outcome, certificate.clone());
            }
        }
    }
}

fn open(disk: &MemDisk, history: History) -> Ledger {
    Ledger::open(Arc::new(disk.clone()), spec(), history).unwrap()
}

fn checkpoint(ledger: &mut Ledger) {
    if let Some(checkpoint) = ledger.checkpoint(true) {
        ledger.checkpointed(checkpoint.run().unwrap());
    }
}

fn state_file(ledger: &Ledger, height: Height) -> Vec<u8> {
    let mut file = Vec::new();
    write_state(&ledger.snapshot(), height, &mut file).unwrap();
    file
}

/// A disk with what `file` brings.
fn restored(file: &[u8]) -> MemDisk {
    let disk = MemDisk::default();
    restore(&disk, &spec(), file, None).unwrap();
    disk
}

/// The frames of a file after its magic: kind and the rest of the body.
fn frames(file: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut reader = FrameReader::begin(file, &state_file::STATE_FILE).unwrap();
    let mut frames = Vec::new();
    loop {
        let (kind, body) = reader.next().unwrap();
        frames.push((kind, body.to_vec()));
        if kind == state_file::kind::END {
            return frames;
        }
    }
}
