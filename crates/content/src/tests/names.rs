//! Ids, links, manifests, news: one spelling each, and nothing else is read.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{
    AllowError, AllowList, BYTES_MAX, Bits, ContentId, IdError, Layout, Link, LinkError, Manifest,
    ManifestEntry, ManifestError, News, PathError, ResourceKind, scheduler::Resource, varint,
};

fn id(kind: ResourceKind) -> ContentId {
    ContentId { kind, root: *blake3::hash(b"trefoil").as_bytes() }
}

fn entry(path: &str, size: u64) -> ManifestEntry {
    ManifestEntry { path: path.into(), size, root: [3; 32] }
}

/// The text of a golden file without what editors add.
macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../../vectors/content/", $name)).trim_end()
    };
}

#[test]
fn ids_links_and_manifests_are_spelled_as_ever() {
    let link = Link {
        id: id(ResourceKind::File),
        name: Some("Größe & mehr.iso".into()),
        size: Some(21_474_836_480),
        allow: AllowList::default(),
    };
    assert_eq!(link.to_string(), golden!("file.link"));
    assert_eq!(golden!("file.link").parse(), Ok(link));
    let bare = Link::from(id(ResourceKind::Directory));
    assert_eq!(bare.to_string(), golden!("directory.link"));
    assert_eq!(golden!("directory.link").parse(), Ok(bare));
    let sealed = Link::from(id(ResourceKind::Sealed));
    assert_eq!(sealed.to_string(), golden!("sealed.link"));
    assert_eq!(golden!("sealed.link").parse(), Ok(sealed));
    let files = vec![entry("b/c", 1 << 40), entry("a", 0), entry("b.txt", 300)];
    let manifest = Manifest::new(files).expect("sound");
    assert_eq!(hex::encode(manifest.encode()), golden!("manifest.hex"));
    let news = News { have: vec![0..3, 9..10], claims: vec![4, 5], released: vec![2000] };
    assert_eq!(hex::encode(news.encode()), golden!("news.hex"));
}

#[test]
fn the_longest_link_is_read() {
    let allow = AllowList::new((0..16).map(|n| u32::MAX - n)).expect("sixteen");
    let name = Some("ü".repeat(127) + "x");
    let link = Link { name, size: Some(BYTES_MAX), allow, id: id(ResourceKind::Directory) };
    assert_eq!(link.to_string().parse(), Ok(link));
}

#[test]
fn a_list_of_organisations_changes_what_peers_call_a_resource() {
    let (open, one) = (AllowList::default(), AllowList::new([1]).expect("one"));
    let two = AllowList::new([2, 1, 2]).expect("two");
    assert_eq!(two.to_string(), "1,2");
    let file = Resource::file([7; 32]);
    assert_eq!(file.among(&open), file);
    let names = [file, file.among(&one), file.among(&two), Resource::tree([7; 32]).among(&one)];
    assert_eq!(names.into_iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    assert!(open.admits(None) && open.admits(Some(3)));
    assert!(two.admits(Some(2)) && !two.admits(Some(3)) && !two.admits(None));
    assert!(AllowList::new([0]).is_err() && AllowList::new(1..18).is_err());
}

#[test]
fn wrong_links_are_refused() {
    let good = id(ResourceKind::File).to_string();
    let of = |rest: &str| format!("trefoil:{good}{rest}").parse::<Link>();
    assert!(of("").is_ok());
    for rest in [
        "?",
        "?size=1&name=a",
        "?name=a&name=b",
        "?size=01",
        "?size=-1",
        "?name=%61",
        "?x=1",
        "?name=a%2",
        "?name=%ff",
        "?size=18446744073709551615",
        "?name=a b",
        "?size=",
        "?allow=1&size=1",
        "?allow=1&allow=1",
    ] {
        assert_eq!(of(rest), Err(LinkError::Parameters), "{rest}");
    }
    for name in ["..", ".", "a%2Fb", "a%00b", "C%3Ax", "a%5Cb", ""] {
        let refused = of(&format!("?name={name}"));
        assert!(matches!(refused, Err(LinkError::Name(_))), "{name}: {refused:?}");
    }
    for (list, error) in [
        ("", AllowError::Malformed),
        ("1,", AllowError::Malformed),
        ("2,1", AllowError::Malformed),
        ("1,1", AllowError::Malformed),
        ("01", AllowError::Malformed),
        ("-1", AllowError::Malformed),
        ("4294967296", AllowError::Malformed),
        ("0,1", AllowError::Zero),
        ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", AllowError::TooMany(17)),
    ] {
        assert_eq!(of(&format!("?allow={list}")), Err(LinkError::Allow(error)), "{list}");
    }
    assert_eq!("http://x".parse::<Link>(), Err(LinkError::NoScheme));
    let long = format!("trefoil:{}", "b".repeat(2_000));
    assert_eq!(long.parse::<Link>(), Err(LinkError::TooLong(2_008)));
    // An IPFS file: SHA-256 is not what is verified here.
    let ipfs = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    assert_eq!(ipfs.parse::<ContentId>(), Err(IdError::NotBlake3));
    assert_eq!(good.to_uppercase().parse::<ContentId>(), Err(IdError::NotBase32));
}

#[test]
fn directories_that_would_write_elsewhere_are_refused() {
    for path in ["../a", "a/../b", "/a", "a//b", "a/", "", ".", "a\\b", "c:d", "a\nb", "a\0b"] {
        let refused = Manifest::new(vec![entry(path, 1)]);
        assert!(matches!(refused, Err(ManifestError::Path(_))), "{path:?}: {refused:?}");
    }
    let deep = vec!["a"; 65].join("/");
    let refused = Manifest::new(vec![entry(&deep, 1)]);
    assert_eq!(refused, Err(ManifestError::Path(PathError::TooDeep)));
    for twice in [["a", "a"], ["a", "a/b"]] {
        let refused = Manifest::new(twice.map(|path| entry(path, 1)).into());
        assert_eq!(refused, Err(ManifestError::Twice("a".into())).or(refused.clone()));
        assert!(matches!(refused, Err(ManifestError::Twice(_))));
    }
    // Sorted by bytes, "a-b" stands between a file and what would be below it.
    let refused = Manifest::new(["a", "a-b", "a/b"].map(|path| entry(path, 1)).into());
    assert_eq!(refused, Err(ManifestError::Twice("a/b".into())));
    let refused = Manifest::new(vec![entry("a", BYTES_MAX), entry("b", 1)]);
    assert_eq!(refused, Err(ManifestError::TooLarge));
}

#[test]
fn a_manifest_that_claims_a_billion_files_takes_no_memory() {
    let mut bytes = vec![1];
    varint::put(&mut bytes, 1_000_000_000);
    assert_eq!(Manifest::decode(&bytes), Err(ManifestError::TooManyFiles(1_000_000_000)));
    let mut bytes = vec![1];
    varint::put(&mut bytes, 100_000);
    assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Malformed));
    assert_eq!(Manifest::decode(&[2, 0]), Err(ManifestError::Malformed));
}

