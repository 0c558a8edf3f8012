use trefoil_types::PeerId;

use super::*;

fn load(
    file: &str,
    env: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Effective, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    let flags: Vec<_> = flags.iter().map(|(k, v)| (*k, v.to_string())).collect();
    Effective::load(&path, env, &flags)
}

#[test]
fn no_file_of_settings_takes_memory_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("long");
    std::fs::File::create(&long).unwrap().set_len(3 << 30).unwrap();
    for (path, why) in [(std::path::Path::new("/dev/zero"), "regular"), (&*long, "bytes")] {
        let error = Effective::load(path, std::iter::empty(), &[]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn later_sources_override_earlier_ones() {
    let file = "log = \"debug\"\n[rpc]\nlisten = \"127.0.0.1:1\"\n[p2p]\ninbound_max = 7\n";
    let env = [("TREFOIL_RPC_LISTEN", "127.0.0.1:2"), ("TREFOIL_PASSWORD", "x"), ("HOME", "/")];
    let effective = load(file, &env, &[("log", "warn")]).unwrap();
    assert_eq!(effective.settings.log, "warn");
    assert_eq!(effective.settings.rpc.listen.port(), 2);
    assert_eq!(effective.settings.p2p.inbound_max, 7);
    assert_eq!(effective.settings.pool, MempoolLimits::default());
    assert_eq!(effective.keys["log"].1, SettingSource::Flag);
    assert_eq!(effective.keys["rpc.listen"].1.to_string(), "TREFOIL_RPC_LISTEN");
    assert!(matches!(effective.keys["p2p.inbound_max"].1, SettingSource::File(_)));
    assert_eq!(effective.keys["history"].1, SettingSource::Default);
}

#[test]
fn lists_and_history_have_forms_for_people() {
    let peer = PeerId(trefoil_crypto::SecretKey::from_seed(&[1; 32]).public());
    let peers = format!("{peer}@1.2.3.4:5, {peer}@[::1]:6");
    let effective = load("history = 9", &[("TREFOIL_P2P_PEERS", &peers)], &[]).unwrap();
    let ports: Vec<_> = effective.settings.p2p.peers.iter().map(|p| p.address.port()).collect();
    assert_eq!(ports, [5, 6]);
    assert_eq!(effective.settings.history.0, History::Window(9));
    let both = format!("1.2.3.4:5, {peer}@[::1]:6");
    let effective = load("", &[("TREFOIL_P2P_BOOTSTRAP", &both)], &[]).unwrap();
    let known: Vec<_> = effective.settings.p2p.bootstrap.iter().map(|at| at.peer).collect();
    assert_eq!(known, [None, Some(peer)]);
    let effective = load("history = 9", &[("TREFOIL_HISTORY", "archive")], &[]).unwrap();
    assert_eq!(effective.settings.history.0, History::Archive);
}

#[test]
fn errors_name_the_key_and_where_it_stands() {
    let table: [(&str, &[&str]); 7] = [
        ("colour = 1", &["`colour`", FILE, "known settings"]),
        ("[rpc]\nlisten = 3", &["`rpc.listen`", FILE]),
        ("[rpc]\nlisten = \"nowhere\"", &["`rpc.listen`"]),
        ("[p2p]\npeers = [\"x\"]", &["`p2p.peers`", "PEERID@ip:port"]),
        ("[p2p]\nbootstrap = [\"x\"]", &["`p2p.bootstrap`", "or write ip:port alone"]),
        ("history = 0", &["`history`", "archive"]),
        ("x = [", &["not TOML"]),
    ];
    for (file, words) in table {
        let error = load(file, &[], &[]).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error:?}");
        }
    }
    let error = load("", &[("TREFOIL_RPC_LISTN", "1")], &[]).unwrap_err().to_string();
    assert!(error.contains("TREFOIL_RPC_LISTN") && error.contains("trefoil config"), "{error}");
}

#[test]
fn debug_methods_are_off_unless_someone_says_so() {
    assert!(!load("", &[], &[]).unwrap().settings.rpc.debug);
    let asked = load("", &[("TREFOIL_RPC_DEBUG", "true")], &[]).unwrap();
    assert!(asked.settings.rpc.debug);
    let error = load("", &[("TREFOIL_RPC_DEBUG", "yes")], &[]).unwrap_err().to_string();
    assert!(error.contains("`rpc.debug`") && error.contains("true or false"), "{error}");
}

#[test]
fn encryption_is_a_public_nodes_choice() {
    let settings = |file| load(file, &[], &[]).map(|effective| effective.settings.p2p);
    let never = settings("").unwrap();
    let always = settings("[p2p]\nencrypt = \"always\"").unwrap();
    assert!(!never.encrypts(Kind::Public).unwrap());
    assert!(!never.encrypts(Kind::Consortium).unwrap());
    assert!(always.encrypts(Kind::Public).unwrap());
    for kind in [Kind::Private, Kind::Consortium] {
        let error = always.encrypts(kind).unwrap_err().to_string();
        let words = ["`p2p.encrypt`", &format!("{kind:?}"), "always encrypted", "remove"];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let error = settings("[p2p]\nencrypt = \"maybe\"").unwrap_err().to_string();
    assert!(error.contains("`p2p.encrypt`") && error.contains("always"), "{error}");
}

#[test]
fn a_written_file_reads_back() {
    let mut settings = Settings::default();
    settings.p2p.listen.set_port(4);
    settings.history = HistorySetting(History::Window(10));
    settings.p2p.encrypt = Encrypt::Always;
    let effective = load(&settings.to_toml(), &[], &[]).unwrap();
    assert_eq!(effective.settings, settings);
    assert_eq!(load("", &[], &[]).unwrap().settings, Settings::default());
}

proptest::proptest! {
    /// A file that is still read after a change is written so that it reads back.
    #[test]
    fn a_changed_file_is_read_or_refused(
        changes in proptest::collection::vec((0usize..200, proptest::char::any()), 1..4),
    ) {
        let good = "log = \"debug\"\nhistory = 9\n[rpc]\nlisten = \"127.0.0.1:1\"\n\
                    hosts = [\"a\"]\n[p2p]\ninbound_max = 7\npeers = []\nencrypt = \"always\"\n";
        let mut text: Vec<char> = good.chars().collect();
        for (at, change) in changes {
            let at = at % text.len();
            text[at] = change;
        }
        if let Ok(effective) = load(&text.iter().collect::<String>(), &[], &[]) {
            let again = load(&effective.settings.to_toml(), &[], &[]).unwrap();
            proptest::prop_assert_eq!(again.settings, effective.settings);
        }
    }
}

/// Another organisation's origin would make this node ask its own machine.
#[test]
fn origins_of_others_are_of_the_internet_but_in_ones_own_network() {
    use trefoil_swarm::http::Reach::{All, Global};
    for (policy, public, consortium, private) in [
        (OriginPolicy::Auto, Some(Global), Some(Global), Some(All)),
        (OriginPolicy::Global, Some(Global), Some(Global), Some(Global)),
        (OriginPolicy::All, Some(All), Some(All), Some(All)),
        (OriginPolicy::Off, None, None, None),
    ] {
        let reach = [Kind::Public, Kind::Consortium, Kind::Private].map(|kind| policy.reach(kind));
        assert_eq!(reach, [public, consortium, private], "{policy:?}");
    }
}
