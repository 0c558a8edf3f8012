use super::*;

/// By the names of their files.
const KINDS: [KeyKind; 6] = [
    KeyKind::Account,
    KeyKind::Ca,
    KeyKind::NextValidator,
    KeyKind::Node,
    KeyKind::Sealing,
    KeyKind::Validator,
];

#[test]
fn a_key_comes_back_with_its_password_only() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let secret = generate(kind);
        let file = store(dir.path(), kind, &secret, "right", ScryptCost::Light).unwrap();
        assert_eq!(*open(&file.path, "right").unwrap(), *secret);
        assert!(matches!(open(&file.path, "wrong"), Err(KeysError::Password { .. })));
        assert_eq!(describe(&file.path).unwrap(), file);
        let text = fs::read_to_string(&file.path).unwrap();
        assert!(!text.contains(&hex::encode(*secret)), "the secret stands in the file");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(&file.path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let again = store(dir.path(), kind, &secret, "other", ScryptCost::Light);
        assert!(matches!(again, Err(KeysError::Exists { .. })));
    }
    let kinds: Vec<_> = list(dir.path()).unwrap().into_iter().map(|file| file.kind).collect();
    assert_eq!(kinds, KINDS);
    assert_eq!(fs::read_dir(dir.path().join("keys")).unwrap().count(), 6, "no drafts stay");
}

#[test]
fn the_next_validator_key_takes_the_old_ones_place_by_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = |kind, n| store(dir.path(), kind, &[n; 32], "x", ScryptCost::Light).unwrap().path;
    let opened = || {
        let keys = open_validators(dir.path(), "x").unwrap();
        keys.iter().map(|key| *key.seed()).collect::<Vec<_>>()
    };
    assert!(!holds_validator(dir.path()) && opened().is_empty(), "a full node");
    let next = store(KeyKind::NextValidator, 2);
    assert!(holds_validator(dir.path()));
    assert_eq!(opened(), [[2; 32]]);
    let current = store(KeyKind::Validator, 1);
    assert_eq!(opened(), [[1; 32], [2; 32]], "oldest first");
    assert!(matches!(open_validators(dir.path(), "y"), Err(KeysError::Password { .. })));

    fs::rename(&next, &current).unwrap();
    assert_eq!(opened(), [[2; 32]]);
    assert_eq!(describe(&current).unwrap().kind, KeyKind::Validator);
    fs::copy(&current, &next).unwrap();
    let error = open_validators(dir.path(), "x").unwrap_err();
    assert!(matches!(error, KeysError::SameValidator { .. }));
    assert!(
        error.to_string().contains("remove") && error.to_string().contains("next-validator.json")
    );
}

#[test]
fn a_key_costs_the_standards_work_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let file = store(dir.path(), KeyKind::Node, &[7; 32], "x", ScryptCost::default()).unwrap();
    let json: Value = serde_json::from_str(&fs::read_to_string(&file.path).unwrap()).unwrap();
    let params = &json["crypto"]["kdfparams"];
    let numbers = ["n", "r", "p", "dklen"].map(|name| params[name].as_u64());
    assert_eq!(numbers, [262_144, 8, 1, 32].map(Some));
    assert_eq!(*open(&file.path, "x").unwrap(), [7; 32]);
    let mode = fs::metadata(dir.path().join("keys")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
}

#[test]
fn a_password_that_others_can_read_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    fs::write(&path, "secret\n").unwrap();
    let source = PasswordSource { file: Some(path.clone()), configured: None };
    let set = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&path, mode).unwrap();
    };
    for mode in [0o644, 0o640, 0o620, 0o604] {
        set(mode);
        let error = source.get("a key").unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{mode:o}: {error}");
    }
    set(0o400);
    assert_eq!(*source.get("a key").unwrap(), "secret");
}

