//! A disk on which a snapshot does not fit, and what is left of a restore.

use std::path::Path;

use trefoil_crypto::Domain;
use trefoil_ledger::{Draft, History, state_sync::JoinError};
use trefoil_swarm::Announced;
use trefoil_types::{Address, Attached, Certificate, Kind, ValidatorSignature, Vote, VoteKind};

use super::*;
use crate::{
    node_thread::tests::{key, spec as members},
    snapshots::{FileName, file_id},
};

/// A public network of one validator: a newcomer needs no certificate.
fn spec() -> ChainSpec {
    let mut spec = ChainSpec { kind: Kind::Public, organisations: vec![], ..members() };
    for validator in &mut spec.validators {
        (validator.node, validator.organisation) = (None, None);
        validator.owner = Some(validator.fee_recipient);
        validator.power = 1_000_000;
    }
    spec
}

/// The state after the first of two blocks.
fn state() -> Vec<u8> {
    let disk = Arc::new(MemDisk::default());
    let mut ledger = Ledger::open(disk, Arc::new(spec()), History::Archive).unwrap();
    for height in 1..=2 {
        let parent_certificate = ledger.tip_certificate().cloned();
        let draft = Draft {
            timestamp: ledger.tip().timestamp + 1,
            fee_recipient: Address::repeat_byte(9),
            attached: Attached { parent_certificate, evidence: vec![] },
        };
        let (outcome, _) = ledger.build(draft, &mut std::iter::empty());
        let block = outcome.block().hash;
        let bytes = Vote::signed_bytes(VoteKind::Precommit, height, 0, Some(block));
        let signature = key(1).sign(Domain::Vote, &ledger.genesis_hash(), &bytes);
        let signatures = vec![ValidatorSignature { validator: key(1).public(), signature }];
        ledger.commit(outcome, Certificate { height, round: 0, block, signatures });
    }
    let mut file = vec![];
    state_sync::write_state(&ledger.snapshot(), 1, &mut file).unwrap();
    file
}

fn listed(file: &[u8]) -> ListedFile {
    ListedFile { name: FileName::State(1), id: file_id([0; 32]), size: file.len() as u64 }
}

#[test]
fn a_state_that_does_not_fit_is_the_snapshots_fault() {
    let (disk, file, spec) = (Arc::new(MemDisk::default()) as Arc<dyn Disk>, state(), spec());
    // No room.
    let full = restore::spare(&disk, Path::new("/proc"));
    let error = state_sync::restore(&full, &spec, &*file, None).unwrap_err();
    let failed = restore::failure(&listed(&file), error);
    assert!(matches!(failed, AttemptError::TooLarge(why) if why.contains("free some space")));
    state_sync::restore(&*disk, &spec, &*file, None).unwrap();
    let other = restore::failure(&listed(&file), JoinError::Taken { tip: 1 });
    assert!(matches!(other, AttemptError::Ours(_)));
}

/// As the node itself has it: neither half a state nor the file is left, and the error says what it
/// takes.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_is_dropped_and_the_room_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (home, mut settings, file) = (Home::new(dir.path()), Settings::default(), state());
    settings.p2p.listen = "127.0.0.1:0".parse().unwrap();
    let keys = NodeKeys { identity: key(5), validators: vec![], ca: None };
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::default());
    let started = StateSync::start(&home, &Arc::new(spec()), &settings, &keys, disk).await;
    let (mut sync, _) = started.unwrap();
    let path = sync.folder.path(FileName::State(1));
    std::fs::write(&path, &file).unwrap();
    let id = sync.content.share(&path).await.unwrap();
    let listed = ListedFile { id, ..listed(&file) };
    let data = std::mem::replace(&mut sync.folder.data, "/proc".into());
    let failed = sync.restore(&listed, &path).await.unwrap_err();
    let AttemptError::TooLarge(why) = failed else { panic!("it has no room") };
    assert!(why.contains("bytes of room, and 0 were free"), "{why}");
    assert!(!path.exists() && sync.content.metadata(id).is_none());
    sync.folder.data = data;
    std::fs::write(&path, &file).unwrap();
    // Nor does a file whose restore was not finished keep the room from others.
    let id = sync.content.share(&path).await.unwrap();
    let mut rejected = RejectedSnapshots::default();
    assert!(sync.make_room(&mut rejected).await.unwrap());
    assert!(!path.exists() && sync.content.metadata(id).is_none());
    assert!(!sync.make_room(&mut rejected).await.unwrap());
    std::fs::write(&path, &file).unwrap();
    sync.restore(&listed, &path).await.ok().unwrap();
    assert!(!sync.make_room(&mut rejected).await.unwrap() && path.exists(), "it is the chain's");
}

#[test]
fn a_restore_that_was_not_finished_lets_others_come_first() {
    let (dir, disk, file) = (tempfile::tempdir().unwrap(), MemDisk::default(), state());
    let (marker, spec) = (JoinMarker::of(dir.path()), spec());
    let begun = Announced { height: 1, index: [1; 32] };
    let resume = || {
        marker.write(&begun).unwrap();
        let mut rejected = RejectedSnapshots::default();
        let resumed = restore::resume(&disk, &marker, &mut rejected).unwrap();
        (resumed.map(|choice| choice.snapshot), rejected)
    };
    assert_eq!(resume().0, Some(begun), "it was being fetched");
    state_sync::restore(&disk, &spec, &file[..file.len() - 1], None).unwrap_err();
    let unfinished = ChainOnDisk::Nothing { unfinished: true };
    assert_eq!(state_sync::standing(&disk).unwrap(), unfinished);
    let (resumed, mut rejected) = resume();
    assert_eq!((resumed, marker.exists(), disk.list().unwrap()), (None, false, vec![]));
    // The other's height is lower.
    let teller = |index| Teller {
        trust: Trust::Stranger,
        group: NetGroup::of(Ipv4Addr::LOCALHOST.into()),
        snapshot: Announced { height: 2 - index as u64, index: [index; 32] },
    };
    let peer = |n| PeerId(key(n).public());
    let told = [(peer(3), teller(1)), (peer(4), teller(2))].into();
    let chosen = rejected.choose(&told).into_iter().map(|choice| choice.snapshot.index[0]);
    assert_eq!(chosen.collect::<Vec<_>>(), [2, 1]);
    // A chain whose archives are still to come is gone on with.
    state_sync::restore(&disk, &spec, &*file, None).unwrap();
    assert_eq!(resume().0, Some(begun));
    restore::drop_unfinished(&disk, &marker).unwrap();
    assert!(
        marker.exists()
            && matches!(state_sync::standing(&disk).unwrap(), ChainOnDisk::Chain { .. })
    );
}
