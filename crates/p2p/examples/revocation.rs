//! Peers that cling to their connections when the chain revokes them:
//!
//!     cargo run --release -p trefoil-p2p --example revocation [TIMES]
//!
//! Five manners, 40 peers each. The time is from the new admission to the node's
//! last socket of the peer closed; at the end the node's files are counted.

mod support;

use support::{
    Node, config,
    manner::{self, MANNERS},
    open_files, settled,
};

#[tokio::main]
async fn main() {
    let times: usize = std::env::args().nth(1).map_or(40, |n| n.parse().expect("a number"));
    let mut node = Node::start(config(support::NODE, &[])).await;
    let baseline = open_files();
    let (mut revoked, mut all, mut failed) = (vec![], vec![], 0);
    let mut peers = 20_u8..=u8::MAX;
    for manner in MANNERS {
        let mut took = vec![];
        for n in peers.by_ref().take(times) {
            let outcome = manner::revoke(&mut node, n, manner, &mut revoked).await;
            if outcome.delivered > 0 || outcome.admitted_again {
                println!("{manner:?}: {outcome:?}");
                failed += 1;
            }
            took.push(outcome.took);
        }
        all.extend(&took);
        println!("{:16} {}", format!("{manner:?}"), support::figures(took));
    }
    let left: Vec<_> = node.handle.peers().iter().map(|seen| seen.peer).collect();
    assert!(left.is_empty(), "{left:?} stayed");
    let closed = settled(baseline).await;
    println!(
        "{} of {} cut; {}; files open: {baseline} before, {} after",
        all.len() - failed,
        all.len(),
        support::figures(all),
        open_files()
    );
    if failed > 0 || !closed {
        std::process::exit(1);
    }
}
