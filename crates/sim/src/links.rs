//! The cluster's links: messages sent, altered, delivered, lost and blamed, and which
//! machines are connected.

use std::sync::Arc;

use trefoil_crypto::PeerId;
use trefoil_node::{Input, To};
use trefoil_types::{Admission, Message, Millis, Offence, Vote, message::Lane};

use crate::{
    cluster::{Cluster, SimEvent},
    injected_bug::InjectedBug,
    machine::secret,
    wire::Id,
};

impl Cluster {
    pub(crate) fn send(&mut self, from: Id, to: &To, message: Arc<Message>) {
        let second = self.signed_after_the_move(from, &message);
        for message in self.misvoted(from, message).into_iter().chain(second) {
            self.speak(from, to, message);
        }
    }

    fn speak(&mut self, from: Id, to: &To, message: Arc<Message>) {
        let targets: Vec<Id> = match to {
            To::Peer(peer) => self.peers.get(peer).copied().into_iter().collect(),
            To::AllBut(except) => {
                let except = except.and_then(|peer| self.peers.get(&peer).copied());
                (0..self.machines.len()).filter(|id| Some(*id) != except).collect()
            }
        };
        // An honest machine's broadcast is encoded once and is the same for all; a dishonest one
        // may send each peer something else.
        if !self.byzantine.contains_key(&from) {
            self.judges.on_sent(from, true, &message);
            match (to, &targets[..]) {
                (To::Peer(_), [target]) => {
                    let favoured = self.may_favour(*target);
                    self.judges.on_sent_to(from, *target, favoured, &message);
                }
                (To::AllBut(Some(_)), _) => self.judges.on_relayed(from, &message),
                _ => {}
            }
            let forged = self.signed_by_the_thief(from, &message);
            for message in [Some(message), forged].into_iter().flatten() {
                let bytes = Arc::new(message.encode());
                self.trace.said(from, &bytes);
                for target in &targets {
                    if !self.is_lost(from, *target, &message) {
                        self.transmit(from, *target, message.lane(), &bytes);
                    }
                }
            }
            return;
        }
        for target in targets {
            for bytes in self.altered(from, target, &message) {
                self.lie(from, target, bytes);
            }
        }
    }

    /// Whether honest machines may favour another with answers: on a network of members just the
    /// validators.
    fn may_favour(&self, id: Id) -> bool {
        self.plan.has_key(id) || !self.plan.chain.kind.has_members()
    }

    /// A vote that a thief of the first machine's key signs beside the owner's.
    fn signed_by_the_thief(&self, from: Id, message: &Message) -> Option<Arc<Message>> {
        let (Message::Vote(vote), Some(InjectedBug::StolenKey), 0) = (message, self.plan.bug, from)
        else {
            return None;
        };
        let Vote { kind, height, round, .. } = *vote;
        let block = if vote.block.is_none() { Some(self.network) } else { None };
        let key = secret("validator", from);
        let forged = Vote::sign(&key, &self.network, kind, height, round, block);
        (vote.validator == key.public()).then(|| Arc::new(Message::Vote(forged)))
    }

    /// A vote for its old seat, by a machine that passes on its standby's.
    fn signed_after_the_move(&self, from: Id, message: &Message) -> Option<Arc<Message>> {
        let (Message::Vote(vote), Some(InjectedBug::MovedKey)) = (message, self.plan.bug) else {
            return None;
        };
        let standby = self.plan.standbys.iter().find(|(_, seat)| **seat == from)?.0;
        let Vote { kind, height, round, block, .. } = *vote;
        let second =
            || Vote::sign(&secret("validator", from), &self.network, kind, height, round, block);
        let is_its = vote.validator == secret("validator", *standby).public();
        is_its.then(|| Arc::new(Message::Vote(second())))
    }

    /// A dishonest machine sends bytes, which may be no message at all.
    fn lie(&mut self, from: Id, to: Id, bytes: Vec<u8>) {
        self.trace.said(from, &bytes);
        let lane = match Message::decode(&bytes) {
            Ok(message) => {
                self.judges.on_sent(from, false, &message);
                if self.is_lost(from, to, &message) {
                    return;
                }
                message.lane()
            }
            Err(_) => Lane::Gossip,
        };
        self.transmit(from, to, lane, &Arc::new(bytes));
    }

    fn altered(&mut self, from: Id, to: Id, message: &Message) -> Vec<Vec<u8>> {
        match (self.byzantine.get_mut(&from), self.machines[from].node()) {
            (Some(byzantine), Some(node)) => byzantine.alter(node, to, message),
            _ => vec![],
        }
    }

