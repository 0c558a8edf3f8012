//! Resources for some organisations only, between nodes of one process over the
//! members' wire on loopback.

mod sharing;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use sharing::{GENESIS, Known, Node, net, peer};
use tempfile::tempdir;
use tokio::{net::TcpListener, time::timeout};
use tower::ServiceExt as _;
use trefoil_content::{
    AllowList, ContentId, Link,
    message::{ContentFrame, SwarmMessage},
    scheduler::{RejectReason, Resource, Ticket},
};
use trefoil_crypto::{Claims, NodeCertificate, Role, SecretKey, Serial};
use trefoil_p2p::{ContentLink, Membership, NetworkAccess};
use trefoil_rpc::{
    RemoteAddr,
    content::gateway::{Gateway, GatewayAccess},
};
use trefoil_swarm::{ContentConfig, FetchError, PutOptions, Selection, http::Reach};
use trefoil_types::{
    Admission, CaKey, Height, Members, Organisation, OrganisationId, members::OrganisationStatus,
};

const LIMIT: Duration = Duration::from_secs(30);
const NOW: u64 = 1_800_000_000;

fn ca(organisation: OrganisationId) -> SecretKey {
    SecretKey::from_seed(&[200 + organisation as u8; 32])
}

/// Three organisations.
fn members() -> Members {
    let organisation = |id: OrganisationId| Organisation {
        id,
        status: OrganisationStatus::Active,
        name: format!("org-{id}"),
        threshold: 1,
        keys: vec![],
        ca_keys: vec![CaKey { key: ca(id).public(), from: 0, until: Height::MAX }],
    };
    let organisations = (1..=3).map(|id| (id, organisation(id))).collect();
    Members { organisations, ..Members::default() }
}

fn claims(n: u8, organisation: OrganisationId) -> Claims {
    Claims {
        genesis: GENESIS,
        organisation,
        peer: peer(n),
        role: Role::Full,
        serial: Serial([n; 20]),
        not_before: NOW - 1000,
        not_after: NOW + 365 * 86400,
    }
}

/// How node `n` of an organisation is let in.
fn membership(n: u8, organisation: OrganisationId) -> Membership {
    let certificate = NodeCertificate::issue(&claims(n, organisation), &ca(organisation)).unwrap();
    let members = Arc::new(members());
    Membership {
        certificate,
        admission: Admission { genesis: GENESIS, height: 1, time: NOW, members },
    }
}

fn access(n: u8, organisation: OrganisationId) -> NetworkAccess {
    NetworkAccess::Consortium(membership(n, organisation))
}

/// Node `n`, of an organisation.
async fn node(n: u8, organisation: OrganisationId, dir: &Path, known: &[Known]) -> Node {
    Node::start(n, dir, access(n, organisation), known, |_| ()).await
}

impl Node {
    /// Puts a file for some organisations, and returns the link to it.
    async fn put(&self, path: &Path, allow: &[OrganisationId]) -> Link {
        let allow = AllowList::new(allow.iter().copied()).unwrap();
        let terms = PutOptions { allow, ..PutOptions::default() };
        let id = self.content.put(path, terms, Arc::default()).await.unwrap();
        let allow = self.content.metadata(id).unwrap().allow;
        Link { allow, ..id.into() }
    }

    async fn get(&self, link: &Link) -> Result<(), FetchError> {
        let get = self.content.get(link, Selection::default());
        timeout(LIMIT, get).await.expect("in time").map(drop)
    }
}

fn resource(link: &Link) -> Resource {
    Resource::file(link.id.root).among(&link.allow)
}

/// A member that sends what it likes.
struct Stranger(ContentLink);

impl Stranger {
    async fn say(&mut self, message: SwarmMessage) {
        let body = message.encode();
        self.0.write.write_all(&(body.len() as u32).to_be_bytes()).await.unwrap();
        self.0.write.write_all(&body).await.unwrap();
        self.0.write.flush().await.unwrap();
    }

    async fn hear(&mut self) -> SwarmMessage {
        let read = async {
            let mut length = [0; 4];
            self.0.read.read_exact(&mut length).await.unwrap();
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            self.0.read.read_exact(&mut body).await.unwrap();
            body
        };
        let body = timeout(LIMIT, read).await.expect("in time");
        match ContentFrame::decode(&body).unwrap() {
            ContentFrame::Message(message) => message,
            data => panic!("{data:?}"),
        }
    }

    /// The next message, but for what follows when `open` was offered.
    async fn hear_besides(&mut self, open: Resource) -> SwarmMessage {
        loop {
            match self.hear().await {
                SwarmMessage::News { resource, .. } | SwarmMessage::Others { resource, .. }
                    if resource == open => {}
                message => break message,
            }
        }
    }

