#!/usr/bin/env python3
"""Rotates every key and certificate of four nodes, one after another, by the
commands that operators have, while the network works.

    bench/rotate.py

Four organisations with a node each, on loopback. For each in turn: a new
certificate, a new CA key, a new consensus key, a new governance key, and at
last a new node (identity, consensus key, certificate) in the place of the old
one. All the time a client sends transfers. The nodes hold their next consensus keys
from a restart before the measured time on.

A height is missed when its block was not decided in round 0: then its proposer
was not there in time, or too few of the others. Fails if one is, if a
transaction gets no receipt, or if something old is still in force at the end.

Needs `clients/install` and `cargo build --release` done before.
"""
import os
import shutil
import sys
import time

from network import CHAIN_ID, NODES, Consortium, Trickle, Watch, percentile, trefoil


def wait_for(what, holds, seconds=30):
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            sys.exit(f"FAILED: waited {seconds} s: {what}")
        time.sleep(0.05)


class Rotation:
    def __init__(self, network, watch):
        self.network, self.watch, self.next = network, watch, {}

    def say(self, who, what):
        print(f"height {self.watch.height:4}  {Consortium.ORGS[who]}: {what}", flush=True)

    def peer(self, who):
        return self.network.nodes[who].ask("trefoil_status")["peerId"]

    def certify(self, who):
        """By the CA key that its organisation has now; until the node has taken it up."""
        node = self.network.nodes[who]
        held = lambda: node.ask("trefoil_status")["certificate"]["serial"]
        old = held()
        self.network.tell(who, "node", "certify", self.peer(who), "--role", "validator",
                          "--out", node.folder / "keys/node.der")
        wait_for("the new certificate is taken up", lambda: held() != old)

    def prepare(self, who):
        """The next consensus key beside the one in use, and a restart, by which the node
        takes it up. That may be long before the rotation, so it is not measured here: as any
        restart, it may cost a turn."""
        node = self.network.nodes[who]
        self.next[who] = self.network.new_key("next-validator", node.folder)
        node.end()
        node.start().reach(self.watch.height)
        wait_for("it is connected", lambda: len(node.ask("trefoil_peers") or []) == NODES - 1)

    def prove(self, who, kind, folder):
        """The consent of a key of a directory."""
        chain = self.network.nodes[who].folder / "chain.toml"
        if not (folder / "chain.toml").exists():
            shutil.copy(chain, folder)
        return trefoil("keys", "prove", kind, "--org", Consortium.ORGS[who], "--dir", folder).strip()

    def certificate(self, who):
        self.certify(who)
        self.say(who, "node certificate")

    def ca(self, who):
        folder = self.network.nodes[who].folder
        old = self.network.see("org", "list")[who]["caKeys"][0]["key"]
        new = self.network.new_key("ca", folder.with_name(f"ca-{who}"))
        self.network.tell(who, "org", "rotate-ca", "--add", new,
                          "--proof", self.prove(who, "ca", folder.with_name(f"ca-{who}")))
        shutil.move(folder.with_name(f"ca-{who}") / "keys/ca.json", folder / "keys/ca.json")
        self.certify(who)
        self.network.tell(who, "org", "rotate-ca", "--end", old)
        self.say(who, "CA key")

    def consensus(self, who):
        """The node holds both keys, and signs with the one that the chain names."""
        folder, new = self.network.nodes[who].folder, self.next[who]
        self.network.tell(who, "validator", "rotate-key", self.peer(who), new, "--proof",
                          self.prove(who, "next-validator", folder))
        wait_for("it signs", lambda: any(v["key"] == new and v["signedLast"]
                                         for v in self.network.see("validator", "list")))
        shutil.move(folder / "keys/next-validator.json", folder / "keys/validator.json")
        self.say(who, "consensus key")

    def governance(self, who):
        folder = self.network.nodes[who].folder
        old = next((folder / "keys").glob("account-*.json"))
        address = self.network.see("org", "list")[who]["keys"][0]
        new = self.network.new_key("account", folder)
        self.network.tell(who, "org", "rotate-keys", "--key", new, "--account", address)
        self.network.tell(who, "org", "accept", who + 1, "--account", new)
        old.unlink()
        self.say(who, "governance key")

    def identity(self, who):
        """A new node beside the old one; then the old one leaves."""
        old = self.network.nodes[who]
        before = self.peer(who)
        new = self.network.node(f"{Consortium.ORGS[who]}-{who}-new", NODES + who)
        peers = [word for i, node in enumerate(self.network.nodes)
                 for word in ("--peer", f"{self.peer(i)}@{node.at}")]
        made = trefoil("init", "--chain", old.folder / "chain.toml", "--dir", new.folder,
                       "--validator", *peers).split()
        peer, key = made[made.index("node") + 1], made[made.index("validator") + 1]
        # A full node's, until the chain has given it the other role.
        self.network.tell(who, "node", "certify", peer, "--out", new.folder / "keys/node.der")
        for name in ["ca.json", *(f.name for f in (old.folder / "keys").glob("account-*"))]:
            shutil.move(old.folder / "keys" / name, new.folder / "keys" / name)
        self.network.nodes[who] = new.start()
        took = new.reach(self.watch.height)
        self.watch.nodes.append(new)
        # Connected to all, before any of them is needed.
        wait_for("it is connected", lambda: len(new.ask("trefoil_peers")) == NODES)
        proofs = [word for kind in ("node", "validator")
                  for word in ("--proof", self.prove(who, kind, new.folder))]
        self.network.decide(who, "validator", "propose-add", peer, "--org", who + 1, "--key", key,
                            *proofs)
        signs = lambda: {v["peer"]: v["signedLast"]
                         for v in self.network.see("validator", "list")}
        wait_for("it validates", lambda: signs().get(peer))
        self.certify(who)
        self.network.decide(who, "validator", "propose-remove", before)
        wait_for("the old one is out", lambda: before not in signs())
        self.network.tell(who, "node", "revoke", before)
        self.watch.nodes.remove(old)
        old.end()
        self.say(who, f"identity; a new node, at the tip after {took:.2f} s")


