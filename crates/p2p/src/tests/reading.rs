//! What peers may make the node hold while their frames are read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use trefoil_types::{
    limits::BLOCK_TXS_MAX,
    message::Lane,
    message_rule::{PROPOSAL, VAIN_SIGNATURES},
};

use super::LIMIT;
use crate::{
    connection::{
        budget::{Charge, FrameRoom, PeerBudget, SharedBudget},
        frame::{self, FrameError},
    },
    transport::kill_switch::KillSwitch,
};

const STEP: usize = 64 << 10;

/// Longer than anything that needs not wait.
const SOON: Duration = Duration::from_millis(50);

fn budget(shared: &SharedBudget) -> (PeerBudget, Arc<KillSwitch>) {
    let kill_switch = Arc::<KillSwitch>::default();
    (PeerBudget::new(shared.clone(), kill_switch.clone(), Arc::default()), kill_switch)
}

/// A frame that has begun, and of which so many bytes have room.
async fn begin(budget: &PeerBudget, lane: Lane, length: usize, come: usize) -> FrameRoom {
    let mut room = budget.begin(lane, length).await;
    for read in (0..come.min(length)).step_by(STEP) {
        room.grow(read, STEP).await;
    }
    room
}

async fn receive(budget: &PeerBudget, lane: Lane, length: usize) -> Charge {
    unpack(budget, lane, length, (false, 0)).await
}

/// A frame whose message, of blocks or not, takes so many bytes beyond as many as it has.
async fn unpack(
    budget: &PeerBudget,
    lane: Lane,
    length: usize,
    (blocks, more): (bool, usize),
) -> Charge {
    begin(budget, lane, length, length).await.unpack(lane, blocks, more, budget).await
}

/// Attack: 96 peers whose small frames were 11 MiB of short transactions each in memory.
#[tokio::test]
async fn messages_of_many_short_transactions_are_charged_as_they_are_in_memory() {
    let shared = SharedBudget::strangers();
    let hostile: Vec<_> = (0..96).map(|_| budget(&shared)).collect();
    let mut held = vec![];
    for (budget, _) in &hostile {
        let message = unpack(budget, Lane::CatchUp, 30 << 10, (true, 3_000 * 512));
        held.extend(timeout(SOON, message).await.ok());
    }
    assert!((40..=61).contains(&held.len()), "{}", held.len());
    let (honest, _) = budget(&shared);
    timeout(SOON, receive(&honest, Lane::Consensus, 256)).await.expect("votes take no more");
    let (member, _) = budget(&SharedBudget::others());
    timeout(SOON, unpack(&member, Lane::CatchUp, 4 << 20, (true, 40 << 20)))
        .await
        .expect("its own kind");
    let waits = unpack(&honest, Lane::CatchUp, 4 << 20, (true, 40 << 20));
    tokio::pin!(waits);
    assert!(timeout(SOON, &mut waits).await.is_err());
    drop(held);
    timeout(LIMIT, waits).await.expect("when the node has read them");
}

/// Attack: 9 MiB of blocks that unpack to 90.
#[tokio::test]
async fn blocks_that_nobody_asked_for_hold_up_no_transactions() {
    let shared = SharedBudget::strangers();
    let [(hostile, _), (honest, _)] = [(); 2].map(|()| budget(&shared));
    let held = unpack(&hostile, Lane::CatchUp, 9 << 20, (true, 90 << 20)).await;
    for lane in [Lane::Consensus, Lane::Gossip] {
        // The longest list.
        let list = unpack(&honest, lane, 270_000, (false, 64 * BLOCK_TXS_MAX));
        timeout(SOON, list).await.expect("room of its own");
    }
    let list = || unpack(&honest, Lane::Consensus, 1 << 20, (false, 64 * BLOCK_TXS_MAX));
    let lists = [list().await, list().await];
    assert!(timeout(SOON, list()).await.is_err(), "it has a bound, too");
    drop((held, lists));
    timeout(LIMIT, list()).await.expect("when the node has read them");
}

/// Attack: gossip of many tiny transactions, while the node has no time for it.
#[tokio::test]
async fn gossip_that_is_not_read_holds_up_no_bodies_and_no_votes() {
    let shared = SharedBudget::others();
    let hostile: Vec<_> = (0..8).map(|_| budget(&shared)).collect();
    let mut held = vec![];
    for (budget, _) in &hostile {
        let list = unpack(budget, Lane::Gossip, 30 << 10, (false, 64 * 15_000));
        held.extend(timeout(SOON, list).await.ok());
    }
    assert_eq!(held.len(), 4);
    let (honest, _) = budget(&shared);
    let bodies = unpack(&honest, Lane::Consensus, 64 << 10, (false, 64 * BLOCK_TXS_MAX));
    let held = timeout(SOON, bodies).await.expect("room of its lane");
    timeout(SOON, receive(&honest, Lane::Consensus, 256)).await.expect("votes behind them");
    drop(held);
}

