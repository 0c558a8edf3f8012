//! Messages between swarms: one encoding each, and nothing else decodes.

use std::{collections::BTreeSet, net::SocketAddr};

use proptest::prelude::*;
use trefoil_types::{PeerId, PublicKey};

use crate::{
    News, ORIGIN_BYTES_MAX, Origin,
    message::{ContentFrame, PROOF_BYTES_MAX, SwarmMessage},
    message_rule::{RULES, SwarmMessageRule},
    scheduler::{RejectReason, Resource, Ticket},
};

const RESOURCE: Resource = Resource([7; 32]);

fn others() -> Vec<(PeerId, SocketAddr)> {
    let peer = |n| PeerId(PublicKey([n; 32].into()));
    ["10.0.0.1:30303", "[2001:db8::1]:1"]
        .into_iter()
        .zip(1..)
        .map(|(address, n)| (peer(n), address.parse().expect("an address")))
        .collect()
}

fn origins() -> Vec<Origin> {
    let urls = ["http://198.51.100.7:8080/blob.bin", "https://example.org/a/b?version=1"];
    urls.iter().map(|url| url.parse().expect("an origin")).collect()
}

fn samples() -> Vec<(&'static str, SwarmMessage)> {
    let (resource, ticket) = (RESOURCE, Ticket(300));
    vec![
        ("find", SwarmMessage::Find { resource }),
        (
            "offer",
            SwarmMessage::Offer { resource, size: 1 << 40, origin: true, proof: vec![1, 2, 3] },
        ),
        ("news", SwarmMessage::News { resource, news: vec![1, 0, 4, 0, 0] }),
        ("choke", SwarmMessage::Choke { resource, choked: true }),
        ("ask", SwarmMessage::Ask { resource, ticket, piece: 70_000, from: 128 }),
        ("unask", SwarmMessage::Unask { resource, ticket }),
        ("refuse", SwarmMessage::Refuse { resource, ticket, why: RejectReason::Given }),
        ("others", SwarmMessage::Others { resource, others: others() }),
        ("origins", SwarmMessage::Origins { resource, origins: origins() }),
        ("snapshot", SwarmMessage::Snapshot { resource, height: 1_024 }),
    ]
}

/// `vectors/content/messages.txt`: a name, a space and hexadecimal digits a line.
#[test]
fn messages_have_their_golden_bytes() {
    let mut lines = String::new();
    for (name, message) in samples() {
        let bytes = message.encode();
        assert_eq!(ContentFrame::decode(&bytes), Ok(ContentFrame::Message(message)));
        lines += &format!("{name} {}\n", hex::encode(&bytes));
    }
    let mut data = ContentFrame::data(Ticket(300));
    data.extend([9, 8, 7]);
    assert_eq!(
        ContentFrame::decode(&data),
        Ok(ContentFrame::Data { ticket: Ticket(300), bytes: &[9, 8, 7] })
    );
    lines += &format!("data {}\n", hex::encode(&data));
    assert_eq!(lines, include_str!("../../../../vectors/content/messages.txt"));
}

#[test]
fn each_frame_has_its_rule_and_the_documentation_says_the_same() {
    let mut frames: Vec<(&str, Vec<u8>)> =
        samples().into_iter().map(|(name, message)| (name, message.encode())).collect();
    frames.push(("data", ContentFrame::data(Ticket(1))));
    let rule = |body: &[u8]| SwarmMessageRule::index(body).map(|index| RULES[index].name);
    for (name, body) in &frames {
        assert_eq!(rule(body).map(str::to_lowercase).as_deref(), Some(*name));
    }
    assert_eq!(frames.len(), RULES.len(), "a rule for each frame, and no other");
    assert_eq!([rule(&[]), rule(&[0]), rule(&[12]), rule(&[255])], [None; 4]);
    let wire = include_str!("../../../../docs/wire.md");
    for (at, rule) in RULES.iter().enumerate() {
        let SwarmMessageRule { name, rate, burst, answer_bytes_max } = rule;
        let row = format!("| {} | {name} | {rate} | {burst} | {answer_bytes_max} |", at + 1);
        assert!(wire.lines().any(|line| line == row), "docs/wire.md lacks {row}");
    }
}

