//! The address book, its file and the records that fill it.

use std::{collections::BTreeSet, net::SocketAddr};

use proptest::prelude::*;
use trefoil_types::{B256, Millis, Time};

use super::{key, peer};
use crate::{
    config::Discovery,
    discovery::{
        address_book::{AddressBook, DialCandidate},
        address_book_file::{self, BookError},
        finder::Finder,
        outbound::{DialPurpose, Dialer, ROUND},
        peer_record::{self, PeerRecord, RECORDS_MAX, RecordError},
        reachability::is_global,
    },
    inbound_limits::subnet::NetGroup,
};

const NETWORK: B256 = B256::repeat_byte(1);
const NOW: Time = Time(1_000_000_000_000);

fn at(a: u8, b: u8, c: u8, d: u8) -> SocketAddr {
    SocketAddr::from(([a, b, c, d], 30303))
}

fn candidate(address: SocketAddr) -> DialCandidate {
    DialCandidate { address, peer: None }
}

fn book() -> AddressBook {
    AddressBook::new([7; 32], [8; 32])
}

#[test]
fn a_record_reads_back_and_says_who_signed_it() {
    let addresses = vec![at(1, 2, 3, 4), "[2001:db8::1]:5".parse().unwrap()];
    let record = PeerRecord::sign(&key(1), &NETWORK, addresses, 9);
    let bytes = peer_record::encode_all(&[record.clone(), record.clone()]);
    assert_eq!(peer_record::decode_all(&bytes), Ok(vec![record.clone(); 2]));
    assert!(record.verify(&NETWORK) && !record.verify(&B256::ZERO));
    for changed in [
        PeerRecord { sequence: 10, ..record.clone() },
        PeerRecord { peer: peer(2), ..record.clone() },
        PeerRecord { addresses: vec![at(1, 2, 3, 5)], ..record },
    ] {
        assert!(!changed.verify(&NETWORK), "{changed:?}");
    }
}

#[test]
fn a_record_is_refused_for_what_it_may_not_hold() {
    let decode = |addresses: Vec<SocketAddr>| {
        let record = PeerRecord::sign(&key(1), &NETWORK, addresses, 9);
        peer_record::decode_all(&peer_record::encode_all(&[record])).map(|_| ())
    };
    assert_eq!(decode(vec![]), Err(RecordError::Addresses(0)));
    assert_eq!(decode(vec![at(1, 2, 3, 4); 5]), Err(RecordError::Addresses(5)));
    for bad in ["0.0.0.0:1", "224.0.0.1:1", "1.2.3.4:0"] {
        let bad: SocketAddr = bad.parse().unwrap();
        assert_eq!(decode(vec![bad]), Err(RecordError::Unreachable(bad)));
    }
    // IPv4 written as IPv6 would count as another address.
    assert!(matches!(
        decode(vec!["[::ffff:1.2.3.4]:1".parse().unwrap()]),
        Err(RecordError::Malformed(_))
    ));
    let record = PeerRecord::sign(&key(1), &NETWORK, vec![at(1, 2, 3, 4)], 9);
    let many = peer_record::encode_all(&vec![record; RECORDS_MAX + 1]);
    assert_eq!(peer_record::decode_all(&many), Err(RecordError::TooMany(RECORDS_MAX + 1)));
    assert!(matches!(peer_record::decode_all(&vec![0; 1 << 20]), Err(RecordError::TooLarge(_))));
    assert!(peer_record::decode_all(&[0xf9, 0xff, 0xff]).is_err());
}

#[test]
fn who_tells_much_has_a_bounded_part_of_the_book() {
    let mut book = book();
    let tell = |book: &mut AddressBook, source: SocketAddr| {
        for n in 0..20_000u32 {
            let [_, b, c, d] = n.to_be_bytes();
            book.add(candidate(at(50 + b, c, d, 1)), None, source);
        }
    };
    tell(&mut book, at(9, 9, 0, 1));
    assert!(book.len() <= 16 * 16, "{} places by one provider", book.len());
    // Many addresses at that network group gain nothing.
    tell(&mut book, at(9, 9, 77, 1));
    assert!(book.len() <= 16 * 16);
    let before = book.len();
    tell(&mut book, at(9, 10, 0, 1));
    assert!(book.len() > before);
}

