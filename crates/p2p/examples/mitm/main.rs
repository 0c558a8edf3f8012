//! A man in the middle of two honest nodes, who may do anything to their bytes
//! and knows all that is public of them; how often is he believed?
//!
//! `cargo run --release -p trefoil-p2p --example mitm [-- --wire clear|member --tries 1000]`
//!
//! Attacks take turns. One is *accepted* when a victim takes the attacker for
//! another, or hands out a byte that the other did not say there. Ends with an
//! error if any is.

mod attacks;
mod exchange;
mod scene;
#[path = "../shared/mod.rs"]
mod shared;
#[path = "../support/mod.rs"]
mod support;

use std::{env, future::Future, io, pin::Pin, process::ExitCode, time::Instant};

use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream};
use scene::{Scene, Wires};

/// Most of a try is waiting.
const AT_ONCE: usize = 16;

type Attack = fn(Scene) -> Pin<Box<dyn Future<Output = io::Result<bool>> + Send>>;

/// Attacks that need to know nothing of what protects a wire.
const ON_ANY_WIRE: [(&str, Attack); 8] = [
    ("answer with another session's answers", |scene| Box::pin(attacks::replay_answers(scene))),
    ("call with another session's words", |scene| Box::pin(attacks::replay_call(scene))),
    ("send a victim its own words", |scene| Box::pin(attacks::reflect(scene))),
    ("cross two sessions", |scene| Box::pin(attacks::splice(scene))),
    ("offer weaker protocols", |scene| Box::pin(attacks::offer_weaker(scene))),
    ("answer with a weaker protocol", |scene| Box::pin(attacks::answer_weaker(scene))),
    ("alter what passes", |scene| Box::pin(attacks::tamper(scene))),
    ("be another honest node", |scene| Box::pin(attacks::pose(scene))),
];

/// Attacks within the key exchange of `/trefoil/clear/1`.
const ON_CLEAR: [(&str, Attack); 5] = [
    ("a victim's key, a made-up signature", |scene| Box::pin(exchange::forged(scene))),
    ("a victim's key and signature, own static key", |scene| Box::pin(exchange::stolen(scene))),
    ("the same, answering a call", |scene| Box::pin(exchange::stolen_answering(scene))),
    ("a victim's static key without its secret", |scene| Box::pin(exchange::claimed(scene))),
    ("clear offered to a node that encrypts", |scene| Box::pin(exchange::offered_clear(scene))),
];

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    let (wires, tries) = arguments();
    let attacks: Vec<_> = match wires {
        Wires::Clear => ON_ANY_WIRE.iter().chain(&ON_CLEAR).collect(),
        Wires::Member => ON_ANY_WIRE.iter().collect(),
    };
    let (start, mut accepted) = (Instant::now(), vec![0; attacks.len()]);
    assert!(attacks::undisturbed(Scene::new(wires)).await?, "the victims are deaf");
    let each = stream::iter(0..tries).map(|number| {
        let at = number % attacks.len();
        (attacks[at].1)(Scene::new(wires)).map_ok(move |taken| (at, taken))
    });
    let mut each = each.buffer_unordered(AT_ONCE);
    while let Some((at, taken)) = each.try_next().await? {
        accepted[at] += usize::from(taken);
    }
    for (at, ((name, _), accepted)) in attacks.iter().zip(&accepted).enumerate() {
        println!("{name:48} {:4} tries {accepted:4} accepted", share(tries, attacks.len(), at));
    }
    let all: usize = accepted.iter().sum();
    println!("{wires:?} wire: {tries} tries, {all} accepted, {:.1?}", start.elapsed());
    Ok(if all == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many of `tries` fell on the attack at `at`.
fn share(tries: usize, attacks: usize, at: usize) -> usize {
    tries / attacks + usize::from(at < tries % attacks)
}

fn arguments() -> (Wires, usize) {
    let (mut wires, mut tries) = (Wires::Clear, 1000);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next().as_deref()) {
            ("--wire", Some("clear")) => wires = Wires::Clear,
            ("--wire", Some("member")) => wires = Wires::Member,
            ("--tries", Some(number)) => tries = number.parse().expect("a whole number"),
            (word, _) => panic!("{word}: --wire clear|member or --tries N"),
        }
    }
    (wires, tries)
}
