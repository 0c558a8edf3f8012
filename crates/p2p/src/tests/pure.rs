//! The parts that touch no socket.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::bytes::Bytes;
use futures::{TryStreamExt as _, executor::block_on, io::Cursor};
use proptest::prelude::*;
use trefoil_types::{B256, BAN_AT, Offence, message::Lane, offence::RULES, spec::Kind};

use super::{LIMIT, TIMING, network, peer};
use crate::{
    connection::{
        answer_pool::{Frame, FrameCharge},
        budget::{PeerBudget, SharedBudget},
        frame::{self, Control, FrameError, FrameReadError, LaneFrame},
        hello::{Hello, HelloError, VERSION},
        lane_limits::{LANES, limits},
        send_queue::{Broadcasts, SendQueue},
    },
    discovery::redial::Redialer,
    inbound_limits::{
        peer_score::{NAMES_MAX, PeerScores},
        rate_limit::RateLimiter,
    },
    network::NetworkId,
    transport::kill_switch::KillSwitch,
};

fn hello() -> Hello {
    let software = "trefoil/0.1.0".into();
    Hello { network: network(), instance: 7, software, listen_port: 30303 }
}

#[test]
fn a_hello_reads_back_and_its_bytes_are_as_documented() {
    let bytes = hello().encode();
    assert_eq!(Hello::decode(&bytes), Ok(hello()));
    // docs/wire.md: version ‖ RLP [kind, genesis, fork id, instance, software, port].
    let documented = format!(
        "0003f83901a0{}840102030407{}{}82765f",
        "01".repeat(32),
        "8d",
        alloy_primitives::hex::encode("trefoil/0.1.0"),
    );
    assert_eq!(alloy_primitives::hex::encode(&bytes), documented);
}

#[test]
fn a_hello_of_another_version_names_it_whatever_follows() {
    let mut bytes = hello().encode();
    bytes[1] += 1;
    assert_eq!(Hello::decode(&bytes), Err(HelloError::Version { theirs: VERSION + 1 }));
    assert_eq!(Hello::decode(&[0, 77]), Err(HelloError::Version { theirs: 77 }));
}

#[test]
fn a_hello_is_refused_for_what_it_may_not_hold() {
    for software in ["", "line\nbreak", "\u{1b}[31m", &"x".repeat(65)] {
        let wrong = Hello { software: software.into(), ..hello() };
        assert_eq!(Hello::decode(&wrong.encode()), Err(HelloError::Software), "{software:?}");
    }
    let mut bytes = hello().encode();
    bytes.push(0);
    assert!(matches!(Hello::decode(&bytes), Err(HelloError::Malformed(_))));
    assert_eq!(Hello::decode(&[0]), Err(HelloError::Short));
}

#[test]
fn networks_differ_in_genesis_before_kind_before_forks() {
    let ours = network();
    let far = NetworkId { kind: Kind::Private, genesis: B256::ZERO, fork_id: [0; 4] };
    let same_genesis = NetworkId { genesis: ours.genesis, ..far.clone() };
    let same_kind = NetworkId { kind: ours.kind, ..same_genesis.clone() };
    for (theirs, word) in [(far, "genesis"), (same_genesis, "kind"), (same_kind, "fork")] {
        let text = ours.difference(&theirs).unwrap().to_string();
        assert!(text.starts_with(&format!("different {word}")), "{text}");
    }
    assert_eq!(ours.difference(&network()), None);
}

#[test]
fn control_frames_read_back() {
    let controls =
        [Control::Hello(hello()), Control::Welcome, Control::Refusal("no".into()), Control::Ping];
    for control in controls {
        let bytes = control.encode();
        let (length, body) = bytes.split_first_chunk().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, body.len());
        assert_eq!(LaneFrame::decode(body), Ok(LaneFrame::Control(control)));
    }
}

#[test]
fn a_peers_words_cannot_move_our_cursor_or_fill_our_log() {
    let told = Control::Refusal("\u{1b}[2J\n\u{7f}ü ok".into()).encode();
    assert_eq!(
        LaneFrame::decode(&told[4..]),
        Ok(LaneFrame::Control(Control::Refusal("?[2J??? ok".into())))
    );
    let long = [&[0xF2], vec![b'x'; 401].as_slice()].concat();
    assert_eq!(LaneFrame::decode(&long), Err(FrameError::ControlBody(0xF2)));
    let ours = Control::Refusal("x".repeat(9999)).encode();
    assert!(LaneFrame::decode(&ours[4..]).is_ok());
}

