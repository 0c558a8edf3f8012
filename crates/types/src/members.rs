//! Membership of a private or consortium network, as its chain says.
//!
//! Owns: organisations, their CA keys, nodes, revocations; and the judgement on a node that
//! wants to connect. What always holds: the answer follows from the chain's state and time
//! alone, so every honest node gives the same one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_crypto::{Address, B256, NodeCertificate, PeerId, PublicKey, Role, Serial};

use crate::Height;

/// An organisation's number on its chain: from 1, never used again.
pub type OrganisationId = u32;

/// Whether an organisation takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrganisationStatus {
    Active,
    /// Its nodes are refused and do not validate, until a vote takes it back.
    Suspended,
    /// For ever.
    Removed,
    /// Too few of its accounts have accepted their seats: its nodes are refused until they did.
    Invited,
}

/// A key that signs an organisation's node certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaKey {
    pub key: PublicKey,
    /// Its certificates count at heights `from <= h < until`.
    pub from: Height,
    /// `Height::MAX`: no end.
    pub until: Height,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    pub id: OrganisationId,
    pub status: OrganisationStatus,
    pub name: String,
    /// How many of `keys` must agree to act for it.
    pub threshold: u8,
    /// The accounts that vote for it.
    pub keys: Vec<Address>,
    pub ca_keys: Vec<CaKey>,
}

/// A node that the chain knows by its identity key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberNode {
    pub organisation: OrganisationId,
    pub role: Role,
    /// For ever: this key is never admitted again.
    pub revoked: bool,
    /// Its consensus key, if it is a validator.
    pub validator: Option<PublicKey>,
    /// It validates at heights `from <= h < until`.
    pub from: Height,
    pub until: Height,
}

/// The members of a network after one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub organisations: BTreeMap<OrganisationId, Organisation>,
    pub nodes: BTreeMap<PeerId, MemberNode>,
    /// Certificates that were revoked.
    pub revoked_serials: BTreeSet<(OrganisationId, Serial)>,
}

/// Why a node is not admitted. The code goes to the peer, the text to the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMember {
    #[error("its certificate is for another network, {0}")]
    Genesis(B256),
    #[error("its certificate names {named}, but it proved to be {proven}")]
    Peer { named: PeerId, proven: PeerId },
    #[error("its key was revoked")]
    Revoked,
    #[error("organisation {0} is not a member")]
    NoOrganisation(OrganisationId),
    #[error("organisation {id} ({name}) is {status:?}")]
    Organisation { id: OrganisationId, name: String, status: OrganisationStatus },
    #[error("it belongs to organisation {registered}, its certificate says {claimed}")]
    OtherOrganisation { registered: OrganisationId, claimed: OrganisationId },
    #[error("its certificate is not signed by a CA key of organisation {0} that counts now")]
    Issuer(OrganisationId),
    #[error("its certificate {0} was revoked")]
    Serial(Serial),
    #[error("its certificate is valid from {from} (Unix seconds), and the chain's time is {now}")]
    NotYet { from: u64, now: u64 },
    #[error("its certificate expired at {until} (Unix seconds), and the chain's time is {now}")]
    Expired { until: u64, now: u64 },
    #[error("its certificate says {0}, which the chain has not given it")]
    Role(Role),
}

impl NotAMember {
    // The verdict is one byte on the wire. The text, with names and times, stays with the
    // operator.
    /// The code that the refused peer gets.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Genesis(_) => 1,
            Self::Peer { .. } => 2,
            Self::Revoked => 3,
            Self::NoOrganisation(_) => 4,
            Self::Organisation { .. } => 5,
            Self::OtherOrganisation { .. } => 6,
            Self::Issuer(_) => 7,
            Self::Serial(_) => 8,
            Self::NotYet { .. } => 9,
            Self::Expired { .. } => 10,
            Self::Role(_) => 11,
        }
    }
}

/// The standing of a connected peer: what is proven of it, not what it claims. A peer that
/// is not judged has no organisation that anything could be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On a public network, where any peer may connect.
    Public,
    /// A node of this organisation, as the chain's members verify.
    Member(OrganisationId),
    /// A validator whose certificate does not count. The chain names its key, so it takes part in
    /// consensus and has blocks, and nothing in the name of an organisation.
    Validator,
    /// Its certificate cannot be judged before newer blocks are here. It may bring those,
    /// and takes part in nothing else.
    Unjudged,
}

