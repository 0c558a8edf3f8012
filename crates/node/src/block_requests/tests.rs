use trefoil_crypto::SecretKey;

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

fn ask(from: u64) -> GetBlocks {
    GetBlocks { from, count: 256 }
}

/// The next whose peer has room, where none is favoured.
fn take(
    requests: &mut BlockRequests,
    now: Time,
    has_room: impl Fn(&PeerId) -> bool,
) -> Option<(PeerId, GetBlocks)> {
    requests.take(now, |_| false, has_room).map(|(peer, _, request)| (peer, request))
}

#[test]
fn peers_are_answered_in_turn_and_one_request_of_each_waits() {
    let mut requests = BlockRequests::default();
    let mut peers = [peer(1), peer(2), peer(3)];
    peers.sort_unstable();
    let now = Time(1_000);
    for from in 0..100 {
        assert_eq!(requests.insert(now, peers[0], ask(from)), from > 0);
    }
    assert!(!requests.insert(now, peers[1], ask(7)));
    assert_eq!(take(&mut requests, now, |_| true), Some((peers[0], ask(99))), "the newest, once");
    // Who asks again at once comes after those that wait.
    requests.insert(now, peers[0], ask(100));
    assert_eq!(take(&mut requests, now, |_| true), Some((peers[1], ask(7))));
    requests.insert(now, peers[2], ask(8));
    let has_room = |peer: &PeerId| *peer != peers[2];
    assert_eq!(take(&mut requests, now, has_room), Some((peers[0], ask(100))));
    requests.remove(&peers[2]);
    assert_eq!((take(&mut requests, now, |_| true), requests.due()), (None, None));
}

#[test]
fn the_favoured_do_not_wait_for_a_crowd() {
    let mut requests = BlockRequests::default();
    (0..100).for_each(|n| _ = requests.insert(Time(0), peer(n), ask(1)));
    let next = requests.take(Time(0), |it| *it == peer(77), |_| true);
    assert_eq!(next, Some((peer(77), Time(0), ask(1))));
    // Without room it does not hold up the others.
    requests.insert(Time(0), peer(77), ask(2));
    let next = requests.take(Time(0), |it| *it == peer(77), |it| *it != peer(77));
    assert!(next.is_some_and(|(it, _, _)| it != peer(77)));
}

#[test]
fn without_room_nobody_is_looked_at_until_there_is_some() {
    let mut requests = BlockRequests::default();
    requests.insert(Time(0), peer(1), ask(1));
    assert_eq!(requests.due(), Some(Time(0)));
    assert_eq!(take(&mut requests, Time(0), |_| false), None);
    requests.idle_until(Time(500));
    assert_eq!(requests.due(), Some(Time(500)));
    requests.insert(Time(100), peer(2), ask(1));
    assert_eq!(requests.due(), Some(Time(0)), "another peer may have room");
    // Who asked three seconds ago has asked another peer since.
    assert_eq!(take(&mut requests, Time(3_050), |_| true), Some((peer(2), ask(1))));
    assert_eq!(requests.due(), None);
}

/// A block for which there is no room in this second is not looked at again in it, and holds up
/// nobody.
#[test]
fn what_does_not_fit_waits_for_the_next_second() {
    let mut requests = BlockRequests::default();
    requests.put_off(Time(0), peer(1), ask(1), Time(1_000));
    assert_eq!(take(&mut requests, Time(10), |_| true), None);
    requests.insert(Time(20), peer(2), ask(2));
    assert_eq!(take(&mut requests, Time(20), |_| true), Some((peer(2), ask(2))));
    assert_eq!(take(&mut requests, Time(999), |_| true), None);
    assert_eq!(take(&mut requests, Time(1_000), |_| true), Some((peer(1), ask(1))));
}
