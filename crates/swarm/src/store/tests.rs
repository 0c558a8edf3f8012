//! The store on a disk that has no room beyond its reserve.

use super::{uses::USES_WRITTEN, *};

fn file(root: [u8; 32]) -> ContentId {
    ContentId { kind: ResourceKind::File, root }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// The same directory, as on a full disk.
fn full(dir: &Path) -> ContentStore {
    let store = ContentStore::open(dir, None).unwrap();
    // No byte is free there, nor ever was.
    ContentStore {
        space: Arc::new(DiskSpace::below(Path::new("/proc"), Path::new("/proc"))),
        ..store
    }
}

#[test]
fn what_came_of_a_resource_is_removed_unless_it_is_whole_or_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path(), None).unwrap();
    let id = file([1; 32]);
    let begin = || store.begin(&id.into(), 100_000, |_| Ok(())).map(drop).unwrap();
    begin();
    assert!(store.is_partial(id));
    store.remove(id).unwrap();
    assert!(store.metadata(id).is_none() && is_empty(dir.path()));
    assert!(!store.is_partial(id), "it is gone");
    begin();
    store.pin(id, true).unwrap();
    assert!(!store.is_partial(id));
    store.pin(id, false).unwrap();
    store.change(id, |metadata| metadata.whole = true).unwrap();
    assert!(!store.is_partial(id));
}

#[test]
fn what_is_pinned_or_busy_is_not_removed_to_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ContentStore::open(dir.path(), Some(0)).unwrap());
    let [pinned, other] = [file([1; 32]), file([2; 32])];
    for id in [pinned, other] {
        store.begin(&id.into(), 100_000, |_| Ok(())).map(drop).unwrap();
        // Holes take no room.
        fs::write(dir.path().join(id.to_string()).join("data"), vec![7; 100_000]).unwrap();
    }
    store.pin(pinned, true).unwrap();
    let fetch = store.reserve(other, 1, 100_000, false).unwrap();
    assert_eq!(store.excess(), []);
    drop(fetch);
    store.set_apart(other, true);
    assert_eq!(store.excess(), [], "a file of a state snapshot");
    store.set_apart(other, false);
    assert_eq!(store.excess(), [other]);
    store.pin(other, true).unwrap();
    store.remove_excess(other).unwrap();
    assert!(store.metadata(other).is_some(), "the operator pinned it since");
    store.pin(other, false).unwrap();
    store.remove_excess(other).unwrap();
    assert!(store.metadata(other).is_none());
}

#[test]
fn a_use_is_noted_at_once_and_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path(), None).unwrap();
    let ids: Vec<ContentId> = (0..=USES_WRITTEN as u8).map(|n| file([n; 32])).collect();
    for id in &ids {
        store.begin(&(*id).into(), 100_000, |_| Ok(())).map(drop).unwrap();
        store.change(*id, |metadata| metadata.used_s = 1).unwrap();
    }
    // Nobody who reads waits for what is being written.
    let writes = store.write();
    assert!(ids.iter().all(|id| store.touch(*id)) && !store.touch(ids[0]));
    store.write_uses();
    drop(writes);
    let written = || {
        let used = |id: &&ContentId| {
            let place = dir.path().join(id.to_string());
            read_metadata(&place).unwrap().unwrap().1.used_s > 1
        };
        ids.iter().filter(used).count()
    };
    assert_eq!(written(), 0);
    store.write_uses();
    assert_eq!(written(), USES_WRITTEN);
    store.write_uses();
    assert_eq!(written(), ids.len());
}

