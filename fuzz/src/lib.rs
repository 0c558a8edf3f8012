//! A small sound chain, to be damaged by the targets.

pub mod network;
pub mod words;

use std::sync::{Arc, LazyLock};

use trefoil_crypto::{Domain, SecretKey};
use trefoil_ledger::{
    Draft, History, Ledger, LedgerError, Snapshot,
    state_sync::{Archived, write_archive, write_state},
};
use trefoil_rpc::backend::recover;
use trefoil_types::{
    Address, Attached, B256, Certificate, ChainSpec, Disk, DiskFile, Height, MemDisk, Transaction,
    ValidatorSignature, Vote, VoteKind,
};

/// The database's file.
pub const FILE: &str = "ledger.redb";

/// The newest block.
const TIP: Height = 3;

/// The block of the state snapshot, and the last of the history archive.
pub const JOINED_AT: Height = TIP - 1;

pub static TX: LazyLock<Transaction> = LazyLock::new(|| {
    recover(include_bytes!("../corpus/transaction/legacy")).expect("a sound transaction")
});

/// Its allocation holds a contract, and an account that sends [`TX`].
pub static SPEC: LazyLock<Arc<ChainSpec>> = LazyLock::new(|| {
    let text = include_str!("../corpus/chain_spec/consortium");
    let mut spec = ChainSpec::from_toml(text).expect("a sound specification");
    let mut sender = spec.alloc.values().next().expect("a contract").clone();
    // It is the example of EIP-155.
    (sender.code, sender.nonce) = (None, Some(9));
    spec.chain_id = 1;
    spec.alloc.insert(TX.signer(), sender);
    for (seed, validator) in (1..).zip(&mut spec.validators) {
        validator.key = secret(seed).public();
    }
    Arc::new(spec)
});

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Signed by all.
fn certificate(ledger: &Ledger, height: Height, block: B256) -> Certificate {
    let bytes = Vote::signed_bytes(VoteKind::Precommit, height, 0, Some(block));
    let sign = |secret: SecretKey| ValidatorSignature {
        validator: secret.public(),
        signature: secret.sign(Domain::Vote, &ledger.genesis_hash(), &bytes),
    };
    let seeds = 1..=SPEC.validators.len() as u8;
    let mut signatures: Vec<_> = seeds.map(secret).map(sign).collect();
    signatures.sort_by_key(|signed| signed.validator);
    Certificate { height, round: 0, block, signatures }
}

struct Sound {
    database: Vec<u8>,
    state: Vec<u8>,
    history: Vec<u8>,
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let disk = MemDisk::default();
    let mut ledger = open(&disk).expect("a new chain");
    for height in 1..=TIP {
        let parent_certificate = ledger.tip_certificate().cloned();
        let attached = Attached { parent_certificate, evidence: vec![] };
        let timestamp = ledger.tip().timestamp + 1;
        let fee_recipient = SPEC.validators[0].fee_recipient;
        let draft = Draft { timestamp, fee_recipient, attached };
        let (outcome, refused) =
            ledger.build(draft, &mut (height == 1).then(|| TX.clone()).into_iter());
        assert_eq!(refused, []);
        let block = outcome.block().hash;
        let certificate = certificate(&ledger, height, block);
        ledger.commit(outcome, certificate);
    }
    let checkpoint = ledger.checkpoint(true).expect("there are new blocks");
    ledger.checkpointed(checkpoint.run().expect("memory does not fail"));
    let (snapshot, mut state, mut history) = (ledger.snapshot(), vec![], vec![]);
    write_state(&snapshot, JOINED_AT, &mut state).expect("it is there");
    let archived = Archived { first: 1, last: JOINED_AT };
    write_archive(&snapshot, archived, &mut history).expect("they are there");
    drop((ledger, snapshot));
    let file = disk.open(FILE).expect("it was just written");
    let mut database = vec![0; file.len().expect("memory does not fail") as usize];
    file.read_at(0, &mut database).expect("all of it");
    Sound { database, state, history }
});

/// The chain's state snapshot.
pub fn state_file() -> &'static [u8] {
    &SOUND.state
}

/// The chain's history archive.
pub fn history_file() -> &'static [u8] {
    &SOUND.history
}

/// A disk with the chain's database.
pub fn sound() -> (MemDisk, Arc<dyn DiskFile>) {
    let disk = MemDisk::default();
    let file = disk.open(FILE).expect("memory does not fail");
    file.write_at(0, &SOUND.database).expect("memory does not fail");
    (disk, file)
}

pub fn open(disk: &MemDisk) -> Result<Ledger, LedgerError> {
    Ledger::open(Arc::new(disk.clone()), SPEC.clone(), History::Archive)
}

/// Asks for all of the chain that callers and peers may ask for; the answers
/// may be errors.
pub fn ask(chain: &Snapshot) {
    for height in 0..=TIP + 1 {
        let _ = (chain.header(height), chain.certified_block(height), chain.validators(height));
        let _ = chain.log_candidates(height..=TIP, &[Address::ZERO], &[]);
        for address in SPEC.alloc.keys() {
            if let Ok(proof) = chain.proof(height, address, &[B256::with_last_byte(1)]) {
                let _ = proof.account.map(|account| chain.code(&account.code_hash));
            }
        }
    }
    let _ = (chain.transaction(TX.tx_hash()), chain.height_of(&chain.tip_hash()));
}
