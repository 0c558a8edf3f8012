//! Messages to a peer that wait until it may be sent them: this node keeps to half of the rates
//! to which it holds its peers, so that it is never blamed by them.
//!
//! What always holds: messages about one resource keep their order, as far as one says something
//! of another; news that waits is one message, however much comes to it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use trefoil_content::{
    News,
    message_rule::{ASK, FIND, NEWS, REFUSE, SwarmMessageRule, UNASK},
};

use crate::message_rates::MessageRates;

/// How a message with a resource begins: its type and the resource's name.
const HEAD_BYTES: usize = 1 + 32;

// A peer that sought a thousand files must not wait with its requests for pieces, nor those with
// them. All others are in order: news of a resource is heard by those only that were offered it.
/// Which messages keep their order: Finds, requests with their refusals, and all others.
const LANES: usize = 3;

const fn lane(index: usize) -> usize {
    match index {
        FIND => 1,
        ASK | UNASK | REFUSE => 2,
        _ => 0,
    }
}

/// The body of a frame, and the bytes that it counts for while it waits.
type WaitingBody = (Vec<u8>, usize);

#[derive(Debug)]
enum Queued {
    Message(WaitingBody),
    /// The news that waits, of the resource of this name.
    News([u8; 32]),
}

#[derive(Debug)]
pub struct Outbox {
    lanes: [VecDeque<Queued>; LANES],
    news: BTreeMap<[u8; 32], WaitingBody>,
    rates: MessageRates,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { lanes: Default::default(), news: BTreeMap::new(), rates: MessageRates::sent() }
    }
}

impl Outbox {
    /// Adds the body of a message, which counts for `bytes`. How many bytes need not wait any
    /// more: news is joined to that which waits.
    #[must_use]
    pub fn push(&mut self, body: Vec<u8>, bytes: usize) -> usize {
        let index = SwarmMessageRule::index(&body).expect("this node made it");
        let mut queued = |what| self.lanes[lane(index)].push_back(what);
        if index != NEWS {
            queued(Queued::Message((body, bytes)));
            return 0;
        }
        let resource = resource(&body);
        let Some((waits, held)) = self.news.get_mut(&resource) else {
            self.news.insert(resource, (body, bytes));
            queued(Queued::News(resource));
            return 0;
        };
        let decode = |body: &[u8]| News::decode(&body[HEAD_BYTES..], u32::MAX);
        let joined = decode(&waits[..]).and_then(|before| Ok(before.then(decode(&body[..])?)));
        waits.truncate(HEAD_BYTES);
        waits.extend(joined.expect("this node made both").encode());
        let before = *held + bytes;
        *held = before.min(bytes.saturating_sub(body.len()) + waits.len());
        before - *held
    }

    /// Takes the next message that may go now, and the bytes that it counted for.
    ///
    /// # Errors
    /// None may, for so long; `None`: there is none.
    pub fn next(&mut self, now: Instant) -> Result<WaitingBody, Option<Duration>> {
        let mut soonest = None;
        for lane in 0..LANES {
            let body = match self.lanes[lane].front() {
                Some(Queued::Message((body, _))) => body,
                Some(Queued::News(resource)) => &self.news[resource].0,
                None => continue,
            };
            if let Err(early) = self.rates.take(body, now) {
                soonest = Some(soonest.map_or(early, |soonest: Duration| soonest.min(early)));
                continue;
            }
            return Ok(match self.lanes[lane].pop_front().expect("looked at above") {
                Queued::Message(waiting) => waiting,
                Queued::News(resource) => self.news.remove(&resource).expect("it waits"),
            });
        }
        Err(soonest)
    }
}

fn resource(body: &[u8]) -> [u8; 32] {
    body[1..HEAD_BYTES].try_into().expect("news begins with its resource")
}

#[cfg(test)]
mod tests {
    use trefoil_content::{
        message::{ContentFrame, SwarmMessage},
        message_rule::RULES,
        scheduler::{RejectReason, Resource, Ticket},
    };

    use super::*;