    /// A dishonest machine that speaks by a clock of its own will do so again.
    pub(crate) fn plan_shout(&mut self, id: Id) {
        let pace = self.byzantine.get(&id).and_then(|byzantine| byzantine.pace());
        pace.into_iter().for_each(|pace| self.queue.put(self.now + pace, SimEvent::Shout(id)));
    }

    /// A dishonest machine sends messages that nobody asked for.
    pub(crate) fn mutter(&mut self, id: Id) {
        let (Some(byzantine), Some(node)) = (self.byzantine.get_mut(&id), self.machines[id].node())
        else {
            return;
        };
        if let Some(bytes) = byzantine.shout(node) {
            (0..self.machines.len()).for_each(|to| self.lie(id, to, bytes.clone()));
            return;
        }
        if let Some(bytes) = byzantine.mutter(node) {
            let to = self.rng.index(self.machines.len());
            let reconnects = byzantine.reconnects();
            self.lie(id, to, bytes);
            if reconnects {
                self.hang_up(id, to);
            }
        }
    }

    /// What a machine says in place of its node's message, if it has a bug in its votes.
    fn misvoted(&mut self, id: Id, message: Arc<Message>) -> Vec<Arc<Message>> {
        match (self.bad_voters.get_mut(id), self.machines[id].keys.first()) {
            (Some(voter), Some(key)) => voter.says(key, message),
            _ => vec![message],
        }
    }

    /// What a machine's node hears besides an input, if it has such a bug.
    pub(crate) fn miscounted(&mut self, id: Id, input: &Input) -> Vec<Input> {
        let (Some(voter), Input::Message { peer, message }) = (self.bad_voters.get_mut(id), input)
        else {
            return vec![];
        };
        let more = voter.hears(message);
        more.into_iter().map(|message| Input::Message { peer: *peer, message }).collect()
    }

    /// Whether a test or a partition takes a message from a connection.
    fn is_lost(&mut self, from: Id, to: Id, message: &Message) -> bool {
        let partitions = &mut self.plan.partitions;
        self.wire.session(from, to).is_some()
            && ((self.loss)(from, to, message) || partitions.takes(self.now, from, to, message))
    }

    fn transmit(&mut self, from: Id, to: Id, lane: Lane, bytes: &Arc<Vec<u8>>) {
        let Some(session) = self.wire.session(from, to) else { return };
        let bytes = match self.plan.bug {
            Some(InjectedBug::NoisyWire) if self.rng.permille(10) => self.noisy(bytes),
            _ => bytes.clone(),
        };
        for due in self.wire.arrivals(self.now, (from, to), lane, bytes.len()) {
            self.queue.put(due, SimEvent::Arrive { from, to, session, bytes: bytes.clone() });
        }
    }

