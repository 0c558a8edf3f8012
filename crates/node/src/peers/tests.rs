use trefoil_crypto::SecretKey;

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

/// A node that syncs commits 500 blocks a second. It told every peer of each, and was banned
/// for the flood.
#[test]
fn tips_that_come_fast_are_announced_ten_times_a_second() {
    let mut peers = PeerSet::new(Time(0));
    peers.insert_member(Time(0), peer(1));
    let mut announced = 0;
    for ms in 0..2_000 {
        peers.note_new_tip();
        if peers.tip_due().is_some_and(|due| due <= Time(ms)) {
            peers.note_tip_announced(Time(ms));
            announced += 1;
        }
    }
    assert_eq!(announced, 19);
    // The last one is not kept back, and then there is no news for three seconds.
    peers.note_new_tip();
    let due = peers.tip_due().unwrap();
    assert!(due <= Time(2_100), "{due:?}");
    peers.note_tip_announced(due);
    assert_eq!(peers.tip_due(), Some(due + TIP_EVERY));
}

#[test]
fn only_members_are_favoured_and_they_stand_among_their_like() {
    let mut peers = PeerSet::new(Time(0));
    (1..=5).for_each(|n| peers.insert_member(Time(0), peer(n)));
    peers.favour(peer(1));
    peers.favour(peer(9));
    let of = |peers: &PeerSet, n| {
        let AnswerClass { favoured, peers } = peers.class(&peer(n));
        (favoured, peers)
    };
    assert_eq!((of(&peers, 1), of(&peers, 2)), ((true, 1), (false, 4)));
    peers.favour_only(|it| *it != peer(1));
    assert_eq!((of(&peers, 1), of(&peers, 2)), ((false, 1), (true, 4)));
    // Who leaves, or cannot be judged any more, is forgotten.
    peers.remove(&peer(2));
    peers.insert_unjudged(Time(1), peer(3));
    assert_eq!(of(&peers, 4), (true, 2));
}
