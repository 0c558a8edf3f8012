#!/usr/bin/env python3
"""Kills real validators under load and measures how the network comes back.

    bench/faults.py one [--seconds 60]      kill -9 of one of four, restarted after 5 s
    bench/faults.py absent [--seconds 60]   block intervals, calm and with one of four killed
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
import sys
import threading
import time
from pathlib import Path

from network import FUNDED, NODES, Account, Network, Watch, percentile, request


class Load(threading.Thread):
    """A client that sends transfers for as long as it lives and keeps every
    receipt that it was given; one key, so nonces say what was lost."""

    def __init__(self, network):
        super().__init__(daemon=True)
        self.network, self.running, self.receipts = network, True, {}
        self.account = Account.from_key(FUNDED)
        self.chain_id = int(request(network.nodes[0].url, "eth_chainId"), 16)

    def ask(self, method, *params):
        """Whichever node answers."""
        nodes = random.sample(self.network.nodes, NODES)
        return next((a for a in (node.ask(method, *params) for node in nodes) if a), None)

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
        for node in self.network.nodes:
            for hash_, block in given.items():
                receipt = node.ask("eth_getTransactionReceipt", hash_)
                if not receipt or receipt["blockHash"] != block:
                    sys.exit(f"FAILED: receipt of {hash_} in block {block} is now {receipt} "
                             f"at {node.url}")
        return set(given)


def equal_roots(network):
    height = min(node.height() for node in network.nodes)
    blocks = [node.ask("eth_getBlockByNumber", hex(height), False) for node in network.nodes]
    if len({(b["hash"], b["stateRoot"]) for b in blocks}) != 1:
        sys.exit(f"FAILED: nodes differ at height {height}: {[b['hash'] for b in blocks]}")
    return height


def widest_gap(node, seconds):
    """The longest time without a new block at a node during `seconds`."""
    gap, last, height = 0.0, time.monotonic(), node.height()
    until = last + seconds
    while time.monotonic() < until:
        now_height = node.height()
        now = time.monotonic()
        gap = max(gap, now - last)
        if now_height > height:
            height, last = now_height, now
        time.sleep(0.01)
    return gap


def one(network, load, args):
    gaps, returns = [], []
    for i, victim in enumerate(network.nodes):
        other = network.nodes[(i + 1) % NODES]
        victim.end(signal.SIGKILL)
        gaps.append(widest_gap(other, args.seconds / NODES))
        tip = other.height()
        returns.append(victim.start().reach(tip))
        print(f"node {i} killed: widest block gap {gaps[-1]:.2f} s; "
              f"at the tip {returns[-1]:.2f} s after its restart", flush=True)
        load.check()
    equal_roots(network)
    print(f"one of four killed: widest gap {max(gaps):.2f} s, slowest return {max(returns):.2f} s, "
          f"{len(load.receipts)} receipts kept")


def absent(network, load, args):
    watch = Watch(network.nodes[1:])
    watch.start()
    start = time.monotonic()
    time.sleep(args.seconds)
    network.nodes[0].end(signal.SIGKILL)
    killed = time.monotonic()
    time.sleep(args.seconds)
    calm, down = watch.intervals(start, killed), watch.intervals(killed, time.monotonic())
    network.nodes[0].start().reach(network.nodes[1].height())
    load.check()
    equal_roots(network)
    ratios = [percentile(down, p) / percentile(calm, p) for p in (0.5, 0.95)]
    show = lambda values: " / ".join(f"{percentile(values, p):.2f}" for p in (0.5, 0.95, 1))
    print(f"block interval p50 / p95 / max: calm {show(calm)} s, one of four down {show(down)} s: "
          f"p50 {ratios[0]:.2f} times, p95 {ratios[1]:.2f} times")
    print("load average", *os.getloadavg())
    if ratios[0] > 1.1 or ratios[1] > 1.5:
        sys.exit("FAILED")


def two(network, load, args):
    first, second = network.nodes[:2]
    first.end(signal.SIGKILL)
    second.end(signal.SIGKILL)
    time.sleep(args.seconds)
    tip = network.height()
    first.start()
    time.sleep(1)
    second.start()
    took = network.wait_height(tip + 1, network.nodes)
    time.sleep(3)
    load.check()
    equal_roots(network)
    print(f"two of four down for {args.seconds} s: blocks {took:.2f} s after the second one's "
          f"restart, {len(load.receipts)} receipts kept")


def kill_all(network, load, args):
    times, known = [], set()
    for n in range(args.times):
        time.sleep(random.uniform(0.2, 2.0))
        for node in network.nodes:
            node.process.send_signal(signal.SIGKILL)
        for node in network.nodes:
            node.process.wait()
        for node in network.nodes:
            node.start()
        network.wait_height(0, network.nodes)
        times.append(network.wait_height(network.height() + 1, network.nodes))
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

    def disk(node):
        return sum(f.stat().st_blocks * 512 for f in node.folder.rglob("*") if f.is_file())

    time.sleep(5)
    pids = [node.process.pid for node in network.nodes]
    cpus, disks = [cpu(p) for p in pids], [disk(node) for node in network.nodes]
    height = network.height()
    time.sleep(args.seconds)
    for i, pid in enumerate(pids):
        rss = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                   if line.startswith("VmRSS")).split()[1]
        print(f"node {i}: {100 * (cpu(pid) - cpus[i]) / args.seconds:.2f} % of a core, "
              f"{int(rss) / 1024:.0f} MB resident, disk {disk(network.nodes[i]) / 1e6:.2f} MB "
              f"({(disk(network.nodes[i]) - disks[i]) / 1e3:+.1f} kB)")
    print(f"{network.height() - height} blocks in {args.seconds} s")


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("scenario", choices=["one", "absent", "two", "all", "idle"])
    args.add_argument("--seconds", type=int, default=60)
    args.add_argument("--times", type=int, default=100)
    args = args.parse_args()
    network = Network(*(["--idle-block-s", "60"] if args.scenario == "idle" else []))
    load = Load(network)
    if args.scenario != "idle":
        load.start()
        time.sleep(3)
    scenarios = {"one": one, "absent": absent, "two": two, "all": kill_all, "idle": idle}
    scenarios[args.scenario](network, load, args)
    load.running = False
    network.stop()


if __name__ == "__main__":
    main()