    fn all(n: u8) -> [SwarmMessage; 10] {
        let (resource, ticket) = (Resource([n; 32]), Ticket(n.into()));
        let news = News { have: std::iter::once(0..1).collect(), ..News::default() }.encode();
        [
            SwarmMessage::Find { resource },
            SwarmMessage::Offer { resource, size: 1, origin: false, proof: vec![] },
            SwarmMessage::News { resource, news },
            SwarmMessage::Choke { resource, choked: true },
            SwarmMessage::Ask { resource, ticket, piece: 0, from: 0 },
            SwarmMessage::Unask { resource, ticket },
            SwarmMessage::Refuse { resource, ticket, why: RejectReason::Missing },
            SwarmMessage::Others { resource, others: vec![] },
            SwarmMessage::Origins { resource, origins: vec![] },
            SwarmMessage::Snapshot { resource, height: 1 },
        ]
    }

    /// As many small files as there are, and a line on which what was sent waits for a second now
    /// and then.
    #[test]
    fn nobody_is_blamed_for_what_it_had_to_say() {
        for message in all(1) {
            for pause in [0, 1] {
                let (mut outbox, start) = (Outbox::default(), Instant::now());
                let mut peer = MessageRates::default();
                let index = SwarmMessageRule::index(&message.encode()).unwrap();
                for n in 0..2 * RULES[index].burst {
                    let mut body = message.encode();
                    // Of different resources, so that news stays apart.
                    body[1..5].copy_from_slice(&n.to_be_bytes());
                    assert_eq!(outbox.push(body, 100), 0);
                }
                let (mut sent, mut now) = (0, start);
                let mut line = Vec::new();
                loop {
                    let wait = match outbox.next(now) {
                        Ok((body, bytes)) => {
                            assert_eq!(bytes, 100);
                            line.push(body);
                            continue;
                        }
                        Err(wait) => wait,
                    };
                    if (now - start).as_secs() % (pause + 1) == pause || wait.is_none() {
                        sent += line.len();
                        for body in line.drain(..) {
                            assert_eq!(peer.take(&body, now), Ok(()), "{message:?}, {pause} s");
                        }
                    }
                    let Some(wait) = wait else { break };
                    now += wait;
                }
                assert_eq!(sent, 2 * RULES[index].burst as usize, "{message:?}: nothing is lost");
            }
        }
    }

    #[test]
    fn requests_do_not_wait_for_finds_and_news_waits_for_its_offer() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let [find, offer, news, _, ask, ..] = all(1).map(|message| message.encode());
        let (_, finds) = RULES[FIND].sent();
        let offers = RULES[1].sent().1;
        let mut push = |body: &Vec<u8>| assert_eq!(outbox.push(body.clone(), 1), 0);
        (0..=finds).for_each(|_| push(&find));
        (0..=offers).for_each(|_| push(&offer));
        push(&news);
        push(&ask);
        let gone: Vec<u8> =
            std::iter::from_fn(|| outbox.next(now).ok().map(|(body, _)| body[0])).collect();
        let count = |first: u8| gone.iter().filter(|kind| **kind == first).count() as u32;
        assert_eq!(
            [count(find[0]), count(offer[0]), count(news[0]), count(ask[0])],
            [finds, offers, 0, 1]
        );
        let wait = outbox.next(now).unwrap_err().unwrap();
        assert_eq!(outbox.next(now + wait).unwrap().0, offer);
        assert_eq!(outbox.next(now + wait).unwrap().0, news);
    }

    #[test]
    fn news_that_waits_is_one_message() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let resource = Resource([1; 32]);
        let news = |piece: u32| {
            let news =
                News { have: std::iter::once(piece..piece + 1).collect(), ..News::default() }
                    .encode();
            SwarmMessage::News { resource, news }.encode()
        };
        let mut waits = 0;
        for piece in 0..1_000 {
            let body = news(piece);
            let bytes = 40 + body.len();
            waits += bytes;
            waits -= outbox.push(body, bytes);
        }
        assert!(waits < 200, "{waits} bytes");
        let (body, bytes) = outbox.next(now).unwrap();
        assert_eq!(bytes, waits);
        let have = News { have: std::iter::once(0..1_000).collect(), ..News::default() }.encode();
        let whole = SwarmMessage::News { resource, news: have };
        assert_eq!(ContentFrame::decode(&body), Ok(ContentFrame::Message(whole)));
        assert_eq!(outbox.next(now), Err(None));
    }
}
