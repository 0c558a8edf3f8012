//! How peers that have a resource are found, and how they come to be sources of the
//! swarm.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{task, time::sleep};
use trefoil_content::{
    message::{Message, OTHERS_MAX},
    scheduler::{Input, Resource, Role, Source},
};
use trefoil_types::{Offence, PeerId, Standing};

use super::Driver;
use crate::{
    events::{Announced, Event},
    fetch::{Seeking, Topic, shows},
    store::Held,
};

/// What one peer seeks and this node does not have, at most.
const WISHES_MAX: usize = 64;

/// Whether to look beyond the connected peers for what is wanted is asked this
/// soon, again after four times as long while nobody offers it, and this often
/// while somebody does.
const LOOK_FIRST: Duration = Duration::from_millis(300);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);
const LOOK_WHILE_OFFERED: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) fn seek(&mut self, resource: Resource, seeking: Seeking) {
        match self.topics.get_mut(&resource) {
            Some(topic) => topic.seek(seeking),
            None => {
                let mut topic = Topic::new(seeking.link.id);
                topic.seek(seeking);
                self.topics.insert(resource, topic);
            }
        }
        self.find(resource);
    }

    /// Asks everyone for a resource.
    pub(super) fn find(&mut self, resource: Resource) {
        let Some(topic) = self.topics.get_mut(&resource).filter(|topic| topic.seeks()) else {
            return;
        };
        if !std::mem::replace(&mut topic.watched, true) {
            self.look_later(resource, LOOK_FIRST);
        }
        for peer in self.neighbours.keys().copied().collect::<Vec<_>>() {
            self.say(peer, Message::Find { resource });
        }
    }

    fn look_later(&self, resource: Resource, after: Duration) {
        let events = self.event_to.clone();
        task::spawn(async move {
            sleep(after).await;
            let _ = events.send(Event::Look { resource, after }).await;
        });
    }

    /// Looks beyond the connected peers for what none of them offers, or of which
    /// nothing comes. Whom the network finds is asked when it is connected.
    pub(super) fn look(&mut self, resource: Resource, after: Duration) {
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        topic.watched = topic.seeks();
        if !topic.watched {
            return;
        }
        let offered = !topic.peers.is_empty();
        if topic.stalls() || !offered {
            let root = topic.id.root;
            self.net.search(root);
        }
        let again = if offered { LOOK_WHILE_OFFERED } else { (after * 4).min(LOOK_AGAIN_MAX) };
        self.look_later(resource, again);
    }

    /// A peer wants a resource.
    pub(super) fn sought(&mut self, peer: PeerId, resource: Resource) {
        if let Some(held) = self.shared(resource) {
            if !self.may_have(peer, &held) {
                // Silence, as if it were unknown.
                return;
            }
            self.offer(peer, resource);
        } else if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && neighbour.wishes.len() < WISHES_MAX
        {
            neighbour.wishes.insert(resource);
        }
        self.name_others(peer, resource);
    }

    /// Tells a peer of the others who have or want a resource.
    fn name_others(&mut self, peer: PeerId, resource: Resource) {
        let topic = self.topics.get(&resource);
        let known = self.neighbours.iter().filter(|(other, neighbour)| {
            let has = topic.is_some_and(|topic| topic.peers.contains_key(other));
            **other != peer && (has || neighbour.wishes.contains(&resource))
        });
        let reachable = known.filter_map(|(other, _)| Some((*other, self.net.reach(*other)?)));
        let others: Vec<_> = reachable.take(OTHERS_MAX).collect();
        if !others.is_empty() {
            self.say(peer, Message::Others { resource, others });
        }
    }

    /// Connects to those who are said to have or want a resource.
    pub(super) fn others(&mut self, resource: Resource, others: Vec<(PeerId, SocketAddr)>) {
        let Some(topic) = self.topics.get_mut(&resource).filter(|topic| topic.seeks()) else {
            return;
        };
        for (peer, address) in others {
            if !self.neighbours.contains_key(&peer) && topic.may_dial(peer) {
                self.net.dial(peer, address);
            }
        }
    }

    /// Whether a peer may know that this node has something, and have it.
    fn may_have(&self, peer: PeerId, held: &Held) -> bool {
        match self.neighbours.get(&peer).map(|neighbour| neighbour.standing) {
            Some(Standing::Member(organisation)) => held.allow.admits(Some(organisation)),
            Some(Standing::Public) => held.allow.admits(None),
            Some(Standing::Unjudged) | None => false,
        }
    }

    pub(super) fn is_judged(&self, peer: PeerId) -> bool {
        let standing = self.neighbours.get(&peer).map(|neighbour| neighbour.standing);
        standing != Some(Standing::Unjudged)
    }

    /// What peers told of their newest snapshots. Who is not judged counts for nothing
    /// where a member has spoken: it would win by the height that it claims.
    pub(super) fn told_of(&self) -> BTreeMap<PeerId, Announced> {
        let told = self.neighbours.iter().filter_map(|(peer, n)| Some((*peer, n.announced?)));
        let (judged, others): (BTreeMap<_, _>, _) =
            told.partition(|(peer, _)| self.is_judged(*peer));
        if judged.is_empty() { others } else { judged }
    }

    /// Bytes that were asked for came and verified: a peer that is not judged yet gives a
    /// newcomer what it needs to judge it.
    pub(super) fn brought(&self, peer: PeerId) {
        if !self.is_judged(peer) {
            self.net.brought(peer);
        }
    }

    pub(super) fn offer(&mut self, peer: PeerId, resource: Resource) {
        let Some(held) = self.topics.get(&resource).and_then(Topic::held).cloned() else { return };
        if !self.may_have(peer, &held) {
            return;
        }
        match held.last_group() {
            Ok(proof) => {
                let (size, origin) = (held.layout.bytes(), held.origin && held.store.is_whole());
                self.say(peer, Message::Offer { resource, size, origin, proof });
                self.join(peer, resource, Role::Peer);
                self.tell_origins(resource, Some(peer));
            }
            Err(error) => tracing::warn!(%error, "cannot offer what was here"),
        }
    }

    fn join(&mut self, peer: PeerId, resource: Resource, role: Role) {
        // Nothing is told or served to whom it is not joined with. Of who is not judged
        // what is open is taken, and `heard` and `say` see to it that nothing is given.
        let held = self.topics.get(&resource).and_then(Topic::held);
        let takes = |held: &Held| !self.is_judged(peer) && held.allow.is_open();
        if !held.is_some_and(|held| self.may_have(peer, held) || takes(held)) {
            return;
        }
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        if topic.peers.insert(peer, 0).is_none() {
            self.input(Input::Joined { resource, source: Source::Peer(peer), role });
        }
    }

    pub(super) fn offered(
        &mut self,
        peer: PeerId,
        resource: Resource,
        size: u64,
        origin: bool,
        proof: &[u8],
    ) {
        let Some(topic) = self.topics.get_mut(&resource) else { return };
        if topic.held().is_none() {
            if !topic.is_sought() {
                return;
            }
            if !shows(topic.id.root, size, proof) {
                return self.blame(peer, Offence::BadContent);
            }
            // A size that nobody takes is no misdeed: the id says it.
            match topic.begin(&self.library, size, proof) {
                Ok(Some(held)) => self.begun(&Arc::new(held)),
                Ok(None) => return,
                Err(error) => return self.close(resource, &error.into()),
            }
        }
        let held = self.topics.get(&resource).and_then(Topic::held);
        if held.is_some_and(|held| held.layout.bytes() == size) {
            self.join(peer, resource, if origin { Role::Origin } else { Role::Peer });
            self.net.keep(peer);
        }
    }

    /// The size of what was sought is proven, and there is a store for it.
    fn begun(&mut self, held: &Arc<Held>) {
        self.open(held);
        if let Some(topic) = self.topics.get_mut(&held.resource) {
            topic.found();
        }
    }
}