/// The chain's state, as far as it decides on a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub genesis: B256,
    /// The height of the tip. The judgement is for the block after it.
    pub height: Height,
    // The chain's time, not the machine's: nodes with different clocks must give the same
    // answer, and a clock that is set wrong must not cut members off.
    /// The timestamp of the tip, Unix seconds.
    pub time: u64,
    pub members: Arc<Members>,
}

impl Admission {
    // A node that was away while CA keys or organisations changed would refuse all peers
    // that could bring it up to date. So a peer that the operator named, and that newer
    // blocks may prove a member, may bring these blocks, and nothing else.
    /// The standing of the node that proved to hold `peer`'s key. `height`: the tip that it
    /// claims. `named`: the operator named its key.
    ///
    /// # Errors
    /// Why it may not connect.
    pub fn admit(
        &self,
        peer: PeerId,
        certificate: &NodeCertificate,
        height: Height,
        named: bool,
    ) -> Result<Standing, NotAMember> {
        self.judge(peer, certificate).or_else(|reason| {
            let may_be_proven = named && height > self.height && !self.is_out(peer, certificate);
            if may_be_proven { Ok(Standing::Unjudged) } else { Err(reason) }
        })
    }

    // An organisation that ended its CA key once cut off its own validator, and three
    // validators stopped: certificates must not stop the chain. So a validator of the next block
    // is let in whatever its certificate, since the chain itself names its key.
    // Attack: two thirds add a validator of their own in the name of another organisation. A vote
    // speaks for no CA, so the name, and the content that is for it, takes the certificate.
    /// What the node that proved to hold `peer`'s key is, if it may connect. Checks run from the
    /// cheapest to the signature.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn judge(
        &self,
        peer: PeerId,
        certificate: &NodeCertificate,
    ) -> Result<Standing, NotAMember> {
        self.check_registry(peer, certificate)?;
        let counts = self.check_time(certificate);
        let counts = counts.and_then(|()| self.issuer(certificate, None).map(drop));
        self.standing(peer, certificate, counts)
    }

    fn standing(
        &self,
        peer: PeerId,
        certificate: &NodeCertificate,
        counts: Result<(), NotAMember>,
    ) -> Result<Standing, NotAMember> {
        match counts {
            Ok(()) => Ok(Standing::Member(certificate.organisation)),
            Err(_) if self.validates(peer) => Ok(Standing::Validator),
            Err(reason) => Err(reason),
        }
    }

    fn validates(&self, peer: PeerId) -> bool {
        let next = self.height.saturating_add(1);
        self.members.nodes.get(&peer).is_some_and(|node| node.validates(next))
    }

    /// The validators of the next block.
    pub fn validators(&self) -> impl Iterator<Item = PeerId> {
        let next = self.height.saturating_add(1);
        self.members.nodes.iter().filter(move |(_, node)| node.validates(next)).map(|(p, _)| *p)
    }

    // Expiry refuses new admissions only. If it cut links, a network whose certificates
    // expire on one day would fall apart on that day.
    /// What a connection of that standing is now, if it may stay: as [`Self::judge`], but without
    /// the certificate's times where it counted once. `issuer`: the CA key that is known to have
    /// signed it.
    ///
    /// # Errors
    /// The reason against it now.
    // Attack: members' full nodes in all places, whose certificates are verified with each block on
    // the node's thread. So each signature is verified once, while its key counts.
    pub fn judge_again(
        &self,
        peer: PeerId,
        certificate: &NodeCertificate,
        standing: Standing,
        issuer: &mut Option<PublicKey>,
    ) -> Result<Standing, NotAMember> {
        if standing == Standing::Validator {
            return self.judge(peer, certificate);
        }
        self.check_registry(peer, certificate)?;
        let counts = self.issuer(certificate, *issuer).map(|key| *issuer = Some(key));
        self.standing(peer, certificate, counts)
    }

    /// Checks the node and its organisation by the chain's record of them.
    fn check_registry(
        &self,
        peer: PeerId,
        certificate: &NodeCertificate,
    ) -> Result<(), NotAMember> {
        // Attack: a certificate of another network whose organisation has the same number.
        if certificate.genesis != self.genesis {
            return Err(NotAMember::Genesis(certificate.genesis));
        }
        // The handshake proved the key of `peer`; a certificate of another node proves
        // nothing about it.
        if certificate.peer != peer {
            return Err(NotAMember::Peer { named: certificate.peer, proven: peer });
        }
        let id = certificate.organisation;
        let node = self.members.nodes.get(&peer);
        if self.members.is_revoked(peer) {
            return Err(NotAMember::Revoked);
        }
        self.members.active(id)?;
        if let Some(node) = node.filter(|node| node.organisation != id) {
            let registered = node.organisation;
            return Err(NotAMember::OtherOrganisation { registered, claimed: id });
        }
        if self.members.revoked_serials.contains(&(id, certificate.serial)) {
            return Err(NotAMember::Serial(certificate.serial));
        }
        // The role is the CA's word, and a CA alone must not make a validator: the chain
        // must name it too.
        if certificate.role == Role::Validator && node.is_none_or(|n| n.role != Role::Validator) {
            return Err(NotAMember::Role(certificate.role));
        }
        Ok(())
    }

    fn check_time(&self, certificate: &NodeCertificate) -> Result<(), NotAMember> {
        if self.time < certificate.not_before {
            return Err(NotAMember::NotYet { from: certificate.not_before, now: self.time });
        }
        if self.time >= certificate.not_after {
            return Err(NotAMember::Expired { until: certificate.not_after, now: self.time });
        }
        Ok(())
    }

    /// The CA key that counts and signed the certificate. One that is `known` to have signed it is
    /// not asked again.
    fn issuer(
        &self,
        certificate: &NodeCertificate,
        known: Option<PublicKey>,
    ) -> Result<PublicKey, NotAMember> {
        let (next, id) = (self.height.saturating_add(1), certificate.organisation);
        let organisation = self.members.active(id)?;
        // At the next height, as validators are: all nodes change to a new CA key with the
        // same block.
        let mut keys = organisation.ca_keys.iter().filter(|ca| ca.counts(next)).map(|ca| ca.key);
        let known = known.filter(|known| keys.clone().any(|key| key == *known));
        let issuer = known.or_else(|| keys.find(|key| certificate.is_signed_by(key)));
        issuer.ok_or(NotAMember::Issuer(id))
    }

    // Every reason is looked at, whatever `judge` found first. A revoked key must not hide
    // behind an organisation that this node does not know.
    /// Whether the chain's record rules the peer out for good: no newer block makes it a
    /// member with this certificate.
    fn is_out(&self, peer: PeerId, certificate: &NodeCertificate) -> bool {
        let (members, id) = (&self.members, certificate.organisation);
        let of_another = members.nodes.get(&peer).is_some_and(|node| node.organisation != id);
        certificate.genesis != self.genesis
            || certificate.peer != peer
            || members.shuns(&peer)
            || of_another
            || matches!(members.active(id), Err(NotAMember::Organisation { .. }))
            || members.revoked_serials.contains(&(id, certificate.serial))
            || self.time >= certificate.not_after
            || self.is_issued_wrongly(certificate)
    }

    /// Whether a CA key that this node knows signed the certificate and will not count for
    /// it: the key has ended, or is another organisation's.
    fn is_issued_wrongly(&self, certificate: &NodeCertificate) -> bool {
        let next = self.height.saturating_add(1);
        let organisations = self.members.organisations.values();
        let mut keys = organisations.flat_map(|o| o.ca_keys.iter().map(|ca| (o.id, ca)));
        keys.any(|(id, ca)| {
            (id != certificate.organisation || ca.until <= next)
                && certificate.is_signed_by(&ca.key)
        })
    }
}

