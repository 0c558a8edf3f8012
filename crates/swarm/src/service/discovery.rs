//! How peers that have a resource are found, and how they come to be sources of the
//! swarm.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    task,
    time::{Instant, sleep},
};
use trefoil_content::{
    AllowList,
    message::{OTHERS_MAX, SwarmMessage},
    scheduler::{Resource, SchedulerInput, Source, SourceRole},
};
use trefoil_os::disk::blocking;
use trefoil_types::{Offence, PeerId, Standing};

use super::SwarmService;
use crate::{
    events::{Announced, TaskEvent},
    fetch::{Seeking, Topic, shows},
    peer_backlog::HeldBytes,
    store::{OpenStore, StoreError},
};

// Attack: a peer seeks names without end, each of which would be remembered. 64 names of 32
// bytes are 2 KiB for each peer.
/// The most resources that one peer seeks and this node does not have.
const WISHES_MAX: usize = 64;

// A file takes less, however large it is.
/// A store that takes this long to open is a large directory's.
const OPEN_LONG: Duration = Duration::from_millis(10);

/// For so many times as long nothing else is opened for the same peer: it gets a tenth of a core.
const OPEN_REST: u32 = 9;

// The connected peers are asked first, with one message each. A search by Kademlia takes up
// to 10 s and dials strangers (ADR 19). A resource that nobody provides is searched more
// and more seldom.
/// When to look beyond the connected peers: this soon at first, again after four times as
/// long while nobody offers the resource, and this often while somebody does.
const LOOK_FIRST: Duration = Duration::from_millis(300);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);
const LOOK_WHILE_OFFERED: Duration = Duration::from_secs(5);

impl SwarmService {
    pub(super) fn seek(&mut self, resource: Resource, seeking: Seeking) {
        let id = seeking.link.id;
        self.topics.entry(resource).or_insert_with(|| Topic::new(id)).seek(seeking);
        self.find_if_due(resource);
    }

    /// Asks for a resource that one more seeks or fetches, unless that was done just before.
    pub(super) fn find_if_due(&mut self, resource: Resource) {
        if self.topics.get(&resource).is_some_and(Topic::is_due_again) {
            self.find(resource);
        }
    }

    /// Asks everyone for a resource, but a peer for which much waits: it is asked with the next look.
    pub(super) fn find(&mut self, resource: Resource) {
        let Some(topic) = self.topics.get_mut(&resource).filter(|it| it.seeks()) else { return };
        topic.asked_at = Some(Instant::now());
        if !std::mem::replace(&mut topic.watched, true) {
            self.look_later(resource, LOOK_FIRST);
        }
        let find = SwarmMessage::Find { resource };
        let takes = self.peers.iter().filter(|(_, connected)| connected.streams.takes_finds());
        takes.for_each(|(peer, _)| self.send(*peer, &find));
    }

    fn look_later(&self, resource: Resource, after: Duration) {
        let events = self.event_to.clone();
        task::spawn(async move {
            sleep(after).await;
            let _ = events.send(TaskEvent::Look { resource, after }).await;
        });
    }

    /// Searches the network for a resource that no connected peer offers, or of which
    /// nothing comes. The peers that it finds are asked when they connect.
    pub(super) fn on_look(&mut self, resource: Resource, after: Duration) {
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        topic.watched = topic.seeks();
        if !topic.watched {
            return;
        }
        let (offered, stalls) = (!topic.peers.is_empty(), topic.stalls());
        if stalls || !offered {
            self.net.search(topic.id.root);
            // A peer that closed its store meanwhile offers it anew.
            self.find(resource);
        }
        let again = if offered { LOOK_WHILE_OFFERED } else { (after * 4).min(LOOK_AGAIN_MAX) };
        self.look_later(resource, again);
    }

    // Attack: what a peer may not have is told by the time that it takes to look at it, or by
    // what else follows. So it is asked first who may have it, by a look-up in memory, and what
    // is not for the peer goes the way of what is not here.
    /// A peer wants a resource.
    pub(super) fn on_find(&mut self, peer: PeerId, resource: Resource, held: HeldBytes) {
        match self.is_for(peer, resource) && self.opened(resource).is_none() {
            true => self.open_for_peer(peer, resource, held),
            false => self.answer_find(peer, resource),
        }
    }

