use std::{cell::Cell, sync::Arc};

use alloy_consensus::{SignableTransaction as _, TxEip1559, transaction::Recovered};
use alloy_primitives::U256;
use trefoil_crypto::SecretKey;
use trefoil_types::{Address, Attached, Header, Proposal, TxEnvelope};

use super::*;

fn peer(n: u8) -> PeerId {
    PeerId(SecretKey::from_seed(&[n; 32]).public())
}

fn list(tx_hashes: Vec<B256>) -> ProposedBlock {
    let key = SecretKey::from_seed(&[1; 32]);
    ProposedBlock {
        proposal: Proposal::sign(&key, &B256::ZERO, 2, 0, B256::ZERO, None),
        header: Header::default(),
        tx_hashes,
        attached: Attached::default(),
        bytes: 0,
    }
}

/// A list that names a transaction that does not exist, another for each peer.
fn false_list(n: u8) -> ProposedBlock {
    list(vec![B256::repeat_byte(n)])
}

/// A round waits three seconds for its proposal: a list has its turn for one.
const PROPOSE_WAIT: Millis = Millis(3_000);

fn following(from: PeerId, list: ProposedBlock) -> MissingTransactions {
    let mut missing = MissingTransactions::new(list, from, Time(0), PROPOSE_WAIT);
    missing.wake(Time(0), |_| None);
    missing
}

/// The list had its turn in vain, and the next is followed.
fn next_turn(mut missing: MissingTransactions) -> MissingTransactions {
    missing.set_aside();
    let AlternateList { from, asked, proposed, .. } = missing.take_alternate(|_| None).unwrap();
    let found = missing.take_found();
    let mut next = MissingTransactions::new(proposed, from, Time(0), PROPOSE_WAIT);
    next.wake(Time(0), |hash| found.get(hash).cloned());
    next.follow_after(missing, asked, found);
    next
}

/// A peer gave these; how many of them were missing.
fn give(
    missing: &mut MissingTransactions,
    now: Time,
    txs: Vec<Bytes>,
    requests: &mut PendingRequests,
) -> usize {
    let txs = missing.missing_of(txs);
    let count = txs.len();
    missing.on_answer(now, peer(1), txs, requests);
    count
}

/// Keeps a copy if it is new.
fn keep(missing: &mut MissingTransactions, from: PeerId, favoured: bool, list: ProposedBlock) {
    if missing.is_new(from, &list.tx_hashes) {
        missing.keep_alternate(from, favoured, list);
    }
}

fn reserve(missing: &MissingTransactions) -> Vec<PeerId> {
    missing.alternate_bytes().map(|(peer, _)| peer).collect()
}

fn peers(of: &[u8]) -> Vec<PeerId> {
    of.iter().map(|n| peer(*n)).collect()
}

fn tx(nonce: u64) -> Transaction {
    let large = U256::from(1) << 255;
    let signature = alloy_primitives::Signature::new(large, large, false);
    let tx = TxEip1559 { chain_id: 1, nonce, to: Address::ZERO.into(), ..TxEip1559::default() };
    Arc::new(Recovered::new_unchecked(TxEnvelope::from(tx.into_signed(signature)), Address::ZERO))
}

/// Five liars that are nearer than the proposer: their four places in reserve were never free,
/// and the block could not be had at second hand.
#[test]
fn a_list_that_had_its_turn_in_vain_makes_room_for_a_new_one() {
    let mut missing = following(peer(1), false_list(1));
    for n in 2..=5 {
        keep(&mut missing, peer(n), false, false_list(n));
    }
    keep(&mut missing, peer(9), false, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 3, 4, 5]), "none of them had its turn");
    let mut missing = next_turn(missing);
    keep(&mut missing, peer(9), false, false_list(9));
    assert_eq!((missing.sender(), reserve(&missing)), (peer(2), peers(&[3, 4, 5, 9])));
    // Each has its turn before one has a second.
    for n in [3, 4, 5, 9] {
        missing = next_turn(missing);
        assert_eq!(missing.sender(), peer(n));
    }
}