#[test]
fn who_was_met_keeps_its_place_until_a_dial_fails() {
    let mut book = book();
    // Addresses of one network group: 64 places at most, so some must wait.
    let all: Vec<_> = (0..=255).map(|d| at(1, 1, d, d.max(1))).collect();
    for (n, address) in all.iter().enumerate() {
        book.add(candidate(*address), None, at(n as u8, 0, 0, 1));
        book.met(*address, peer(1), NOW);
    }
    let tried = |book: &AddressBook| -> BTreeSet<SocketAddr> {
        let tried = book.entries().iter().filter(|(_, entry)| entry.met.is_some());
        tried.map(|(address, _)| *address).collect()
    };
    let first = tried(&book);
    assert!(first.len() <= 64 && first.len() > 32, "{}", first.len());
    // Whose place is wanted is dialled next.
    let wanted = book.pick_to_test(NOW, &BTreeSet::new()).unwrap().address;
    assert!(first.contains(&wanted));
    book.failed(wanted);
    let second = tried(&book);
    assert!(!second.contains(&wanted));
    assert_eq!(second.difference(&first).count(), 1);
    assert_eq!(second.len(), first.len());
}

#[test]
fn an_address_is_not_dialled_again_at_once() {
    let mut book = book();
    let address = at(1, 2, 3, 4);
    book.add(candidate(address), None, address);
    let none = BTreeSet::new();
    for failures in 0..4 {
        assert_eq!(book.pick(Time(NOW.0 << failures), &none), Some(candidate(address)));
        book.dialled(address, Time(NOW.0 << failures));
        book.failed(address);
        let wait = Millis(60_000 << (failures + 1));
        assert_eq!(book.pick(Time((NOW.0 << failures) + wait.0 - 1), &none), None);
        assert!(book.pick(Time(1), &none).is_some(), "the clock was wrong");
    }
    let taken = BTreeSet::from([NetGroup::of(address.ip())]);
    assert_eq!(book.pick(Time(u64::MAX), &taken), None, "its provider is taken");
}

#[test]
fn a_false_name_for_an_address_does_not_keep_its_owner_from_being_found() {
    let mut book = book();
    let address = at(1, 2, 3, 4);
    let lie = PeerRecord::sign(&key(6), &NETWORK, vec![address], 1);
    book.add(DialCandidate { address, peer: Some(peer(6)) }, Some(lie), at(9, 9, 9, 9));
    book.dialled(address, NOW);
    book.wrong_peer(address);
    book.failed(address);
    let later = NOW + Millis(120_000);
    assert_eq!(book.pick(later, &BTreeSet::new()), Some(candidate(address)));
    assert_eq!(book.records(9), [], "the lie is not told on");
    book.met(address, peer(1), NOW);
    assert_eq!(book.pick(later, &BTreeSet::new()).unwrap().peer, Some(peer(1)));
}

#[test]
fn the_seeker_keeps_one_connection_a_provider_and_begins_with_anchors() {
    let mut book = book();
    for n in 0..200u8 {
        book.add(candidate(at(n % 20, 0, n, 1)), None, at(n, n, 0, 1));
    }
    let anchor = candidate(at(77, 0, 0, 1));
    book.set_anchors(vec![anchor.clone()]);
    let mut dialer = Dialer::new(8, &book, NOW);
    let (mut now, mut dialled) = (NOW, Vec::new());
    for _ in 0..20 {
        let due = dialer.due(&mut book, [at(3, 0, 200, 1)], now);
        assert!(due.len() <= 4);
        for DialCandidate { address, .. } in due {
            assert_eq!(dialer.met(address, peer(1), &mut book, now), Some(DialPurpose::Keep));
            dialled.push(address);
        }
        now = now + ROUND;
    }
    assert_eq!((dialled[0], dialled.len()), (anchor.address, 8));
    let net_groups: BTreeSet<_> = dialled.iter().map(|a| NetGroup::of(a.ip())).collect();
    assert_eq!(net_groups.len(), 8);
    assert!(!net_groups.contains(&NetGroup::of(at(3, 0, 0, 1).ip())), "taken by another");
    assert!(book.anchors().iter().any(|kept| kept.address == anchor.address));
    // One ends, another takes its place; a minute later a feeler looks around.
    dialer.ended(dialled[4], &mut book);
    let next = dialer.due(&mut book, [], now);
    assert_eq!(next.len(), 1);
    assert_eq!(dialer.met(next[0].address, peer(1), &mut book, now), Some(DialPurpose::Keep));
    let feeler = dialer.due(&mut book, [], now + Millis(60_000));
    assert_eq!(feeler.len(), 1);
    assert_eq!(dialer.met(feeler[0].address, peer(1), &mut book, now), Some(DialPurpose::Feeler));
    assert_eq!(dialer.kept().len(), 8);
}

