//! Revocation is enforced on the wire, in every manner of clinging to it.

#[path = "../examples/support/mod.rs"]
mod support;

use std::time::Duration;

use support::{
    HEIGHT, MEMBER, NODE, Node, Role, admission, after_revoking, certificate, config, key,
    manner::{self, MANNERS},
    member, members, open_files,
    peer::{self, Told},
    peer_id, settled,
};
use trefoil_p2p::NetEvent;
use trefoil_types::{Admission, MemberNode, Members, members::OrganisationStatus};

/// Alone in its process: it counts open files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_peer_is_cut_in_whatever_manner_it_clings() {
    let mut node = Node::start(config(NODE, &[])).await;
    let baseline = open_files();
    let mut revoked = vec![];
    for (n, manner) in (20..).zip(MANNERS.repeat(2)) {
        let outcome = manner::revoke(&mut node, n, manner, &mut revoked).await;
        assert_eq!(outcome.delivered, 0, "{manner:?}: delivered after the revocation");
        assert!(!outcome.admitted_again, "{manner:?}: admitted again");
        assert!(outcome.took < Duration::from_secs(1), "{manner:?}: {outcome:?}");
    }
    assert!(settled(baseline).await, "{} files open, {baseline} before", open_files());
    two_nodes_part().await;
    one_in_tls_is_refused().await;
    what_else_the_chain_says().await;
}

/// Both are told; the one that dialled does not come back; nothing is sent.
async fn two_nodes_part() {
    let mut a = Node::start(config(NODE, &[])).await;
    let mut b = Node::start(config(MEMBER, &[(NODE, a.address())])).await;
    assert!(matches!(a.event().await, NetEvent::Connected { inbound: true, .. }));
    assert!(matches!(b.event().await, NetEvent::Connected { inbound: false, .. }));
    a.handle.set_admission(after_revoking([peer_id(MEMBER)]));
    assert!(a.handle.peers().is_empty(), "not counted from this moment on");
    match a.event().await {
        NetEvent::Disconnected { reason, .. } => assert_eq!(reason, "its key was revoked"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(b.event().await, NetEvent::Disconnected { .. }));
    match b.event().await {
        NetEvent::Refused { reason, .. } => {
            assert_eq!(reason, "the peer refuses us: our key was revoked (code 3)");
        }
        other => panic!("{other:?}"),
    }
    b.handle.shutdown();
    a.stop().await;
}

/// Revoked while its TLS is under way, when nobody knows yet who it is.
async fn one_in_tls_is_refused() {
    let node = Node::start(config(NODE, &[])).await;
    let socket = peer::connect(node.address()).await.unwrap();
    node.handle.set_admission(after_revoking([peer_id(MEMBER)]));
    let mut wire = peer::secure(socket, &key(MEMBER)).await.unwrap();
    let told = peer::show(&mut wire, &peer::proof(&certificate(MEMBER).to_der())).await;
    assert_eq!(told, Told::Refused(3));
    assert!(peer::ends(&mut wire, Duration::from_secs(1)).await);
    assert!(!node.stop().await);
}

/// Every change of the chain that ends a membership cuts; time alone does not.
async fn what_else_the_chain_says() {
    type Change = fn(&mut Members);
    let changes: [(&str, Change, bool); 7] = [
        ("nothing", |_| {}, false),
        ("serial", |m| _ = m.revoked_serials.insert((1, certificate(MEMBER).serial)), true),
        (
            "suspended",
            |m| m.organisations.get_mut(&1).unwrap().status = OrganisationStatus::Suspended,
            true,
        ),
        ("CA key", |m| m.organisations.get_mut(&1).unwrap().ca_keys[0].until = HEIGHT + 2, true),
        ("removed", |m| _ = m.organisations.remove(&1), true),
        ("it validates", validate, false),
        // It comes again, in no organisation's name (`member.rs`).
        (
            "it validates, CA key",
            |m| {
                validate(m);
                m.organisations.get_mut(&1).unwrap().ca_keys[0].until = HEIGHT + 2;
            },
            true,
        ),
    ];
    for (what, change, cuts) in changes {
        let node = Node::start(config(NODE, &[])).await;
        let mut wire = peer::dial(node.address(), &key(MEMBER)).await.unwrap();
        let told = peer::show(&mut wire, &peer::proof(&certificate(MEMBER).to_der())).await;
        assert_eq!(told, Told::Admitted);
        let mut changed = members();
        change(&mut changed);
        // Its certificate has expired by now.
        let late = Admission { height: HEIGHT + 1, time: u64::MAX, ..admission(changed) };
        node.handle.set_admission(late);
        // A wire that still stands takes a stream.
        let ended = if cuts {
            peer::ends(&mut wire, Duration::from_secs(1)).await
        } else {
            !peer::opens_a_stream(&mut wire).await
        };
        assert_eq!(ended, cuts, "{what}");
        node.stop().await;
    }
}

fn validate(members: &mut Members) {
    let validator = Some(key(MEMBER).public());
    members.nodes.insert(
        peer_id(MEMBER),
        MemberNode { role: Role::Validator, validator, ..member(1, false) },
    );
}
