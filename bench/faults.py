#!/usr/bin/env python3
"""Kills real validators under load and measures how the network comes back.

    bench/faults.py one [--seconds 60]      kill -9 of one of four, restarted after 5 s
    bench/faults.py two [--seconds 60]      kill -9 of two for so long, then restarted
    bench/faults.py all [--times 100]       kill -9 of all four, again and again
    bench/faults.py idle [--seconds 600]    CPU, memory and disk of four idle nodes

Needs `clients/install` and `cargo build --release` done before. Everything runs
on loopback, in a folder of its own that is removed at the end.
A receipt that a client was given is never lost: each one is looked up again,
on every node, after every recovery.
"""
import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "clients/.venv/bin/python3"
if VENV.exists() and not sys.prefix.startswith(str(ROOT / "clients")):
    os.execv(VENV, [str(VENV), *sys.argv])
sys.path.insert(0, str(ROOT / "clients"))
from eth_account import Account  # noqa: E402
from run import Devnet, request  # noqa: E402

NODES = 4
FUNDED = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
RECOVERY_SECONDS_MAX = 60


class Network:
    """Four validators of a devnet's folder, each started and killed by hand."""

    def __init__(self, *flags):
        # An idle chain takes its time for the first block.
        self.devnet = Devnet(*flags, height=0)
        self.devnet.process.send_signal(signal.SIGINT)
        self.devnet.process.wait(timeout=30)
        target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
        self.binary = f"{target}/release/trefoil"
        self.urls = [f"http://127.0.0.1:{self.devnet.base + i}" for i in range(NODES)]
        self.processes = [None] * NODES
        for i in range(NODES):
            self.start(i)
        self.wait_height(0, range(NODES))

    def folder(self, i):
        return Path(self.devnet.dir.name) / f"net/node-{i}"

    def start(self, i):
        log = open(Path(self.devnet.dir.name) / f"node-{i}.out", "a")
        self.processes[i] = subprocess.Popen([self.binary, "run", "--dir", self.folder(i)],
                                             env=os.environ | {"TREFOIL_PASSWORD": "devnet"},
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, i):
        self.processes[i].send_signal(signal.SIGKILL)
        self.processes[i].wait()

    def height(self, i):
        try:
            return int(request(self.urls[i], "eth_blockNumber"), 16)
        except (OSError, ValueError):
            return -1

    def wait_height(self, height, nodes, seconds=RECOVERY_SECONDS_MAX):
        """Seconds until all of `nodes` are at `height`."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if all(self.height(i) >= height for i in nodes):
                return time.monotonic() - start
            time.sleep(0.02)
        for i in nodes:
            print(f"node {i} at height {self.height(i)}", *self.tail(i), sep="\n  ")
        sys.exit(f"FAILED: not at height {height} after {seconds} s")

    def tail(self, i):
        return (Path(self.devnet.dir.name) / f"node-{i}.out").read_text().splitlines()[-8:]

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        codes = [process.wait(timeout=30) for process in self.processes]
        self.devnet.dir.cleanup()
        if any(codes):
            sys.exit(f"FAILED: nodes ended with {codes}")


class Load(threading.Thread):
    """A client that sends transfers for as long as it lives and keeps every
    receipt that it was given; one key, so nonces say what was lost."""

    def __init__(self, network):
        super().__init__(daemon=True)
        self.network, self.running, self.receipts = network, True, {}
        self.account = Account.from_key(FUNDED)
        self.chain_id = int(request(network.urls[0], "eth_chainId"), 16)

    def ask(self, method, *params):
        """Whichever node answers."""
        for i in random.sample(range(NODES), NODES):
            try:
                return request(self.network.urls[i], method, params)
            except (OSError, ValueError, KeyError):
                continue
        return None

    def run(self):
        while self.running:
            nonce = self.ask("eth_getTransactionCount", self.account.address, "latest")
            if nonce is None:
                time.sleep(0.05)
                continue
            batch = [self.sign(int(nonce, 16) + n) for n in range(20)]
            for tx in batch:
                self.ask("eth_sendRawTransaction", "0x" + tx.raw_transaction.hex().removeprefix("0x"))
            wanted = {"0x" + tx.hash.hex().removeprefix("0x") for tx in batch}
            until = time.monotonic() + 3
            while wanted and time.monotonic() < until and self.running:
                for hash_ in list(wanted):
                    receipt = self.ask("eth_getTransactionReceipt", hash_)
                    if receipt:
                        self.receipts[hash_] = receipt["blockHash"]
                        wanted.discard(hash_)
                time.sleep(0.05)

    def sign(self, nonce):
        return self.account.sign_transaction({
            "to": "0x000000000000000000000000000000000000dEaD", "value": 1, "nonce": nonce,
            "gas": 21000, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**6,
            "chainId": self.chain_id, "type": 2})

    def check(self, known=frozenset()):
        """Every receipt given so far is still served, the same, by every node."""
        given = {h: b for h, b in list(self.receipts.items()) if h not in known}
        for url in self.network.urls:
            for hash_, block in given.items():
                receipt = request(url, "eth_getTransactionReceipt", (hash_,))
                if not receipt or receipt["blockHash"] != block:
                    sys.exit(f"FAILED: receipt of {hash_} in block {block} is now {receipt} at {url}")
        return set(given)


def equal_roots(network):
    height = min(network.height(i) for i in range(NODES))
    blocks = [request(url, "eth_getBlockByNumber", (hex(height), False)) for url in network.urls]
    if len({(b["hash"], b["stateRoot"]) for b in blocks}) != 1:
        sys.exit(f"FAILED: nodes differ at height {height}: {[b['hash'] for b in blocks]}")
    return height


def widest_gap(network, i, seconds):
    """The longest time without a new block at node i during `seconds`."""
    gap, last, height = 0.0, time.monotonic(), network.height(i)
    until = last + seconds
    while time.monotonic() < until:
        now_height = network.height(i)
        now = time.monotonic()
        gap = max(gap, now - last)
        if now_height > height:
            height, last = now_height, now
        time.sleep(0.01)
    return gap


def one(network, load, args):
    gaps, returns = [], []
    for victim in range(NODES):
        network.kill(victim)
        gaps.append(widest_gap(network, (victim + 1) % NODES, args.seconds / NODES))
        network.start(victim)
        tip = network.height((victim + 1) % NODES)
        returns.append(network.wait_height(tip, [victim]))
        print(f"node {victim} killed: widest block gap {gaps[-1]:.2f} s; "
              f"at the tip {returns[-1]:.2f} s after its restart", flush=True)
        load.check()
    equal_roots(network)
    print(f"one of four killed: widest gap {max(gaps):.2f} s, slowest return {max(returns):.2f} s, "
          f"{len(load.receipts)} receipts kept")


def two(network, load, args):
    for i in (0, 1):
        network.kill(i)
    time.sleep(args.seconds)
    tip = max(network.height(i) for i in (2, 3))
    network.start(0)
    time.sleep(1)
    network.start(1)
    took = network.wait_height(tip + 1, range(NODES))
    time.sleep(3)
    load.check()
    equal_roots(network)
    print(f"two of four down for {args.seconds} s: blocks {took:.2f} s after the second one's "
          f"restart, {len(load.receipts)} receipts kept")


def kill_all(network, load, args):
    times, known = [], set()
    for n in range(args.times):
        time.sleep(random.uniform(0.2, 2.0))
        for i in range(NODES):
            network.processes[i].send_signal(signal.SIGKILL)
        for process in network.processes:
            process.wait()
        for i in range(NODES):
            network.start(i)
        network.wait_height(0, range(NODES))
        tip = max(network.height(i) for i in range(NODES))
        times.append(network.wait_height(tip + 1, range(NODES)))
        known |= load.check(known)
        height = equal_roots(network)
        if n % 10 == 9:
            print(f"{n + 1} times: height {height}, {len(load.receipts)} receipts kept, "
                  f"slowest resumption {max(times):.2f} s", flush=True)
    load.check()
    print(f"all four killed {args.times} times: always resumed, slowest {max(times):.2f} s after "
          f"all served again, {len(load.receipts)} receipts kept, equal state roots")


def idle(network, _load, args):
    def cpu(pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def disk(i):
        return sum(f.stat().st_blocks * 512 for f in network.folder(i).rglob("*") if f.is_file())

    time.sleep(5)
    pids = [p.pid for p in network.processes]
    cpus, disks = [cpu(p) for p in pids], [disk(i) for i in range(NODES)]
    height = network.height(0)
    time.sleep(args.seconds)
    for i, pid in enumerate(pids):
        rss = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                   if line.startswith("VmRSS")).split()[1]
        print(f"node {i}: {100 * (cpu(pid) - cpus[i]) / args.seconds:.2f} % of a core, "
              f"{int(rss) / 1024:.0f} MB resident, disk {disk(i) / 1e6:.2f} MB "
              f"({(disk(i) - disks[i]) / 1e3:+.1f} kB)")
    print(f"{network.height(0) - height} blocks in {args.seconds} s")


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("scenario", choices=["one", "two", "all", "idle"])
    args.add_argument("--seconds", type=int, default=60)
    args.add_argument("--times", type=int, default=100)
    args = args.parse_args()
    network = Network(*(["--idle-block-s", "60"] if args.scenario == "idle" else []))
    load = Load(network)
    if args.scenario != "idle":
        load.start()
        time.sleep(3)
    {"one": one, "two": two, "all": kill_all, "idle": idle}[args.scenario](network, load, args)
    load.running = False
    network.stop()


if __name__ == "__main__":
    main()
