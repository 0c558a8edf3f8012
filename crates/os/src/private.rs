//! Files and directories that are their owner's: secrets, and what others of the machine may not
//! read of a node.

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

/// What a mode lets others than the owner do.
const OTHERS: u32 = 0o077;

/// The bit of a directory in which everyone makes files, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// What a mode lets anyone change.
const WRITES: u32 = 0o222;

/// Where Docker and Kubernetes mount secrets.
const SECRETS: &str = "/run/secrets";

/// Names where systemd puts those of a service (`LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Whether others than its owner may use a file: the rule of ssh for private keys. A pipe or a
/// terminal is nobody's to read later.
///
/// # Errors
/// When the file is not there.
pub fn is_open(path: &Path) -> io::Result<bool> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() || meta.mode() & OTHERS == 0 {
        return Ok(false);
    }
    let places = [Some(SECRETS.into()), env::var_os(CREDENTIALS).map(PathBuf::from)];
    // Without its links, which Kubernetes makes: by one, any file would seem to lie there.
    let places = places.into_iter().flatten().filter_map(|place| place.canonicalize().ok());
    let places: Vec<_> = places.collect();
    Ok(!is_handed_over(meta.uid(), meta.mode(), &path.canonicalize()?, &places))
}

// Docker's have mode 0444, those of Kubernetes (with `defaultMode: 0440` and `fsGroup`) and systemd
// 0440: nobody can change them to 0600, and only the service sees the directory.
/// Whether a file is a secret that root mounted for this service, read-only.
fn is_handed_over(uid: u32, mode: u32, path: &Path, places: &[PathBuf]) -> bool {
    uid == 0 && mode & WRITES == 0 && places.iter().any(|place| path.starts_with(place))
}

/// Makes a directory that only its owner may enter, with those above it. One that is there is
/// closed to others.
///
/// # Errors
/// When it cannot be made, or is open to others and belongs to another user or to all.
pub fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    // As root, `--dir /tmp` would close it to all users.
    if mode & STICKY != 0 {
        let what = "everyone may make files in it: name a directory of its own";
        return Err(io::Error::new(ErrorKind::PermissionDenied, what));
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !OTHERS)).map_err(|error| {
        let what = format!(
            "others may enter it, and that cannot be changed ({error}): let its owner chmod 700 it"
        );
        io::Error::new(ErrorKind::PermissionDenied, what)
    })
}

/// Writes a file that only its owner may read, in place of the one that was there.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Made anew, not emptied: an old file may be readable for others, or open in another process.
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_directory_is_its_owners_new_or_old() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("node/data");
        directory(&new).unwrap();
        assert_eq!([mode(&new), mode(new.parent().unwrap())], [0o700; 2]);
        for open in [0o755, 0o750, 0o777, 0o701] {
            fs::set_permissions(&new, Permissions::from_mode(open)).unwrap();
            directory(&new).unwrap();
            assert_eq!(mode(&new), 0o700, "it was {open:o}");
        }
        fs::set_permissions(&new, Permissions::from_mode(0o1777)).unwrap();
        let error = directory(&new).unwrap_err().to_string();
        assert!(error.contains("of its own"), "{error}");
        assert_eq!(mode(&new), 0o1777, "it is everyone's");
    }

    #[test]
    fn a_secret_that_root_mounts_read_only_is_not_open() {
        let places = ["/run/secrets".into(), "/run/credentials/trefoil".into()];
        for (uid, mode, path, mounted) in [
            (0, 0o444, "/run/secrets/password", true),
            (0, 0o440, "/run/secrets/..2026/password", true),
            (0, 0o440, "/run/credentials/trefoil/password", true),
            (0, 0o440, "/run/credentials/other/password", false),
            (0, 0o444, "/run/secrets-of-others/password", false),
            (0, 0o444, "/etc/password", false),
            // Somebody can change it.
            (0, 0o644, "/run/secrets/password", false),
            (1_000, 0o444, "/run/secrets/password", false),
        ] {
            let is = is_handed_over(uid, 0o100_000 | mode, Path::new(path), &places);
            assert_eq!(is, mounted, "{path}, {mode:o} of {uid}");
        }
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("password");
        fs::write(&elsewhere, "").unwrap();
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o444)).unwrap();
        assert!(is_open(&elsewhere).unwrap());
    }

    #[test]
    fn a_secret_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "old").unwrap();
        for (mode, open) in [(0o644, true), (0o640, true), (0o604, true), (0o600, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open(&path).unwrap(), open, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"new".to_vec()));
        assert!(!is_open(Path::new("/dev/null")).unwrap(), "it is no file");
    }
}
