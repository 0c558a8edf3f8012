//! The admission of newcomers and of standing connections: one row a rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_crypto::{B256, Claims, NodeCertificate, PeerId, Role, SecretKey, Serial};

use crate::{
    Admission, CaKey, Height, MemberNode, Members, NotAMember, Organisation, Standing,
    members::OrganisationStatus,
};

const NOW: u64 = 1_000;
const TIP: Height = 10;
const MEMBER: Standing = Standing::Member(1);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn peer(n: u8) -> PeerId {
    PeerId(key(n).public())
}

fn ca_key(n: u8, from: Height, until: Height) -> CaKey {
    CaKey { key: key(n).public(), from, until }
}

/// Organisation 1 with CA keys 101 and, for heights from 50, 102; organisation 2
/// with 103. Node 7 is validator of organisation 1 at heights 5 to 20.
fn members() -> Members {
    let organisation = |id, ca_keys| Organisation {
        id,
        status: OrganisationStatus::Active,
        name: format!("org {id}"),
        threshold: 1,
        keys: vec![],
        ca_keys,
    };
    let first = organisation(1, vec![ca_key(101, 0, Height::MAX), ca_key(102, 50, Height::MAX)]);
    let second = organisation(2, vec![ca_key(103, 0, Height::MAX)]);
    let validator = MemberNode {
        organisation: 1,
        role: Role::Validator,
        revoked: false,
        validator: Some(key(70).public()),
        from: 5,
        until: 20,
    };
    Members {
        organisations: BTreeMap::from([(1, first), (2, second)]),
        nodes: BTreeMap::from([(peer(7), validator)]),
        revoked_serials: BTreeSet::new(),
    }
}

fn admission(members: Members) -> Admission {
    Admission { genesis: B256::ZERO, height: TIP, time: NOW, members: Arc::new(members) }
}

fn claims(n: u8) -> Claims {
    Claims {
        genesis: B256::ZERO,
        organisation: 1,
        peer: peer(n),
        role: Role::Full,
        serial: Serial([n; 20]),
        not_before: 500,
        not_after: 2_000,
    }
}

fn issue(claims: &Claims, ca: u8) -> NodeCertificate {
    NodeCertificate::issue(claims, &key(ca)).expect("sound claims")
}

/// A rule: a change of a sound certificate of node `n`, or of the chain, and the expected
/// judgements of a newcomer and of a standing connection: a code, or none if it may take part. Who
/// may takes part for its organisation, or as a validator alone.
struct Row {
    what: &'static str,
    n: u8,
    certificate: fn(Claims) -> Claims,
    ca: u8,
    chain: fn(&mut Admission, &mut Members),
    newcomer: Option<u8>,
    standing: Option<u8>,
    /// Whether a newcomer, and a connection that stands, is of no organisation.
    alone: (bool, bool),
}

fn row(what: &'static str, newcomer: Option<u8>, standing: Option<u8>) -> Row {
    let alone = (false, false);
    Row { what, n: 2, certificate: |c| c, ca: 101, chain: |_, _| {}, newcomer, standing, alone }
}

/// A validator that takes part in the name of no organisation.
fn alone(what: &'static str) -> Row {
    Row { n: 7, alone: (true, true), ..row(what, None, None) }
}

fn both(what: &'static str, code: u8) -> Row {
    row(what, Some(code), Some(code))
}

fn organisation(members: &mut Members) -> &mut Organisation {
    members.organisations.get_mut(&1).expect("it is there")
}

