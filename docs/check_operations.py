#!/usr/bin/env python3
"""Does what docs/operations.md says of a key ceremony, and of four organisations that become
five, line by line, each organisation in a folder of its own with an address of its own.

    docs/check_operations.py

The lines are taken from the page; only what each reader has to fill in (`…`,
addresses, the number of a proposal) is filled in here, in the order of the page.
A line that is not known here fails, as does one that is missing in the page.
Needs openssl, and `cargo build --release` done before.
"""
import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
ORGS = ["acme", "bolt", "cora", "dora", "eve"]
P2P, RPC = 23303, 23545
# What a reader has to fill in.
BLANK = r"'trefoil-invite:…'|(?:node|validator|ca):…|12D3KooW…|0x[0-9A-F]*…"


CEREMONY, VOTES = "## A key ceremony", "### From four organisations"


def section(title):
    page = (ROOT / "docs/operations.md").read_text()
    level = title.split()[0]
    return page.split("\n" + title, 1)[1].split(f"\n{level} ", 1)[0]


def lines(title):
    """(who, command) of each line with a prompt."""
    for line in section(title).splitlines():
        found = re.match(r"(\w+)\$ +(.*?)(?:   *#.*)?$", line)
        if found:
            yield found.groups()


class Machines:
    def __init__(self, folder):
        self.folder, self.running = Path(folder), {}
        atexit.register(lambda: [process.kill() for process in self.running.values()])
        for org in ORGS:
            (self.folder / org).mkdir()

    def env(self, org):
        """A machine: its address, and ports that nobody else uses here."""
        at = f"127.0.0.{ORGS.index(org) + 1}"
        return os.environ | {
            "PATH": f"{TARGET}:{os.environ['PATH']}", "TREFOIL_PASSWORD": "of these machines",
            "TREFOIL_RPC_LISTEN": f"{at}:{RPC}", "TREFOIL_P2P_LISTEN": f"{at}:{P2P}"}

    def run(self, org, command):
        """Its output; it must succeed."""
        command = re.sub(r"10\.0\.0\.(\d):30303", rf"127.0.0.\1:{P2P}", command)
        command = re.sub(r"10\.0\.0\.(\d):8545", rf"127.0.0.\1:{RPC}", command)
        print(f"{org:4}$ {command if len(command) < 150 else command[:140] + ' …'}", flush=True)
        if command.startswith("trefoil run"):
            return self.start(org, command.split()[-1])
        done = subprocess.run(command, shell=True, cwd=self.folder / org, env=self.env(org),
                              text=True, capture_output=True, timeout=150, check=False)
        if done.returncode:
            sys.exit(f"FAILED: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, org, name):
        """Again, if it runs."""
        if org in self.running:
            self.running[org].terminate()
            self.running[org].wait(timeout=30)
        log = open(self.folder / org / "log", "a")
        self.running[org] = subprocess.Popen(["trefoil", "run", "--dir", name],
                                             cwd=self.folder / org, env=self.env(org),
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             executable=TARGET / "trefoil")
        wait("it answers", lambda: self.ask(org, "status") is not None)
        return ""

    def ask(self, org, *command):
        """What a machine's node shows, or `None`."""
        rpc = f"127.0.0.{ORGS.index(org) + 1}:{RPC}"
        done = subprocess.run([TARGET / "trefoil", *command, "--json", "--rpc", rpc], text=True,
                              capture_output=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def keys(self, org, name="node"):
        listed = self.run(org, f"trefoil keys list --dir {name} --json")
        return {key["kind"]: key["public"] for key in json.loads(listed)}


def wait(what, holds, seconds=60):
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            sys.exit(f"FAILED: waited {seconds} s: {what}")
        time.sleep(0.1)


class Page:
    """A section of the page, done line by line."""

    def __init__(self, machines, title):
        self.machines, self.todo = machines, lines(title)

    def do(self, who, start, fill=lambda command: command):
        """The page's next line."""
        org, command = next(self.todo, (None, "the end"))
        if org != who or not command.startswith(start):
            sys.exit(f"FAILED: the page says {command!r} of {org}, not {start!r} of {who}")
        return self.machines.run(org, fill(command))

    def vote(self, who, number, carried):
        said = self.do(who, "trefoil org vote", lambda c: c.replace(" N ", f" {number} "))
        if f"proposal {number}: {'executed' if carried else 'open'}" not in said:
            sys.exit(f"FAILED: {said}")

    def end(self):
        if next(self.todo, None):
            sys.exit("FAILED: the page says more than was done")


def fill(*values):
    """Puts values into the places that the page leaves open, in their order."""
    def put(command):
        for value in values:
            command = re.sub(BLANK, value, command, count=1)
        return command
    return put


def ceremony(machines):
    """Keys that nobody else has seen."""
    page = Page(machines, CEREMONY)
    named = lambda said: said.split()[1]
    people = [named(page.do("acme", "trefoil keys new account")) for _ in range(4)]
    proof = page.do("acme", "trefoil keys new ca").split()[-1]
    page.do("acme", "trefoil keys new node")
    for org in ORGS[1:4]:
        page.do(org, "for kind in")
    page.do("acme", "trefoil network declare", fill(*people, proof))
    for org in ORGS[1:4]:
        page.do(org, "trefoil network declare")
    for org in ORGS[:3]:
        shutil.copy(machines.folder / org / f"{org}.toml", machines.folder / "dora")
    # An idle chain makes a block a minute; here nobody wants to wait for that.
    page.do("dora", "trefoil network new", lambda c: c + " --idle-block-s 1")
    if set(os.listdir(machines.folder / "dora/example")) != {"chain.toml", "invite"}:
        sys.exit("FAILED: keys were made where the parts were put together")
    for org in ORGS[:4]:
        shutil.copy(machines.folder / "dora/example/invite", machines.folder / org)
    hashes = {page.do(org, "trefoil network check").split()[1] for org in ORGS[:4]}
    if len(hashes) != 1:
        sys.exit(f"FAILED: they have different networks: {hashes}")
    for org in ORGS[:4]:
        page.do(org, "trefoil join")
        node = machines.keys(org)["node"]
        page.do(org, "cp node" if org == "acme" else "trefoil node certify", fill(node))
        page.do(org, "trefoil run")
    wait("blocks", lambda: (machines.ask("acme", "status") or {}).get("height", 0) > 0)
    page.do("acme", "trefoil org set")
    page.vote("bolt", 1, False)
    page.vote("cora", 1, False)
    page.vote("acme", 1, True)
    page.end()
    if machines.ask("dora", "org", "settings")["gasLimit"] != 100_000_000:
        sys.exit("FAILED: nothing was decided")


def found(machines):
    """The page's command for one machine, and its directories brought to the others."""
    command = re.search(r"^trefoil network new .*?example/$", section(VOTES), re.M | re.S).group()
    # An idle chain makes a block a minute; here nobody wants to wait for that.
    machines.run("acme", re.sub(r"\s*\\\n\s*", " ", command) + " --idle-block-s 1")
    for i, org in enumerate(ORGS[:4]):
        (machines.folder / f"acme/example/{org}-{i}").rename(machines.folder / org / "node")
        machines.start(org, "node")
    wait("blocks", lambda: (machines.ask("acme", "status") or {}).get("height", 0) > 0)


def follow(machines):
    page = Page(machines, VOTES)
    do, vote = page.do, page.vote

    def proposal(said):
        return re.search(r"proposal (\d+)", said).group(1)

    def state(org):
        return machines.ask(org, "status")

    invite = do("acme", "trefoil network invite").strip()
    do("eve", "trefoil keys new account")
    do("eve", "trefoil join", fill(f"'{invite}'"))
    eve = machines.keys("eve", "eve")
    proof = do("eve", "trefoil keys prove").strip()
    number = proposal(do("acme", "trefoil org propose-add", fill(eve["account"], eve["ca"], proof)))
    vote("bolt", number, False)
    vote("cora", number, True)
    do("eve", "trefoil org accept")
    do("acme", "trefoil org list")
    do("eve", "trefoil node certify", fill(eve["node"]))
    do("eve", "openssl x509")
    do("eve", "trefoil run")
    tip = state("acme")["height"]
    wait("eve is at the tip", lambda: state("eve")["height"] >= tip)

    do("eve", "trefoil keys new validator")
    do("eve", "trefoil run")
    key = machines.keys("eve", "eve")["validator"]
    proofs = do("eve", "trefoil keys prove").split()
    number = proposal(do("acme", "trefoil validator propose-add", fill(eve["node"], key, *proofs)))
    vote("bolt", number, False)
    vote("cora", number, False)
    vote("eve", number, True)
    do("eve", "trefoil node certify", fill(eve["node"]))
    wait("eve shows it", lambda: state("eve")["certificate"]["role"] == "validator")
    signs = lambda: any(v["key"] == key and v["signedLast"]
                        for v in machines.ask("acme", "validator", "list"))
    wait("eve validates", signs)

    do("eve", "trefoil node revoke", fill(eve["node"]))
    wait("eve is cut off", lambda: all(p["peerId"] != eve["node"]
                                       for p in machines.ask("acme", "peers")))
    # A second node of bolt's, and one of acme's.
    peers = {org: machines.run(org, "trefoil keys new node --dir other").split()[1]
             for org in ("acme", "bolt")}
    machines.run("bolt", f"trefoil node certify {peers['bolt']} --dir node --out other.der")
    serial = do("bolt", "openssl x509").strip().split("=")[1]
    do("bolt", "trefoil node revoke", fill("0x" + serial))
    do("acme", "trefoil node revoke", fill(peers["bolt"]))
    do("acme", "trefoil node revoke", fill(peers["acme"]))

    new = re.search(r"0x[0-9a-f]+", do("cora", "trefoil keys new ca")).group()
    old = machines.ask("cora", "org", "list")[2]["caKeys"][0]["key"]
    proof = do("cora", "trefoil keys prove").strip()
    do("cora", "trefoil org rotate-ca --add", fill(new, proof))
    before = state("cora")["certificate"]["serial"]
    do("cora", "trefoil node certify", fill(state("cora")["peerId"]))
    wait("cora's node takes it up", lambda: state("cora")["certificate"]["serial"] != before)
    do("cora", "trefoil org rotate-ca --end", fill(old))

    do("dora", "trefoil keys new next-validator")
    do("dora", "trefoil run")
    new = machines.keys("dora")["next-validator"]
    proof = do("dora", "trefoil keys prove").strip()
    do("dora", "trefoil validator rotate-key", fill(state("dora")["peerId"], new, proof))
    do("dora", "trefoil validator list")
    wait("dora signs with it", lambda: any(v["key"] == new and v["signedLast"]
                                           for v in machines.ask("acme", "validator", "list")))
    do("dora", "mv node")

    number = proposal(do("acme", "trefoil org propose-remove"))
    vote("bolt", number, False)
    vote("cora", number, False)
    vote("dora", number, False)
    vote("eve", number, True)
    page.end()
    listed = machines.ask("acme", "org", "list")
    height = state("acme")["height"]
    wait("blocks go on", lambda: state("acme")["height"] > height)
    print([(o["name"], o["status"]) for o in listed])


def main():
    for steps in ([ceremony], [found, follow]):
        with tempfile.TemporaryDirectory(prefix="trefoil-operations-") as folder:
            machines = Machines(folder)
            for step in steps:
                step(machines)
            for process in machines.running.values():
                process.terminate()
            for process in machines.running.values():
                process.wait(timeout=30)
    print("every line was followed")


if __name__ == "__main__":
    main()