#[tokio::test]
async fn what_is_claimed_and_does_not_come_takes_nobodys_room() {
    for shared in [SharedBudget::strangers(), SharedBudget::others(), SharedBudget::unjudged()] {
        let dripping: Vec<_> = (0..8).map(|_| budget(&shared)).collect();
        let mut held = vec![];
        for (budget, _) in &dripping {
            held.push(begin(budget, Lane::Consensus, 9 << 20, STEP).await);
        }
        let (honest, _) = budget(&shared);
        let whole = timeout(SOON, receive(&honest, Lane::Consensus, 9 << 20)).await;
        whole.expect("it waits for none of them");
    }
}

/// All of the room is held by frames that come no further, and by one that has the turn.
#[tokio::test]
async fn who_waits_is_not_cut_and_the_slowest_that_does_not_is() {
    let shared = SharedBudget::strangers();
    for _ in 0..4 {
        let (budget, kill_switch) = budget(&shared);
        let room = begin(&budget, Lane::CatchUp, 9 << 20, 640 << 10).await;
        // As its session does.
        tokio::spawn(async move {
            kill_switch.ended().await;
            drop(room);
        });
    }
    let (honest, alive) = budget(&shared);
    let (favoured, _) = budget(&SharedBudget::others());
    timeout(SOON, receive(&favoured, Lane::CatchUp, 9 << 20)).await.expect("of another kind");
    timeout(SOON, receive(&honest, Lane::CatchUp, 1000)).await.expect("a small one");
    timeout(SOON, receive(&honest, Lane::Gossip, 2 << 20)).await.expect("on another lane");
    let large = timeout(LIMIT, receive(&honest, Lane::CatchUp, 9 << 20)).await;
    large.expect("it has room when they are cut");
    assert!(alive.reason().is_none());
}

#[tokio::test]
async fn proposals_of_favoured_peers_wait_for_nobody() {
    let shared = SharedBudget::others();
    let others: Vec<_> = (0..8).map(|_| budget(&shared)).collect();
    let mut held = vec![];
    // The room for whoever comes first, and the turn.
    for (budget, _) in &others {
        held.push(begin(budget, Lane::Consensus, 9 << 20, 512 << 10).await);
    }
    held.push(begin(&others[0].0, Lane::Gossip, 4 << 20, 4 << 20).await);
    let (validator, _) = budget(&shared);
    validator.favour();
    validator.favour();
    let proposal = receive(&validator, Lane::Consensus, PROPOSAL.bytes_max);
    let held_by_node = timeout(SOON, proposal).await.expect("a reserve of its own");
    timeout(SOON, receive(&validator, Lane::Consensus, 256)).await.expect("votes behind it");
    let second = timeout(SOON, receive(&validator, Lane::Consensus, PROPOSAL.bytes_max)).await;
    assert!(second.is_err(), "until the node has read the first");
    drop(held_by_node);
}

/// Strangers use up the room of all by frames that are begun and dripped: a proposal of another one
/// and the votes behind it waited for minutes.
#[tokio::test]
async fn proposals_of_peers_with_credit_wait_for_nobody() {
    for (shared, count) in [(SharedBudget::strangers(), 4), (SharedBudget::others(), 8)] {
        let hostile: Vec<_> = (0..count).map(|_| budget(&shared)).collect();
        let mut held = vec![];
        // The room for whoever comes first, and the turn.
        for (budget, _) in &hostile {
            held.push(begin(budget, Lane::Consensus, 1 << 20, 512 << 10).await);
        }
        let (validator, _) = budget(&shared);
        let proposal = || timeout(SOON, receive(&validator, Lane::Consensus, PROPOSAL.bytes_max));
        assert!(proposal().await.is_err());
        validator.set_credited(true);
        let unread = proposal().await.expect("a reserve of its own");
        timeout(SOON, receive(&validator, Lane::Consensus, 256)).await.expect("votes behind it");
        assert!(proposal().await.is_err(), "until the node has read the first");
        drop(unread);
        validator.set_credited(false);
        assert!(proposal().await.is_err());
    }
}

#[test]
fn a_lane_pauses_for_what_its_peer_made_the_node_verify_in_vain() {
    let (peer, _) = budget(&SharedBudget::others());
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    peer.rates.waste(Lane::Consensus, VAIN_SIGNATURES.at_once, now);
    assert_eq!(peer.rates.pause(Lane::Consensus, now), Duration::ZERO);
    peer.rates.waste(Lane::Consensus, VAIN_SIGNATURES.a_second, now);
    assert_eq!(peer.rates.pause(Lane::Consensus, now), second);
    assert_eq!(peer.rates.pause(Lane::Consensus, now + second), Duration::ZERO);
    // What is on its way already cannot add up to a silence that ends the connection.
    peer.rates.waste(Lane::Consensus, 1_000_000, now + second);
    assert_eq!(peer.rates.pause(Lane::Consensus, now + second), 5 * second);
    assert_eq!(peer.rates.pause(Lane::Gossip, now), Duration::ZERO);
}

