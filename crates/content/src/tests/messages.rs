//! Messages between swarms: one encoding each, and nothing else decodes.

use std::net::SocketAddr;

use proptest::prelude::*;
use trefoil_types::{PeerId, PublicKey};

use crate::{
    ORIGIN_BYTES_MAX, Origin,
    message::{ContentFrame, PROOF_BYTES_MAX, SwarmMessage},
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

proptest! {
    #[test]
    fn whatever_decodes_is_encoded_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(ContentFrame::Message(message)) = ContentFrame::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}
