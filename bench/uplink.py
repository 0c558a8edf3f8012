#!/usr/bin/env python3
"""Large transactions brought to one of N validators whose uplinks are narrow.

    bench/uplink.py [--n 4] [--mbit 10] [--mb 4] [--binary PATH]…

Each validator has a network namespace of its own, with its uplink shaped by tbf. A
wallet gives one of them transactions of 100 kB; counted is the time until all are in
blocks at every validator, and what the first sent meanwhile. Several --binary
(older builds) run one after the other.

Root, iproute2. Needs `clients/install` and `cargo build --release` done before.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INSIDE = "UPLINK_NAMESPACE"
if INSIDE not in os.environ:
    # Nothing of this touches the machine's own network.
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])

import network  # noqa: E402
from network import FUNDED, Account, Node, found_public  # noqa: E402

CHAIN_ID, TX_BYTES = 99, 100_000
ACCOUNT = Account.from_key(FUNDED)


def ip(*args):
    subprocess.run(["ip", *args], check=True)


class Links:
    """A bridge, and a namespace for each validator behind a shaped link."""

    def __init__(self, count, mbit):
        self.names = [f"trefoil-up-{os.getpid()}-{i}" for i in range(count)]
        ip("link", "set", "lo", "up")
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "br0", "up")
        ip("addr", "add", "10.99.0.254/24", "dev", "br0")
        for i, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("link", "add", f"up{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"up{i}", "master", "br0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "addr", "add", f"10.99.0.{i + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            subprocess.run(["tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate",
                            f"{mbit}mbit", "burst", "32kb", "latency", "50ms"], check=True)

    def sent(self, i):
        shown = subprocess.run(["ip", "netns", "exec", self.names[i], "cat",
                                "/sys/class/net/eth0/statistics/tx_bytes"],
                               check=True, text=True, capture_output=True)
        return int(shown.stdout)

    def remove(self):
        for name in self.names:
            ip("netns", "del", name)
        ip("link", "del", "br0")


class Shaped(Node):
    """A node in a namespace of its own."""

    def __init__(self, folder, namespace, address):
        super().__init__(folder, 8545)
        self.namespace, self.url = namespace, f"http://{address}:8545"
        self.address = address

    def start(self):
        log = open(self.folder.with_suffix(".out"), "a")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, network.BINARY, "run", "--dir", self.folder,
             "--rpc", f"{self.address}:8545"],
            env=os.environ | network.PASSWORD, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self


def found(folder, links):
    addresses = [f"10.99.0.{i + 1}" for i in range(len(links.names))]
    folders = found_public(folder, [f"{address}:30330" for address in addresses],
                           "--chain-id", CHAIN_ID, "--fund", f"{ACCOUNT.address}=1000000")
    return [Shaped(*node) for node in zip(folders, links.names, addresses)]


def measure(options, links):
    with tempfile.TemporaryDirectory(prefix="trefoil-uplink-") as folder:
        nodes = found(Path(folder) / "net", links)
        for node in nodes:
            node.start()
        try:
            return load(options, links, nodes)
        finally:
            for node in nodes:
                node.process.terminate()
                node.process.wait(timeout=30)


def load(options, links, nodes):
    for node in nodes:
        node.reach(0)
    deadline = time.monotonic() + 30
    while int(nodes[0].ask("net_peerCount") or "0x0", 16) < len(nodes) - 1:
        if time.monotonic() > deadline:
            sys.exit(f"FAILED: the validators do not find each other\n{nodes[0].tail()}")
        time.sleep(0.1)
    count = options.mb * 1_000_000 // TX_BYTES
    signed = [ACCOUNT.sign_transaction({
        "chainId": CHAIN_ID, "nonce": nonce, "to": ACCOUNT.address, "data": b"\0" * TX_BYTES,
        "value": 0, "gas": 21_000 + 10 * TX_BYTES, "maxFeePerGas": 10**9,
        "maxPriorityFeePerGas": 1}) for nonce in range(count)]
    before, start = links.sent(0), time.monotonic()
    for tx in signed:
        if not (sent := nodes[0].ask("eth_sendRawTransaction", "0x" + tx.raw_transaction.hex())):
            sys.exit(f"FAILED: a transaction was refused\n{nodes[0].tail()}")
    for node in nodes:
        while not node.ask("eth_getTransactionReceipt", sent):
            if time.monotonic() - start > 300:
                sys.exit(f"FAILED: not in a block after 300 s\n{node.tail()}")
            time.sleep(0.02)
    took = time.monotonic() - start
    return took, (links.sent(0) - before) / (count * TX_BYTES)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--mbit", type=int, default=10)
    parser.add_argument("--mb", type=int, default=4)
    parser.add_argument("--binary", action="append")
    options = parser.parse_args()
    once = options.mb * 8 / options.mbit
    for binary in options.binary or [network.BINARY]:
        network.BINARY = binary
        links = Links(options.n, options.mbit)
        try:
            took, copies = measure(options, links)
        finally:
            links.remove()
        print(f"{binary}: {took:.1f} s for {options.mb} MB ({once:.1f} s through one uplink once), "
              f"the first sent {copies:.2f} copies", flush=True)


main()