#[test]
fn half_of_the_connections_are_to_those_known_longest() {
    let mut book = book();
    let day = |n: u64| NOW + Millis(n * 86_400_000);
    // 20 network groups are known from the first day, 100 from the second.
    for n in 0..120u8 {
        let address = at(n, 1, 1, 1);
        book.add(candidate(address), None, at(n, n, 0, 1));
        book.met(address, peer(1), day((n >= 20).into()));
    }
    let known = book.entries().values().filter(|entry| entry.met == Some(day(0))).count();
    assert!(known >= 16, "{known} found a place");
    let old =
        |address: &SocketAddr| matches!(address, SocketAddr::V4(at) if at.ip().octets()[0] < 20);
    let again = address_book_file::decode(&address_book_file::encode(&book), [3; 32]).unwrap();
    for mut book in [book, again] {
        let (mut dialer, mut now) = (Dialer::new(8, &book, day(3)), day(3));
        for round in 0..60 {
            for DialCandidate { address, .. } in dialer.due(&mut book, [], now) {
                if dialer.met(address, peer(1), &mut book, now) == Some(DialPurpose::Feeler) {
                    dialer.ended(address, &mut book);
                }
            }
            let kept: Vec<_> = dialer.kept().into_iter().map(|kept| kept.address).collect();
            if kept.len() == 8 {
                assert!(kept.iter().filter(|at| old(at)).count() >= 4, "round {round}");
                assert!(book.anchors().iter().all(|anchor| old(&anchor.address)));
                // Whoever leaves is replaced by one of its kind.
                dialer.ended(kept[round % 8], &mut book);
            }
            // So long that whoever was left may be dialled again.
            now = now + Millis(60_000);
        }
        // Another that is met where an old acquaintance was is none.
        let was = dialer.kept().into_iter().find(|kept| old(&kept.address)).unwrap();
        book.met(was.address, peer(2), now);
        assert_eq!(book.met_since(was.address), Some(now));
    }
}

#[test]
fn a_bootstrap_address_is_dialled_at_once_after_a_crash_too() {
    let dir = tempfile::tempdir().unwrap();
    let begin = candidate(at(1, 2, 3, 4));
    for _ in 0..2 {
        let (file, bootstrap) = (dir.path().join("peers"), vec![begin.clone()]);
        let config = Discovery { file, bootstrap, outbound: 1, advertise: vec![] };
        let finder = Finder::open(config, &key(1), NETWORK, true);
        assert_eq!(finder.due(vec![], |_| false), std::slice::from_ref(&begin));
        // Nobody was met: what is kept says only that it was dialled just now.
        finder.save();
    }
}