    /// Nothing but requests, until it is asked for this one.
    async fn hears_only_requests_until(&mut self, sought: Resource) {
        loop {
            match self.hear().await {
                SwarmMessage::Find { resource } if resource == sought => break,
                SwarmMessage::Find { .. }
                | SwarmMessage::Ask { .. }
                | SwarmMessage::Unask { .. } => {}
                told => panic!("{told:?}"),
            }
        }
    }

    /// The answers to a peer that seeks and asks for a resource: nothing, and that the
    /// node has none. The next message is about a resource that it may have.
    async fn is_refused(&mut self, secret: Resource, open: Resource) {
        // Of what it takes part in, this would be an offence: it would tell what is open there.
        self.say(SwarmMessage::News { resource: secret, news: vec![255] }).await;
        self.say(SwarmMessage::Find { resource: secret }).await;
        let ticket = Ticket(1);
        self.say(SwarmMessage::Ask { resource: secret, ticket, piece: 0, from: 0 }).await;
        let refused = SwarmMessage::Refuse { resource: secret, ticket, why: RejectReason::Missing };
        assert_eq!(self.hear_besides(open).await, refused);
        self.say(SwarmMessage::Find { resource: open }).await;
        match self.hear_besides(open).await {
            SwarmMessage::Offer { resource, .. } => assert_eq!(resource, open),
            other => panic!("{other:?}"),
        }
    }
}

/// Every node gives the same answer about a resource that the asking peer may not have,
/// so that nobody learns which node has it.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_other_organisations_are_answered_as_if_it_were_unknown() {
    let dir = tempdir().unwrap();
    let (secret, open) = (dir.path().join("secret"), dir.path().join("open"));
    fs::write(&secret, vec![1; 100_000]).unwrap();
    fs::write(&open, vec![2; 1_000]).unwrap();
    let first = node(1, 1, dir.path(), &[]).await;
    let link = first.put(&secret, &[2]).await;
    assert_eq!(link.allow.organisations(), [1, 2], "the node's own is on it");
    let open = resource(&first.put(&open, &[]).await);
    // A member on the list fetches it, with the list, which it keeps.
    let second = node(2, 2, dir.path(), &[first.at]).await;
    second.get(&link).await.unwrap();
    assert_eq!(second.content.metadata(link.id).unwrap().allow, link.allow);
    second.get(&Link { allow: AllowList::default(), ..link.clone() }).await.unwrap();
    assert_eq!(second.content.metadata(link.id).unwrap().allow, link.allow, "it stays");

    for node in [&first, &second] {
        if node.at == second.at {
            second.get(&ContentId { root: open.0, ..link.id }.into()).await.unwrap();
        }
        let (_net, mut lanes) = net(9, access(9, 3), &[node.at]).await;
        let wire = timeout(LIMIT, lanes.content.recv()).await.unwrap().unwrap();
        let mut stranger = Stranger(wire);
        stranger.is_refused(resource(&link), open).await;
        // Neither by its bare name nor by a list of the stranger's.
        stranger.is_refused(Resource::file(link.id.root), open).await;
        let wider = AllowList::new([1, 2, 3]).unwrap();
        stranger.is_refused(Resource::file(link.id.root).among(&wider), open).await;
        // Nor does it come in by offering it.
        let size = 100_000;
        let resource = resource(&link);
        let proof = node.content.open(link.id, u64::MAX).await.unwrap().last_group().unwrap();
        stranger.say(SwarmMessage::Offer { resource, size, origin: false, proof }).await;
        stranger.is_refused(resource, open).await;
    }
}

/// Its own certificate, for an organisation that did not give it one, and a height that
/// nobody can check.
fn claims_to_be(n: u8, organisation: OrganisationId) -> NetworkAccess {
    let mut held = membership(n, organisation);
    let claims = Claims { serial: Serial([99; 20]), ..claims(n, organisation) };
    held.certificate = NodeCertificate::issue(&claims, &sharing::key(n)).unwrap();
    held.admission.height = 1 << 40;
    NetworkAccess::Consortium(held)
}