#[test]
fn the_list_of_a_favoured_peer_displaces_a_strangers() {
    let mut missing = following(peer(1), false_list(1));
    keep(&mut missing, peer(2), true, false_list(2));
    for n in 3..=5 {
        keep(&mut missing, peer(n), false, false_list(n));
    }
    keep(&mut missing, peer(9), true, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 4, 5, 9]));
    // One liar has one place, and equal lists are one.
    keep(&mut missing, peer(9), true, false_list(10));
    keep(&mut missing, peer(10), true, false_list(9));
    assert_eq!(reserve(&missing), peers(&[2, 4, 5, 9]));
}

/// On slow links a list has its turn several times, and what came must not come again.
#[test]
fn what_came_for_one_list_is_kept_for_the_next() {
    let txs = [tx(0), tx(1), tx(2)];
    let hash = |at: usize| *txs[at].tx_hash();
    let mut requests = PendingRequests::default();
    let mut missing = following(peer(1), list(vec![hash(0), hash(1), B256::repeat_byte(1)]));
    keep(&mut missing, peer(2), false, list(vec![B256::repeat_byte(2)]));
    keep(&mut missing, peer(3), false, list(vec![hash(2), hash(1), hash(0)]));
    missing.on_transactions(&txs[..2], &mut requests);
    // The list between them names nothing of it.
    let mut missing = next_turn(next_turn(missing));
    assert_eq!(missing.sender(), peer(3));
    assert_eq!(missing.wanted.keys().copied().collect::<Vec<_>>(), [hash(2)]);
    assert!(missing.on_transactions(&txs[2..], &mut requests));
    let block = missing.assemble();
    assert_eq!(block.transactions, [txs[2].clone(), txs[1].clone(), txs[0].clone()]);
}

/// A liar's list of what it made itself, of which it gives one transaction at a time.
#[test]
fn who_gives_little_by_little_does_not_keep_its_list_followed() {
    let (mut requests, mut effects) = (PendingRequests::default(), Effects::default());
    let raw = |at: u64| Bytes::from(at.to_be_bytes().to_vec());
    let drip = list((0..100).map(|at| keccak256(raw(at))).collect());
    for (others, worth_asking) in [(false, true), (true, false)] {
        let mut missing = following(peer(1), drip.clone());
        if others {
            keep(&mut missing, peer(2), false, false_list(2));
        }
        for at in 0..4 {
            let now = Time(at * 250);
            assert_eq!(give(&mut missing, now, vec![raw(at)], &mut requests), 1);
            let me = peer(7);
            let givers = Givers { me, favoured: peers(&[1, 2]), others: vec![], sharers: vec![] };
            if at == 0 {
                missing.share_out(Time(30), &givers, |_| false);
                assert_eq!(missing.ask(now, |_| false, &mut effects), [peer(1)]);
            }
        }
        // A third of the propose wait.
        assert!(!others || missing.retry_due() <= Some(Time(1_000)));
        assert_eq!(missing.give_up_late(Time(1_000)), worth_asking);
    }
}

/// Each answer of 157 bytes had all 30,000 looked at that were missing.
#[test]
fn what_is_missing_is_looked_at_once_while_it_comes_one_by_one() {
    const MISSING: u64 = 1_000;
    const OPEN_MAX: u64 = OPEN_BYTES_MAX * MISSING / limits::BLOCK_BYTES_MAX as u64;
    let raw = |at: u64| Bytes::from(at.to_be_bytes().to_vec());
    let by_hash: BTreeMap<B256, Bytes> =
        (0..MISSING).map(|at| (keccak256(raw(at)), raw(at))).collect();
    let proposed = list(by_hash.keys().copied().collect());
    let bytes = limits::BLOCK_BYTES_MAX as u64;
    let mut missing = following(peer(1), ProposedBlock { bytes, ..proposed });
    let (mut requests, mut effects) = (PendingRequests::default(), Effects::default());
    let looked_at = Cell::new(0);
    let is_recovering = |_: &B256| {
        looked_at.set(looked_at.get() + 1);
        false
    };
    let givers = Givers { me: peer(7), favoured: peers(&[1, 2]), others: vec![], sharers: vec![] };
    missing.share_out(Time(30), &givers, is_recovering);
    missing.ask(Time(30), is_recovering, &mut effects);
    let (mut asked, mut came) = (VecDeque::new(), 0);
    loop {
        for (_, message) in effects.sends.drain(..) {
            let Message::GetBodies(ask) = &*message else { panic!("{message:?}") };
            // The others are on their way: half of what was asked for has come.
            assert!(
                came == 0
                    || ask.tx_hashes.len() as u64 >= OPEN_MAX / 2
                    || came + 2 * OPEN_MAX > MISSING
            );
            asked.extend(ask.tx_hashes.iter().copied());
        }
        assert!(asked.len() as u64 <= OPEN_MAX);
        let Some(tx) = asked.pop_front() else { break };
        came += 1;
        let txs = vec![by_hash[&tx].clone()];
        assert_eq!(give(&mut missing, Time(30), txs, &mut requests), 1);
        missing.ask(Time(30), is_recovering, &mut effects);
    }
    assert_eq!(came, MISSING, "each is asked for once");
    assert_eq!(looked_at.get(), 2 * MISSING, "when it is shared out and when it is asked for");
}

