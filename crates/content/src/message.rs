//! Messages between two swarms, and their encoding: `/trefoil/content/1`.
//!
//! Each side writes one stream of frames: a length of four bytes, big-endian, then a type
//! byte and the fields (`docs/wire.md`). Numbers are LEB128 in the shortest form. What
//! always holds: one message has one encoding; a decoder takes no more memory than the
//! bytes that arrived.

use std::net::{IpAddr, SocketAddr};

use trefoil_types::{Height, PeerId, PublicKey};

use crate::{
    GROUP_BYTES, ORIGINS_MAX, Origin,
    scheduler::{RejectReason, Resource, Ticket},
    varint,
};

// The longest message announces a directory of the most files (2^17 + 2,048 pieces), with
// every second piece in each of its three lists: about 400 KB.
/// The longest body of a frame.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;

// Small enough that a request or a choke never waits long behind data, large enough that
// the frame's own cost does not show.
/// Content bytes of one frame, about. The last group may go beyond it.
pub const DATA_BYTES: usize = 128 * 1024;

// The largest resource (2^50 bytes) has 2^36 groups, so its tree has 36 levels; 40 leave
// room.
/// The longest proof of a last group: the group, and a pair of hashes for each level of the
/// tree.
pub const PROOF_BYTES_MAX: usize = GROUP_BYTES as usize + 64 * 40;

// Attack: a peer names many addresses, so that this node dials all of them.
/// The most peers that one message names.
pub const OTHERS_MAX: usize = 32;

/// All messages except content itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwarmMessage {
    /// The sender wants this resource: peers that have some of it offer it.
    Find {
        resource: Resource,
    },
    /// The sender has some of it. `proof` is the last group with its proof, which
    /// proves the size; empty for the files of a directory, whose sizes its
    /// manifest lists.
    Offer {
        resource: Resource,
        size: u64,
        origin: bool,
        proof: Vec<u8>,
    },
    /// An encoded [`crate::News`]. The number of pieces follows from the resource.
    News {
        resource: Resource,
        news: Vec<u8>,
    },
    Choke {
        resource: Resource,
        choked: bool,
    },
    /// Asks for a piece, from this group of it on.
    Ask {
        resource: Resource,
        ticket: Ticket,
        piece: u32,
        from: u64,
    },
    Unask {
        resource: Resource,
        ticket: Ticket,
    },
    Refuse {
        resource: Resource,
        ticket: Ticket,
        why: RejectReason,
    },
    /// Other peers that want or have it, and their addresses.
    Others {
        resource: Resource,
        others: Vec<(PeerId, SocketAddr)>,
    },
    // A server that only a peer named is not named again. Otherwise one peer could send the
    // whole swarm to a server of its choice (ADR 20).
    /// HTTP servers that have the resource, at most [`ORIGINS_MAX`]. The sender has its
    /// hashes, or had right bytes from there.
    Origins {
        resource: Resource,
        origins: Vec<Origin>,
    },
    /// The sender's newest state snapshot is of this height. The resource lists the files
    /// from which a new node joins (state sync).
    Snapshot {
        resource: Resource,
        height: Height,
    },
}

/// The body of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentFrame<'a> {
    Message(SwarmMessage),
    /// More of the part that was requested under this ticket: whole groups with their
    /// proof.
    Data {
        ticket: Ticket,
        bytes: &'a [u8],
    },
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message of the swarm")]
pub struct SwarmMessageError;

// The type bytes of docs/wire.md.
const FIND: u8 = 1;
const OFFER: u8 = 2;
const NEWS: u8 = 3;
const CHOKE: u8 = 4;
const ASK: u8 = 5;
const UNASK: u8 = 6;
const REFUSE: u8 = 7;
const OTHERS: u8 = 8;
const DATA: u8 = 9;
const ORIGINS: u8 = 10;
const SNAPSHOT: u8 = 11;

impl SwarmMessage {
    /// The body of its frame.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, resource) = self.head();
        let mut out = vec![kind];
        out.extend(resource.0);
        self.put_fields(&mut out);
        out
    }

    fn head(&self) -> (u8, &Resource) {
        match self {
            Self::Find { resource } => (FIND, resource),
            Self::Offer { resource, .. } => (OFFER, resource),
            Self::News { resource, .. } => (NEWS, resource),
            Self::Choke { resource, .. } => (CHOKE, resource),
            Self::Ask { resource, .. } => (ASK, resource),
            Self::Unask { resource, .. } => (UNASK, resource),
            Self::Refuse { resource, .. } => (REFUSE, resource),
            Self::Others { resource, .. } => (OTHERS, resource),
            Self::Origins { resource, .. } => (ORIGINS, resource),
            Self::Snapshot { resource, .. } => (SNAPSHOT, resource),
        }
    }

    /// Appends the fields that follow the resource.
    fn put_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Find { .. } => {}
            Self::Offer { size, origin, proof, .. } => {
                varint::put(out, *size);
                out.push((*origin).into());
                out.extend(proof);
            }
            Self::News { news, .. } => out.extend(news),
            Self::Choke { choked, .. } => out.push((*choked).into()),
            Self::Ask { ticket, piece, from, .. } => {
                for number in [ticket.0, u64::from(*piece), *from] {
                    varint::put(out, number);
                }
            }
            Self::Unask { ticket, .. } => varint::put(out, ticket.0),
            Self::Refuse { ticket, why, .. } => {
                varint::put(out, ticket.0);
                out.push(*why as u8);
            }
            Self::Others { others, .. } => {
                for (peer, address) in others {
                    out.extend(peer.0.0);
                    put_address(out, address);
                }
            }
            Self::Origins { origins, .. } => {
                for origin in origins {
                    let url = origin.url().as_str();
                    varint::put(out, url.len() as u64);
                    out.extend(url.bytes());
                }
            }
            Self::Snapshot { height, .. } => varint::put(out, *height),
        }
    }
}

