//! How a node's settings and its chain become the configuration of its p2p service
//! and its content.

use trefoil_content::scheduler::UploadPolicy;
use trefoil_crypto::{NodeCertificate, SecretKey};
use trefoil_ledger::Ledger;
use trefoil_os::certificate::{self, Ca};
use trefoil_p2p::{
    Discovery, Membership, NetworkAccess, address_book::DialCandidate, is_reachable,
};
use trefoil_swarm::{ContentConfig, http::Credentials};
use trefoil_types::{B256, ChainSpec, Kind, PeerId, keccak256, spec::Fork};

use crate::{
    HostError,
    home::Home,
    settings::{P2pSettings, Settings},
};

/// A node's secrets.
pub struct NodeKeys {
    pub identity: SecretKey,
    /// Oldest first; a height is signed with the oldest that the chain names. None: a full node,
    /// which checks and serves and does not vote.
    pub validators: Vec<SecretKey>,
    /// Renews this node's certificate, where it is at hand.
    pub ca: Option<Ca>,
}

/// The configuration of the p2p service.
pub(crate) fn network(
    home: &Home,
    p2p: &P2pSettings,
    ledger: &Ledger,
    identity: SecretKey,
    access: NetworkAccess,
) -> trefoil_p2p::Config {
    let (spec, genesis) = (ledger.spec(), ledger.genesis_hash());
    trefoil_p2p::Config {
        identity,
        listen: p2p.listen,
        peers: p2p.peers.iter().map(|known| (known.peer, known.address)).collect(),
        genesis,
        fork_id: fork_id(spec, &genesis),
        access,
        inbound_max: p2p.inbound_max,
        inbound_per_source_max: p2p.inbound_per_source_max,
        discovery: Some(discovery(home, spec.kind, p2p)),
    }
}

/// How this node shares content.
///
/// # Errors
/// A file of credentials that cannot be used.
pub(crate) fn sharing(
    home: &Home,
    settings: &Settings,
    me: PeerId,
    access: &NetworkAccess,
) -> Result<ContentConfig, HostError> {
    Ok(ContentConfig {
        me,
        organisation: access.membership().map(|held| held.certificate.organisation),
        dir: home.content(),
        upload_policy: upload_policy(access.kind()),
        rates: settings.content.rates(),
        quota: settings.content.quota(),
        open_bytes_max: trefoil_swarm::OPEN_BYTES_MAX,
        origins: settings.content.origins.reach(access.kind()),
        credentials: Credentials::read(&settings.content.origin_credentials)?,
    })
}

// Members answer for what they do; strangers would take without giving (BEP 3's choking is the
// remedy).
/// Members serve each other in turn, strangers for what they get.
fn upload_policy(kind: Kind) -> UploadPolicy {
    match kind {
        Kind::Public => UploadPolicy::TitForTat,
        Kind::Private | Kind::Consortium => UploadPolicy::Fair,
    }
}

/// How this node admits peers: on a network of members by the certificate that it
/// shows and the members that it knows, as of the last checkpoint. The node sends the
/// later members when it has replayed its journal.
pub(crate) fn access(
    home: &Home,
    p2p: &P2pSettings,
    ledger: &Ledger,
) -> Result<NetworkAccess, HostError> {
    let kind = ledger.spec().kind;
    let encrypt = p2p.encrypts(kind)?;
    let Some(admission) = ledger.admission() else { return Ok(NetworkAccess::Public { encrypt }) };
    let certificate = certificate::load(&home.dir)?;
    check_network(home, &certificate, admission.genesis)?;
    let membership = Membership { certificate, admission };
    Ok(if kind == Kind::Private {
        NetworkAccess::Private(membership)
    } else {
        NetworkAccess::Consortium(membership)
    })
}

/// Nobody would admit a node with a certificate of another network, and only their logs would say
/// why.
fn check_network(
    home: &Home,
    certificate: &NodeCertificate,
    genesis: B256,
) -> Result<(), HostError> {
    if certificate.genesis == genesis {
        return Ok(());
    }
    let path = certificate::path(&home.dir);
    Err(HostError::OtherNetwork { path, named: certificate.genesis, genesis })
}

/// How this node finds others. On a network of members the operators configure the
/// connections, and the address book only remembers them.
fn discovery(home: &Home, kind: Kind, p2p: &P2pSettings) -> Discovery {
    let bootstrap =
        p2p.bootstrap.iter().map(|at| DialCandidate { address: at.address, peer: at.peer });
    // No other node can dial 0.0.0.0, or port 0.
    let listen = Some(p2p.listen).filter(|at| is_reachable(*at));
    Discovery {
        file: home.data().join("peers"),
        bootstrap: bootstrap.collect(),
        outbound: if kind == Kind::Public { p2p.outbound } else { 0 },
        advertise: if p2p.advertise.is_empty() {
            listen.into_iter().collect()
        } else {
            p2p.advertise.clone()
        },
    }
}

/// The first four bytes of keccak256 over the genesis hash and every fork's
/// height: what EIP-2124 has a checksum for.
pub fn fork_id(spec: &ChainSpec, genesis: &B256) -> [u8; 4] {
    let mut bytes = genesis.to_vec();
    for fork in [Fork::Cancun, Fork::Prague, Fork::Osaka] {
        let height = spec.forks.get(&fork).copied().unwrap_or(u64::MAX);
        bytes.extend_from_slice(&height.to_be_bytes());
    }
    let hash = keccak256(bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}