/// Each is smaller than the quota.
#[test]
fn fetches_that_fit_alone_do_not_exceed_the_quota_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ContentStore::open(dir.path(), Some(200_000)).unwrap());
    let ids: [_; 3] = [1, 2, 3].map(|n| file([n; 32]));
    let begin = |(n, id): (u64, ContentId)| {
        store.begin(&id.into(), 100_000, |_| Ok(())).map(drop).unwrap();
        store.change(id, |metadata| metadata.used_s = n).unwrap();
    };
    (0..).zip(ids).for_each(begin);
    let reserve = |id| store.reserve(id, 100_000, 100_000, true);
    let fetches = [reserve(ids[0]).unwrap(), reserve(ids[1]).unwrap()];
    let over = |result: Result<_, StoreError>| matches!(result, Err(StoreError::Quota { .. }));
    assert!(over(reserve(ids[2]).map(drop)) && over(store.admit(Some(ids[2]), 100_000, true)));
    store.admit(Some(ids[1]), 100_000, true).expect("the same bytes");
    store.admit(Some(ids[2]), 100_000, false).expect("it is pinned");
    for id in &ids[..2] {
        fs::write(dir.path().join(id.to_string()).join("data"), vec![7; 100_000]).unwrap();
        store.arrived(*id, 100_000);
    }
    assert!(over(reserve(ids[2]).map(drop)), "they are here, and being fetched");
    drop(fetches);
    // Now one of them can go.
    drop(reserve(ids[2]).unwrap());
    assert_eq!(store.excess(), []);
    fs::write(dir.path().join(ids[2].to_string()).join("data"), vec![7; 100_000]).unwrap();
    assert_eq!(store.excess(), [ids[0]], "the one that was used longest ago");
}

#[test]
fn fetches_that_fit_alone_do_not_fill_the_disk_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ContentStore::open(dir.path(), None).unwrap());
    // Others write on this disk too, and the hashes count.
    let part = store.space.look().unwrap() / 10;
    let [one, other] = [file([1; 32]), file([2; 32])];
    let reserve = |id, parts: u64| store.reserve(id, parts * part, 7 * part, true);
    if part < 1 << 20 {
        return;
    }
    let first = reserve(one, 7).unwrap();
    assert!(matches!(reserve(other, 7).unwrap_err(), StoreError::NoRoom { .. }));
    assert!(store.admit(None, 7 * part, true).is_err());
    let again = reserve(one, 7).expect("the same bytes");
    drop(first);
    assert!(reserve(other, 7).is_err(), "one still fetches");
    store.arrived(one, 5 * part);
    drop(reserve(other, 7).unwrap());
    drop(again);
    reserve(other, 7).unwrap();
}

/// Of another version, of a failing disk, and of a crash.
#[test]
fn what_cannot_be_read_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path(), None).unwrap();
    let id = file([1; 32]);
    store.begin(&id.into(), 100_000, |_| Ok(())).map(drop).unwrap();
    store.change(id, |metadata| metadata.whole = true).unwrap();
    let about = dir.path().join(id.to_string()).join(METADATA_FILE);
    let right = fs::read_to_string(&about).unwrap();
    fs::write(&about, right.replace("\"whole\"", "\"entire\"")).unwrap();
    fs::create_dir(dir.path().join("put-1")).unwrap();
    let names = || {
        let mut names: Vec<_> = paths(dir.path()).unwrap();
        names.sort();
        names
    };
    let before = names();
    assert!(ContentStore::open_stopped(dir.path()).unwrap().list().is_empty());
    assert_eq!(names(), before, "`trefoil ls` changes nothing");

    assert!(ContentStore::open(dir.path(), None).unwrap().list().is_empty());
    let aside = names();
    assert!(aside.len() == 1 && has_prefix(&aside[0], ASIDE), "{aside:?}");
    assert!(ContentStore::open(dir.path(), None).unwrap().list().is_empty());
    assert_eq!(names(), aside, "it stays there");
    // The version that wrote it starts again.
    fs::write(aside[0].join(METADATA_FILE), right).unwrap();
    assert_eq!(ContentStore::open(dir.path(), None).unwrap().list().len(), 1);
    assert_eq!(names(), [dir.path().join(id.to_string())]);
}