#[test]
fn records_of_private_networks_stay_in_them_where_anyone_may_connect() {
    let dir = tempfile::tempdir().unwrap();
    let (far, near) = (at(1, 2, 3, 4), at(192, 168, 0, 7));
    let record = |n: u8, addresses: &[SocketAddr]| {
        PeerRecord::sign(&key(n), &NETWORK, addresses.to_vec(), 1)
    };
    let local = [at(127, 0, 0, 1), at(10, 0, 0, 1), at(169, 254, 169, 254), at(100, 64, 0, 1)];
    let local_ones = |records: &[PeerRecord]| {
        let local = |record: &&PeerRecord| !record.addresses.iter().all(|at| is_global(at.ip()));
        records.iter().filter(local).count()
    };
    for (public, teller, knows, tells) in
        [(true, far, false, false), (true, near, true, false), (false, far, true, true)]
    {
        let open = |lot: u8| {
            let file = dir.path().join(format!("{public}-{teller}-{lot}"));
            let config = Discovery { file, bootstrap: vec![], outbound: 8, advertise: vec![] };
            Finder::open(config, &key(1), NETWORK, public)
        };
        let finder = open(0);
        let mut records: Vec<_> = (2..).zip(local).map(|(n, at)| record(n, &[at])).collect();
        // What is signed is passed on whole or not at all.
        records.push(record(21, &[at(8, 8, 4, 4), at(172, 16, 0, 1)]));
        records.push(record(20, &[at(8, 8, 8, 8)]));
        finder.on_records(records.clone(), teller).unwrap();
        // Places are drawn by lot, so that one may lack, but not all.
        assert_eq!(local_ones(&finder.answer(near)) > 0, knows, "{public} {teller}");
        assert_eq!(local_ones(&finder.answer(far)) > 0, tells, "{public} {teller}");
        if !knows {
            // That one may lack, too, but not in each of eight lots.
            let told = (1..9).map(|lot| {
                let finder = open(lot);
                finder.on_records(records.clone(), teller).unwrap();
                finder.answer(far).len()
            });
            assert_eq!(told.max(), Some(1), "the one of the Internet");
            let due = finder.due(vec![], |_| false);
            assert!(due.iter().all(|candidate| is_global(candidate.address.ip())), "{due:?}");
        }
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_never_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers");
    let load = || address_book_file::load(&path, [1; 32], [2; 32]);
    assert!(load().is_empty());
    let mut book = book();
    book.add(candidate(at(1, 2, 3, 4)), None, at(1, 2, 3, 4));
    let bytes = address_book_file::encode(&book);
    address_book_file::save(&path, &bytes).unwrap();
    assert_eq!(load().len(), 1);
    for (damage, error) in [
        (bytes[..bytes.len() - 1].to_vec(), BookError::Checksum),
        (bytes[..5].to_vec(), BookError::Magic),
        ([bytes.as_slice(), &[0]].concat(), BookError::Checksum),
        (vec![0; 5 << 20], BookError::TooLarge(5 << 20)),
    ] {
        assert_eq!(address_book_file::decode(&damage, [0; 32]).map(|_| ()), Err(error));
        std::fs::write(&path, &damage).unwrap();
        assert!(load().is_empty());
        assert!(!path.exists());
        assert_eq!(std::fs::read(dir.path().join("peers.damaged")).unwrap(), damage);
    }
}

#[test]
fn a_book_that_cannot_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // In its place is what no file replaces.
    let path = dir.path().join("peers");
    std::fs::create_dir(&path).unwrap();
    assert!(address_book_file::save(&path, b"x").is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

proptest! {
    /// Whatever is told and done, the book holds to its bounds, follows from its
    /// key and seed, and reads back the same.
    #[test]
    fn any_use_of_the_book_keeps_it_sound(
        steps in proptest::collection::vec((0u8..5, 0u8..6, 0u8..6, any::<u8>()), 1..400),
    ) {
        let mut books = [book(), book()];
        for book in &mut books {
            let mut now = NOW;
            for (what, a, b, d) in &steps {
                let address = at(1 + a, *b, 0, *d);
                match what {
                    0 | 1 => _ = book.add(candidate(address), None, at(1 + b, *a, 0, 1)),
                    2 => book.met(address, peer(1), now),
                    3 => book.failed(address),
                    _ => if let Some(found) = book.pick(now, &BTreeSet::new()) {
                        book.dialled(found.address, now);
                    }
                }
                now = now + Millis(1_000);
                prop_assert_eq!(book.slots(), book.len());
            }
            prop_assert!(book.len() <= 256 * 16 + 64 * 16);
        }
        let [one, two] = books.map(|book| address_book_file::encode(&book));
        prop_assert_eq!(&one, &two);
        let again = address_book_file::decode(&one, [9; 32]).unwrap();
        prop_assert_eq!(address_book_file::encode(&again), one);
    }

    #[test]
    fn any_bytes_are_records_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(records) = peer_record::decode_all(&bytes) {
            prop_assert_eq!(peer_record::encode_all(&records), bytes);
        }
    }
}