    /// Whether it is here, and the peer may have it.
    fn is_for(&self, peer: PeerId, resource: Resource) -> bool {
        self.store.has(resource, |allow| self.admits(peer, allow))
    }

    pub(super) fn answer_find(&mut self, peer: PeerId, resource: Resource) {
        let admitted = self.is_for(peer, resource);
        if admitted && self.opened(resource).is_some() {
            self.offer(peer, resource);
        } else if let Some(connected) = self.peers.get_mut(&peer)
            && connected.wishes.len() < WISHES_MAX
        {
            connected.wishes.insert(resource);
        }
        self.name_others(peer, resource, admitted);
    }

    // Attack: a peer seeks directories, one after the other: to open one, its manifest of up to
    // 64 MiB is decoded. So it happens beside the service, for one peer after the other, and a peer
    // to which much time went waits with its next.
    /// Opens a resource that a peer wants; [`TaskEvent::Opened`] follows.
    fn open_for_peer(&self, peer: PeerId, resource: Resource, held: HeldBytes) {
        let Some(connected) = self.peers.get(&peer) else { return };
        let (own, connection) = (connected.opens.clone(), connected.streams.connection);
        let (all, store, events) = (self.opens.clone(), self.store.clone(), self.event_to.clone());
        let closings = self.closings;
        task::spawn(async move {
            let _own = own.lock().await;
            let turn = all.lock().await;
            let began = Instant::now();
            let open = move || store.open_store(resource, false).map(|opened| opened.map(Arc::new));
            let result = blocking(open).await;
            let took = began.elapsed();
            drop(turn);
            // The service may have ended.
            let opened = TaskEvent::Opened { peer, connection, resource, closings, result, held };
            let _ = events.send(opened).await;
            if took >= OPEN_LONG {
                sleep(took * OPEN_REST).await;
            }
        });
    }

    pub(super) fn on_opened(
        &mut self,
        peer: PeerId,
        connection: u64,
        resource: Resource,
        closings: u64,
        result: Result<Option<Arc<OpenStore>>, StoreError>,
        held: HeldBytes,
    ) {
        let is_connected = self.is_current(peer, connection);
        if closings != self.closings {
            if is_connected {
                self.on_find(peer, resource, held);
            }
            return;
        }
        match result {
            // Without room for it the peer waits until it is open for somebody else.
            Ok(Some(opened)) => drop(self.keep_open(opened, true)),
            Ok(None) => {}
            Err(error) => self.cannot_serve(resource, &error),
        }
        if is_connected {
            self.answer_find(peer, resource);
        }
    }

    // Where nothing is announced (networks of members, ADR 17), this finds providers that
    // are two hops away.
    /// Names to a peer the others that want a resource, and if it is `admitted` those that
    /// have it.
    fn name_others(&self, peer: PeerId, resource: Resource, admitted: bool) {
        let topic = self.topics.get(&resource).filter(|_| admitted);
        let known = self.peers.iter().filter(|(other, connected)| {
            let has = topic.is_some_and(|topic| topic.peers.contains_key(other));
            **other != peer && (has || connected.wishes.contains(&resource))
        });
        let reachable = known.filter_map(|(other, _)| Some((*other, self.net.reach(*other)?)));
        let others: Vec<_> = reachable.take(OTHERS_MAX).collect();
        if !others.is_empty() {
            self.send(peer, &SwarmMessage::Others { resource, others });
        }
    }

    /// A peer says that others have or want a resource.
    pub(super) fn on_others(
        &mut self,
        teller: PeerId,
        resource: Resource,
        others: Vec<(PeerId, SocketAddr)>,
    ) {
        let Some(topic) = self.topics.get_mut(&resource).filter(|it| it.seeks()) else { return };
        topic.named.add(teller, others);
        self.dial_named(resource);
    }

