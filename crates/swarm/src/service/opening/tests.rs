use tokio::sync::{mpsc, oneshot};
use trefoil_content::{
    ContentId, ResourceKind,
    scheduler::{Rates, UploadPolicy},
};
use trefoil_crypto::SecretKey;
use trefoil_types::PeerId;

use super::*;
use crate::{
    events::ContentCommand,
    http::Http,
    origins::Origins,
    peer_backlog::{AllBacklogs, PeerBacklog},
    store::ContentStore,
};

/// The service of a node without peers.
async fn service(store: &Arc<ContentStore>) -> SwarmService {
    let identity = SecretKey::from_seed(&[1; 32]);
    let me = PeerId(identity.public());
    let config = trefoil_p2p::Config {
        identity,
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: vec![],
        genesis: Default::default(),
        fork_id: [0; 4],
        access: trefoil_p2p::NetworkAccess::Public { encrypt: false },
        inbound_max: 1,
        inbound_per_source_max: 1,
        discovery: None,
    };
    let (net, _) = trefoil_p2p::start(config).await.unwrap();
    let (event_to, _) = mpsc::channel(1);
    let origins = Origins::new(Arc::new(Http::new(Default::default())), None, event_to.clone());
    let (policy, rates) = (UploadPolicy::Fair, Rates::default());
    SwarmService::new(me, policy, rates, net, store.clone(), origins, event_to)
}

/// A peer seeks a resource that is removed while it is opened for that peer, and put again: the
/// store is of files that are gone.
#[tokio::test]
async fn what_was_opened_for_a_peer_before_it_was_removed_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ContentStore::open(dir.path(), None).unwrap());
    let mut service = service(&store).await;
    let id = ContentId { kind: ResourceKind::File, root: [1; 32] };
    let resource = Resource::file(id.root);
    let begin = || store.begin(&id.into(), 100_000, |_| Ok(())).map(drop).unwrap();
    let open = || store.open_store(resource, false).map(|opened| opened.map(Arc::new));
    let backlog = PeerBacklog::new(AllBacklogs::default());
    let peer = PeerId(SecretKey::from_seed(&[2; 32]).public());
    let opened = |closings, result, held| TaskEvent::Opened {
        peer,
        connection: 1,
        resource,
        closings,
        result,
        held,
    };
    begin();
    let before = open();
    let (reply, _) = oneshot::channel();
    service.on_command(ContentCommand::Close { id, reply });
    store.remove(id).unwrap();
    begin();
    service.on_event(opened(0, before, backlog.hold(1).await));
    assert!(service.opened(resource).is_none());
    service.on_event(opened(1, open(), backlog.hold(1).await));
    assert!(service.opened(resource).is_some());
}

/// One resource of the quota's size after the other: each stayed, while its store was open.
#[tokio::test]
async fn what_the_quota_has_no_room_for_is_removed_though_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ContentStore::open(dir.path(), Some(1)).unwrap());
    let mut service = service(&store).await;
    let (event_to, mut events) = mpsc::channel(8);
    service.event_to = event_to;
    let id = ContentId { kind: ResourceKind::File, root: [1; 32] };
    let opened = Arc::new(store.begin(&id.into(), 100_000, |_| Ok(())).unwrap());
    std::fs::write(&opened.place, vec![7; 100_000]).unwrap();
    let resource = opened.resource;
    service.add_store(&opened);
    let arrives = |service: &mut SwarmService| {
        service.on_arrived(resource, trefoil_content::scheduler::Source::Web(0), 1);
        service.look_for_excess();
    };
    let mut next = async || {
        let event = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv());
        event.await.expect("it is looked for").unwrap()
    };
    let fetch = store.reserve(id, 0, 100_000, false).unwrap();
    arrives(&mut service);
    service.on_event(next().await);
    assert!(service.opened(resource).is_some(), "it is being fetched");
    drop(fetch);
    arrives(&mut service);
    service.on_event(next().await);
    assert!(service.opened(resource).is_none());
    assert!(matches!(next().await, TaskEvent::Freed { result: Ok(()) }));
    assert!(store.metadata(id).is_none());
}