    fn noisy(&mut self, bytes: &[u8]) -> Arc<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let at = self.rng.index(bytes.len());
        bytes[at] ^= 1 << self.rng.index(8);
        Arc::new(bytes)
    }

    pub(crate) fn arrive(&mut self, from: Id, to: Id, session: u64, bytes: &[u8]) {
        // Bytes on their way when a connection ended are gone, as with TCP: a new connection does
        // not deliver them.
        if self.wire.session(from, to) != Some(session) {
            return;
        }
        let peer = self.machines[from].peer;
        if self.byzantine.get(&to).is_some_and(|byzantine| !byzantine.reads(bytes)) {
            return;
        }
        match Message::decode(bytes) {
            Ok(message) => {
                if let Message::Vote(vote) = &message {
                    self.judges.seats.hear(&vote.validator, vote.height);
                }
                if self.byzantine.get_mut(&to).is_none_or(|it| it.hears(&message)) {
                    self.give(to, Input::Message { peer, message });
                }
            }
            Err(_) => self.blame(to, peer, Offence::Malformed),
        }
    }

    pub(crate) fn blame(&mut self, by: Id, peer: PeerId, offence: Offence) {
        let Some(&id) = self.peers.get(&peer) else { return };
        self.trace.note(self.now, || format!("{by} blames {id}: {offence:?}"));
        let honest = self.plan.is_honest(id);
        if !self.plan.bans {
            return;
        }
        // The blame of a dishonest machine counts for nothing.
        if self.plan.is_honest(by) && self.judges.blamed(by, id, honest, offence) {
            self.count("bans");
            self.hang_up(by, id);
        }
    }

    /// A machine connects only with the peers that its chain admits, from now on.
    pub(crate) fn admit(&mut self, id: Id, admission: Admission) {
        self.admissions.insert(id, admission);
        for other in 0..self.machines.len() {
            if self.shuns(id, other) && self.wire.session(id, other).is_some() {
                self.count("cut off");
                self.hang_up(id, other);
            }
        }
    }

    /// Whether a machine, being honest, has nothing to do with another.
    pub(crate) fn shuns(&self, id: Id, other: Id) -> bool {
        let peer = &self.machines[other].peer;
        let admission = self.admissions.get(&id).filter(|_| self.plan.is_honest(id));
        admission.is_some_and(|admission| admission.members.shuns(peer))
    }

    /// Connects two machines, the smaller first, if they run and no ban, chain or plan forbids it.
    pub fn dial(&mut self, a: Id, b: Id) {
        self.dialling.remove(&(a, b));
        let up = self.machines[a].is_up() && self.machines[b].is_up();
        let strangers = self.plan.strangers.contains(&(a, b));
        let refused = self.shuns(a, b) || self.shuns(b, a);
        let banned = [(a, b), (b, a)].into_iter().any(|(by, peer)| self.refuses(by, peer));
        if !up || banned || strangers || refused {
            return;
        }
        // Both learn of it at the same instant; their first messages may still cross.
        if self.wire.connect(a, b) {
            self.trace.note(self.now, || format!("{a} and {b} are connected"));
            self.give(a, Input::Connected(self.machines[b].peer));
            self.give(b, Input::Connected(self.machines[a].peer));
        } else if self.wire.session(a, b).is_none() {
            self.redial(a, b);
        }
    }

    /// Whether a machine refuses another for its offences. A dishonest stranger comes
    /// back under another name: that is free on public networks.
    fn refuses(&mut self, by: Id, peer: Id) -> bool {
        let banned = self.judges.is_banned(by, peer);
        if banned && peer >= self.plan.validators && !self.plan.is_honest(peer) {
            self.judges.forget(by, peer);
            return false;
        }
        banned
    }

    /// Two machines will try to connect soon.
    pub(crate) fn redial(&mut self, a: Id, b: Id) {
        let (a, b) = (a.min(b), a.max(b));
        if a != b && self.dialling.insert((a, b)) {
            let due = self.now + Millis(self.rng.range(20, 1_000));
            self.queue.put(due, SimEvent::Dial(a, b));
        }
    }

    /// Ends a connection: both learn of it, not at once, and dial again.
    pub(crate) fn hang_up(&mut self, a: Id, b: Id) {
        if a == b || !self.wire.disconnect(a, b) {
            return;
        }
        for (id, other) in [(a, b), (b, a)] {
            if self.machines[id].is_up() {
                // Before a new connection can be made: `redial` waits longer.
                let due = self.now + Millis(self.rng.range(0, 19));
                self.queue.put(due, SimEvent::Gone(id, self.machines[id].life, other));
            }
        }
        self.redial(a, b);
    }

    pub(crate) fn partition(&mut self, groups: &[Vec<Id>]) {
        let group = |id| groups.iter().position(|group| group.contains(&id));
        for a in 0..self.machines.len() {
            for b in 0..self.machines.len() {
                let apart = group(a).is_none() || group(a) != group(b);
                if a != b && apart {
                    self.wire.blocked.insert((a, b));
                }
            }
        }
    }

    /// Cuts a machine off from all honest machines but one, if one is spared.
    pub(crate) fn eclipse(&mut self, victim: Id, spared: Option<Id>) {
        let others = (0..self.machines.len()).filter(|other| *other != victim);
        for other in others.collect::<Vec<_>>() {
            let ends = [(victim, other), (other, victim)];
            if self.plan.is_honest(other) && spared != Some(other) {
                self.hang_up(victim, other);
                self.wire.blocked.extend(ends);
            } else {
                self.wire.blocked.retain(|ends_of| !ends.contains(ends_of));
            }
        }
    }

    /// All reach each other again. Some of the connections that were cut meanwhile had timed
    /// out, so that they are made anew.
    pub(crate) fn mend(&mut self) {
        for a in 0..self.machines.len() {
            for b in a + 1..self.machines.len() {
                // Not all: a connection that was idle meanwhile never noticed the partition, and
                // its two ends never greet each other again.
                if self.wire.is_blocked(a, b) && self.rng.permille(700) {
                    self.hang_up(a, b);
                }
            }
        }
        self.wire.blocked.clear();
    }
}