/// The node's operator named the peer: it was a member once, or is to be one. The attack
/// of issue 13.5.
#[tokio::test(flavor = "multi_thread")]
async fn who_only_claims_to_be_of_an_organisation_gets_nothing_of_it() {
    let dir = tempdir().unwrap();
    let (secret, open) = (dir.path().join("secret"), dir.path().join("open"));
    fs::write(&secret, vec![1; 100_000]).unwrap();
    fs::write(&open, vec![2; 1_000]).unwrap();
    for revoked in [false, true] {
        let (rogue, mut lanes) = net(9, claims_to_be(9, 2), &[]).await;
        let mut held = membership(1, 1);
        if revoked {
            // The certificate that it had when it was a member.
            let mut members = members();
            members.revoked_serials.insert((2, Serial([9; 20])));
            held.admission.members = Arc::new(members);
        }
        let known = [(peer(9), rogue.listen_address())];
        let dir = dir.path().join(revoked.to_string());
        let node = Node::start(1, &dir, NetworkAccess::Consortium(held), &known, |_| ()).await;
        let link = node.put(&secret, &[2]).await;
        let open = node.put(&open, &[]).await;
        let wire = timeout(LIMIT, lanes.content.recv()).await.unwrap().unwrap();
        let mut rogue = Stranger(wire);
        for resource in [resource(&link), resource(&open)] {
            // The node may have hung up before.
            let body = SwarmMessage::Find { resource }.encode();
            let _ = rogue.0.write.write_all(&(body.len() as u32).to_be_bytes()).await;
            let _ = rogue.0.write.write_all(&body).await;
            let _ = rogue.0.write.flush().await;
        }
        let mut heard = vec![];
        let read = timeout(LIMIT, rogue.0.read.read_to_end(&mut heard)).await;
        let _ = read.expect("its stream of content ends");
        assert!(heard.is_empty(), "revoked {revoked}: {} bytes", heard.len());
    }
}

/// Of a peer that its old list of members cannot judge, a node that joins takes what it
/// seeks, since a snapshot proves itself; and gives nothing, nor asks for what has a list.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_fetches_from_who_is_not_judged_and_gives_it_nothing() {
    let dir = tempdir().unwrap();
    let [open, listed, own] = ["open", "listed", "own"].map(|name| dir.path().join(name));
    fs::write(&open, vec![1; 100_000]).unwrap();
    fs::write(&listed, vec![3; 100_000]).unwrap();
    fs::write(&own, vec![2; 1_000]).unwrap();
    let proof = async |node: &Node, link: &Link| {
        node.content.open(link.id, u64::MAX).await.unwrap().last_group().unwrap()
    };
    let first = node(1, 1, dir.path(), &[]).await;
    let (open, listed) = (first.put(&open, &[]).await, first.put(&listed, &[2]).await);
    let proofs = [proof(&first, &listed).await, proof(&first, &open).await];

    let (rogue, mut lanes) = net(9, claims_to_be(9, 2), &[]).await;
    let known = [(peer(9), rogue.listen_address())];
    let access = access(2, 2);
    let config = sharing::config(GENESIS, 2, access.clone(), &known);
    let net = trefoil_p2p::start_newcomer(config).await.unwrap();
    let newcomer = Node::over(net, 2, dir.path(), &access, |_| ());
    let own = newcomer.put(&own, &[]).await;
    let mine = proof(&newcomer, &own).await;
    let own = resource(&own);
    let mut rogue = Stranger(timeout(LIMIT, lanes.content.recv()).await.unwrap().unwrap());
    // It takes part in what is open, and is given nothing of it.
    rogue.say(SwarmMessage::Find { resource: own }).await;
    rogue.say(SwarmMessage::Offer { resource: own, size: 1_000, origin: false, proof: mine }).await;
    rogue.say(SwarmMessage::Ask { resource: own, ticket: Ticket(1), piece: 0, from: 0 }).await;
    let gets = async { tokio::join!(newcomer.get(&listed), newcomer.get(&open)) };
    let give = async {
        for _ in 0..2 {
            let heard = rogue.hear().await;
            assert!(matches!(heard, SwarmMessage::Find { .. }), "{heard:?}");
        }
        for (link, proof) in [&listed, &open].into_iter().zip(proofs) {
            let (resource, size) = (resource(link), 100_000);
            rogue.say(SwarmMessage::Offer { resource, size, origin: true, proof }).await;
        }
        match rogue.hear().await {
            SwarmMessage::Ask { resource: asked, .. } => assert_eq!(asked, resource(&open)),
            other => panic!("{other:?}"),
        }
    };
    tokio::select! {
        ended = gets => panic!("{ended:?}"),
        () = give => {}
    }
    // What it asked for would have come before this.
    let unknown = Link::from(ContentId { root: [3; 32], ..open.id });
    tokio::select! {
        ended = newcomer.get(&unknown) => panic!("{ended:?}"),
        () = rogue.hears_only_requests_until(resource(&unknown)) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_open_is_closed_when_it_is_put_for_some() {
    let dir = tempdir().unwrap();
    let (path, open) = (dir.path().join("file"), dir.path().join("open"));
    fs::write(&path, vec![1; 100_000]).unwrap();
    fs::write(&open, vec![2; 1_000]).unwrap();
    let first = node(1, 1, dir.path(), &[]).await;
    let before = resource(&first.put(&path, &[]).await);
    let open = resource(&first.put(&open, &[]).await);
    let (_net, mut lanes) = net(9, access(9, 3), &[first.at]).await;
    let wire = timeout(LIMIT, lanes.content.recv()).await.unwrap().unwrap();
    let mut stranger = Stranger(wire);
    stranger.say(SwarmMessage::Find { resource: before }).await;
    assert!(matches!(stranger.hear().await, SwarmMessage::Offer { .. }));
    assert!(matches!(stranger.hear().await, SwarmMessage::News { .. }));
    let link = first.put(&path, &[1]).await;
    stranger.is_refused(before, open).await;
    stranger.is_refused(resource(&link), open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_on_a_list_is_told_so_by_its_own_node() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, b"secret").unwrap();
    let first = node(1, 1, dir.path(), &[]).await;
    let link = first.put(&path, &[2]).await;
    let third = node(3, 3, dir.path(), &[first.at]).await;
    let refused = FetchError::NotAllowed { allow: link.allow.clone(), own: Some(3) };
    assert_eq!(third.get(&link).await, Err(refused));
    // Its own organisation's it may put, and a list too long is refused.
    let many = AllowList::new(2..=17).unwrap();
    let terms = PutOptions { allow: many, ..PutOptions::default() };
    let put = first.content.put(&path, terms, Arc::default()).await;
    assert!(put.unwrap_err().to_string().contains("17 organisations"));
    // Bytes that came under an earlier list are served to that list only.
    let again = first.put(&path, &[3]).await;
    third.get(&again).await.unwrap();
    let names: BTreeMap<_, _> = first.content.list().into_iter().map(|a| (a.id, a.allow)).collect();
    assert_eq!(names[&link.id.to_string()].organisations(), [1, 3]);
}

/// A server of one file that gives what is asked for of it.
async fn serve(bytes: &'static [u8]) -> String {
    let give = async move |headers: HeaderMap| {
        let range = headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap_or(bytes.len() - 1));
        let to = to.min(bytes.len() - 1);
        let range = format!("bytes {from}-{to}/{}", bytes.len());
        (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], &bytes[from..=to])
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(give)).await });
    format!("http://{at}/secret")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_has_is_for_members_on_the_list_only() {
    let dir = tempdir().unwrap();
    let open = dir.path().join("open");
    fs::write(&open, vec![2; 1_000]).unwrap();
    let url = serve(&[1; 200_000]).await;
    let first = node(1, 1, dir.path(), &[]).await;
    let put = async |allow: &[OrganisationId]| {
        let allow = AllowList::new(allow.iter().copied()).unwrap();
        let terms = PutOptions { allow, ..PutOptions::default() };
        let origin = url.parse().unwrap();
        first.content.put_origin(origin, terms, Arc::default(), Arc::default()).await
    };
    let id = put(&[2]).await.unwrap();
    assert!(put(&[3]).await.unwrap_err().to_string().contains("for others"));
    put(&[2]).await.unwrap();
    let allow = AllowList::new([1, 2]).unwrap();
    assert_eq!(first.content.metadata(id).unwrap().allow, allow);
    let link = Link { allow, ..id.into() };
    let open = resource(&first.put(&open, &[]).await);
    let set = |config: &mut ContentConfig| config.origins = Some(Reach::All);
    let second = Node::start(2, dir.path(), access(2, 2), &[first.at], set).await;
    second.get(&link).await.unwrap();
    let (_net, mut lanes) = net(9, access(9, 3), &[first.at]).await;
    let wire = timeout(LIMIT, lanes.content.recv()).await.unwrap().unwrap();
    Stranger(wire).is_refused(resource(&link), open).await;
}