fn table() -> Vec<Row> {
    vec![
        row("a member that the registry does not name", None, None),
        Row {
            n: 7,
            certificate: |c| Claims { role: Role::Validator, ..c },
            ..row("a validator", None, None)
        },
        Row { n: 7, ..row("a validator with a full node's certificate", None, None) },
        Row {
            certificate: |c| Claims { genesis: B256::repeat_byte(1), ..c },
            ..both("genesis", 1)
        },
        Row {
            chain: |_, m| {
                let node = m.nodes[&peer(7)].clone();
                m.nodes.insert(peer(2), MemberNode { revoked: true, ..node });
            },
            ..both("revoked", 3)
        },
        Row { certificate: |c| Claims { organisation: 9, ..c }, ..both("no organisation", 4) },
        Row {
            chain: |_, m| organisation(m).status = OrganisationStatus::Suspended,
            ..both("suspended", 5)
        },
        Row {
            chain: |_, m| organisation(m).status = OrganisationStatus::Removed,
            ..both("removed", 5)
        },
        Row {
            n: 7,
            certificate: |c| Claims { organisation: 2, ..c },
            ca: 103,
            ..both("another organisation than the registry's", 6)
        },
        Row { ca: 103, ..both("CA of A naming B", 7) },
        Row { ca: 102, ..both("a CA key before its height", 7) },
        Row { ca: 102, chain: |a, _| a.height = 49, ..row("a CA key at its height", None, None) },
        Row { chain: |_, m| organisation(m).ca_keys[0].until = TIP + 1, ..both("CA key ended", 7) },
        Row {
            chain: |_, m| organisation(m).ca_keys[0].until = TIP + 2,
            ..row("CA key's last", None, None)
        },
        Row {
            chain: |_, m| _ = m.revoked_serials.insert((1, Serial([2; 20]))),
            ..both("serial", 8)
        },
        Row {
            chain: |_, m| _ = m.revoked_serials.insert((2, Serial([2; 20]))),
            ..row("the serial of another organisation", None, None)
        },
        Row { chain: |a, _| a.time = 499, ..row("not yet", Some(9), None) },
        Row { chain: |a, _| a.time = 500, ..row("its first second", None, None) },
        Row { chain: |a, _| a.time = 1_999, ..row("its last second", None, None) },
        Row { chain: |a, _| a.time = 2_000, ..row("expired", Some(10), None) },
        Row {
            n: 7,
            chain: |a, _| a.time = 2_000,
            alone: (true, false),
            ..row("expired, validates", None, None)
        },
        Row { ca: UNKNOWN_CA, ..alone("a validator by a CA that nobody knows") },
        Row { ca: 7, ..alone("a validator by itself") },
        Row { ca: 103, ..alone("a validator by another organisation's CA") },
        Row { ca: 102, ..alone("a validator by a CA key before its height") },
        Row {
            chain: |_, m| organisation(m).ca_keys[0].until = TIP + 1,
            ..alone("a validator whose CA key ended")
        },
        Row {
            n: 7,
            ca: 7,
            certificate: |c| Claims { organisation: 2, ..c },
            ..both("a validator by itself, of another organisation", 6)
        },
        Row {
            n: 7,
            ca: 7,
            chain: |a, _| a.height = 19,
            ..both("by itself, validated until now", 7)
        },
        Row {
            n: 7,
            chain: |a, _| (a.time, a.height) = (2_000, 19),
            ..row("expired, validated until now", Some(10), None)
        },
        Row {
            ca: 103,
            chain: |a, _| a.time = 2_000,
            ..row("expired, and its CA key does not count", Some(10), Some(7))
        },
        Row { certificate: |c| Claims { role: Role::Validator, ..c }, ..both("role", 11) },
        Row { chain: |a, _| a.height = Height::MAX, ..row("the last height", Some(7), Some(7)) },
    ]
}

#[test]
fn the_chain_decides_who_is_let_in_and_who_stays() {
    for row in table() {
        let mut members = members();
        let mut admission = admission(members.clone());
        (row.chain)(&mut admission, &mut members);
        admission.members = Arc::new(members);
        let certificate = issue(&(row.certificate)(claims(row.n)), row.ca);
        let expected = |code: Option<u8>, alone| match (code, alone) {
            (Some(code), _) => Err(code),
            (None, true) => Ok(Standing::Validator),
            (None, false) => Ok(Standing::Member(1)),
        };
        let code = |reason: NotAMember| reason.code();
        let judged = admission.judge(peer(row.n), &certificate).map_err(code);
        assert_eq!(judged, expected(row.newcomer, row.alone.0), "newcomer: {}", row.what);
        let judge_again =
            |standing| admission.judge_again(peer(row.n), &certificate, standing, &mut None);
        let judged = judge_again(Standing::Member(1)).map_err(code);
        assert_eq!(judged, expected(row.standing, row.alone.1), "standing: {}", row.what);
        // Who was never of an organisation does not become so by a certificate that expired.
        let judged = judge_again(Standing::Validator).map_err(code);
        assert_eq!(judged, expected(row.newcomer, row.alone.0), "validator: {}", row.what);
    }
}

