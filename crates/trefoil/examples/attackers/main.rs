//! Attacks on the nodes of a real devnet, which this program starts itself (`$TREFOIL`, or the
//! `trefoil` beside the examples), and what they cost:
//!
//!     cargo build --release -p trefoil --bin trefoil --example attackers
//!     target/release/examples/attackers --list
//!     target/release/examples/attackers --kind public|member [MANNER…]      all, or those named
//!     target/release/examples/attackers --kind public|member --small        CI: a moment of each
//!
//! For each manner: a calm span, then an attacked one. Printed are the gaps between blocks (of
//! the node that is attacked, and of a witness), memory, processor time, answers, bytes and bans.
//! Exits with 1 if a bound of issue 15 does not hold (`verdict.rs`), a node ends, an honest node
//! is banned, or a node does what it must not do. `--seconds` and `--attackers` change the spans
//! and the crowds; on a busy machine the gaps of calm spans tell how far to believe the rest.

mod arena;
mod certificates;
mod content;
mod crowd;
mod devnet;
mod discovery;
mod frames;
mod gateway;
mod http;
mod membership;
mod messages;
mod peer;
mod requests;
mod rpc;
mod transactions;
mod verdict;
mod watch;
mod wire;

use std::{io, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use arena::{Arena, Manner};
use clap::{Parser, ValueEnum};
use crowd::{Crowd, HalfCore};
use devnet::Devnet;
use tokio::time::{Instant, sleep};
use trefoil_types::spec::Kind;
use verdict::Verdict;
use watch::{Figures, Offenders, Watch};

/// The families, the peers' first.
const PEERS: [&[Manner]; 7] = [
    certificates::MANNERS,
    messages::MANNERS,
    requests::MANNERS,
    transactions::MANNERS,
    frames::MANNERS,
    content::MANNERS,
    discovery::MANNERS,
];
const CALLERS: [&[Manner]; 2] = [rpc::MANNERS, gateway::MANNERS];

/// 128 peers, 200 callers and 5,000 silent connections, of all manners at once.
const ALL_AT_ONCE: Manner = Manner {
    name: "all-at-once",
    row: "all",
    what: "128 peers of all manners, 200 callers, and 5,000 silent connections to the RPC",
    crowd: 128 + 200 + 5_000,
    seconds_min: 5,
    attack: |arena, n| Box::pin(one_of_all(arena, n)),
    ..Manner::USUAL
};

/// In CI: how many attackers of a manner, and how many manners at a time.
const SMALL_CROWD: usize = 2;
const SMALL_GROUP: usize = 5;

#[derive(Clone, Copy, ValueEnum)]
enum KindName {
    Public,
    Member,
}

#[derive(Parser)]
#[command(about = "Attack the nodes of a devnet, and measure what it costs them")]
struct Args {
    /// Manners, by name; without them, all
    manners: Vec<String>,
    #[arg(long, value_enum, default_value = "public")]
    kind: KindName,
    /// Print every manner and end
    #[arg(long)]
    list: bool,
    /// A moment of each manner, with few attackers
    #[arg(long)]
    small: bool,
    /// How long each is watched, calm and then attacked
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// How many attackers, whatever the manner says
    #[arg(long)]
    attackers: Option<usize>,
    /// Where the devnet is made anew [default: a directory that is removed]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The attackers' own process
    #[arg(long, hide = true, num_args = 2)]
    attack: Option<Vec<String>>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.attack {
        Some(words) => attack(&words[0], &words[1]).await.map(|()| true),
        None if args.list => {
            for manner in all() {
                println!("{:28} {:3} {}", manner.name, manner.row, manner.what);
            }
            Ok(true)
        }
        None => run(&args).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("BROKEN: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every manner there is.
fn all() -> impl Iterator<Item = &'static Manner> {
    let families = PEERS.into_iter().chain([membership::MANNERS]).chain(CALLERS);
    families.flatten().chain([&ALL_AT_ONCE])
}

fn find(name: &str) -> io::Result<&'static Manner> {
    let found = all().find(|manner| manner.name == name);
    found.ok_or_else(|| io::Error::other(format!("no manner {name:?}; --list prints them")))
}

async fn attack(names: &str, crowd: &str) -> io::Result<()> {
    let manners: Vec<_> = names.split(',').map(find).collect::<io::Result<_>>()?;
    crowd::attack(&manners, crowd.parse().map_err(io::Error::other)?).await
}

/// The `n`th of a crowd of all manners.
async fn one_of_all(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let of = |families: &[&'static [Manner]], n: usize| {
        let fits = |manner: &&Manner| manner.networks.include(arena.target.kind);
        let manners: Vec<_> = families.iter().copied().flatten().filter(fits).collect();
        manners[n % manners.len()].attack
    };
    let attack = match n {
        0..128 => of(&PEERS, n),
        128..328 => of(&CALLERS, n),
        _ => rpc::MANNERS[0].attack,
    };
    attack(arena, n).await
}

/// What a run is made of.
struct Run {
    devnet: Devnet,
    watch: Watch,
    core: HalfCore,
    /// The victim's memory before anything was done to it.
    idle_bytes: u64,
    broken: Vec<String>,
}

/// Whether all bounds held.
async fn run(args: &Args) -> io::Result<bool> {
    let kind = match args.kind {
        KindName::Public => Kind::Public,
        KindName::Member => Kind::Consortium,
    };
    let mut manners: Vec<&Manner> = match &args.manners[..] {
        [] => all().collect(),
        names => names.iter().map(|name| find(name)).collect::<io::Result<_>>()?,
    };
    manners.retain(|manner| manner.networks.include(kind));
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().into());
    let devnet = Devnet::start(&devnet::program(), &dir, kind).await?;
    let watch = Watch::start(&devnet.target, devnet.victim());
    let (core, idle_bytes) = (HalfCore::make(), watch.resident());
    println!("attackers run at {}", core.describe());
    let mut run = Run { devnet, watch, core, idle_bytes, broken: vec![] };
    let ended =
        if args.small { run.small(&manners).await } else { run.whole(&manners, args).await };
    run.devnet.stop().await;
    if let Err(error) = ended {
        run.broken.push(error.to_string());
    }
    println!("{} manners, {} bounds broken", manners.len(), run.broken.len());
    run.broken.iter().for_each(|what| println!("BROKEN: {what}"));
    Ok(run.broken.is_empty())
}

impl Run {
    /// Each manner beside a calm span of its own.
    async fn whole(&mut self, manners: &[&Manner], args: &Args) -> io::Result<()> {
        for manner in manners {
            let calm = self.calm(Duration::from_secs_f64(args.seconds)).await?;
            let crowd = args.attackers.unwrap_or(manner.crowd);
            self.one(&[manner], crowd, args.seconds, &calm, true).await?;
        }
        Ok(())
    }

    /// A moment of each after one calm span, some at a time; the gaps of all moments are printed
    /// together, as one moment has no block or two.
    async fn small(&mut self, manners: &[&Manner]) -> io::Result<()> {
        let calm = self.calm(Duration::from_secs(6)).await?;
        let (begun, mut together) = (Instant::now(), Figures::default());
        let mut manners = manners.to_vec();
        // Those that take long share their time.
        manners.sort_by_key(|manner| (manner.row == "all", manner.seconds_min));
        let (all_at_once, each): (Vec<_>, Vec<_>) =
            manners.into_iter().partition(|manner| manner.row == "all");
        let groups = each.chunks(SMALL_GROUP).map(|group| (group, SMALL_CROWD));
        for (group, crowd) in groups.chain([(&all_at_once[..], 128 + 200)]) {
            if !group.is_empty() {
                together.add(self.one(group, crowd, 1.0, &calm, false).await?);
            }
        }
        let verdict = Verdict {
            title: "all moments together".into(),
            is_silent: false,
            crowd: SMALL_CROWD,
            seconds: begun.elapsed().as_secs_f64(),
            idle_bytes: self.idle_bytes,
            calm: &calm,
            attacked: &together,
            bans: Default::default(),
            attackers: vec![],
            judges_times: false,
        };
        verdict.print();
        Ok(())
    }

    async fn calm(&mut self, span: Duration) -> io::Result<Figures> {
        let mark = self.watch.mark();
        sleep(span).await;
        self.devnet.check()?;
        Ok(self.watch.since(mark))
    }

    /// One attack, of a manner or of several at once, its figures printed and judged.
    async fn one(
        &mut self,
        manners: &[&Manner],
        crowd: usize,
        seconds: f64,
        calm: &Figures,
        judges_times: bool,
    ) -> io::Result<Figures> {
        let seconds_min = manners.iter().map(|manner| manner.seconds_min).max().unwrap_or(0);
        let seconds = seconds.max(seconds_min as f64);
        let before = Offenders::of(&self.devnet.target).await;
        let mark = self.watch.mark();
        let attackers = Crowd::start(&self.devnet.target, manners, crowd, &self.core).await?;
        sleep(Duration::from_secs_f64(seconds)).await;
        let attacked = self.watch.since(mark);
        let (attackers, broken) = attackers.end().await?;
        let after = Offenders::of(&self.devnet.target).await;
        let names: Vec<&str> = manners.iter().map(|manner| manner.name).collect();
        let names = names.join(" + ");
        let title = match manners {
            [one] => format!("{names} ({}): {}", one.row, one.what),
            _ => names.clone(),
        };
        let verdict = Verdict {
            title,
            // Two silent connections in CI show nothing.
            is_silent: matches!(manners, [one] if one.is_silent),
            crowd: crowd * manners.len(),
            seconds,
            idle_bytes: self.idle_bytes,
            calm,
            attacked: &attacked,
            bans: after.new_bans(&before),
            attackers,
            judges_times,
        };
        verdict.print();
        let bounds = verdict.broken().into_iter().chain(broken);
        let bounds: Vec<_> = bounds.chain(after.banned_nodes(&self.devnet.target)).collect();
        for what in &bounds {
            println!("   BROKEN: {what}");
        }
        self.broken.extend(bounds.iter().map(|what| format!("{names}: {what}")));
        self.devnet.check().map_err(|error| io::Error::other(format!("{names}: {error}")))?;
        Ok(attacked)
    }
}
