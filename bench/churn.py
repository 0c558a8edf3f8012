#!/usr/bin/env python3
"""Nodes come and go on a public network while it works.

    bench/churn.py [--minutes 10] [--calm 2] [--nodes 10]

Four validators and some full nodes that know one bootstrap address, on
loopback. First a calm stretch; then, each minute, 30 % of the full nodes are
killed (SIGKILL) and as many with new keys and empty directories join, and each
two minutes a validator is restarted. All the time a client sends transfers to
any node. Fails when a transaction gets no receipt, the blocks' interval at p95
is more than 1.5 times the calm one, or joiners need more than 60 s at p95.

Needs `clients/install` and `cargo build --release` done before.
"""
import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import time

from network import CHAIN_ID, NODES, Network, Node, Trickle, Watch, percentile, trefoil

REPLACED_A_MINUTE = 0.3
RATIO_MAX, JOIN_S_MAX = 1.5, 60


class Crowd:
    """The full nodes."""

    def __init__(self, network):
        self.network, self.nodes, self.names = network, [], itertools.count()
        validators = [node.ask("trefoil_status")["peerId"] for node in network.nodes]
        self.bootstraps = [f"{peer}@127.0.0.1:{network.base + 20 + i}"
                           for i, peer in enumerate(validators)]
        # Twenty ports for RPC and twenty for peers, as the devnet's.
        self.free = list(range(NODES, 20))

    def join(self, tip):
        """A newcomer, when it is at the tip; and how long that took."""
        start = time.monotonic()
        folder, slot = self.network.folder / f"full-{next(self.names)}", self.free.pop(0)
        env = {"TREFOIL_P2P_BOOTSTRAP": random.choice(self.bootstraps),
               "TREFOIL_P2P_LISTEN": f"127.0.0.1:{self.network.base + 20 + slot}"}
        trefoil("init", "--chain", self.network.folder / "node-0/chain.toml", "--dir", folder,
                env=env)
        node = Node(folder, self.network.base + slot, env).start()
        node.slot = slot
        node.reach(tip(), JOIN_S_MAX * 2)
        self.nodes.append(node)
        return time.monotonic() - start

    def leave(self):
        node = self.nodes.pop(random.randrange(len(self.nodes)))
        node.end(signal.SIGKILL)
        shutil.rmtree(node.folder)
        self.free.append(node.slot)


def churn(crowd, watch, minutes):
    """How long each newcomer took."""
    took, start = [], time.monotonic()
    a_minute = max(1, round(len(crowd.nodes) * REPLACED_A_MINUTE))
    # Every so often one of the full nodes, and after two minutes' worth a validator.
    for turn in range(minutes * a_minute):
        time.sleep(max(0, start + turn * 60 / a_minute - time.monotonic()))
        crowd.leave()
        took.append(crowd.join(lambda: watch.height))
        if turn % (2 * a_minute) == a_minute:
            validator = crowd.network.nodes[turn // (2 * a_minute) % NODES]
            validator.end()
            back = validator.start().reach(watch.height)
            print(f"{validator.folder.name} restarted: at the tip after {back:.1f} s", flush=True)
    time.sleep(max(0, start + minutes * 60 - time.monotonic()))
    return took


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--minutes", type=int, default=10)
    args.add_argument("--calm", type=float, default=2, help="minutes before")
    args.add_argument("--nodes", type=int, default=10, help="full nodes, at most 15")
    args = args.parse_args()
    network = Network("--kind", "public")
    crowd, watch = Crowd(network), Watch(network.nodes)
    watch.start()
    for _ in range(args.nodes):
        crowd.join(lambda: watch.height)
    everyone = type("All", (), {"__iter__": lambda _: iter(network.nodes + crowd.nodes)})()
    trickle = Trickle(everyone, CHAIN_ID)
    trickle.start()
    time.sleep(5)

    start = time.monotonic()
    time.sleep(args.calm * 60)
    calm = time.monotonic()
    took = churn(crowd, watch, args.minutes)
    end = time.monotonic()
    trickle.finish()
    for node in crowd.nodes:
        node.reach(watch.height)
        node.end()
    network.stop()

    before, during = watch.intervals(start, calm), watch.intervals(calm, end)
    ratio = percentile(during, 0.95) / percentile(before, 0.95)
    joined = percentile(took, 0.95)
    show = lambda values: " / ".join(f"{percentile(values, p):.2f}" for p in (0.5, 0.95, 1))
    print(f"block interval p50 / p95 / max: calm {show(before)} s, under churn {show(during)} s: "
          f"p95 {ratio:.2f} times")
    print(f"{len(took)} of {args.nodes} full nodes replaced in {args.minutes} minutes; at the tip "
          f"after {show(took)} s (p50 / p95 / max)")
    print(f"{trickle.sent} transactions, each with its receipt; {trickle.again} were sent again")
    print("load average", *os.getloadavg())
    if ratio > RATIO_MAX or joined > JOIN_S_MAX:
        sys.exit("FAILED")


if __name__ == "__main__":
    main()