/// A signature takes 40 µs: of 128 connections those were 5 ms with each block.
#[test]
fn the_signature_of_a_standing_connection_is_verified_once_while_its_key_counts() {
    let (mut chain, mut issuer) = (members(), None);
    let sound = issue(&claims(2), 101);
    let judged = admission(chain.clone()).judge_again(peer(2), &sound, MEMBER, &mut issuer);
    assert_eq!((judged, issuer), (Ok(MEMBER), Some(key(101).public())));
    // Whoever verified this one again would find that another key signed it.
    let other = issue(&claims(2), 103);
    assert_eq!(
        admission(chain.clone()).judge_again(peer(2), &other, MEMBER, &mut issuer),
        Ok(MEMBER)
    );
    organisation(&mut chain).ca_keys[0].until = TIP + 1;
    for certificate in [&sound, &other] {
        let judged =
            admission(chain.clone()).judge_again(peer(2), certificate, MEMBER, &mut issuer);
        assert_eq!(judged, Err(NotAMember::Issuer(1)));
    }
    // A key that takes its place is found.
    let renewed = issue(&claims(2), 104);
    organisation(&mut chain).ca_keys.push(ca_key(104, 0, Height::MAX));
    let judged = admission(chain).judge_again(peer(2), &renewed, MEMBER, &mut issuer);
    assert_eq!((judged, issuer), (Ok(MEMBER), Some(key(104).public())));
}

#[test]
fn a_certificate_counts_for_its_own_key_only() {
    let stolen = admission(members()).judge(peer(3), &issue(&claims(2), 101));
    assert_eq!(stolen, Err(NotAMember::Peer { named: peer(2), proven: peer(3) }));
}

/// A peer that cannot be shown to be a member: its fault, and its standing at a node whose
/// operator named its key, if it claims a greater height. `None`: refused all the same.
struct Claimant {
    what: &'static str,
    row: Row,
    named_and_further: Option<Standing>,
}

fn claimant(what: &'static str, change: fn(&mut Row)) -> Claimant {
    let mut row = row(what, None, None);
    change(&mut row);
    Claimant { what, row, named_and_further: None }
}

/// Newer blocks may prove it a member.
fn curable(what: &'static str, change: fn(&mut Row)) -> Claimant {
    Claimant { named_and_further: Some(Standing::Unjudged), ..claimant(what, change) }
}

const UNKNOWN_CA: u8 = 104;

fn claimants() -> Vec<Claimant> {
    vec![
        curable("by a CA key that nobody knows", |row| row.ca = UNKNOWN_CA),
        curable("self-signed", |row| row.ca = 2),
        curable("of an organisation that nobody knows", |row| {
            row.certificate = |c| Claims { organisation: 9, ..c };
            row.ca = UNKNOWN_CA;
        }),
        curable("a validator that is none yet", |row| {
            row.certificate = |c| Claims { role: Role::Validator, ..c };
        }),
        curable("not valid yet", |row| row.certificate = |c| Claims { not_before: NOW + 1, ..c }),
        curable("by a CA key before its height", |row| row.ca = 102),
        claimant("its key was revoked", |row| {
            row.ca = UNKNOWN_CA;
            row.chain = |_, m| {
                let node = m.nodes[&peer(7)].clone();
                m.nodes.insert(peer(2), MemberNode { revoked: true, ..node });
            };
        }),
        claimant("its key was revoked, and it names an organisation that nobody knows", |row| {
            row.certificate = |c| Claims { organisation: 9, ..c };
            row.ca = UNKNOWN_CA;
            row.chain = |_, m| {
                let node = m.nodes[&peer(7)].clone();
                m.nodes.insert(peer(2), MemberNode { revoked: true, ..node });
            };
        }),
        claimant("of a suspended organisation, and it names one that nobody knows", |row| {
            row.n = 7;
            row.certificate = |c| Claims { organisation: 9, ..c };
            row.ca = UNKNOWN_CA;
            row.chain = |_, m| organisation(m).status = OrganisationStatus::Suspended;
        }),
        claimant("it belongs elsewhere", |row| {
            row.n = 7;
            row.certificate = |c| Claims { organisation: 2, ..c };
            row.ca = UNKNOWN_CA;
        }),
        claimant("its organisation was removed", |row| {
            row.ca = UNKNOWN_CA;
            row.chain = |_, m| organisation(m).status = OrganisationStatus::Removed;
        }),
        claimant("its serial was revoked", |row| {
            row.ca = UNKNOWN_CA;
            row.chain = |_, m| _ = m.revoked_serials.insert((1, Serial([2; 20])));
        }),
        claimant("its CA key has ended", |row| {
            row.chain = |_, m| organisation(m).ca_keys[0].until = TIP + 1;
        }),
        claimant("its CA key has ended, and it says validator", |row| {
            row.certificate = |c| Claims { role: Role::Validator, ..c };
            row.chain = |_, m| organisation(m).ca_keys[0].until = TIP + 1;
        }),
        claimant("by another organisation's CA key", |row| row.ca = 103),
        claimant("by a known CA key, for an organisation that nobody knows", |row| {
            row.certificate = |c| Claims { organisation: 9, ..c };
        }),
        claimant("expired", |row| {
            row.ca = UNKNOWN_CA;
            row.chain = |a, _| a.time = 2_000;
        }),
        claimant("expired, and it says validator", |row| {
            row.certificate = |c| Claims { role: Role::Validator, ..c };
            row.chain = |a, _| a.time = 2_000;
        }),
        claimant("of another network", |row| {
            row.certificate = |c| Claims { genesis: B256::repeat_byte(1), ..c };
        }),
    ]
}

