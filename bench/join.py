#!/usr/bin/env python3
"""A fifth node joins a chain of many accounts from four that run.

    bench/join.py [--accounts 1000000] [--kills 0]

Four validators of a public network on loopback; a contract pays 400 new
addresses in each transaction. Then newcomers, one after the other: one takes the
snapshot and the blocks from all four (how long, and how much came from each), one
the same but killed `--kills` times at random (SIGKILL), one executes all. All end
with the same state root. Fails when they differ, or one peer gave over 40 %.

Needs `clients/install` and `cargo build --release` done before.
"""
import argparse
import atexit
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from network import FUNDED, NODES, Account, Node, found_public, free_port_base, trefoil

from eth_utils import to_checksum_address  # noqa: E402 (network chose the Python)

CHAIN_ID, PAID_A_TX, GAS_A_TX, TXS_OPEN = 99, 400, 16_000_000, 150
SHARE_MAX = 0.40
ACCOUNT = Account.from_key(FUNDED)

# for (at = calldata[0]; at < calldata[1]; at++) at.call{value: 1}("")
SPRAY = bytes.fromhex("600035"                # at
                      "5b" "6020358110"       # 3: at < end?
                      "600d57" "00"           # no: stop
                      "5b"                    # 13: yes
                      "5f5f5f5f" "6001" "85" "5f" "f1" "50"
                      "6001" "01" "600356")
INIT = bytes.fromhex(f"60{len(SPRAY):02x}600a5f3960{len(SPRAY):02x}5ff3") + SPRAY


class Chain:
    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="trefoil-join-")
        self.folder, self.base = Path(self.dir.name) / "net", free_port_base(40)
        at = [f"127.0.0.1:{self.base + 20 + i}" for i in range(NODES)]
        folders = found_public(self.folder, at, "--chain-id", CHAIN_ID, "--idle-block-s", 1,
                               "--snapshot-every", 16, "--fund", f"{ACCOUNT.address}=1000000")
        self.nodes = [Node(f, self.base + i) for i, f in enumerate(folders)]
        self.all = list(self.nodes)
        atexit.register(lambda: [node.process.kill() for node in self.all if node.process])
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.reach(1)

    def send(self, nonce, to, data, value=0, gas=GAS_A_TX):
        fields = {"chainId": CHAIN_ID, "nonce": nonce, "to": to and to_checksum_address(to),
                  "data": data, "value": value, "gas": gas, "maxFeePerGas": 10**9,
                  "maxPriorityFeePerGas": 1}
        signed = ACCOUNT.sign_transaction({k: v for k, v in fields.items() if v is not None})
        node = self.nodes[nonce % NODES] if to is None else self.nodes[0]
        tx = node.ask("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        if not tx:
            sys.exit(f"FAILED: a transaction was refused\n{node.tail()}")
        return tx

    def receipt(self, tx):
        while not (receipt := self.nodes[0].ask("eth_getTransactionReceipt", tx)):
            time.sleep(0.05)
        if receipt["status"] != "0x1":
            sys.exit(f"FAILED: {receipt}")
        return receipt

    def nonce(self):
        return int(self.nodes[0].ask("eth_getTransactionCount", ACCOUNT.address, "latest"), 16)

    def grow(self, accounts):
        spray = self.receipt(self.send(0, None, INIT, gas=200_000))["contractAddress"]
        self.receipt(self.send(1, spray, b"\0" * 64, value=accounts, gas=100_000))
        nonce, tx = 2, None
        for first in range(0, accounts, PAID_A_TX):
            while nonce - self.nonce() > TXS_OPEN:
                time.sleep(0.1)
            end = min(first + PAID_A_TX, accounts)
            data = b"".join(((1 << 64) + n).to_bytes(32, "big") for n in (first, end))
            tx, nonce = self.send(nonce, spray, data), nonce + 1
        self.receipt(tx)

    def newcomer(self, name, sync):
        invite = trefoil("network", "invite", "--dir", self.nodes[0].folder, "--at",
                         f"127.0.0.1:{self.base + 20}").strip()
        slot = len(self.all)
        folder = self.folder / name
        trefoil("join", invite, "--dir", folder, "--p2p", f"127.0.0.1:{self.base + 20 + slot}")
        self.all.append(Node(folder, self.base + slot, flags=("--sync", sync)))
        return self.all[-1]


def shares(node):
    """Bytes that came from each peer, by the newcomer's log."""
    given = {}
    log = re.sub(r"\x1b\[[0-9;]*m", "", node.folder.with_suffix(".out").read_text())
    for line in log.splitlines():
        if found := re.search(r"gave peer=(\w+) bytes=(\d+)", line):
            given[found[1]] = given.get(found[1], 0) + int(found[2])
    return given


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--accounts", type=int, default=1_000_000)
    args.add_argument("--kills", type=int, default=0)
    args = args.parse_args()
    chain, start = Chain(), time.monotonic()
    chain.grow(args.accounts)
    grown = chain.nodes[0].height()
    print(f"{args.accounts} accounts in {grown} blocks, {time.monotonic() - start:.0f} s")
    while True:
        newest = min(max((int(f.name[6:]) for f in node.folder.glob("snapshots/index-*")),
                         default=0) for node in chain.nodes)
        if newest >= grown:
            break
        time.sleep(0.2)

    def joined(node, what, start):
        node.reach(chain.nodes[0].height(), 1_800)
        height = hex(chain.nodes[0].height() - 2)
        roots = {n.ask("eth_getBlockByNumber", height, False)["stateRoot"]
                 for n in (chain.nodes[0], node)}
        print(f"{what}: {time.monotonic() - start:.1f} s, root {roots}")
        if len(roots) != 1:
            sys.exit("FAILED: the roots differ")

    start = time.monotonic()
    fifth = chain.newcomer("fifth", "snapshot").start()
    joined(fifth, "by the swarm", start)
    given = shares(fifth)
    total = sum(given.values())
    print(f"  {total / 1e6:.1f} MB; from each:",
          ", ".join(f"{share / total:.0%}" for share in given.values()))
    fifth.end()
    if args.kills:
        start, node = time.monotonic(), chain.newcomer("killed", "snapshot").start()
        for _ in range(args.kills):
            time.sleep(random.uniform(0.02, 0.6))
            node.end(signal.SIGKILL)
            node.start()
        joined(node, f"killed {args.kills} times", start)
        node.end()
    start = time.monotonic()
    full = chain.newcomer("full", "full").start()
    joined(full, "executing all", start)
    if max(given.values()) > SHARE_MAX * total:
        sys.exit("FAILED: one peer gave too much")
    print("ok")


if __name__ == "__main__":
    main()
