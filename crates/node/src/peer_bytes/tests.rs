use trefoil_crypto::SecretKey;
use trefoil_types::message_rule as rules;

use super::*;

const BUDGET: ByteBudget = ByteBudget { peer: 100, all: 400 };

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

#[test]
fn one_peer_takes_its_part_and_a_crowd_leaves_each_its_share() {
    let mut bytes = PeerBytes::default();
    assert!(bytes.take(BUDGET, 10, peer(1), 100));
    assert!(!bytes.take(BUDGET, 10, peer(1), 1), "its part is taken");
    assert!(bytes.take(BUDGET, 10, peer(2), 100));
    // Half of all is taken; a tenth of the other half is left for each.
    assert!(!bytes.take(BUDGET, 10, peer(3), 21));
    for n in 3..=10 {
        assert!(bytes.take(BUDGET, 10, peer(n), 20), "{n}");
        assert!(!bytes.take(BUDGET, 10, peer(n), 1), "{n}");
    }
    // Five of them leave, and what they took is counted still: the share of one that comes is
    // no longer there.
    assert_eq!((bytes.all, bytes.room(BUDGET, 2, &peer(11))), (360, 40));
    bytes.give_back(&peer(2), 60);
    assert_eq!((bytes.taken(&peer(2)), bytes.all), (40, 300));
    bytes.forget(&peer(1));
    bytes.give_back(&peer(1), 100);
    assert_eq!((bytes.taken(&peer(1)), bytes.all), (0, 200));
    // Whoever gives back more than was taken gains nothing.
    bytes.give_back(&peer(2), 1_000);
    assert_eq!(bytes.all, 160);
}

#[test]
fn no_crowd_takes_more_than_there_is() {
    for peers in [1usize, 2, 7, 128] {
        let mut bytes = PeerBytes::default();
        let crowd: Vec<PeerId> = (0..peers as u8).map(peer).collect();
        for _ in 0..200 {
            for peer in &crowd {
                let room = bytes.room(BUDGET, peers, peer);
                bytes.add(*peer, room.min(3));
            }
        }
        assert!(bytes.all <= BUDGET.all, "{peers}: {}", bytes.all);
    }
}

/// One of four strangers, or of four that are favoured.
fn one_of_four(favoured: bool) -> AnswerClass {
    AnswerClass { favoured, peers: 4 }
}

#[test]
fn answers_are_counted_anew_each_second() {
    let (rule, mut answers) = (&rules::GET_BODIES, AnswerBudgets::default());
    let (now, class) = (Time(5_000), one_of_four(true));
    assert_eq!(answers.room(now, rule, class, &peer(1)), rule.answers.peer);
    answers.charge(rule, true, peer(1), rule.answers.peer);
    assert_eq!(answers.room(Time(5_999), rule, class, &peer(1)), 0);
    // Another type of request has a budget of its own, and so has another peer.
    assert!(answers.room(Time(5_999), &rules::GET_TXS, class, &peer(1)) > 0);
    assert!(answers.room(Time(5_999), rule, class, &peer(2)) > 0);
    assert_eq!(answers.renewed_at(), Time(6_000));
    assert_eq!(answers.room(Time(6_000), rule, class, &peer(1)), rule.answers.peer);
}

/// 300 requests in a second of which eight are answered; and a peer that is refused since
/// others took everything.
#[test]
fn only_who_is_over_its_own_budget_floods() {
    let (rule, mut answers) = (&rules::GET_BODIES, AnswerBudgets::default());
    answers.room(Time(1_000), rule, one_of_four(false), &peer(1));
    assert_eq!((0..300).filter(|_| answers.is_flood(rule, false, peer(1))).count(), 0);
    answers.charge(rule, false, peer(1), rule.answers.half().peer);
    assert_eq!((0..292).filter(|_| answers.is_flood(rule, false, peer(1))).count(), 4);
    assert_eq!((0..54).filter(|_| answers.is_flood(rule, false, peer(2))).count(), 0);
}

/// Strangers that take all they get as soon as a second begins, of every type of request: each
/// validator has its share all the same, and an honest stranger has one.
#[test]
fn strangers_do_not_take_what_is_for_the_favoured() {
    let kinds = [&rules::GET_BODIES, &rules::GET_TXS, &rules::GET_BLOCKS];
    let mut answers = AnswerBudgets::default();
    let (crowd, few) =
        (AnswerClass { favoured: false, peers: 100 }, AnswerClass { favoured: true, peers: 4 });
    let mut given = 0;
    for rule in kinds {
        for n in 0..99 {
            let room = answers.room(Time(5_000), rule, crowd, &peer(n));
            answers.charge(rule, false, peer(n), room);
            given += room;
        }
    }
    assert!(given > rules::ANSWERS.all / 4 && given <= rules::ANSWERS.all / 2, "{given}");
    assert!(answers.room(Time(5_000), &rules::GET_BODIES, crowd, &peer(99)) > 0);
    for n in 100..104 {
        let room = answers.room(Time(5_000), &rules::GET_BODIES, few, &peer(n));
        assert!(room >= 4 << 20, "{n}: {room}");
        answers.charge(&rules::GET_BODIES, true, peer(n), room);
    }
}

/// A node sends no more than one total, whatever is asked for.
#[test]
fn answers_of_all_types_have_one_total() {
    let mut answers = AnswerBudgets::default();
    let mut given = 0;
    for rule in [&rules::GET_BODIES, &rules::GET_TXS, &rules::GET_BLOCKS] {
        for n in 0..8 {
            let favoured = n < 4;
            let room = answers.room(Time(5_000), rule, one_of_four(favoured), &peer(n));
            answers.charge(rule, favoured, peer(n), room);
            given += room;
        }
    }
    assert!(given <= rules::ANSWERS.all, "{given}");
}

#[test]
fn a_request_for_nothing_has_a_cost() {
    let (rule, mut answers) = (&rules::GET_BODIES, AnswerBudgets::default());
    let mut answered = 0;
    while answers.room(Time(5_000), rule, one_of_four(false), &peer(1)) > 0 {
        answers.charge(rule, false, peer(1), request_cost(0));
        answered += 1;
    }
    assert!(answered <= 1_024, "{answered}");
    assert!(request_cost(30_000) > 30_000 * 32);
}