impl<'a> ContentFrame<'a> {
    /// Begins the body of a frame of data; the bytes follow.
    pub fn data(ticket: Ticket) -> Vec<u8> {
        let mut out = vec![DATA];
        varint::put(&mut out, ticket.0);
        out
    }

    /// Decodes the body of a frame.
    pub fn decode(body: &'a [u8]) -> Result<Self, SwarmMessageError> {
        let (kind, mut rest) = body.split_first().ok_or(SwarmMessageError)?;
        let rest = &mut rest;
        if *kind == DATA {
            let ticket = Ticket(varint::take(rest).ok_or(SwarmMessageError)?);
            return Ok(Self::Data { ticket, bytes: rest });
        }
        let message = take(*kind, rest).ok_or(SwarmMessageError)?;
        if rest.is_empty() { Ok(Self::Message(message)) } else { Err(SwarmMessageError) }
    }
}

fn take(kind: u8, rest: &mut &[u8]) -> Option<SwarmMessage> {
    let resource = Resource(varint::take_bytes(rest, 32)?.try_into().ok()?);
    Some(match kind {
        FIND => SwarmMessage::Find { resource },
        OFFER => {
            let (size, origin) = (varint::take(rest)?, take_bool(rest)?);
            let proof = std::mem::take(rest).to_vec();
            let sane = proof.len() <= PROOF_BYTES_MAX;
            sane.then_some(SwarmMessage::Offer { resource, size, origin, proof })?
        }
        NEWS => SwarmMessage::News { resource, news: std::mem::take(rest).to_vec() },
        CHOKE => SwarmMessage::Choke { resource, choked: take_bool(rest)? },
        ASK => SwarmMessage::Ask {
            resource,
            ticket: Ticket(varint::take(rest)?),
            piece: varint::take(rest)?.try_into().ok()?,
            from: varint::take(rest)?,
        },
        UNASK => SwarmMessage::Unask { resource, ticket: Ticket(varint::take(rest)?) },
        REFUSE => {
            let ticket = Ticket(varint::take(rest)?);
            let number = varint::take_bytes(rest, 1)?[0];
            let why = RejectReason::ALL.into_iter().find(|why| *why as u8 == number)?;
            SwarmMessage::Refuse { resource, ticket, why }
        }
        OTHERS => {
            let mut others = Vec::new();
            while !rest.is_empty() && others.len() < OTHERS_MAX {
                let key = <[u8; 32]>::try_from(varint::take_bytes(rest, 32)?).ok()?;
                others.push((PeerId(PublicKey(key.into())), take_address(rest)?));
            }
            SwarmMessage::Others { resource, others }
        }
        ORIGINS => {
            let mut origins = Vec::new();
            while !rest.is_empty() && origins.len() < ORIGINS_MAX {
                let bytes = varint::take(rest)?;
                origins.push(Origin::decode(varint::take_bytes(rest, bytes)?)?);
            }
            SwarmMessage::Origins { resource, origins }
        }
        SNAPSHOT => SwarmMessage::Snapshot { resource, height: varint::take(rest)? },
        _ => return None,
    })
}

fn take_bool(rest: &mut &[u8]) -> Option<bool> {
    match varint::take_bytes(rest, 1)?[0] {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// 4 or 6, the address's bytes, and the port, big-endian.
fn put_address(out: &mut Vec<u8>, address: &SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
    out.extend(address.port().to_be_bytes());
}

fn take_address(rest: &mut &[u8]) -> Option<SocketAddr> {
    let ip: IpAddr = match varint::take_bytes(rest, 1)?[0] {
        4 => <[u8; 4]>::try_from(varint::take_bytes(rest, 4)?).ok()?.into(),
        6 => <[u8; 16]>::try_from(varint::take_bytes(rest, 16)?).ok()?.into(),
        _ => return None,
    };
    let port = varint::take_bytes(rest, 2)?.try_into().ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}
