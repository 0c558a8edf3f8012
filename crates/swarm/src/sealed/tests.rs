use std::io::Cursor;

use trefoil_os::keystore::sealing::identity;

use super::*;

const OURS: [u8; 32] = [1; 32];
const THEIRS: [u8; 32] = [2; 32];

fn key() -> SealingKey {
    SealingKey::of(&OURS)
}

fn opened(sealed: &Path, secret: &[u8; 32], to: &Path) -> Result<(), SealedError> {
    open(sealed, &[identity(&[9; 32]), identity(secret)], to, to, &Watch::default())
}

/// An age file to us of these bytes.
fn age(plain: &[u8]) -> Vec<u8> {
    age::encrypt(&key().recipient(), plain).unwrap()
}

/// A tar of entries that a well-meaning writer would not make.
fn tar(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn a_file_opens_to_those_it_is_sealed_to() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    fs::write(at("plan.pdf"), &bytes).unwrap();
    let watch = Watch::default();
    let keys = [SealingKey::of(&THEIRS), key()];
    seal(&at("plan.pdf"), &keys, &at("sealed"), dir.path(), &watch).unwrap();
    assert_eq!(watch.read.into_inner(), 3_000_000);
    let sealed = fs::read(at("sealed")).unwrap();
    assert!(!sealed.windows(8).any(|seen| seen == b"plan.pdf"), "its name is sealed too");
    for (secret, to) in [(OURS, "a/one"), (THEIRS, "two")] {
        fs::create_dir_all(at("a")).unwrap();
        opened(&at("sealed"), &secret, &at(to)).unwrap();
        assert_eq!(fs::read(at(to)).unwrap(), bytes);
    }
    assert!(matches!(opened(&at("sealed"), &[3; 32], &at("x")), Err(SealedError::NotForUs)));
    assert!(matches!(opened(&at("sealed"), &OURS, &at("two")), Err(SealedError::Taken(_))));
    let again = seal(&at("plan.pdf"), &keys, &at("sealed"), dir.path(), &Watch::default());
    assert!(matches!(again, Err(SealedError::Taken(_))));
    let stopped = Watch { stopped: true.into(), ..Watch::default() };
    assert!(seal(&at("plan.pdf"), &keys, &at("y"), dir.path(), &stopped).is_err());
    assert!(open(&at("sealed"), &[identity(&OURS)], &at("y"), dir.path(), &stopped).is_err());
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a", "plan.pdf", "sealed", "two"], "no drafts stay");
}

#[test]
fn a_directory_comes_back_with_all_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let long = format!("maps/{}/{}/x", "d".repeat(120), "é".repeat(100));
    let files = [("maps/a", "1"), ("maps/a b/ü.txt", "22"), (&*long, "333"), ("maps/empty", "")];
    for (name, bytes) in files {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), bytes).unwrap();
    }
    seal(&at("maps"), &[key()], &at("sealed"), dir.path(), &Watch::default()).unwrap();
    opened(&at("sealed"), &OURS, &at("out")).unwrap();
    for (name, bytes) in files {
        let there = at("out").join(name.strip_prefix("maps/").unwrap());
        assert_eq!(fs::read_to_string(there).unwrap(), bytes);
    }
    assert_eq!(files_below(&at("out")).unwrap().len(), files.len());
    fs::create_dir(at("none")).unwrap();
    seal(&at("none"), &[key()], &at("sealed2"), dir.path(), &Watch::default()).unwrap();
    opened(&at("sealed2"), &OURS, &at("out2")).unwrap();
    assert!(files_below(&at("out2")).unwrap().is_empty());
}

/// A stranger can seal anything to a key, and the holder of the key opens it.
#[test]
fn what_was_made_to_do_harm_is_refused() {
    use EntryType::{Directory, GNULongName, Regular, Symlink};
    let dir = tempfile::tempdir().unwrap();
    let (sealed, out) = (dir.path().join("sealed"), dir.path().join("out"));
    let whole = age(&tar(&[("a", Regular, &[7; 200_000])]));
    let mut cut_end = tar(&[("a", Regular, b"1")]);
    cut_end.truncate(100);
    let long = vec![b'x'; 2_000];
    let bad: &[(&str, Vec<u8>)] = &[
        ("empty", vec![]),
        ("no age", vec![0; 100_000]),
        ("an endless header", b"age-encryption.org/v1\n-> X25519 ".repeat(9_999)),
        ("cut", whole[..whole.len() - 70_000].to_vec()),
        ("cut by the last byte", whole[..whole.len() - 1].to_vec()),
        ("no archive", age(b"")),
        ("half an archive", age(&cut_end)),
        ("out", age(&tar(&[("../a", Regular, b"")]))),
        ("root", age(&tar(&[("/a", Regular, b"")]))),
        ("link", age(&tar(&[("a", Symlink, b"")]))),
        ("link in a directory", age(&tar(&[("a/", Directory, b""), ("a/b", Symlink, b"")]))),
        ("two files", age(&tar(&[("a", Regular, b""), ("b", Regular, b"")]))),
        ("beside", age(&tar(&[("a/", Directory, b""), ("b/c", Regular, b"")]))),
        ("below a file", age(&tar(&[("a", Regular, b""), ("a/b", Regular, b"")]))),
        (
            "twice",
            age(&tar(&[("a/", Directory, b""), ("a/b", Regular, b""), ("a/b", Regular, b"")])),
        ),
        ("an endless name", age(&tar(&[("l", GNULongName, &long), ("a", Regular, b"")]))),
        ("no UTF-8", age(&tar(&[("l", GNULongName, b"\xff\0"), ("a", Regular, b"")]))),
    ];
    for (what, bytes) in bad {
        fs::write(&sealed, bytes).unwrap();
        let refused = opened(&sealed, &OURS, &out);
        assert!(refused.is_err(), "{what}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{what} leaves nothing");
    }
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&sealed, changed).unwrap();
    assert!(matches!(opened(&sealed, &OURS, &out), Err(SealedError::Malformed(_))));
    fs::write(&sealed, whole).unwrap();
    opened(&sealed, &OURS, &out).unwrap();
}

proptest::proptest! {
    #[test]
    fn any_archive_is_opened_or_refused(bytes: Vec<u8>, flips: Vec<(usize, u8)>) {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = tar(&[("a/", EntryType::Directory, b""), ("a/b", EntryType::Regular, &bytes)]);
        let len = archive.len();
        flips.iter().for_each(|(at, byte)| archive[at % len] = *byte);
        let space = DiskSpace::below(dir.path(), dir.path());
        let _ = unpack(Cursor::new(archive), dir.path(), &space, failed("write", dir.path()));
        // Nothing but what is below.
        let beside = fs::read_dir(dir.path()).unwrap().count();
        proptest::prop_assert!(beside <= 1);
    }
}