/// What came otherwise, or is about to, is not asked for, and its place is another's.
#[test]
fn a_share_is_asked_for_without_what_came_meanwhile() {
    let (mut requests, mut effects) = (PendingRequests::default(), Effects::default());
    let txs: Vec<Transaction> = (0..6).map(tx).collect();
    let hashes: Vec<B256> = txs.iter().map(|tx| *tx.tx_hash()).collect();
    let bytes = 6 * OPEN_BYTES_MAX / 2;
    let mut missing = following(peer(1), ProposedBlock { bytes, ..list(hashes.clone()) });
    let givers = Givers { me: peer(7), favoured: peers(&[1]), others: vec![], sharers: vec![] };
    missing.share_out(Time(30), &givers, |tx| *tx == hashes[0]);
    missing.on_transactions(&txs[1..3], &mut requests);
    missing.ask(Time(30), |tx| *tx == hashes[3], &mut effects);
    let asked: Vec<B256> = effects
        .sends
        .iter()
        .flat_map(|(_, message)| match &**message {
            Message::GetBodies(ask) => ask.tx_hashes.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(BTreeSet::from_iter(asked), BTreeSet::from_iter(hashes[4..].iter().copied()));
    // What did not come after all is shared out when none comes.
    assert!(missing.give_up_late(Time(400)));
    // Not even gossip's queue is waited for then.
    missing.share_out(Time(400), &givers, |_| true);
    effects.sends.clear();
    missing.ask(Time(400), |_| true, &mut effects);
    assert_eq!(missing.shares.open_at().count(), 1);
    assert_eq!(effects.sends.len(), 1);
}

/// A copy with 29,999 hashes that are here and one that is not, again and again.
#[test]
fn a_peers_list_is_looked_up_once_in_each_round() {
    let mut missing = following(peer(1), false_list(1));
    assert!(!missing.may_look_up(peer(1), false, 0), "it is followed");
    assert!(missing.may_look_up(peer(2), false, 0));
    assert!(!missing.may_look_up(peer(2), true, 0));
    keep(&mut missing, peer(3), false, false_list(3));
    let mut missing = next_turn(missing);
    assert!(!missing.may_look_up(peer(2), false, 0), "whichever list is followed");
    assert!(missing.may_look_up(peer(2), false, 1));
    assert!(!missing.may_look_up(peer(2), false, 1) && !missing.may_look_up(peer(2), false, 0));
    // No crowd keeps a favoured peer from being heard.
    let crowd = (0..LOOKED_UP_MAX as u32).map(|n| {
        let seed = keccak256(n.to_be_bytes());
        PeerId(SecretKey::from_seed(&seed.0).public())
    });
    let heard = crowd.filter(|peer| missing.may_look_up(*peer, false, 0)).count();
    assert_eq!(heard, LOOKED_UP_MAX / 2 - 2, "with two that were");
    assert!(missing.may_look_up(peer(9), true, 0));
}

/// A turn is over while an answer is on its way: on a slow link the true list would get nowhere
/// in its turns.
#[test]
fn what_was_asked_for_one_list_and_comes_in_the_turn_of_another_is_kept() {
    let (mut requests, mut effects) = (PendingRequests::default(), Effects::default());
    let txs = [tx(0), tx(1)];
    let raw = |at: usize| Bytes::from(txs[at].encoded_2718());
    let mut missing = following(peer(1), list(txs.iter().map(|tx| *tx.tx_hash()).collect()));
    keep(&mut missing, peer(2), false, false_list(2));
    let givers = Givers { me: peer(7), favoured: peers(&[1, 2]), others: vec![], sharers: vec![] };
    missing.share_out(Time(30), &givers, |_| false);
    assert_eq!(missing.ask(Time(30), |_| false, &mut effects), [peer(1)]);
    let mut missing = next_turn(missing);
    assert_eq!(missing.sender(), peer(2));
    let stray = Bytes::from_static(b"nobody asked for it");
    assert_eq!(give(&mut missing, Time(1_010), vec![raw(0), stray], &mut requests), 1);
    assert_eq!((missing.list_bytes, missing.list_gas), (0, 0), "of no account to this list");
    assert_eq!(missing.take_due(|_, _| false).map(|due| due.late), Some(vec![raw(0)]));
    assert!(!missing.on_transactions(&txs[..1], &mut requests));
    let mut missing = next_turn(missing);
    assert_eq!(missing.sender(), peer(1));
    assert!(missing.on_transactions(&txs[1..], &mut requests), "the first is here");
}

/// Whom a node asks for what is missing, 300 ms each, while nobody gives anything.
fn asked_in_turn(missing: &mut MissingTransactions, givers: &Givers, turns: u64) -> Vec<PeerId> {
    let mut effects = Effects::default();
    let ask = |turn: u64| {
        missing.share_out(Time(30), givers, |_| false);
        let asked = missing.ask(Time(turn * WAIT.0), |_| false, &mut effects);
        missing.give_up_late(Time((turn + 1) * WAIT.0));
        asked
    };
    (0..turns).flat_map(ask).collect()
}

/// Attack: the first to send a true list gives nothing, and neither do 60 with small ids. Who sent
/// the same list is asked next, a favoured peer before others.
#[test]
fn who_sent_the_same_list_is_asked_before_the_rest() {
    let mut missing = following(peer(1), list(vec![B256::ZERO]));
    let others = peers(&[1, 10, 11, 12, 13]);
    let givers = Givers { me: peer(7), favoured: peers(&[20, 21, 22]), others, sharers: vec![] };
    for (holder, favoured) in [(12, false), (22, true)] {
        assert!(!missing.is_new(peer(holder), &[B256::ZERO]));
        missing.note_holder(peer(holder), favoured);
    }
    let asked = asked_in_turn(&mut missing, &givers, 9);
    assert_eq!(asked, peers(&[1, 22, 20, 21, 12, 10, 11, 13, 1]));
}

/// … also when it sent the list later, or when a peer that was asked is gone.
#[test]
fn no_peer_loses_its_turn_by_what_others_do() {
    let mut missing = following(peer(1), list(vec![B256::ZERO]));
    let of = |favoured: &[u8]| Givers {
        me: peer(7),
        favoured: peers(favoured),
        others: vec![],
        sharers: vec![],
    };
    assert_eq!(asked_in_turn(&mut missing, &of(&[2, 3, 4, 5]), 2), peers(&[1, 2]));
    missing.note_holder(peer(5), true);
    assert_eq!(asked_in_turn(&mut missing, &of(&[2, 3, 4, 5]), 1), peers(&[5]));
    assert_eq!(asked_in_turn(&mut missing, &of(&[3, 4, 5]), 3), peers(&[3, 4, 1]));
}

/// … and a list that is followed again goes on with the next peer.
#[test]
fn a_list_whose_turn_comes_again_is_asked_of_the_next_peer() {
    let mut missing = following(peer(1), list(vec![B256::ZERO]));
    keep(&mut missing, peer(2), false, false_list(2));
    missing.note_holder(peer(4), true);
    let favoured = peers(&[3, 4, 5]);
    let givers = Givers { me: peer(7), favoured, others: vec![], sharers: vec![] };
    assert_eq!(asked_in_turn(&mut missing, &givers, 1), peers(&[1]));
    let mut missing = next_turn(next_turn(missing));
    assert_eq!((missing.sender(), missing.proposed().tx_hashes[0]), (peer(1), B256::ZERO));
    assert_eq!(asked_in_turn(&mut missing, &givers, 2), peers(&[4, 3]));
}

/// Nobody signs how many bytes the transactions have.
#[test]
fn what_a_proposal_says_of_its_bytes_decides_little() {
    let hashes: Vec<B256> = (0..3_000).map(|n: u64| keccak256(n.to_be_bytes())).collect();
    for (bytes, tx_bytes) in
        [(0, TRANSFER_BYTES), (u64::MAX, limits::BLOCK_BYTES_MAX as u64 / 3_000)]
    {
        let missing = following(peer(1), ProposedBlock { bytes, ..list(hashes.clone()) });
        assert_eq!(missing.tx_bytes(), tx_bytes);
    }
}

/// A list of a round that has not begun costs no look-up, and nothing is fetched for it.
#[test]
fn a_list_that_is_kept_for_later_is_asleep_until_it_is_taken_up() {
    let txs = [tx(0), tx(1)];
    let hashes = txs.iter().map(|tx| *tx.tx_hash()).collect();
    let mut missing = MissingTransactions::new(list(hashes), peer(1), Time(0), PROPOSE_WAIT);
    assert!(missing.is_asleep() && !missing.is_whole());
    assert_eq!(missing.retry_due(), None);
    assert!(!missing.on_transactions(&txs, &mut PendingRequests::default()));
    missing.wake(Time(500), |hash| (hash == txs[0].tx_hash()).then(|| txs[0].clone()));
    assert!(!missing.is_asleep() && !missing.is_whole());
    assert!(missing.retry_due().is_some_and(|due| due <= Time(500)), "it waited long enough");
    assert!(missing.on_transactions(&txs[1..], &mut PendingRequests::default()));
}

#[test]
fn a_list_whose_transactions_are_all_here_is_found() {
    let (mut requests, txs) = (PendingRequests::default(), [tx(0), tx(1), tx(2)]);
    let hash = |at: usize| *txs[at].tx_hash();
    let known = |wanted: &B256| (*wanted == hash(2)).then(|| txs[2].clone());
    let mut missing = following(peer(1), list(vec![hash(0), hash(1), B256::repeat_byte(1)]));
    missing.on_transactions(&txs[..2], &mut requests);
    let found = missing.find_all(&[hash(2), hash(0)], known);
    assert_eq!(found, Some(vec![txs[2].clone(), txs[0].clone()]));
    assert_eq!(missing.find_all(&[hash(2), B256::repeat_byte(1)], known), None);
    // It is followed before one that came earlier.
    keep(&mut missing, peer(2), false, false_list(2));
    keep(&mut missing, peer(3), false, list(vec![hash(2), hash(1)]));
    assert_eq!(missing.take_alternate(known).map(|it| it.from), Some(peer(3)));
    missing.follow_whole(
        peer(3),
        list(vec![hash(2), hash(1)]),
        vec![txs[2].clone(), txs[1].clone()],
    );
    assert!(missing.is_whole() && missing.sender() == peer(3));
    assert_eq!(missing.assemble().transactions, [txs[2].clone(), txs[1].clone()]);
}

/// Attack: 30,000 senders were recovered before a list was found to be false.
#[test]
fn of_a_long_list_few_senders_are_recovered_before_its_bytes_prove_it() {
    const MAX: u64 = 1_024;
    let mut requests = PendingRequests::default();
    let mut come = |missing: &mut MissingTransactions, txs: &[Transaction]| {
        let raw = txs.iter().map(|tx| Bytes::from(tx.encoded_2718())).collect();
        give(missing, Time(30), raw, &mut requests)
    };
    let hashes = |txs: &[Transaction]| txs.iter().map(|tx| *tx.tx_hash()).collect::<Vec<_>>();
    let unasked = |_: &Header, _: &[Bytes]| panic!("it is not all here");
    let txs: Vec<Transaction> = (0..MAX + MAX / 2).map(tx).collect();
    let (few, many) = txs.split_at(MAX as usize);
    let mut missing = following(peer(1), list(hashes(&txs)));
    keep(&mut missing, peer(2), false, list([hashes(&txs[1..]), hashes(&txs[..1])].concat()));
    keep(&mut missing, peer(3), false, list(hashes(&txs[2..])));
    come(&mut missing, few);
    assert_eq!(missing.take_due(unasked).map(|due| due.named.len()), Some(few.len()));
    come(&mut missing, many);
    assert_eq!(missing.take_due(unasked), Some(Due::default()));
    // The workers are done.
    assert!(!missing.is_all_here());
    missing.on_transactions(few, &mut PendingRequests::default());
    assert!(missing.is_all_here());
    let body = |of: &[Transaction]| -> Vec<Bytes> {
        of.iter().map(|tx| Bytes::from(tx.encoded_2718())).collect()
    };
    assert_eq!(missing.take_due(|_, raw| raw != body(&txs)), None, "it is false");
    // What came for it proves the next, or shows that it is false, too: no more is recovered.
    let mut missing = next_turn(missing);
    assert_eq!((missing.sender(), missing.is_all_here()), (peer(2), true));
    let givers = Givers { me: peer(7), favoured: peers(&[1, 2]), others: vec![], sharers: vec![] };
    let mut effects = Effects::default();
    missing.share_out(Time(30), &givers, |_| false);
    assert_eq!(missing.ask(Time(30), |_| false, &mut effects), []);
    assert_eq!(missing.take_due(|_, raw| raw == body(&txs)), None);
    let mut missing = next_turn(missing);
    let due = missing.take_due(|_, raw| raw == body(&txs[2..])).unwrap();
    assert_eq!(due.named.iter().collect::<BTreeSet<_>>(), body(many).iter().collect());
    assert!(missing.on_transactions(many, &mut PendingRequests::default()));
}

/// Attack: the transactions of a false list wait when few prove the true one; or some of them come
/// late, and are none.
#[test]
fn what_came_for_other_lists_is_neither_recovered_nor_held_against_a_true_one() {
    let mut requests = PendingRequests::default();
    let txs: Vec<Transaction> = (0..1_100).map(tx).collect();
    let raw = |tx: &Transaction| Bytes::from(tx.encoded_2718());
    let hashes = |txs: &[Transaction]| txs.iter().map(|tx| *tx.tx_hash()).collect::<Vec<_>>();
    let (own, others) = txs.split_at(10);
    let mut missing = following(peer(1), list([hashes(others), vec![B256::ZERO]].concat()));
    keep(&mut missing, peer(2), false, list(hashes(own)));
    give(&mut missing, Time(30), others.iter().map(raw).collect(), &mut requests);
    let mut missing = next_turn(missing);
    give(&mut missing, Time(60), own.iter().map(raw).collect(), &mut requests);
    let due = missing.take_due(|_, _| true).unwrap();
    assert_eq!((due.named.len(), due.late.len()), (10, 0));

    let mut missing = following(peer(1), list(hashes(others)));
    keep(&mut missing, peer(2), false, list(hashes(own)));
    let givers = Givers { me: peer(7), favoured: peers(&[1]), others: vec![], sharers: vec![] };
    missing.share_out(Time(30), &givers, |_| false);
    missing.ask(Time(30), |_| false, &mut Effects::default());
    let mut missing = next_turn(missing);
    give(&mut missing, Time(60), vec![raw(&own[0]), raw(&others[0])], &mut requests);
    let due = missing.take_due(|_, _| false).unwrap();
    assert_eq!((due.named, due.late), (vec![raw(&own[0])], vec![raw(&others[0])]));
}

/// Attack: 8 MiB of authorisations (EIP-7702) took 80 MiB when they were decoded.
#[test]
fn a_list_of_more_gas_than_a_block_has_is_over() {
    const GAS: u64 = 30_000_000;
    let authorisations = |n: u8| {
        let mut body = vec![0x80; 8];
        body.push(0xc0); // Accesses nothing.
        alloy_rlp::Header { list: true, payload_length: 100_000 }.encode(&mut body);
        body.resize(body.len() + 100_000, n);
        let mut raw = vec![4];
        alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut raw);
        Bytes::from([raw, body].concat())
    };
    let txs = [1, 2, 3].map(authorisations);
    let mut missing = following(peer(1), list(txs.iter().map(keccak256).collect()));
    let mut requests = PendingRequests::default();
    for (n, raw) in txs.iter().enumerate() {
        // Said twice it counts once.
        let came = missing.missing_of(vec![raw.clone(), raw.clone()]);
        assert_eq!(missing.is_over(&came, GAS), n == 2);
        assert!(!missing.is_over(&came, 2 * GAS));
        missing.on_answer(Time(30), peer(1), came, &mut requests);
    }
}
