//! Tests of the records' bounds.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use libp2p::{
    PeerId,
    kad::{ProviderRecord, RecordKey, store::RecordStore as _},
};

use super::{
    PROVIDED_MAX, Root,
    records::{OF_KEY_AND_SUBNET_MAX, OF_KEY_MAX, OF_SUBNET_MAX, RECORDS_MAX, Records},
};
use crate::transport::libp2p_types;

fn peer(n: u32) -> PeerId {
    let seed = [n.to_be_bytes(); 8].concat().try_into().unwrap();
    let key = trefoil_crypto::SecretKey::from_seed(&seed);
    libp2p_types::to_libp2p(trefoil_types::PeerId(key.public()))
}

fn root(n: u32) -> Root {
    [n.to_be_bytes(); 8].concat().try_into().unwrap()
}

/// An address of subnet `n`.
fn at(n: u32) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from(0x0b00_0007 + (n << 8)), 4000))
}

fn named(records: &Records, of: u32) -> Vec<PeerId> {
    let records = records.providers(&RecordKey::new(&root(of)));
    records.into_iter().map(|record| record.provider).collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn a_peer_that_announces_without_end_takes_its_share_only() {
    let mut records = Records::new(peer(0));
    records.keep(root(0), peer(1), at(1), soon());
    for n in 1..=1_000 {
        records.keep(root(n), peer(2), at(2), soon());
    }
    assert_eq!(records.len(), 1 + PROVIDED_MAX);
    // Others have room, for what it took and for what it did not.
    records.keep(root(1), peer(3), at(3), soon());
    records.keep(root(1_000), peer(3), at(3), soon());
    assert_eq!(named(&records, 1_000), [peer(3)]);
    assert_eq!(named(&records, 1).len(), 2);
    assert_eq!(named(&records, 0), [peer(1)]);
}

#[test]
fn a_subnet_with_many_identities_takes_its_share_only() {
    let mut records = Records::new(peer(0));
    for n in 0..2_000 {
        records.keep(root(n), peer(1 + n / 100), at(1), soon());
    }
    assert_eq!(records.len(), OF_SUBNET_MAX);
    for n in 0..100 {
        records.keep(root(7), peer(1_000 + n), at(1), soon());
        records.keep(root(7_777), peer(1_000 + n), at(2), soon());
    }
    assert_eq!(named(&records, 7_777).len(), OF_KEY_AND_SUBNET_MAX);
    // Of one key no more than so many, wherever they are.
    for n in 0..100 {
        records.keep(root(8_888), peer(2_000 + n), at(3 + n), soon());
    }
    assert_eq!(named(&records, 8_888).len(), OF_KEY_MAX);
}

#[test]
fn all_together_are_bounded() {
    let mut records = Records::new(peer(0));
    let per_peer = PROVIDED_MAX as u32;
    for n in 0..80 * per_peer {
        records.keep(root(n), peer(1 + n / per_peer), at(1 + n / per_peer), soon());
    }
    assert_eq!(records.len(), RECORDS_MAX);
}

#[test]
fn what_expires_or_is_forgotten_makes_room() {
    let mut records = Records::new(peer(0));
    let now = Instant::now();
    for n in 0..PROVIDED_MAX as u32 {
        records.keep(root(n), peer(1), at(1), now + Duration::from_secs(u64::from(n % 2)));
    }
    records.keep(root(999), peer(1), at(1), soon());
    assert!(named(&records, 999).is_empty());
    records.expire(now);
    assert_eq!(records.len(), PROVIDED_MAX / 2);
    records.keep(root(999), peer(1), at(1), soon());
    assert_eq!(named(&records, 999), [peer(1)]);
    records.forget(peer(1));
    assert_eq!(records.len(), 0);
}

#[test]
fn a_peer_that_says_it_again_is_where_it_is_now() {
    let mut records = Records::new(peer(0));
    records.keep(root(1), peer(1), at(1), soon());
    records.keep(root(1), peer(1), at(2), soon());
    let [record] = &records.providers(&RecordKey::new(&root(1)))[..] else { panic!("one") };
    assert_eq!(record.addresses, [libp2p_types::to_multiaddr(at(2))]);
    assert_eq!(records.len(), 1);
}

#[test]
fn no_subnet_hides_the_providers_of_others() {
    let mut records = Records::new(peer(0));
    // The lowest ids, which a map of ids would name first.
    let mut peers: Vec<_> = (1..40).map(peer).collect();
    peers.sort();
    peers[..8].iter().for_each(|it| records.keep(root(1), *it, at(1), soon()));
    let honest = &peers[8..11];
    honest.iter().zip(2..).for_each(|(it, n)| records.keep(root(1), *it, at(n), soon()));
    let first = &named(&records, 1)[..4];
    assert!(honest.iter().all(|it| first.contains(it)), "one of each subnet");
    // Our own record comes first.
    records.add_provider(ProviderRecord::new(RecordKey::new(&root(1)), peer(0), vec![])).unwrap();
    assert_eq!(named(&records, 1)[0], peer(0));
    // Ten subnets of two take all places; those of others take the second ones.
    for (n, it) in peers[..20].iter().enumerate() {
        records.keep(root(2), *it, at(n as u32 / 2), soon());
    }
    for (n, it) in peers[20..38].iter().enumerate() {
        records.keep(root(2), *it, at(100 + n as u32), soon());
    }
    let kept = named(&records, 2);
    assert_eq!(kept.len(), OF_KEY_MAX);
    let elders = peers[..20].iter().step_by(2);
    assert!(elders.clone().all(|it| kept.contains(it)), "the youngest of a subnet yields");
    let newcomers = peers[20..38].iter().filter(|it| kept.contains(it)).count();
    assert_eq!(newcomers, 10);
}

#[test]
fn the_order_in_which_providers_are_named_is_a_secret() {
    let names = || {
        let mut records = Records::new(peer(0));
        (1..20).for_each(|n| records.keep(root(1), peer(n), at(n), soon()));
        named(&records, 1)
    };
    assert!((0..5).any(|_| names() != names()));
}

#[test]
fn a_search_takes_few_of_a_subnet() {
    let (me, genesis) = (peer(0), Default::default());
    let id = super::Providers::new(me, &genesis).kad.get_providers(RecordKey::new(&root(1)));
    let mut search = super::Search::new(id, root(1));
    let taken = (1..20).filter(|n| search.takes(peer(*n), Some(at(1)))).count();
    assert_eq!(taken, super::search::FOUND_OF_SUBNET_MAX);
    assert!(search.takes(peer(20), Some(at(2))) && !search.takes(peer(20), Some(at(2))));
    let taken = (21..60).filter(|n| search.takes(peer(*n), Some(at(*n)))).count();
    assert_eq!(taken + 5, super::search::FOUND_MAX);
}
