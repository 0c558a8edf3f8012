#!/usr/bin/env python3
"""Runs Trefoil and the other clients in turn in the rig of ../shared/bench/swarm.

  bench/swarm/run.py                  every case of docs/content.md, Trefoil only
  bench/swarm/run.py --peers          with the other clients that are installed, in the same run
  bench/swarm/run.py --reps 3 --n 8 -- --rtt 20     one case; what follows -- goes to the rig

Linux, root, iproute2. The rig is looked for in ../shared/bench/swarm or $TREFOIL_RIG; the binary in
target/release or $TREFOIL.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RIG = pathlib.Path(os.environ.get("TREFOIL_RIG", ROOT.parent / "shared/bench/swarm"))
# Adapter of the rig, and the program without which it cannot run.
PEERS = {"http": "nginx", "aria2-seed": "aria2c", "aria2": "aria2c", "transmission": "transmission-daemon"}
CASES = [
    ["--n", "4"],
    ["--n", "8"],
    ["--n", "16"],
    ["--n", "8", "--churn"],
    ["--n", "8", "--origin-dies", "1.2"],
    ["--n", "8", "--rtt", "20"],
    ["--n", "8", "--up", "25", "--rate", "100"],
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="the other clients too")
    parser.add_argument("--reps", default="1")
    parser.add_argument("--n", help="clients: one case only")
    parser.add_argument("--results", default="/tmp/trefoil-swarm.jsonl")
    parser.add_argument("rig", nargs="*", help="options of the rig, after --")
    options = parser.parse_args()
    if not (RIG / "swarmrig.py").exists():
        sys.exit(f"no rig at {RIG}: set TREFOIL_RIG")
    binary = os.environ.setdefault("TREFOIL", str(ROOT / "target/release/trefoil"))
    if not os.access(binary, os.X_OK):
        sys.exit(f"no binary at {binary}: cargo build --release -p trefoil, or set TREFOIL")
    adapters = [HERE / "trefoil.json"]
    if options.peers:
        there = {name for name, program in PEERS.items() if shutil.which(program)}
        print("not installed, so not run:", ", ".join(sorted(set(PEERS) - there)) or "none", flush=True)
        adapters += [RIG / f"adapters/{name}.json" for name in sorted(there)]
    cases = [["--n", options.n, *options.rig]] if options.n else [[*case, *options.rig] for case in CASES]
    for case in cases:
        print("rig", *case, flush=True)
        command = [sys.executable, RIG / "swarmrig.py", "bench", "--reps", options.reps, "--results", options.results]
        if "--rate" not in case:
            command += ["--rate", "50"]
        for adapter in adapters:
            command += ["--adapter", adapter]
        subprocess.run([*map(str, command), *case], check=True)


main()
