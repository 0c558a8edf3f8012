#!/usr/bin/env python3
"""Moves the clock of four running nodes to 29, 6 and half a day before their
certificates end, and then two years ahead.

    bench/clock.py

Four organisations with a node each, on loopback, whose CA keys lie elsewhere, so
that nothing is renewed. The clock is moved for the real processes (bench/clock.c,
by LD_PRELOAD), all at once, under a trickle of transactions. Then: blocks go on;
each node tells of its certificate in its log, its metrics and its status; a
newcomer whose certificate ended is refused, and says why; four nodes that are
restarted one after another, and then all at once, find each other again; a new
certificate is taken up by a running node, and with one the newcomer is let in.

Needs a C compiler, `clients/install` and `cargo build --release` done before.
"""
import math
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from network import (CHAIN_ID, NODES, ROOT, Consortium, Trickle, Watch, percentile, trefoil)

DAY_S = 86_400
VALID_DAYS, TWO_YEARS_DAYS = 365, 730
GO_ON_S_MAX = 15


def say(what):
    print(what, flush=True)


def check(what, holds):
    say(f"{'ok' if holds else 'FAILED'}: {what}")
    if not holds:
        sys.exit(1)


class Clock:
    """How far ahead the nodes' clock is."""

    def __init__(self, folder):
        self.file, library = Path(folder) / "ahead", Path(folder) / "clock.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, ROOT / "bench/clock.c"],
                       check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self.file)}
        self.file.write_bytes(bytes(8))

    def move(self, days):
        # In place: the nodes have the file mapped.
        with open(self.file, "r+b") as file:
            file.write(int(days * DAY_S).to_bytes(8, sys.byteorder))


def blocks(watch, count=20):
    """Waits for so many more blocks; the seconds to the first, and the interval's p95."""
    start, height = time.monotonic(), watch.height
    while watch.height < height + count:
        if time.monotonic() - start > GO_ON_S_MAX + count:
            check(f"{count} more blocks after height {height}", False)
        time.sleep(0.02)
    end = time.monotonic()
    return watch.seen[height + 1] - start, percentile(watch.intervals(start, end), 0.95)


def seconds_left(node):
    with urllib.request.urlopen(f"{node.url}/metrics", timeout=5) as page:
        return int(re.search(r"^trefoil_certificate_seconds_left (-?\d+)", page.read().decode(),
                             re.M).group(1))


def alarms(network, days, words):
    """All nodes tell what is left, in three places."""
    time.sleep(6)
    for node in network.nodes:
        log = node.folder.with_suffix(".out").read_text()
        status = trefoil("status", "--rpc", node.url)
        left = seconds_left(node)
        told = f"{math.ceil(days) - 1} days left" if days > 0 else "EXPIRED"
        if words not in log or told not in status or abs(left - max(0, days * DAY_S)) > 600:
            check(f"{node.folder.name} tells {words!r}: {left} s left\n{status}{node.tail()}", False)
    check(f"all nodes tell {words!r} in the log, {told!r} in `status`, {left} s in the metrics", True)


def main():
    scratch = Path(f"/tmp/trefoil-clock-{os.getpid()}")
    scratch.mkdir()
    clock = Clock(scratch)
    network = Consortium(clock.env)
    watch = Watch(list(network.nodes))
    watch.start()
    for node in network.nodes:
        node.end()
        # Where an operator keeps it: not on the node.
        (scratch / node.folder.name).mkdir()
        shutil.move(node.folder / "keys/ca.json", scratch / node.folder.name / "ca.json")
        node.start().reach(0)
    trickle = Trickle(watch.nodes, CHAIN_ID, gas_price=0)
    trickle.start()
    late = newcomer(network, scratch)
    _, calm = blocks(watch)
    say(f"calm: block interval p95 {calm:.2f} s")

    for days, words in ((29, "in less than 30 days"), (6, "in less than 7 days"),
                        (0.5, "in less than 1 days"), (VALID_DAYS - TWO_YEARS_DAYS, "has expired")):
        clock.move(VALID_DAYS - days)
        first, p95 = blocks(watch)
        check(f"clock {VALID_DAYS - days} days ahead: the next block after {first:.2f} s, "
              f"interval p95 {p95:.2f} s", first < GO_ON_S_MAX and p95 < 2 * calm)
        alarms(network, days, words)

    late.start()
    time.sleep(5)
    log = late.folder.with_suffix(".out").read_text()
    why = "our certificate has expired: renew it (code 10)"
    check(f"a newcomer with an expired certificate is let in by nobody, and told: {why}",
          late.height() == 0 and log.count(why) >= NODES)

    for node in network.nodes:
        node.end()
        took = node.start().reach(watch.height)
        check(f"{node.folder.name} restarted: at the tip after {took:.2f} s", True)
    for node in network.nodes:
        node.end()
    for node in network.nodes:
        node.start()
    # With their pools, so that the first blocks are those of an idle chain.
    first, _ = blocks(watch)
    check(f"all restarted: the next block after {first:.2f} s", first < GO_ON_S_MAX)

    certify(network, scratch, network.nodes[0].folder, "validator")
    certify(network, scratch, late.folder, "full")
    time.sleep(6)
    check("a new certificate is taken up: " + f"{seconds_left(network.nodes[0]) // DAY_S} days",
          seconds_left(network.nodes[0]) > 300 * DAY_S)
    took = late.reach(watch.height)
    check(f"with one the newcomer is at the tip {took:.2f} s later", True)
    trickle.finish()
    check(f"{trickle.sent} transactions, each with its receipt ({trickle.again} sent again)", True)
    late.end()
    network.stop()
    shutil.rmtree(scratch)
    print("load average", *os.getloadavg())


def newcomer(network, scratch):
    """A fifth node of the first organisation, with a certificate of today."""
    late = network.node("late", NODES)
    network.new_key("node", late.folder)
    peers = [word for node in network.nodes
             for word in ("--peer", f"{node.ask('trefoil_status')['peerId']}@{node.at}")]
    trefoil("init", "--chain", network.folder / "chain.toml", "--dir", late.folder, *peers)
    certify(network, scratch, late.folder, "full")
    return late


def certify(network, scratch, folder, role):
    """By the first organisation's CA key, where that is kept."""
    at = scratch / "ca"
    if not at.exists():
        (at / "keys").mkdir(parents=True)
        shutil.copy(scratch / network.nodes[0].folder.name / "ca.json", at / "keys/ca.json")
        shutil.copy(network.folder / "chain.toml", at)
    keys = trefoil("keys", "list", "--dir", folder).split()
    peer = keys[keys.index("node") + 1]
    trefoil("node", "certify", peer, "--role", role, "--org", 1, "--dir", at,
            "--out", folder / "keys/node.der", env=network.env)


if __name__ == "__main__":
    main()