#[test]
fn a_full_disk_takes_nothing_keeps_no_remains_and_can_be_freed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shared = other.path().join("file");
    fs::write(&shared, vec![7; 100_000]).unwrap();
    let source = ContentStore::open(&other.path().join("store"), None).unwrap();
    let put = |store: &ContentStore| {
        store.put(&shared, PutOptions::default(), &std::sync::atomic::AtomicU64::new(0))
    };
    let id = put(&source).unwrap();
    let opened = source.open_store(Resource::file(id.root), false).unwrap().unwrap();
    let proof = opened.last_group().unwrap();

    let store = full(dir.path());
    let error = store.admit(None, 1, true).unwrap_err();
    assert!(error.lacks_room() && error.to_string().contains("trefoil rm"), "{error}");
    let error = put(&store).unwrap_err();
    assert!(error.lacks_room(), "{error}");
    let error = store.begin(&id.into(), 100_000, |opened| opened.write_last_group(&proof));
    let error = error.map(drop).unwrap_err();
    assert!(error.lacks_room(), "{error}");
    assert!(store.list().is_empty() && is_empty(dir.path()));

    // What is here from better days goes.
    put(&ContentStore::open(dir.path(), None).unwrap()).unwrap();
    let store = full(dir.path());
    store.remove(id).unwrap();
    assert!(is_empty(dir.path()));
    // And what a crash left in the middle of that.
    fs::create_dir(dir.path().join(format!("{GONE}{id}"))).unwrap();
    assert!(full(dir.path()).list().is_empty());
    fs::create_dir_all(dir.path().join(format!("{GONE}{id}"))).unwrap();
    ContentStore::open_stopped(dir.path()).unwrap().remove_gone().unwrap();
    assert!(is_empty(dir.path()));
}

// Attack: who may not have a resource tells by the time of the answer that it is here.
#[test]
fn what_has_a_list_is_not_where_others_are_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path(), None).unwrap();
    let [open, listed] = [file([1; 32]), file([2; 32])];
    let allow = AllowList::new([7]).unwrap();
    let links = [open.into(), Link { allow, ..listed.into() }];
    for link in &links {
        store.begin(link, 100_000, |_| Ok(())).map(drop).unwrap();
    }
    let told = |store: &ContentStore| {
        let ids = [open, listed, file([3; 32])];
        (ids.map(|id| store.is_open(id)), ids.map(|id| store.is_whole(id)))
    };
    assert_eq!(told(&store), ([false; 3], [false; 3]));
    for id in [open, listed] {
        store.change(id, |metadata| metadata.whole = true).unwrap();
    }
    let whole = ([true, false, false], [true, true, false]);
    assert_eq!(told(&store), whole);
    assert_eq!(told(&ContentStore::open(dir.path(), None).unwrap()), whole);
    store.change(open, |metadata| metadata.whole = false).unwrap();
    assert_eq!(told(&store), ([false; 3], [false, true, false]));
    store.change(open, |metadata| metadata.whole = true).unwrap();
    store.remove(open).unwrap();
    assert_eq!(told(&store), ([false; 3], [false, true, false]));
}

#[test]
fn an_open_directory_counts_for_as_long_as_it_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(tree.join(name), name).unwrap();
    }
    let store = ContentStore::open(&dir.path().join("store"), None).unwrap();
    let read = std::sync::atomic::AtomicU64::new(0);
    let id = store.put(&tree, PutOptions::default(), &read).unwrap();
    let open = |resource| store.open_store(resource, false).unwrap().unwrap();
    let manifest = open(Resource::file(id.root));
    assert_eq!((manifest.memory(), store.directories.bytes()), (0, 0));
    let [first, second] = [open(Resource::tree(id.root)), open(Resource::tree(id.root))];
    assert!(first.memory() > 3 * size_of::<trefoil_content::ManifestEntry>());
    assert_eq!(store.directories.bytes(), first.memory() + second.memory());
    let listed = first.manifest.as_ref().unwrap();
    assert_eq!(Arc::strong_count(listed), 2, "what reads the user's files has no copy");
    assert_eq!(first.read(1, 0..1).unwrap(), b"b");
    drop((first, second));
    assert_eq!(store.directories.bytes(), 0);
}
