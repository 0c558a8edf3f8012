//! The `trefoil_` methods, for which Ethereum has none: finality, validators, peers.

use std::time::Duration;

use alloy_primitives::Bytes;
use serde::Serialize;
use serde_json::json as value;
use trefoil_node::{Call, Reply};
use trefoil_os::certificate;
use trefoil_types::{BAN_AT, Certificate, Evidence, Standing, Time, offence::RULES};

use crate::{Params, Rpc, RpcError, RpcResult, convert, json, sync_progress};

/// The commit certificate of a block, as this node holds it. Certificates of
/// one block may differ between nodes in which signatures they hold, until the
/// next block binds one of them.
pub fn certificate(rpc: &Rpc, params: &Params) -> RpcResult {
    let (snapshot, height) = rpc.at(params.opt(0)?)?;
    // Genesis has none.
    json(&snapshot.certificate(height)?.as_ref().map(certificate_json))
}

/// The evidence by which a block convicts validators. keccak256 of `rlp` is the
/// header's `extraData`, if that is not empty.
pub fn evidence(rpc: &Rpc, params: &Params) -> RpcResult {
    let (snapshot, height) = rpc.at(params.opt(0)?)?;
    let block = rpc.blocks.body_once(&snapshot, height)?;
    let evidence = block.map(|block| block.attached.evidence.clone()).unwrap_or_default();
    json(&value!({
        "evidence": evidence.iter().map(evidence_json).collect::<Vec<_>>(),
        "rlp": Bytes::from(alloy_rlp::encode(&evidence)),
    }))
}

fn evidence_json(evidence: &Evidence) -> impl Serialize {
    let (kind, round, blocks) = match evidence {
        Evidence::Votes(a, b) => (a.kind.name(), a.round, [a.block, b.block]),
        Evidence::Proposals(a, b) => ("proposal", a.round, [Some(a.block), Some(b.block)]),
    };
    value!({
        "kind": kind,
        "height": convert::quantity(evidence.height()),
        "round": convert::quantity(round.into()),
        "validator": evidence.validator(),
        "blockHashes": blocks,
    })
}

fn certificate_json(certificate: &Certificate) -> impl Serialize {
    let signatures = certificate.signatures.iter().map(|signed| {
        value!({ "validator": signed.validator, "signature": Bytes::from(signed.signature.0) })
    });
    value!({
        "height": convert::quantity(certificate.height),
        "round": convert::quantity(certificate.round.into()),
        "blockHash": certificate.block,
        "signatures": signatures.collect::<Vec<_>>(),
        "hash": certificate.hash(),
        "rlp": Bytes::from(alloy_rlp::encode(certificate)),
    })
}

/// The chain and where this node stands. Numbers are plain JSON numbers: this
/// is for people and scripts.
pub fn status(rpc: &Rpc, _: &Params) -> RpcResult {
    let (backend, status) = (&rpc.backend, rpc.backend.status());
    let spec = &backend.spec;
    let snapshot = backend.snapshot();
    let settings = snapshot.governed().settings;
    let [validator, next_validator] = backend.validator_keys_in_turn();
    let certificate = backend.certificate().map(|held| {
        value!({
            "organisation": held.organisation,
            "role": held.role.name(),
            "serial": held.serial.to_string(),
            "notAfter": held.not_after,
            "daysLeft": certificate::days_left(&held, snapshot.tip().timestamp),
        })
    });
    json(&value!({
        "version": env!("CARGO_PKG_VERSION"),
        "chain": spec.name,
        "kind": spec.kind,
        "chainId": spec.chain_id,
        "genesisHash": backend.genesis_hash,
        "blockIntervalMs": spec.block_interval_ms,
        "idleBlockS": spec.idle_block_s,
        "gasFree": settings.is_gas_free(),
        "peerId": backend.peer.to_string(),
        "validator": validator,
        "nextValidator": next_validator,
        "validating": status.validator.is_some(),
        "certificate": certificate,
        "height": status.height,
        "blockHash": status.hash,
        "committedAtMs": status.tip_at.0,
        "round": status.round,
        "peers": status.peers,
        "validators": status.validators,
        "signers": status.signers,
        "syncingTo": sync_progress::behind(&status),
        "lacksRoom": *backend.lacks_room.borrow(),
        "pool": {
            "pending": status.pool_pending,
            "queued": status.pool_queued,
            "bytes": status.pool_bytes,
        },
    }))
}

/// Connected peers: what the node knows of their chain, and the network of
/// their connection.
pub async fn peers(rpc: &Rpc) -> RpcResult {
    let Reply::Peers(known) = rpc.backend.call(Call::Peers).await? else {
        return Err(RpcError::Internal("the node did not list its peers".into()));
    };
    let links = rpc.backend.net.peers();
    let peers = known.iter().map(|peer| {
        // Two tables that change on their own: a peer may have left one of them already.
        let link = links.iter().find(|link| link.peer == peer.peer);
        let Time(connected_ms) = peer.connected_since;
        value!({
            "peerId": peer.peer.to_string(),
            "height": peer.height,
            "connectedSinceMs": connected_ms,
            "address": link.map(|link| &link.address),
            "inbound": link.map(|link| link.inbound),
            "judged": link.map(|link| link.standing != Standing::Unjudged),
            "score": link.map(|link| link.score),
            "bytesIn": link.map(|link| link.bytes_in),
            "bytesOut": link.map(|link| link.bytes_out),
        })
    });
    json(&peers.collect::<Vec<_>>())
}

/// The table of offences, and the peers that committed them.
pub fn offences(rpc: &Rpc, _: &Params) -> RpcResult {
    let table = RULES.iter().map(|rule| {
        value!({
            "offence": rule.name,
            "what": rule.what,
            "cost": rule.cost,
            "pointFadesMs": rule.point_fades.0,
            "banMs": rule.ban.0,
        })
    });
    let net = &rpc.backend.net;
    let misdeeds = net.misdeeds();
    let peers = misdeeds.iter().map(|misdeeds| {
        let offences = misdeeds.offences.iter().map(|(offence, times, ago)| {
            let name = offence.rule().name;
            value!({ "offence": name, "times": times, "lastAgoMs": ms(*ago) })
        });
        value!({
            "who": misdeeds.who,
            "score": misdeeds.score,
            "bannedForMs": misdeeds.banned_for.map(ms),
            "offences": offences.collect::<Vec<_>>(),
        })
    });
    json(&value!({
        "banAt": BAN_AT,
        "table": table.collect::<Vec<_>>(),
        "peers": peers.collect::<Vec<_>>(),
        "turnedAway": net.turned_away(),
    }))
}

/// Peers with which no connection came about, since they speak another version of the
/// protocol: an upgrade of one side would bring them back.
pub fn refused_peers(rpc: &Rpc, _: &Params) -> RpcResult {
    let refused = rpc.backend.net.other_versions().into_iter().map(|refused| {
        value!({
            "peerId": refused.peer.map(|peer| peer.to_string()),
            "address": refused.address,
            "reason": refused.reason,
            "lastAgoMs": ms(refused.at.elapsed().unwrap_or_default()),
            "times": refused.times,
        })
    });
    json(&refused.collect::<Vec<_>>())
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