#[test]
fn files_that_never_end_are_no_passwords_and_no_keys() {
    let endless = Path::new("/dev/zero");
    let source = PasswordSource { file: Some(endless.into()), configured: None };
    let error = source.get("a key").unwrap_err().to_string();
    assert!(error.contains("/dev/zero") && error.contains("first line"), "{error}");
    for error in [describe(endless).map(drop), open(endless, "x").map(drop)] {
        assert!(matches!(error, Err(KeysError::File { .. })), "{error:?}");
    }
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        crate::private::write(&path, name.as_bytes()).unwrap();
        Some(path)
    };
    let environment = || Some(Password::new("environment".into()));
    for (flag, variable, setting, wanted) in [
        (file("flag"), environment(), file("setting"), Some("flag")),
        (None, environment(), file("setting"), Some("environment")),
        (None, None, file("setting"), Some("setting")),
        (None, environment(), None, Some("environment")),
        (None, None, None, None),
    ] {
        let given = PasswordSource { file: flag, configured: setting }.given(variable).unwrap();
        assert_eq!(given.as_ref().map(|password| password.as_str()), wanted);
    }
    // The environment is the cure that the refusal of an open file names.
    let open = file("open").unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let source = PasswordSource { file: None, configured: Some(open) };
    let error = source.given(None).unwrap_err().to_string();
    assert!(error.contains(PASSWORD_VARIABLE), "{error}");
    assert_eq!(source.given(environment()).unwrap(), environment());
}

#[test]
fn the_address_of_a_known_key() {
    let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let secret = parse_secret(KeyKind::Account, key).unwrap();
    let address = public(KeyKind::Account, &secret).unwrap();
    assert_eq!(address, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    for bad in ["", "0x12", &"0".repeat(64), &"f".repeat(64), &"g".repeat(64)] {
        assert!(parse_secret(KeyKind::Account, bad).is_err(), "{bad:?}");
    }
}

/// The library panics or allocates without bound on each of these.
#[test]
fn a_hostile_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = store(dir.path(), KeyKind::Node, &[7; 32], "x", ScryptCost::Light).unwrap();
    let good: Value = serde_json::from_str(&fs::read_to_string(&file.path).unwrap()).unwrap();
    let edits: [(&str, Value); 7] = [
        ("/crypto/kdfparams/n", 2_147_483_648u64.into()),
        ("/crypto/kdfparams/n", 3.into()),
        ("/crypto/kdfparams/dklen", 8.into()),
        ("/crypto/kdfparams/r", 1_000_000.into()),
        ("/crypto/cipherparams/iv", "00".into()),
        ("/crypto/ciphertext", "00".into()),
        ("/version", 4.into()),
    ];
    for (pointer, value) in edits {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        fs::write(&file.path, bad.to_string()).unwrap();
        let result = open(&file.path, "x");
        assert!(matches!(result, Err(KeysError::Malformed { .. })), "{pointer}: {result:?}");
    }
    fs::write(&file.path, "x".repeat(20_000)).unwrap();
    assert!(matches!(describe(&file.path), Err(KeysError::Malformed { .. })));
}

/// As others write them, and cheap: PBKDF2 with one iteration.
const FOREIGN: &str = r#"{"version":3,"id":"00000000-0000-4000-8000-000000000000",
    "trefoil":{"kind":"node","public":"x"},"crypto":{"cipher":"aes-128-ctr",
    "cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
    "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
    "kdf":"pbkdf2","kdfparams":{"c":1,"dklen":32,"prf":"hmac-sha256",
    "salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
    "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"}}"#;

proptest::proptest! {
    #[test]
    fn a_changed_key_file_is_opened_or_refused(
        changes in proptest::collection::vec((0usize..1_000, proptest::num::u8::ANY), 1..4),
    ) {
        let mut text = FOREIGN.as_bytes().to_vec();
        for (at, change) in changes {
            let at = at % text.len();
            text[at] = change;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        fs::write(&path, text).unwrap();
        let _ = describe(&path);
        let _ = open(&path, "x");
    }
}

#[test]
fn a_sealing_key_is_written_as_age_does() {
    let secret = Zeroizing::new([0x42; 32]);
    let text = secret_text(KeyKind::Sealing, &secret);
    assert!(text.starts_with("AGE-SECRET-KEY-1"), "{}", *text);
    assert_eq!(parse_secret(KeyKind::Sealing, &text).unwrap(), secret);
    let hex = format!("0x{}", hex::encode(*secret));
    assert_eq!(parse_secret(KeyKind::Sealing, &hex).unwrap(), secret);
    let key: SealingKey = public(KeyKind::Sealing, &secret).unwrap().parse().unwrap();
    assert_eq!(key, SealingKey::of(&secret));
    for bad in ["", "age1", &text, &format!("{key}q")] {
        assert!(bad.parse::<SealingKey>().is_err(), "{bad}");
    }
}