/// A claimed height makes nobody a member. It makes a named peer unjudged, if only newer blocks
/// are lacking to judge it.
#[test]
fn a_claimed_height_buys_a_trial_and_only_who_is_named_and_not_known_to_be_out() {
    for Claimant { what, row, named_and_further } in claimants() {
        let mut members = members();
        let mut admission = admission(members.clone());
        (row.chain)(&mut admission, &mut members);
        admission.members = Arc::new(members);
        let certificate = issue(&(row.certificate)(claims(row.n)), row.ca);
        for height in [0, TIP, TIP + 1, 1 << 40, Height::MAX] {
            for named in [false, true] {
                let standing = admission.admit(peer(row.n), &certificate, height, named).ok();
                let expected = named_and_further.filter(|_| named && height > TIP);
                assert_eq!(standing, expected, "{what}; height {height}, named {named}");
            }
        }
    }
    let stolen = issue(&claims(2), UNKNOWN_CA);
    let admitted = admission(members()).admit(peer(3), &stolen, 1 << 40, true);
    assert_eq!(admitted, Err(NotAMember::Peer { named: peer(2), proven: peer(3) }));
}

/// Of who is judged the organisation is what the chain verifies.
#[test]
fn who_is_judged_is_a_member_whatever_it_claims_besides() {
    for (n, height, named) in [(2, 0, false), (2, 1 << 40, true), (7, TIP, true)] {
        let admitted = admission(members()).admit(peer(n), &issue(&claims(n), 101), height, named);
        assert_eq!(admitted, Ok(Standing::Member(1)), "node {n}");
    }
    // Its blocks prove it.
    let mut later = admission(members());
    let certificate = issue(&claims(2), 102);
    assert_eq!(later.admit(peer(2), &certificate, 60, true), Ok(Standing::Unjudged));
    later.height = 49;
    assert_eq!(later.admit(peer(2), &certificate, 60, true), Ok(Standing::Member(1)));
}

#[test]
fn every_reason_has_a_code_of_its_own() {
    let id = peer(1);
    let reasons = [
        NotAMember::Genesis(B256::ZERO),
        NotAMember::Peer { named: id, proven: id },
        NotAMember::Revoked,
        NotAMember::NoOrganisation(1),
        NotAMember::Organisation {
            id: 1,
            name: String::new(),
            status: OrganisationStatus::Removed,
        },
        NotAMember::OtherOrganisation { registered: 1, claimed: 2 },
        NotAMember::Issuer(1),
        NotAMember::Serial(Serial([1; 20])),
        NotAMember::NotYet { from: 1, now: 0 },
        NotAMember::Expired { until: 1, now: 2 },
        NotAMember::Role(Role::Full),
    ];
    let codes: Vec<u8> = reasons.iter().map(NotAMember::code).collect();
    assert_eq!(codes, (1..=11).collect::<Vec<u8>>());
}
