//! Plays one swarm in virtual time and prints what came of it:
//! `cargo run --release -p trefoil-content --example swarm -- --clients 8`.

#[path = "../tests/rig/mod.rs"]
mod rig;

use clap::Parser;
use rig::Scenario;
use trefoil_content::scheduler::UploadPolicy;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 8)]
    clients: usize,
    #[arg(long, default_value_t = 128)]
    size_mib: u64,
    /// The bytes are so many files of one directory, all of a size.
    #[arg(long, default_value_t = 1)]
    files: u64,
    /// Mbit/s of each client's uplink.
    #[arg(long, default_value_t = 50)]
    up: u64,
    #[arg(long, default_value_t = 50)]
    down: u64,
    #[arg(long, default_value_t = 50)]
    origin_up: u64,
    /// Milliseconds.
    #[arg(long, default_value_t = 1)]
    rtt: u64,
    /// The origin is an HTTP server with range requests.
    #[arg(long)]
    web: bool,
    /// Tit-for-tat, as in public networks.
    #[arg(long)]
    public: bool,
    #[arg(long, default_value_t = 0)]
    free_riders: usize,
    #[arg(long, default_value_t = 0)]
    poisoners: usize,
    /// Every fourth client is killed at 30 % and comes back 5 s later.
    #[arg(long)]
    churn: bool,
    /// The origin dies after so many hundredths of a copy.
    #[arg(long)]
    origin_dies: Option<u64>,
    /// Each client joins so many milliseconds after the one before.
    #[arg(long, default_value_t = 0)]
    stagger: u64,
    /// Every so many clients have a tenth of the rate.
    #[arg(long, default_value_t = 0)]
    slow_every: usize,
    /// Neighbours of each client; 0: all.
    #[arg(long, default_value_t = 0)]
    degree: usize,
    /// How many clients the origin takes; 0: all.
    #[arg(long, default_value_t = 0)]
    origin_slots: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds from `--seed` on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
}

fn main() {
    let args = Args::parse();
    for seed in args.seed..args.seed + args.seeds {
        let outcome = scenario(&args, seed).run();
        let time = outcome.time.map_or("never".into(), |time| format!("{time:.2} s"));
        println!(
            "seed {seed}: {time}, bound {:.2} s, ratio {:.3}, origin {:.3} copies, wasted {:.4}",
            outcome.bound,
            outcome.ratio(),
            outcome.copies,
            outcome.wasted,
        );
        if args.free_riders + args.poisoners > 0 {
            println!("  bad pieces met: {}", outcome.poisoned);
            println!("  honest: {:?}\n  free riders: {:?}", outcome.honest, outcome.free_riders);
        }
    }
}

fn scenario(args: &Args, seed: u64) -> Scenario {
    Scenario {
        clients: args.clients,
        bytes: args.size_mib << 20,
        files: args.files,
        up: args.up,
        down: args.down,
        origin_up: args.origin_up,
        slow_every: args.slow_every,
        rtt_ms: args.rtt,
        web: args.web,
        upload_policy: if args.public { UploadPolicy::TitForTat } else { UploadPolicy::Fair },
        free_riders: args.free_riders,
        poisoners: args.poisoners,
        churn: args.churn,
        origin_dies: args.origin_dies,
        stagger_ms: args.stagger,
        degree: args.degree,
        origin_slots: args.origin_slots,
        seed,
        ..Scenario::default()
    }
}