def in_force(network):
    """All names and keys that the chain or a node goes by."""
    organisations = network.see("org", "list")
    validators = network.see("validator", "list")
    certificates = [node.ask("trefoil_status")["certificate"] for node in network.nodes]
    return {*(key for o in organisations for key in o["keys"]),
            *(ca["key"] for o in organisations for ca in o["caKeys"] if not ca["until"]),
            *(v["key"] for v in validators), *(v["peer"] for v in validators),
            *(c["serial"] for c in certificates)}


def main():
    network = Consortium()
    watch = Watch(list(network.nodes))
    watch.start()
    trickle = Trickle(watch.nodes, CHAIN_ID, gas_price=0)
    trickle.start()
    time.sleep(3)
    rotation = Rotation(network, watch)
    for who in range(NODES):
        rotation.prepare(who)
    calm, first = time.monotonic(), watch.height + 1
    before = in_force(network)
    time.sleep(20)

    start = time.monotonic()
    for step in (rotation.certificate, rotation.ca, rotation.consensus, rotation.governance,
                 rotation.identity):
        for who in range(NODES):
            step(who)
    end, last = time.monotonic(), watch.height - 1
    trickle.finish()
    kept = before & in_force(network)
    rounds = [int(network.nodes[0].ask("trefoil_getCertificate", hex(h))["round"], 16)
              for h in range(first, last + 1)]
    missed = [first + i for i, round in enumerate(rounds) if round]
    network.stop()

    show = lambda values: " / ".join(f"{percentile(values, p):.2f}" for p in (0.5, 0.95, 1))
    print(f"block interval p50 / p95 / max: calm {show(watch.intervals(calm, start))} s, "
          f"in the rotation {show(watch.intervals(start, end))} s")
    print(f"{len(before)} keys and certificates rotated, {len(kept)} old ones in force; "
          f"{trickle.sent} transactions, each with its receipt ({trickle.again} sent again)")
    print(f"{len(missed)} missed heights of {len(rounds)}", missed or "")
    print("load average", *os.getloadavg())
    if missed or kept:
        sys.exit("FAILED")


if __name__ == "__main__":
    main()
