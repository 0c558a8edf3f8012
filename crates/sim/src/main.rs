//! `trefoil-sim`: seeds, scenarios and injected bugs from the command line.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use clap::{Parser, ValueEnum};
use trefoil_sim::{
    FaultClass, InjectedBug, RunResult, SimPlan, actions, failover, name_of, random, run,
    run_twice, scenario, twins,
};

/// Runs clusters of the whole node in virtual time, under faults, before judges.
///
/// A seed is a course of faults; the same seed is the same course, always.
#[derive(Parser)]
#[command(name = "trefoil-sim", version)]
struct Args {
    /// Run this seed only.
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only these classes of faults: wire, partition, reset, crash, full, skew,
    /// slow, byzantine.
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = fault)]
    faults: Option<Vec<FaultClass>>,
    /// Schedules of twins instead: validators that run on two machines each, and a partition in
    /// each step.
    #[arg(long, conflicts_with_all = ["failovers", "faults", "scenario"])]
    twins: bool,
    /// Run a named scenario (see --list), or `all`.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Run failovers: in each seed one seat's machine after the other goes away, and its standby
    /// takes over.
    #[arg(long, conflicts_with_all = ["plant", "faults", "scenario"])]
    failovers: bool,
    /// Run seeds in which every role calls the system contracts by chance.
    #[arg(long, conflicts_with_all = ["plant", "faults", "scenario", "failovers", "twins"])]
    actions: bool,
    /// Print each step; for one plan.
    #[arg(long)]
    trace: bool,
    /// Plant a bug, to see that it is found (see --list).
    #[arg(long, value_name = "BUG", value_parser = bug)]
    plant: Option<InjectedBug>,
    /// List the scenarios and the bugs that can be planted.
    #[arg(long)]
    list: bool,
}

fn fault(text: &str) -> Result<FaultClass, String> {
    find("fault", text)
}

fn bug(text: &str) -> Result<InjectedBug, String> {
    find("bug", text)
}

fn find<T: ValueEnum>(kind: &str, text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let names: Vec<String> = T::value_variants().iter().map(name_of).collect();
        format!("no {kind} is called {text:?}; use {}", names.join(", "))
    })
}

/// Seeds that failed once, one a line; `#` begins a comment.
const SEEDS: &str = include_str!("../seeds.txt");

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        list();
        return ExitCode::SUCCESS;
    }
    let plans = match plans(&args) {
        Ok(plans) => plans,
        Err(text) => {
            eprintln!("trefoil-sim: {text}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let failed = if args.trace {
        plans.iter().filter(|plan| !print_result(plan, &run((*plan).clone(), true), &args)).count()
    } else {
        run_all(&plans, &args)
    };
    eprintln!("{:.1} s", begun.elapsed().as_secs_f64());
    println!("{} passed, {failed} failed", plans.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() {
    println!("scenarios:");
    for scenario in &scenario::ALL {
        println!("  {:<18} {}", scenario.name, scenario.about);
    }
    println!("bugs:");
    for bug in InjectedBug::value_variants() {
        println!("  {bug}");
    }
}

fn plans(args: &Args) -> Result<Vec<SimPlan>, String> {
    let seeds = match args.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => args.from..args.from.saturating_add(args.seeds),
    };
    if let Some(name) = &args.scenario {
        let seed = args.seed.unwrap_or(1);
        if name == "all" {
            return Ok(scenario::ALL.iter().map(|scenario| scenario.plan(seed)).collect());
        }
        let found = scenario::find(name);
        let found = found.ok_or_else(|| format!("no scenario is called {name:?}; see --list"))?;
        return Ok(vec![found.plan(seed)]);
    }
    if args.failovers {
        return Ok(seeds.map(failover::plan).collect());
    }
    if args.actions {
        return Ok(seeds.map(actions::plan).collect());
    }
    if args.twins {
        let schedule = |seed| SimPlan { bug: args.plant, ..twins::plan(seed) };
        return Ok(seeds.map(schedule).collect());
    }
    if let Some(plant) = args.plant {
        return Ok(seeds.map(|seed| plant.plan(seed)).collect());
    }
    let faults = args.faults.as_deref().unwrap_or(FaultClass::value_variants());
    // Seeds that failed once always run, unless something narrower was asked for.
    let old = if args.seed.is_none() && args.faults.is_none() { old_seeds()? } else { vec![] };
    Ok(old.into_iter().chain(seeds).map(|seed| random::plan(seed, faults)).collect())
}

fn old_seeds() -> Result<Vec<u64>, String> {
    let lines = SEEDS.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| line.parse().map_err(|_| format!("seeds.txt: {line:?}"))).collect()
}

/// Runs plans on every core and reports them in their order; how many failed.
fn run_all(plans: &[SimPlan], args: &Args) -> usize {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((BTreeMap::new(), 0, 0));
    let seen = Mutex::new(BTreeMap::<&str, u64>::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(plans.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(plan) = plans.get(at) else { break };
                    // Of these there are thousands, and tests compare some with themselves.
                    let once = args.twins || args.failovers || args.actions;
                    let run = if once { |plan| run(plan, false) } else { run_twice };
                    let verdict = run(plan.clone());
                    for (what, times) in &verdict.coverage {
                        *seen.lock().expect("no panics here").entry(what).or_default() += times;
                    }
                    let (waiting, reported, failed) = &mut *done.lock().expect("no panics here");
                    // Reported in the order of the seeds, whichever core was first: two runs print
                    // the same, so that a diff of them shows what changed.
                    waiting.insert(at, verdict);
                    while let Some(verdict) = waiting.remove(reported) {
                        *failed += usize::from(!print_result(&plans[*reported], &verdict, args));
                        *reported += 1;
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().expect("no panics here");
    let seen: Vec<_> = seen.iter().map(|(what, times)| format!("{times} {what}")).collect();
    println!("seen: {}", seen.join(", "));
    done.into_inner().expect("no panics here").2
}

/// Prints the result of a plan; whether it passed.
fn print_result(plan: &SimPlan, verdict: &RunResult, args: &Args) -> bool {
    let RunResult { violation, height, txs, steps, .. } = verdict;
    let title = format!("{} {}", plan.name, plan.seed);
    let size = format!("{height} blocks, {txs} transactions, {steps} steps");
    let Some(violation) = violation else {
        if plan.name != "random" && !args.twins && !args.failovers && !args.actions {
            println!("{title}: passed, {size}");
        }
        return true;
    };
    let twins = if args.twins { " --twins" } else { "" };
    let how = match (&args.scenario, &args.plant, &args.faults) {
        (Some(_), _, _) => format!(" --scenario {}", plan.name),
        _ if args.failovers => " --failovers".into(),
        _ if args.actions => " --actions".into(),
        (_, Some(plant), _) => format!(" --plant {plant}"),
        (_, _, Some(faults)) => {
            format!(" --faults {}", faults.iter().map(name_of).collect::<Vec<_>>().join(","))
        }
        _ => String::new(),
    };
    println!("{title}: FAILED after {size}");
    println!("  {violation}");
    println!("  {} validators, {} full nodes, {:?}", plan.validators, plan.full_nodes, plan.vices);
    println!("  see it: trefoil-sim {}{twins}{how} --trace", plan.seed);
    false
}
