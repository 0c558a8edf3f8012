//! Floods of sockets against one node, on loopback, and what honest newcomers
//! and a standing validator link notice of them.
//!
//!     cargo run --release -p trefoil-p2p --example floods [NEWCOMERS]
//!
//! The victim is a process of its own with 1,024 file descriptors. Attackers
//! and newcomers come from addresses of their own in 127.0.0.0/8. Exits with an
//! error if a figure is missed: 99 % of newcomers connected, 99 % within 1 s,
//! the validator's link never dropped.

mod attack;
mod newcomer;
mod victim;

use std::{net::Ipv4Addr, process::ExitCode, time::Duration};

use tokio::time::sleep;

use attack::{Attack, Says};
use newcomer::{Standing, connect};
use victim::Victim;

/// How long an attack runs before the first newcomer comes.
const HEAD_START: Duration = Duration::from_secs(3);

const NEWCOMERS: usize = 200;

/// The victim's half-open places, in all (`net/src/gate.rs`).
const PENDING_LIMIT: usize = 160;

/// Address `n` of /24 number `net`, both from 0.
fn address(net: usize, n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 10 + (net / 200) as u8, (net % 200) as u8, 1 + n as u8)
}

fn attacks() -> Vec<Attack> {
    let one = vec![address(0, 0)];
    let apart: Vec<_> = (0..64).map(|n| address(n, 0)).collect();
    let together = (0..64).map(|n| address(0, n)).collect();
    let many = (0..600).map(|n| address(n, 0)).collect();
    let attack = |name, sources, each, says| Attack { name, sources, each, says };
    vec![
        attack("calm", vec![], 0, Says::Nothing),
        attack("1,200 sockets from one address", one.clone(), 1200, Says::Nothing),
        attack("the pending limit from one address", one, PENDING_LIMIT, Says::Nothing),
        attack("64 addresses of one /24 × 8", together, 8, Says::Nothing),
        attack("64 addresses of 64 /24 × 8", apart.clone(), 8, Says::Nothing),
        attack("64 × 8, a byte every nine seconds", apart.clone(), 8, Says::AByteEachNineSeconds),
        attack("64 × 8, a good beginning", apart, 8, Says::AGoodBeginning),
        attack(BEYOND, many, 2, Says::AGoodBeginning),
    ]
}

/// More subnets than the victim has half-open places, which only shows what
/// that comes to: no figure is promised.
const BEYOND: &str = "600 addresses of 600 /24 × 2";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "victim") {
        victim::run().await;
        return ExitCode::SUCCESS;
    }
    let newcomers = arguments.first().map_or(NEWCOMERS, |n| n.parse().expect("a number"));
    println!(
        "{:36} {:>9} {:>6} {:>6} {:>6} {:>6} {:>8} {:>7}",
        "attack", "connected", "p50", "p99", "max", "fds", "sockets", "drops"
    );
    let mut missed = false;
    for attack in attacks() {
        missed |= !stand(&attack, newcomers).await;
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs one attack and prints a row; `true` if the figures are met.
async fn stand(attack: &Attack, newcomers: usize) -> bool {
    let victim = Victim::start().await;
    let mut validator = Standing::start(&victim).await;
    let attackers = attack.begin(victim.address);
    sleep(HEAD_START).await;
    let mut times = Vec::new();
    for n in 0..newcomers {
        times.extend(connect(&victim, n).await);
    }
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
    let ms = |time: Option<&Duration>| time.map_or(u128::MAX, Duration::as_millis);
    let drops = validator.drops();
    let p99 = ms(at(99));
    println!(
        "{:36} {:>9} {:>6} {:>6} {:>6} {:>6} {:>8} {:>7}",
        attack.name,
        format!("{}/{newcomers}", times.len()),
        ms(at(50)),
        p99,
        ms(times.last()),
        victim.files(),
        attackers.opened(),
        drops,
    );
    attack.name == BEYOND || times.len() * 100 >= newcomers * 99 && p99 <= 1000 && drops == 0
}