    /// Dials peers that others named for a resource, as many as are due.
    pub(super) fn dial_named(&mut self, resource: Resource) {
        let Self { topics, peers, net, .. } = self;
        let Some(topic) = topics.get_mut(&resource).filter(|it| it.seeks()) else { return };
        let now = std::time::Instant::now();
        while let Some(((peer, address), teller)) =
            topic.named.next(now, |peer| peers.contains_key(peer))
        {
            net.dial(peer, address, Some(teller));
        }
    }

    /// Whether a peer may know that this node has something, and have it.
    fn may_have(&self, peer: PeerId, opened: &OpenStore) -> bool {
        self.admits(peer, &opened.allow)
    }

    fn admits(&self, peer: PeerId, allow: &AllowList) -> bool {
        match self.peers.get(&peer).map(|connected| connected.standing) {
            Some(Standing::Member(organisation)) => allow.admits(Some(organisation)),
            Some(Standing::Public | Standing::Validator) => allow.admits(None),
            Some(Standing::Unjudged) | None => false,
        }
    }

    pub(super) fn is_judged(&self, peer: PeerId) -> bool {
        let standing = self.peers.get(&peer).map(|connected| connected.standing);
        standing != Some(Standing::Unjudged)
    }

    /// The newest snapshots that peers announced, and what each peer is.
    pub(super) fn announced_snapshots(&self) -> BTreeMap<PeerId, (Standing, Announced)> {
        let told = self.peers.iter().filter_map(|(peer, connected)| {
            Some((*peer, (connected.standing, connected.announced?)))
        });
        told.collect()
    }

    /// Bytes that were asked for came and verified: a peer that is not judged yet gives a
    /// newcomer the files that it needs to judge it, and one that others named is of use.
    pub(super) fn on_verified(&self, peer: PeerId) {
        self.net.brought(peer);
    }

    pub(super) fn offer(&mut self, peer: PeerId, resource: Resource) {
        let opened = self.opened(resource).filter(|opened| self.may_have(peer, opened)).cloned();
        let Some(opened) = opened else { return };
        match opened.last_group() {
            Ok(proof) => {
                let (size, origin) =
                    (opened.layout.bytes(), opened.origin && opened.store.is_whole());
                self.send(peer, &SwarmMessage::Offer { resource, size, origin, proof });
                self.join(peer, resource, SourceRole::Peer);
                self.send_origins(resource, Some(peer));
            }
            Err(error) => self.cannot_serve(resource, &error),
        }
    }

    fn join(&mut self, peer: PeerId, resource: Resource, role: SourceRole) {
        // News and bytes go only to peers that are joined. From an unjudged peer open
        // resources are accepted; `on_message` and `send` give it nothing.
        let opened = self.opened(resource);
        let takes = |opened: &OpenStore| !self.is_judged(peer) && opened.allow.is_open();
        if !opened.is_some_and(|opened| self.may_have(peer, opened) || takes(opened)) {
            return;
        }
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        if topic.peers.insert(peer, 0).is_none() {
            self.input(SchedulerInput::Joined { resource, source: Source::Peer(peer), role });
        }
    }

    pub(super) fn on_offer(
        &mut self,
        peer: PeerId,
        resource: Resource,
        size: u64,
        origin: bool,
        proof: &[u8],
    ) {
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        if topic.opened().is_none() {
            if !topic.is_sought() {
                return;
            }
            if !shows(topic.id.root, size, proof) {
                return self.blame(peer, Offence::BadContent);
            }
            // A size that nobody takes is no misdeed: the id says it.
            match topic.begin(&self.store, size, proof) {
                Ok(Some(opened)) => {
                    let opened = Arc::new(opened);
                    self.add_store(&opened);
                    self.topics.get_mut(&opened.resource).into_iter().for_each(Topic::found);
                }
                Ok(None) => return,
                Err(error) => return self.close(resource, &error.into()),
            }
        }
        let opened = self.opened(resource);
        if opened.is_some_and(|opened| opened.layout.bytes() == size) {
            self.join(peer, resource, if origin { SourceRole::Origin } else { SourceRole::Peer });
            // A connection that a search made is left soon, unless the peer provides
            // something (ADR 19).
            self.net.keep(peer);
        }
    }
}
