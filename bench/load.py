#!/usr/bin/env python3
"""Sustained load on four validators, beside anvil and the machine's bound, in one run.

    bench/load.py [--seconds 60] [--kind transfer|erc20]

Runs the load example (the same binary, the same flags) against anvil, then
against a `trefoil devnet` of four nodes, all on this machine; then once more
against trefoil at half the rate that it sustained, for the latency.
Needs `clients/install` and `cargo build --release --workspace --bins --examples`.
"""
import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "clients"))
from run import Devnet, free_port_base, request  # noqa: E402

TARGET = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
NODES = 4
CORES = os.cpu_count()


def load(urls, txs, kind, rate=None):
    command = [f"{TARGET}/release/examples/load", "--rpc", ",".join(urls), "--txs", str(txs),
               "--kind", kind] + (["--rate", str(rate)] if rate else [])
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False)
    print("  " + done.stdout.strip().replace("\n", "\n  "), flush=True)
    if done.returncode:
        sys.exit("FAILED: not everything was included")
    number = lambda pattern: float(re.search(pattern, done.stdout).group(1))
    return {"rate": number(r"rate +(\d+)"), "p99": number(r"p99 (\d+) ms"),
            "recoveries": number(r"recoveries +(\d+)")}


def anvil(txs, kind):
    port = free_port_base(1)
    binary = next((ROOT / "clients/node_modules/@foundry-rs").glob("anvil-linux-*/bin/anvil"))
    process = subprocess.Popen([binary, "--silent", "--chain-id", "7331", "--block-time", "0.5",
                                "--gas-limit", "200000000", "--port", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                request(url, "eth_chainId")
                break
            except OSError:
                time.sleep(0.1)
        return load([url], txs, kind)
    finally:
        process.terminate()
        process.wait()


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--seconds", type=int, default=60)
    args.add_argument("--kind", choices=["transfer", "erc20"], default="transfer")
    args = args.parse_args()

    print(f"anvil, one node, {args.kind}:", flush=True)
    theirs = anvil(20_000, args.kind)
    devnet = Devnet()
    urls = [f"http://127.0.0.1:{devnet.base + i}" for i in range(NODES)]
    print(f"trefoil, {NODES} validators, {args.kind}, to find the rate:", flush=True)
    first = load(urls, 30_000, args.kind)
    print(f"trefoil, sustained for about {args.seconds} s:", flush=True)
    ours = load(urls, int(first["rate"] * args.seconds), args.kind)
    half = int(ours["rate"] / 2)
    print(f"trefoil, at half that rate ({half} a second):", flush=True)
    calm = load(urls, half * min(args.seconds, 30), args.kind, half)
    devnet.stop()

    bound = CORES * ours["recoveries"] / NODES
    print(f"{ours['rate']:.0f} transactions a second on {NODES} validators: "
          f"{ours['rate'] / theirs['rate']:.2f} × anvil's, "
          f"{ours['rate'] / bound:.2f} of the bound of {bound:.0f} "
          f"({CORES} cores × {ours['recoveries']:.0f} recoveries ÷ {NODES}); "
          f"p99 at half the rate {calm['p99']:.0f} ms")


if __name__ == "__main__":
    main()
