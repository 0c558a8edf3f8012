//! Twelve identities that must not be let in, dialling and being dialled:
//!
//!     cargo run --release -p trefoil-p2p --example identities [TIMES]
//!
//! None may be admitted or open a stream. The time is from the TCP connection to
//! the refusal as the rogue reads it.

mod support;

use std::time::{Duration, Instant};

use support::{
    ENDED, MEMBER, NODE, NOW, Node, REVOKED, REVOKED_SERIAL, Role, ca, claims, config, key,
    peer::{self, Told, Wire},
    serial,
};
use tokio::{net::TcpListener, time::timeout};
use trefoil_crypto::{B256, CertificateError, Claims, NodeCertificate, SecretKey};

/// A node dials at once; who is not dialled in this time is not.
const DIALLED: Duration = Duration::from_millis(200);

/// Who poses, and with which proof.
struct Identity {
    name: &'static str,
    key: u8,
    proof: Vec<u8>,
    /// The code that it must be told.
    code: u8,
}

fn identity(name: &'static str, key: u8, claims: Claims, ca: &SecretKey, code: u8) -> Identity {
    let certificate = NodeCertificate::issue(&claims, ca).expect("sound claims");
    Identity { name, key, proof: peer::proof(&certificate.to_der()), code }
}

fn identities() -> Vec<Identity> {
    let fresh = || claims(MEMBER);
    let other_genesis = B256::repeat_byte(9);
    vec![
        Identity { name: "no certificate", key: MEMBER, proof: peer::proof(&[]), code: 21 },
        identity("expired", MEMBER, Claims { not_after: NOW, ..fresh() }, &ca(1), 10),
        identity("not yet valid", MEMBER, Claims { not_before: NOW + 1, ..fresh() }, &ca(1), 9),
        identity(
            "revoked serial",
            MEMBER,
            Claims { serial: serial(REVOKED_SERIAL), ..fresh() },
            &ca(1),
            8,
        ),
        identity(
            "revoked key, fresh certificate",
            REVOKED,
            Claims { serial: serial(999), ..claims(REVOKED) },
            &ca(1),
            3,
        ),
        identity(
            "suspended organisation",
            MEMBER,
            Claims { organisation: 3, ..fresh() },
            &ca(3),
            5,
        ),
        identity("removed CA key", MEMBER, fresh(), &ca(ENDED), 7),
        identity(
            "CA of another organisation",
            MEMBER,
            Claims { organisation: 2, ..fresh() },
            &ca(1),
            7,
        ),
        Identity { name: "two URIs", key: MEMBER, proof: peer::proof(&two_uris()), code: 21 },
        identity("stolen certificate, another key", 9, fresh(), &ca(1), 2),
        identity("other genesis", MEMBER, Claims { genesis: other_genesis, ..fresh() }, &ca(1), 1),
        identity("role not given", MEMBER, Claims { role: Role::Validator, ..fresh() }, &ca(1), 11),
    ]
}

/// A certificate whose one extension of names holds its URI twice, signed.
fn two_uris() -> Vec<u8> {
    let signed = claims(MEMBER).to_be_signed().expect("sound claims");
    let find = |pattern: &[u8]| {
        let at = signed.windows(pattern.len()).position(|window| window == pattern);
        at.expect("as it was issued")
    };
    // The names come last: [3] { { …, { 2.5.29.17, { { names } } } } }.
    let id = [6, 3, 0x55, 0x1d, 0x11];
    let extensions = find(&[0xa3, 0x81]);
    let names_extension = find(&id) - 3;
    let before = &signed[extensions + 6..names_extension];
    let uri = &signed[find(&id) + id.len() + 6..];
    let names = tlv(4, &[&tlv(0x30, &[uri, uri])]);
    let all = tlv(0x30, &[before, &tlv(0x30, &[&id, &names])]);
    let signed = tlv(0x30, &[&signed[4..extensions], &tlv(0xa3, &[&all])]);
    // Nobody looks at the signature of what is no node certificate.
    let signature = [&[0], [1; 64].as_slice()].concat();
    tlv(0x30, &[&signed, &tlv(0x30, &[&[6, 3, 0x2b, 0x65, 0x70]]), &tlv(3, &[&signature])])
}

/// One DER value.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = match body.len() {
        length @ 0..0x80 => vec![length as u8],
        length @ 0x80..0x100 => vec![0x81, length as u8],
        length => vec![0x82, (length >> 8) as u8, length as u8],
    };
    [&[tag], length.as_slice(), &body].concat()
}

#[tokio::main]
async fn main() {
    assert_eq!(NodeCertificate::decode(&two_uris()), Err(CertificateError::Names(2)));
    let times: usize = std::env::args().nth(1).map_or(50, |n| n.parse().expect("a number"));
    let (mut admitted, mut streams, mut wrong, mut all) = (0, 0, 0, vec![]);
    println!("{:34} {:>5}  inbound, outbound", "identity", "code");
    for identity in identities() {
        let (mut inbound, mut outbound) = (vec![], vec![]);
        let node = Node::start(config(NODE, &[])).await;
        for _ in 0..times {
            for (dialled, took) in [(true, &mut inbound), (false, &mut outbound)] {
                let trial = if dialled {
                    dial(&node, &identity).await
                } else {
                    be_dialled(&identity).await
                };
                took.extend(trial.took);
                admitted += usize::from(trial.told == Told::Admitted || trial.connected);
                streams += usize::from(trial.stream);
                // A node does not dial whom it knows to be revoked.
                let told = trial.took.is_none() && identity.key == REVOKED;
                wrong += usize::from(!told && trial.told != Told::Refused(identity.code));
            }
        }
        admitted += usize::from(node.stop().await);
        all.extend(inbound.iter().chain(&outbound));
        let (inbound, outbound) = (support::figures(inbound), support::figures(outbound));
        println!("{:34} {:>5}  {inbound}; {outbound}", identity.name, identity.code);
    }
    println!(
        "{} handshakes: {admitted} admitted, {streams} streams opened, {wrong} not told the right code; {}",
        all.len(),
        support::figures(all)
    );
    if admitted + streams + wrong > 0 {
        std::process::exit(1);
    }
}

struct Trial {
    told: Told,
    /// `None` if it was not even dialled.
    took: Option<Duration>,
    stream: bool,
    connected: bool,
}

async fn dial(node: &Node, identity: &Identity) -> Trial {
    let start = Instant::now();
    let wire = peer::dial(node.address(), &key(identity.key)).await.expect("TLS");
    pose(wire, identity, start).await
}

async fn be_dialled(identity: &Identity) -> Trial {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let node = Node::start(config(NODE, &[(identity.key, address)])).await;
    let start = Instant::now();
    let identity_key = key(identity.key);
    let accepted = timeout(DIALLED, peer::accept(&listener, &identity_key));
    let mut trial = match accepted.await {
        Ok(wire) => pose(wire.expect("TLS"), identity, start).await,
        Err(_) => Trial { told: Told::Closed, took: None, stream: false, connected: false },
    };
    trial.connected = node.stop().await;
    trial
}

async fn pose(mut wire: Wire, identity: &Identity, start: Instant) -> Trial {
    let told = peer::show(&mut wire, &identity.proof).await;
    let took = Some(start.elapsed());
    let stream = peer::opens_a_stream(&mut wire).await;
    Trial { told, took, stream, connected: false }
}
