#!/usr/bin/env python3
"""Kills real validators under load and measures how the network comes back.

    bench/faults.py one [--seconds 60]      kill -9 of one of four, restarted after 5 s
    bench/faults.py absent [--seconds 60]   block intervals, calm and with one of four killed
    bench/faults.py seats [--seconds 60]    block intervals with 52 seats that nobody runs, and
                                            when these are in jail (six minutes in all)
    bench/faults.py two [--seconds 60]      kill -9 of two for so long, then restarted
    bench/faults.py all [--times 100]       kill -9 of all four, again and again
    bench/faults.py idle [--seconds 600]    CPU, memory and disk of four idle nodes

Needs `clients/install` and `cargo build --release` done before. Everything runs
on loopback, in a folder of its own that is removed at the end.
A receipt that a client was given is never lost: each one is looked up again,
on every node, after every recovery.
"""
import argparse
import atexit
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from network import (CHAIN_ID, FUNDED, NODES, Account, Network, Node, Watch, free_port_base,
                     percentile, request, trefoil)

SEATS = 52


class IdleSeats(Network):
    """A public network whose genesis gives seats to keys that nobody runs, each the least that
    it may give: together 0.0013 % of the power of the four founders. They are in jail after a
    window of so many blocks."""

    POWER = 17

    def __init__(self, window):
        self.dir = tempfile.TemporaryDirectory(prefix="trefoil-seats-")
        self.folder, base = Path(self.dir.name) / "net", free_port_base(40)
        at = [f"127.0.0.1:{base + 20 + i}" for i in range(NODES)]
        trefoil("network", "new", "--kind", "public", "--chain-id", CHAIN_ID, "--validators", NODES,
                "--stake", self.POWER * 1_000_000,
                "--fund", f"{Account.from_key(FUNDED).address}=100",
                *(word for address in at for word in ("--at", address)), self.folder)
        seats = "".join(self.seat(i) for i in range(SEATS))
        for chain in self.folder.glob("*/chain.toml"):
            terms = {"epoch_blocks": 40, "window_blocks": window, "window_seconds": 10}
            text = chain.read_text()
            for name, value in terms.items():
                text = re.sub(rf"^{name} = \d+$", f"{name} = {value}", text, flags=re.M)
            chain.write_text(text + seats)
        self.nodes = [Node(self.folder / f"node-{i}", base + i, flags=("--p2p", at[i]))
                      for i in range(NODES)]
        # However this script ends, its nodes end too.
        atexit.register(lambda: [node.process.kill() for node in self.nodes if node.process])
        for node in self.nodes:
            node.start()
        self.wait_height(1, self.nodes)

    def seat(self, i):
        folder, owner = self.folder / f"idle-{i}", f"0x{i + 1:040x}"
        key = trefoil("keys", "new", "validator", "--dir", folder,
                      env={"TREFOIL_LIGHTKDF": "true"}).split()[1]
        return (f'\n[[validators]]\nkey = "{key}"\npower = {self.POWER}\n'
                f'fee_recipient = "{owner}"\nowner = "{owner}"\n')

    def validators(self):
        """How many validate the next block: the last line of the list says so."""
        said = trefoil("validator", "list", "--rpc", self.nodes[0].url)
        return int(said.splitlines()[-1].split()[0])

    def stop(self):
        codes = [node.end() for node in self.nodes]
        self.dir.cleanup()
        if any(codes):
            sys.exit(f"FAILED: nodes ended with {codes}")


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


def compare(calm, found, what, most):
    """Fails where a percentile of the block intervals is more than so many times the calm one."""
    ratios = [percentile(found, p) / percentile(calm, p) for p in (0.5, 0.95)]
    show = lambda values: " / ".join(f"{percentile(values, p):.3f}" for p in (0.5, 0.95, 1))
    print(f"block interval p50 / p95 / max: calm {show(calm)} s, {what} {show(found)} s: "
          f"p50 {ratios[0]:.2f} times, p95 {ratios[1]:.2f} times")
    print("load average", *os.getloadavg())
    if any(ratio > limit for ratio, limit in zip(ratios, most)):
        sys.exit("FAILED")


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
    compare(calm, down, "one of four down", (1.1, 1.5))


def seats(network, load, args):
    """They come first: on the same network it is calm when all of them are in jail."""
    watch = Watch(network.nodes)
    watch.start()
    stretches = []
    for count in (NODES + SEATS, NODES):
        until = time.monotonic() + 600
        while network.validators() != count and time.monotonic() < until:
            time.sleep(1)
        start = time.monotonic()
        time.sleep(args.seconds)
        stretches.append(watch.intervals(start, time.monotonic()))
        if network.validators() != count:
            sys.exit(f"FAILED: {network.validators()} validators, not {count}")
    load.check()
    equal_roots(network)
    idle, calm = stretches
    print(f"{len(idle)} blocks with {SEATS} seats that nobody runs, {len(calm)} without")
    compare(calm, idle, f"with {SEATS} idle seats", (1.2, 1.2))


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
    args.add_argument("scenario", choices=["one", "absent", "seats", "two", "all", "idle"])
    args.add_argument("--seconds", type=int, default=60)
    args.add_argument("--times", type=int, default=100)
    args = args.parse_args()
    if args.scenario == "seats":
        # Two blocks a second at most, so that the window is longer than what is measured.
        network = IdleSeats(3 * args.seconds + 120)
    else:
        network = Network(*(["--idle-block-s", "60"] if args.scenario == "idle" else []))
    load = Load(network)
    if args.scenario != "idle":
        load.start()
        time.sleep(3)
    scenarios = {"one": one, "absent": absent, "seats": seats, "two": two, "all": kill_all,
                 "idle": idle}
    scenarios[args.scenario](network, load, args)
    load.running = False
    network.stop()


if __name__ == "__main__":
    main()