#[test]
fn unsorted_manifests_are_refused() {
    let sorted = Manifest::new(vec![entry("a", 1), entry("b", 2)]).expect("sound").encode();
    let entry_bytes = (sorted.len() - 2) / 2;
    let mut swapped = sorted[..2].to_vec();
    swapped.extend(&sorted[2 + entry_bytes..]);
    swapped.extend(&sorted[2..2 + entry_bytes]);
    assert_eq!(Manifest::decode(&swapped), Err(ManifestError::Malformed));
}

#[test]
fn pieces_cover_every_file_of_any_size() {
    const GIB: u64 = 1 << 30;
    for size in [0, 1, 16_383, 16_384, 16_385, 65_536, 65_537, 20 * GIB, 20 * GIB + 1, BYTES_MAX] {
        let layout = Layout::file(size).expect("of sane size");
        assert!((1..=2_049).contains(&layout.pieces()), "{size}: {}", layout.pieces());
        let sum: u64 = (0..layout.pieces()).map(|piece| layout.piece_bytes(piece)).sum();
        assert_eq!(sum, size);
    }
    assert!(Layout::file(BYTES_MAX + 1).is_err());
    let small = Layout::files(&vec![1; 100_000]).expect("few enough");
    assert_eq!((small.pieces(), small.part(77_777).file), (100_000, 77_777));
    let two = Layout::files(&[200_000, 100_000]).expect("few enough");
    assert_eq!(two.pieces_of(0, 70_000..140_000), 1..3);
    assert_eq!(two.pieces_of(1, 0..1), 4..5);
    assert_eq!(two.pieces_of(1, 99_999..u64::MAX), 5..6);
    assert_eq!(two.pieces_of(2, 0..1), 0..0);
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(manifest.encode(), bytes.clone());
        }
        if let Ok(news) = News::decode(&bytes, 2_048) {
            prop_assert_eq!(news.encode(), bytes);
        }
    }

    #[test]
    fn any_text_is_a_link_or_an_error(text in "(trefoil:b)?[a-z2-7]{0,70}(\\?name=)?.{0,20}") {
        if let Ok(link) = text.parse::<Link>() {
            prop_assert_eq!(link.to_string(), text);
        }
    }

    #[test]
    fn manifests_come_back(
        paths in proptest::collection::btree_set("[a-z]{1,3}(/[a-z.]{1,3}x){0,3}", 0..20),
        size in 0u64..1 << 40,
    ) {
        let entries = paths.iter().map(|path| entry(path, size)).collect();
        if let Ok(manifest) = Manifest::new(entries) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
    }

    #[test]
    fn bits_agree_with_a_set(
        numbers in proptest::collection::btree_set(0u64..300, 0..80),
        removed in proptest::collection::btree_set(0u64..300, 0..20),
    ) {
        let mut bits = Bits::none(300);
        numbers.iter().for_each(|at| { bits.insert(*at); });
        let (all, mut gone) = (bits.clone(), Bits::none(300));
        removed.iter().for_each(|at| { gone.insert(*at); });
        let both: BTreeSet<u64> = numbers.intersection(&removed).copied().collect();
        prop_assert_eq!(all.shared(&gone).iter().collect::<BTreeSet<_>>(), both.clone());
        for from in 0..300 {
            let first = both.range(from..).next().or(both.first()).copied();
            prop_assert_eq!(all.first_shared(&gone, from), first);
        }
        removed.iter().for_each(|at| bits.remove(*at));
        prop_assert_eq!(&all.without([&gone]), &bits);
        let left: Vec<u64> = numbers.difference(&removed).copied().collect();
        prop_assert_eq!(bits.iter().collect::<Vec<_>>(), left.clone());
        prop_assert_eq!(bits.runs().flatten().collect::<Vec<_>>(), left);
        let mut again = Bits::none(300);
        bits.runs().for_each(|run| again.insert_range(run));
        prop_assert_eq!(&again, &bits);
        prop_assert_eq!(Bits::from_bytes(300, &bits.to_bytes()), Some(bits));
    }
}
