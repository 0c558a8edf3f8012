//! A restore that is cut off at any moment leaves nothing that is believed by
//! half, and the next one succeeds.

use std::{io::Cursor, sync::Arc};

use trefoil_crypto::{Domain, SecretKey};
use trefoil_ledger::{
    Draft, History, Ledger, LedgerError,
    state_sync::{Archived, JoinError, import_archive, restore, write_archive, write_state},
};
use trefoil_sim::{disk::SimDisk, rng::Rng};
use trefoil_types::{
    Address, Attached, B256, Certificate, ChainSpec, Disk, Height, MemDisk, PeerId,
    ValidatorSignature, Vote, VoteKind,
};

// Each cuts off at one to three random operations: some 200 cuts in all.
const SEEDS: u64 = 100;

/// The block of the snapshot.
const AT: Height = 4;

fn secret() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn spec() -> Arc<ChainSpec> {
    let owner = Address::repeat_byte(9);
    let text = format!(
        "name = \"t\"\nkind = \"private\"\nchain_id = 5\ngenesis_time = 1\n\
         gas_limit = 30000000\nbase_fee = 0\nsnapshot_every = {AT}\n[forks]\ncancun = 0\n\
         [[organisations]]\nname = \"one\"\nkeys = [\"{owner}\"]\nca_keys = [\"{ca}\"]\n\
         [[validators]]\nkey = \"{key}\"\npower = 1\nfee_recipient = \"{owner}\"\nnode = \"{peer}\"\n\
         organisation = \"one\"\n",
        ca = SecretKey::from_seed(&[2; 32]).public(),
        key = secret().public(),
        peer = PeerId(SecretKey::from_seed(&[3; 32]).public()),
    );
    Arc::new(ChainSpec::from_toml(&text).unwrap())
}

/// A chain's files: the state after block 4, and the blocks up to it.
struct Files {
    hash: B256,
    state: Vec<u8>,
    history: Vec<u8>,
}

fn files() -> Files {
    let mut ledger = open(Arc::new(MemDisk::default())).unwrap();
    while ledger.tip().number <= AT {
        let draft = Draft {
            timestamp: ledger.tip().timestamp + 1,
            fee_recipient: Address::repeat_byte(9),
            attached: Attached {
                evidence: vec![],
                parent_certificate: ledger.tip_certificate().cloned(),
            },
        };
        let (outcome, _) = ledger.build(draft, &mut std::iter::empty());
        let (height, block) = (ledger.tip().number + 1, outcome.block().hash);
        let bytes = Vote::signed_bytes(VoteKind::Precommit, height, 0, Some(block));
        let signature = secret().sign(Domain::Vote, &ledger.genesis_hash(), &bytes);
        let signatures = vec![ValidatorSignature { validator: secret().public(), signature }];
        ledger.commit(outcome, Certificate { height, round: 0, block, signatures });
    }
    let (snapshot, mut state, mut history) = (ledger.snapshot(), vec![], vec![]);
    write_state(&snapshot, AT, &mut state).unwrap();
    write_archive(&snapshot, Archived { first: 1, last: AT }, &mut history).unwrap();
    Files { hash: snapshot.header(AT).unwrap().unwrap().0, state, history }
}

fn open(disk: Arc<dyn Disk>) -> Result<Ledger, LedgerError> {
    Ledger::open(disk, spec(), History::Archive)
}

/// Does something on a disk that fails, and then for good.
fn interrupted(
    disk: &SimDisk,
    rng: &mut Rng,
    operations: u64,
    work: impl Fn(&dyn Disk) -> Result<(), JoinError>,
    check: impl Fn(Arc<dyn Disk>),
) {
    for _ in 0..rng.range(1, 3) {
        let mounted = disk.mount();
        disk.fail_after(rng.range(0, operations));
        let done = work(&*mounted);
        assert!(done.is_ok() || disk.has_refused(), "{done:?}");
        disk.relent();
        drop(mounted);
        match rng.permille(500) {
            true => disk.power_cut(rng),
            false => disk.unmount(),
        }
        check(disk.mount());
    }
    work(&*disk.mount()).unwrap();
}

#[test]
fn a_restore_cut_off_anywhere_is_not_believed_and_begins_again() {
    let files = files();
    let work = |disk: &dyn Disk| match restore(disk, &spec(), &*files.state, None) {
        Ok(_) | Err(JoinError::Taken { tip: AT }) => Ok(()),
        Err(error) => Err(error),
    };
    for seed in 0..SEEDS {
        let (disk, mut rng) = (SimDisk::default(), Rng::new(seed, "restore"));
        interrupted(&disk, &mut rng, 120, work, |disk| match open(disk.clone()) {
            Err(LedgerError::Unfinished) => {}
            Err(error) => panic!("seed {seed}: {error}"),
            Ok(ledger) if ledger.tip().number == 0 => {
                // Nothing had begun; what this look founded goes again.
                drop(ledger);
                disk.remove(trefoil_ledger::DATABASE_FILE).unwrap();
            }
            Ok(ledger) => assert_eq!(ledger.tip_hash(), files.hash, "seed {seed}"),
        });
        let ledger = open(disk.mount()).unwrap();
        assert_eq!(ledger.tip_hash(), files.hash, "seed {seed}");
    }
}

#[test]
fn an_import_cut_off_anywhere_begins_again() {
    let files = files();
    let work = |disk: &dyn Disk| {
        let file = &mut Cursor::new(&files.history);
        match import_archive(disk, &spec(), file, &|_| true) {
            Ok(_) => Ok(()),
            Err(JoinError::Missing(why)) if why.contains("here already") => Ok(()),
            Err(error) => Err(error),
        }
    };
    for seed in 0..SEEDS {
        let (disk, mut rng) = (SimDisk::default(), Rng::new(seed, "import"));
        restore(&*disk.mount(), &spec(), &*files.state, None).unwrap();
        interrupted(&disk, &mut rng, 40, work, |disk| {
            let ledger = open(disk).unwrap();
            let (snapshot, from) = (ledger.snapshot(), ledger.snapshot().blocks_from());
            assert!(from == 0 || from == AT + 1, "seed {seed}: {from}");
            assert_eq!(snapshot.block(1).unwrap().is_some(), from == 0, "seed {seed}");
        });
        let ledger = open(disk.mount()).unwrap();
        for height in 0..=AT {
            assert!(ledger.snapshot().block(height).unwrap().is_some(), "seed {seed}");
        }
    }
}