impl Members {
    /// Whether no node may connect to `peer`, whatever its certificate: it was revoked,
    /// or the organisation by which the chain knows it is not active.
    pub fn shuns(&self, peer: &PeerId) -> bool {
        let node = self.nodes.get(peer);
        node.is_some_and(|node| node.revoked || self.active(node.organisation).is_err())
    }

    /// Whether the node's key is never admitted again.
    pub fn is_revoked(&self, peer: PeerId) -> bool {
        self.nodes.get(&peer).is_some_and(|node| node.revoked)
    }

    fn active(&self, id: OrganisationId) -> Result<&Organisation, NotAMember> {
        let organisation = self.organisations.get(&id).ok_or(NotAMember::NoOrganisation(id))?;
        match organisation.status {
            OrganisationStatus::Active => Ok(organisation),
            status => Err(NotAMember::Organisation { id, name: organisation.name.clone(), status }),
        }
    }
}

impl CaKey {
    /// Whether its certificates count at `height`.
    pub fn counts(&self, height: Height) -> bool {
        self.from <= height && height < self.until
    }
}

impl MemberNode {
    /// Whether it is a validator of `height`.
    pub fn validates(&self, height: Height) -> bool {
        self.validator.is_some() && !self.revoked && self.from <= height && height < self.until
    }
}