/// A visitor that is not the operator must not learn from the time of an answer that it is here.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_seeks_what_has_a_list_as_if_it_were_not_here() {
    let dir = tempdir().unwrap();
    let [open, listed] = ["open", "listed"].map(|name| dir.path().join(name));
    fs::write(&open, vec![1; 1_000]).unwrap();
    fs::write(&listed, vec![2; 1_000]).unwrap();
    let node = node(1, 1, dir.path(), &[]).await;
    let (open, listed) = (node.put(&open, &[]).await, node.put(&listed, &[2]).await);
    let gateway = Gateway::new(node.content.clone(), GatewayAccess::Loopback);
    let ask = async |link: &Link| {
        let request = Request::get(format!("/content/{}", link.id));
        let request = request.header("sec-fetch-site", "none").body(Body::empty()).unwrap();
        let from = RemoteAddr::of("127.0.0.1:1".parse().unwrap(), None);
        gateway.clone().router().layer(Extension(from)).oneshot(request).await.unwrap().status()
    };
    let others = async {
        for _ in 0..20 {
            assert_eq!(timeout(LIMIT, ask(&open)).await.expect("in time"), StatusCode::OK);
        }
    };
    tokio::select! {
        status = ask(&listed) => panic!("{status}"),
        () = others => {}
    }
}
