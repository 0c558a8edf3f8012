//! The one name in a node certificate: `trefoil://<genesis>/org/<id>/node/<peer
//! id>/role/<role>`.
//!
//! It names the network too, so that a certificate of one network is of no use in another.

use alloy_primitives::{B256, hex};

use super::{CertificateError, Claims, Role};
use crate::PeerId;

/// The content of the URI: genesis, organisation, peer, role.
pub(super) type Named = (B256, u32, PeerId, Role);

impl Claims {
    /// The URI of a certificate: genesis as 64 lower-case hex digits, numbers without leading
    /// zeros.
    pub(super) fn uri(&self) -> String {
        write((self.genesis, self.organisation, self.peer, self.role))
    }
}

fn write((genesis, organisation, peer, role): Named) -> String {
    let genesis = hex::encode(genesis);
    format!("trefoil://{genesis}/org/{organisation}/node/{peer}/role/{role}")
}

/// Reads a URI. A name has one spelling: a URI that would be written differently is
/// refused.
pub(super) fn read(text: &str) -> Result<Named, CertificateError> {
    let named = parts(text).filter(|named| write(*named) == text && named.1 > 0);
    // At most 200 characters of it reach the log: a stranger wrote them.
    named.ok_or_else(|| CertificateError::Uri(text.chars().take(200).collect()))
}

fn parts(text: &str) -> Option<Named> {
    let (genesis, rest) = text.strip_prefix("trefoil://")?.split_once("/org/")?;
    let (organisation, rest) = rest.split_once("/node/")?;
    let (peer, role) = rest.split_once("/role/")?;
    Some((
        genesis.parse().ok()?,
        organisation.parse().ok()?,
        peer.parse().ok()?,
        role.parse().ok()?,
    ))
}