#[test]
fn what_is_cut_or_lengthened_is_refused() {
    for (name, message) in samples() {
        let bytes = message.encode();
        let open_ended = matches!(message, SwarmMessage::Offer { .. } | SwarmMessage::News { .. });
        for cut in 0..bytes.len() {
            let cut_off = ContentFrame::decode(&bytes[..cut]);
            // A list may end after any of its items.
            let shorter = open_ended
                || (["others", "origins"].contains(&name)
                    && cut_off != Ok(ContentFrame::Message(message.clone())));
            assert!(cut_off.is_err() || shorter, "{name} of {cut} bytes");
        }
        let more = [&bytes[..], &[0]].concat();
        assert!(ContentFrame::decode(&more).is_err() || open_ended, "{name} with one byte more");
    }
    let (resource, proof) = (RESOURCE, vec![0; PROOF_BYTES_MAX + 1]);
    let offer = SwarmMessage::Offer { resource, size: 1, origin: false, proof };
    assert!(ContentFrame::decode(&offer.encode()).is_err());
}

/// A URL that a peer may not name: this node would name it on, or ask it.
#[test]
fn origins_are_plain_urls_in_their_one_spelling() {
    let long = format!("http://a/{}", "x".repeat(ORIGIN_BYTES_MAX));
    for url in [
        "ftp://a/b",
        "file:///etc/passwd",
        "http://user@a/b",
        "http://:secret@a/b",
        "http://a/b#c",
        "http://",
        "/b",
        &long,
    ] {
        assert!(url.parse::<Origin>().is_err(), "{url}");
    }
    let escaped = format!("http://a/{}", "\u{e9}".repeat(ORIGIN_BYTES_MAX / 4));
    assert!(escaped.parse::<Origin>().is_err(), "longer than allowed once it is escaped");
    let decodes = |url: &str| {
        let mut body = vec![10];
        body.extend(RESOURCE.0);
        body.push(url.len() as u8);
        body.extend(url.bytes());
        ContentFrame::decode(&body).is_ok()
    };
    assert!(decodes("http://a/b"));
    for url in ["HTTP://a/b", "http://A/b", "http://a", "http://a:80/b", "http://a/b/../c"] {
        assert!(url.parse::<Origin>().is_ok() && !decodes(url), "{url}");
    }
}

/// What a peer knows of another by its news: the pieces, and the claims.
fn hear(known: &mut (BTreeSet<u32>, BTreeSet<u32>), news: &News) {
    let (have, claims) = known;
    for piece in news.have.iter().cloned().flatten() {
        have.insert(piece);
        claims.remove(&piece);
    }
    news.released.iter().for_each(|piece| _ = claims.remove(piece));
    claims.extend(&news.claims);
}

fn pieces() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::btree_set(0..20u32, 0..8).prop_map(|set| set.into_iter().collect())
}

prop_compose! {
    fn some_news()(have in pieces(), claims in pieces(), released in pieces()) -> News {
        let mut runs = Vec::new();
        have.into_iter().for_each(|piece| crate::news::push_piece(&mut runs, piece));
        News { have: runs, claims, released }
    }
}

proptest! {
    #[test]
    fn news_that_are_joined_say_what_they_said(all in prop::collection::vec(some_news(), 1..5)) {
        let mut apart = Default::default();
        all.iter().for_each(|news| hear(&mut apart, news));
        let joined = all.into_iter().reduce(News::then).unwrap();
        let encoded = joined.encode();
        let decoded = News::decode(&encoded, 20);
        prop_assert_eq!(decoded.as_ref(), Ok(&joined), "in order and apart");
        let have = joined.have.iter().map(|run| run.end - run.start).sum::<u32>() as usize;
        let named = have + joined.claims.len() + joined.released.len();
        prop_assert_eq!(News::count_pieces(&encoded), Some(named as u32));
        let mut together = Default::default();
        hear(&mut together, &joined);
        prop_assert_eq!(together, apart);
    }

    #[test]
    fn whatever_decodes_is_encoded_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(ContentFrame::Message(message)) = ContentFrame::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}