/// They claim the longest proposals and send nothing of them.
#[tokio::test]
async fn a_third_of_the_validators_does_not_hold_up_the_proposals_of_the_others() {
    let shared = SharedBudget::others();
    let hostile: Vec<_> = (0..42).map(|_| favoured(&shared)).collect();
    let mut held = vec![];
    for budget in &hostile {
        held.push(begin(budget, Lane::Consensus, PROPOSAL.bytes_max, 0).await);
    }
    let honest = favoured(&shared);
    let proposal = timeout(SOON, receive(&honest, Lane::Consensus, PROPOSAL.bytes_max)).await;
    proposal.expect("it waits for none of them");
}

fn favoured(shared: &SharedBudget) -> PeerBudget {
    let (budget, _) = budget(shared);
    budget.favour();
    budget
}

/// A node that executes a block reads none of them meanwhile.
#[tokio::test]
async fn the_proposals_of_all_favoured_peers_have_one_bound() {
    let shared = SharedBudget::others();
    let favoured: Vec<_> = (0..45).map(|_| favoured(&shared)).collect();
    let proposal =
        |n: usize| timeout(SOON, begin(&favoured[n], Lane::Consensus, PROPOSAL.bytes_max, 0));
    let mut held = vec![];
    for n in 0..44 {
        held.push(proposal(n).await.expect("room"));
    }
    assert!(proposal(44).await.is_err());
    held.pop();
    proposal(44).await.expect("one was read");
}

#[tokio::test]
async fn one_peer_has_one_of_the_largest_frames_on_each_lane() {
    let (peer, _) = budget(&SharedBudget::others());
    let first = timeout(SOON, receive(&peer, Lane::CatchUp, 9 << 20)).await.expect("room");
    let second = || timeout(SOON, begin(&peer, Lane::CatchUp, 9 << 20, 0));
    assert!(second().await.is_err());
    timeout(SOON, begin(&peer, Lane::Gossip, 4 << 20, 0)).await.expect("another lane");
    drop(first);
    second().await.expect("the first was read");
}

#[tokio::test]
async fn of_all_peers_one_large_frame_is_held_beyond_what_is_shared() {
    let shared = SharedBudget::others();
    let [(first, _), (second, _)] = [(); 2].map(|()| budget(&shared));
    let held = timeout(SOON, receive(&first, Lane::CatchUp, 9 << 20)).await.expect("room");
    let second = || timeout(SOON, receive(&second, Lane::CatchUp, 9 << 20));
    assert!(second().await.is_err());
    drop(held);
    second().await.expect("the first was read");
}

#[tokio::test]
async fn small_frames_are_charged_until_they_are_read_also_of_ended_sessions() {
    let shared = SharedBudget::strangers();
    let (one, _) = budget(&shared);
    let mut messages = vec![];
    // Empty messages are not free.
    for _ in 0..1_000 {
        let Ok(charge) = timeout(SOON, receive(&one, Lane::Consensus, 0)).await else { break };
        messages.push(charge);
    }
    assert_eq!(messages.len(), (192 << 10) / 512);
    messages.pop();
    timeout(SOON, receive(&one, Lane::Consensus, 0)).await.expect("one was read");
    // One after the other fills its reserve and is gone.
    let mut bytes = 192 << 10;
    for _ in 0..1_000 {
        let (next, _) = budget(&shared);
        let all = (192 << 10) - 512;
        let Ok(charge) = timeout(SOON, receive(&next, Lane::Consensus, all)).await else { break };
        messages.push(charge);
        bytes += all;
    }
    assert!(bytes <= 128 * (256 << 10), "{bytes}");
}

#[test]
fn a_length_that_no_message_of_the_type_has_is_refused_before_its_bytes_come() {
    let head = |kind: u8, length: u32| {
        let bytes = [&length.to_be_bytes()[..], &[kind]].concat();
        let stream = &mut futures::io::Cursor::new(bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(frame::read_head(stream, 9 << 20, LIMIT)).unwrap().check()
    };
    // A vote, a proposal, bodies, control frames, none.
    for (kind, max) in [(1, 256), (2, 1088 << 10), (20, 9 << 20), (0xF3, 512), (0xF5, 16_577)] {
        assert_eq!(head(kind, max), Ok(()));
        if max < 9 << 20 {
            let (bytes, max) = (max as usize + 1, max as usize);
            assert_eq!(head(kind, max as u32 + 1), Err(FrameError::TooLarge { bytes, max }));
        }
    }
    assert!(matches!(head(99, 1), Err(FrameError::Message(_))));
}