#[test]
fn a_frame_is_read_whole_or_not_at_all() {
    let read = |bytes: &[u8], max| block_on(frame::read(&mut Cursor::new(bytes), max, LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _time = runtime.enter();
    assert_eq!(read(&[0, 0, 0, 2, 5, 6, 7], 2).unwrap(), [5, 6]);
    assert!(matches!(read(&[0, 0, 0, 2, 5], 2), Err(FrameReadError::Closed)));
    assert!(matches!(read(&[0, 0], 2), Err(FrameReadError::Closed)));
    assert!(matches!(
        read(&[0, 0, 0, 3, 5, 6, 7], 2),
        Err(FrameReadError::Frame(FrameError::TooLarge { bytes: 3, max: 2 }))
    ));
    assert!(matches!(read(&[0; 4], 2), Err(FrameReadError::Frame(FrameError::Empty))));
    let long = [&[0, 3, 0, 0], vec![9; 3 << 16].as_slice()].concat();
    assert_eq!(read(&long, 1 << 20).unwrap(), vec![9; 3 << 16]);
}

/// A large frame byte by byte is over as soon as a small one.
#[tokio::test]
async fn a_frame_must_keep_its_pace_from_its_first_byte_on() {
    let begun = Instant::now();
    let due = |bytes| (frame::due(begun, bytes, frame::BODY_GRACE) - begun).as_secs();
    assert_eq!([0, 65_535, 65_536, 9 << 20].map(due), [10, 10, 11, 154]);
    let pending = futures::stream::pending::<std::io::Result<Vec<u8>>>().into_async_read();
    let silent = &mut futures::AsyncReadExt::chain(Cursor::new([0, 9, 0, 0, 18]), pending);
    let read = frame::read(silent, 9 << 20, Duration::from_millis(50)).await;
    assert!(matches!(read, Err(FrameReadError::Silence(_))), "{read:?}");
}

proptest! {
    #[test]
    fn any_bytes_as_frame_or_hello_decode_or_err(
        kind in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes = [&[kind], body.as_slice()].concat();
        if let Ok(LaneFrame::Control(control)) = LaneFrame::decode(&bytes) {
            // One value has one encoding, but for what is made printable.
            if !matches!(control, Control::Refusal(_)) {
                prop_assert_eq!(&control.encode()[4..], bytes.as_slice());
            }
        }
        let _ = Hello::decode(&body);
    }

    #[test]
    fn a_hello_with_one_byte_changed_is_another_or_none(at in 0usize..64, flip in 1u8..=255) {
        let mut bytes = hello().encode();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        prop_assert_ne!(Hello::decode(&bytes), Ok(hello()));
    }
}

fn budget(shared: &SharedBudget) -> PeerBudget {
    PeerBudget::new(shared.clone(), Arc::default(), Arc::default())
}

fn queue(shared: &SharedBudget) -> SendQueue {
    SendQueue::new(Arc::new(budget(shared)))
}

/// A frame that all get.
fn shared(bytes: Bytes) -> Arc<Frame> {
    Frame::new(bytes, FrameCharge::Shared)
}

#[test]
fn a_full_consensus_lane_drops_the_oldest_the_others_the_newest() {
    for lane in LANES {
        let (outbox, bounds) = (queue(&SharedBudget::others()), limits(lane));
        let frames: Vec<_> = (0..=bounds.out_messages_max)
            .map(|n| shared(Bytes::copy_from_slice(&n.to_be_bytes())))
            .collect();
        let frame = |n: usize| frames[n].clone();
        for n in 0..bounds.out_messages_max {
            assert_eq!(outbox.push(lane, frame(n)), 0);
        }
        assert_eq!(outbox.push(lane, frame(bounds.out_messages_max)), 1);
        let first = if lane == Lane::Consensus { 1 } else { 0 };
        assert!(Arc::ptr_eq(&outbox.try_next(lane).unwrap(), &frame(first)));
        let mut count = 1;
        while outbox.try_next(lane).is_some() {
            count += 1;
        }
        assert_eq!(count, bounds.out_messages_max);
    }
}

#[test]
fn a_lane_is_bounded_in_bytes_and_takes_one_frame_of_any_size() {
    let outbox = queue(&SharedBudget::others());
    let frame = |bytes| shared(Bytes::from(vec![0; bytes]));
    let max = limits(Lane::CatchUp).out_bytes_max;
    assert_eq!(outbox.push(Lane::CatchUp, frame(max + 1)), 0);
    assert_eq!(outbox.push(Lane::CatchUp, frame(1)), 1);
    outbox.try_next(Lane::CatchUp).unwrap();
    assert_eq!(outbox.push(Lane::CatchUp, frame(max)), 0);
    // A large vote-lane frame pushes out as many old ones as it needs.
    let max = limits(Lane::Consensus).out_bytes_max;
    assert_eq!(outbox.push(Lane::Consensus, frame(max / 2)), 0);
    assert_eq!(outbox.push(Lane::Consensus, frame(max / 2)), 0);
    assert_eq!(outbox.push(Lane::Consensus, frame(max)), 2);
}

#[test]
fn large_answers_to_strangers_share_one_room_until_they_are_written() {
    let strangers = SharedBudget::strangers();
    let [one, two] = [(); 2].map(|()| queue(&strangers));
    // Two of them are all that is there, but for what is small.
    let large = || Bytes::from(vec![0; 11 << 20]);
    assert_eq!(one.push_own(Lane::Consensus, large()), 0);
    assert_eq!(two.push_own(Lane::CatchUp, large()), 0);
    let three = queue(&strangers);
    assert_eq!(three.push_own(Lane::Gossip, large()), 1);
    // What all get is held once, and what is small is the peer's own.
    assert_eq!(three.push(Lane::Gossip, shared(large())), 0);
    assert_eq!(three.push_own(Lane::CatchUp, Bytes::from(vec![0; 1000])), 0);
    // Whom we dialled or favour does not wait for strangers.
    assert_eq!(queue(&SharedBudget::others()).push_own(Lane::Gossip, large()), 0);
    let written = one.try_next(Lane::Consensus).unwrap();
    assert_eq!(three.push_own(Lane::Consensus, large()), 1);
    drop(written);
    assert_eq!(three.push_own(Lane::Consensus, large()), 0);
}

/// Whatever 128 strangers ask for and do not read, on whichever lanes.
#[test]
fn what_waits_for_peers_that_do_not_read_is_bounded_in_bytes_for_each_and_for_all() {
    let strangers = SharedBudget::strangers();
    let held = |queue: &SendQueue| -> usize {
        let next = |lane| std::iter::from_fn(move || queue.try_next(lane));
        LANES.into_iter().flat_map(next).map(|frame| frame.len).sum()
    };
    let answers = [1_000, 64 << 10, 1 << 20, 9 << 20].map(|bytes| Bytes::from(vec![0; bytes]));
    let queues: Vec<_> = (0..128).map(|_| queue(&strangers)).collect();
    for queue in &queues {
        for (lane, answer) in LANES.into_iter().flat_map(|it| answers.each_ref().map(|a| (it, a))) {
            for _ in 0..200 {
                queue.push_own(lane, answer.clone());
            }
        }
        if std::ptr::eq(queue, &queues[0]) {
            assert!(queue.budget.owes_reading(Lane::CatchUp), "it asks for no more");
        }
    }
    let held: Vec<_> = queues.iter().map(held).collect();
    assert!(held.iter().all(|bytes| *bytes < 13 << 20), "{held:?}");
    assert!(held.iter().sum::<usize>() <= (24 << 20) + 128 * (160 << 10), "{held:?}");
    assert!(held.iter().all(|bytes| *bytes >= 100 << 10), "each has its reserve");
    // When they have read, all of it is there again.
    let newcomer = queue(&strangers);
    assert_eq!(newcomer.push_own(Lane::CatchUp, Bytes::from(vec![0; 9 << 20])), 0);
    assert!(!LANES.into_iter().any(|lane| queues[0].budget.owes_reading(lane)));
}

#[test]
fn what_is_said_to_all_is_counted_once_and_bounded_whoever_does_not_read() {
    let mut broadcasts = Broadcasts::new(Lane::Gossip);
    let max = limits(Lane::Gossip).out_bytes_max;
    let others = SharedBudget::others();
    let frame = || Bytes::from(vec![7; 1 << 20]);
    // Peers that stop to read at different times hold different frames.
    let slow: Vec<_> = (0..64).map(|_| queue(&others)).collect();
    let mut dropped = 0;
    for queue in &slow {
        for _ in 0..4 {
            dropped += broadcasts.add(frame(), |frame| queue.push(Lane::Gossip, frame.clone()));
        }
    }
    let waiting = |queue: &SendQueue| std::iter::from_fn(|| queue.try_next(Lane::Gossip)).count();
    let waiting: Vec<_> = slow.iter().map(waiting).collect();
    let alive: usize = waiting.iter().sum();
    assert!(alive << 20 <= max && alive << 20 >= max / 4, "{waiting:?}");
    assert_eq!(dropped as usize, 4 * 64 - alive, "the others were dropped");
    assert_eq!(waiting.last(), Some(&alive.min(4)), "the newest are there");
    // Who reads loses nothing, whoever does not.
    let reader = queue(&others);
    for _ in 0..100 {
        broadcasts.add(frame(), |frame| {
            slow[0].push(Lane::Gossip, frame.clone()) + reader.push(Lane::Gossip, frame.clone())
        });
        assert!(reader.try_next(Lane::Gossip).is_some());
    }
}

#[test]
fn a_pace_allows_a_burst_and_then_its_rate() {
    let (mut rate_limiter, start) = (RateLimiter::new(100, 10), Instant::now());
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!((0..10).filter(|_| rate_limiter.take(1, at(0)).is_ok()).count(), 10);
    assert_eq!(rate_limiter.take(1, at(0)), Err(Duration::from_millis(10)));
    assert_eq!(rate_limiter.take(1, at(9)), Err(Duration::from_millis(1)));
    assert_eq!((10..1010).filter(|ms| rate_limiter.take(1, at(*ms)).is_ok()).count(), 100);
    // A pause fills no more than the burst.
    assert_eq!((0..20).filter(|_| rate_limiter.take(1, at(60_000)).is_ok()).count(), 10);
}

/// What one honest peer says on each lane in a second, at the most that the chain
/// can come to: 128 validators, two blocks a second, each of two rounds, with
/// both votes of everyone relayed, and a proposal, its bodies, two certificates
/// and a tip a round; fetching blocks as fast as 256 a question allow; and
/// transactions in batches, each 10 ms, asked for and answered.
#[test]
fn honest_peers_stay_below_the_limits_of_their_lanes() {
    const ROUNDS: u32 = 2 * 2;
    const BATCHES: u32 = 100;
    let a_second = [
        (Lane::Consensus, ROUNDS * (2 * 128 + 5)),
        (Lane::CatchUp, 2 * 50),
        (Lane::Gossip, 3 * BATCHES),
    ];
    for (lane, messages) in a_second {
        let limits = limits(lane);
        let (start, mut rate_limiter) =
            (Instant::now(), RateLimiter::new(limits.in_rate, limits.in_burst));
        // First all that may have waited for us while its connection stood still,
        // then ten minutes, each second's at once.
        let waited = limits.out_messages_max as u32;
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            let at_once = messages + if second == 0 { waited } else { 0 };
            for n in 0..at_once {
                assert_eq!(
                    rate_limiter.take(1, now),
                    Ok(()),
                    "{}: {n} in second {second}",
                    limits.name
                );
            }
        }
        // And there is room for one that says twice as much.
        assert!(2 * messages <= limits.in_rate, "{}", limits.name);
    }
}

#[test]
fn misdeeds_add_up_fade_and_end_in_a_ban_that_ends() {
    let (mut scores, start) = (PeerScores::default(), Instant::now());
    let at = |s: u64| start + Duration::from_secs(s);
    let ban = Duration::from_secs(600);
    for _ in 0..9 {
        assert_eq!(scores.blame(peer(1), Offence::InvalidTransaction, at(0)), None);
    }
    assert_eq!(scores.score(peer(1), at(0)), 90);
    assert_eq!(scores.score(peer(1), at(100)), 80);
    assert_eq!(scores.blame(peer(1), Offence::InvalidTransaction, at(100)), None);
    // Another kind adds to it.
    assert_eq!(scores.blame(peer(1), Offence::Flood, at(100)), None);
    assert_eq!(scores.blame(peer(1), Offence::InvalidTransaction, at(100)), Some(ban));
    assert_eq!(scores.score(peer(1), at(100)), 0);
    assert_eq!(scores.banned_for(peer(1), at(101)), Some(ban - Duration::from_secs(1)));
    assert_eq!(scores.banned_for(peer(1), at(100) + ban), None);
    assert_eq!(scores.banned_for(peer(2), at(100)), None);
    let (_, record) = scores.records().next().unwrap();
    let times = |offence| record.tallies[&offence].times;
    assert_eq!((times(Offence::InvalidTransaction), times(Offence::Flood)), (11, 1));
}

/// A revoked peer that is banned, too, is cut all the same.
#[test]
fn a_connection_ends_in_the_harshest_manner_and_for_the_first_reason() {
    type End = fn(&KillSwitch);
    let ends: [End; 3] = [|it| it.stop("stopped"), KillSwitch::evict, |it| it.cut("cut".into())];
    for (n, first) in ends.into_iter().enumerate() {
        for (m, second) in ends.into_iter().enumerate() {
            let kill_switch = KillSwitch::default();
            assert!(kill_switch.reason().is_none() && !kill_switch.is_evicted());
            first(&kill_switch);
            let reason = kill_switch.reason().map(str::to_owned);
            assert_eq!((kill_switch.is_evicted(), kill_switch.is_cut()), (n > 0, n > 1));
            second(&kill_switch);
            let harshest = n.max(m);
            let is = (kill_switch.is_evicted(), kill_switch.is_cut());
            assert_eq!(is, (harshest > 0, harshest > 1), "{n}, then {m}");
            assert_eq!(kill_switch.reason().map(str::to_owned), reason);
        }
    }
}

#[test]
fn every_misdeed_has_its_row_and_is_forgiven_in_bounded_time() {
    for rule in &RULES {
        assert_eq!(rule.offence.rule(), rule);
        let (mut scores, start) = (PeerScores::default(), Instant::now());
        // As often as it takes, in one moment.
        let times = BAN_AT.div_ceil(rule.cost);
        let bans = (0..times).filter_map(|_| scores.blame(7, rule.offence, start));
        assert_eq!(bans.collect::<Vec<_>>(), [Duration::from_millis(rule.ban.0)]);
        assert!(rule.ban.0 <= 3_600_000 && rule.point_fades.0 <= 10_000, "{}", rule.name);
    }
}

#[test]
fn a_crowd_of_names_cannot_fill_the_memory_of_misdeeds() {
    let (mut scores, now) = (PeerScores::default(), Instant::now());
    scores.blame(usize::MAX, Offence::InvalidTransaction, now);
    scores.blame(usize::MAX - 1, Offence::Malformed, now);
    for n in 0..2 * NAMES_MAX {
        scores.blame(n, Offence::Flood, now);
    }
    assert_eq!(scores.score(usize::MAX, now), 10, "the worst is remembered longest");
    assert!(scores.banned_for(usize::MAX - 1, now).is_some());
    assert_eq!(scores.records().count(), NAMES_MAX);
}

#[test]
fn redialling_backs_off_to_a_bound_and_starts_afresh_after_a_hello() {
    let now = Instant::now();
    let address = "127.0.0.1:1".parse().unwrap();
    let mut redialer = Redialer::new([(peer(1), address)], &TIMING, now);
    assert_eq!(redialer.due(now), [(peer(1), address)]);
    assert_eq!(redialer.deadline(), None, "one dial at a time");
    let waits = |redialer: &mut Redialer, jitter: f64| {
        redialer.retry(peer(1), now, jitter);
        redialer.deadline().unwrap() - now
    };
    let ms: Vec<_> = (0..8).map(|_| waits(&mut redialer, 0.5).as_millis()).collect();
    assert_eq!(ms, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    assert_eq!(waits(&mut redialer, 0.0).as_millis(), 3750);
    assert_eq!(waits(&mut redialer, 1.0).as_millis(), 6250);
    redialer.succeeded(peer(1));
    assert_eq!(waits(&mut redialer, 0.5).as_millis(), 200);
    assert!(redialer.due(now).is_empty());
    redialer.retry(peer(2), now, 0.5);
    let due = redialer.due(now + LIMIT);
    assert_eq!(due, [(peer(1), address)], "a stranger is never dialled");
}
