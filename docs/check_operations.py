#!/usr/bin/env python3
"""Does what docs/operations.md says, line by line, each organisation in a folder of its own with
an address of its own.

    docs/check_operations.py [ceremony|votes|standby|settings|staking …]     # default: all

The lines are taken from the page; only what each reader has to fill in (`…`,
addresses, the number of a proposal) is filled in here, in the order of the page.
A line that is not known here fails, as does one that is missing in the page.
`# refused: WORDS` in the page: the line must fail, and say these words.
`# after …`: it is repeated until it succeeds.
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
ORGS = ["acme", "bolt", "cora", "dora", "eve", "spare"]
P2P, RPC = 23303, 23545
# An idle chain makes a block a minute; here nobody wants to wait for that.
HURRY = " --idle-block-s 1 --block-time 100"
# What a reader has to fill in.
BLANK = r"'trefoil-invite:…'|(?:node|validator|ca):…|12D3KooW…|0x[0-9A-F]*…"


CEREMONY, VOTES = "## A key ceremony", "### From four organisations"
STANDBY, SETTINGS = "### A standby for a validator", "### Settings"
LOST, PUBLIC = "### When keys are lost or stolen", "### Public networks"


def section(title):
    page = (ROOT / "docs/operations.md").read_text()
    level = title.split()[0]
    return page.split("\n" + title, 1)[1].split(f"\n{level} ", 1)[0]


def lines(title):
    """(who, command, remark) of each line with a prompt."""
    for line in section(title).splitlines():
        found = re.match(r"(\w+)\$ +(.*?)(?:   *# (.*))?$", line)
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
            "TREFOIL_LIGHTKDF": "true",
            "TREFOIL_RPC_LISTEN": f"{at}:{RPC}", "TREFOIL_P2P_LISTEN": f"{at}:{P2P}"}

    def run(self, org, command, remark=None):
        """Its output; it must succeed, unless the remark says otherwise."""
        command = re.sub(r"10\.0\.0\.(\d):30303", rf"127.0.0.\1:{P2P}", command)
        command = re.sub(r"10\.0\.0\.(\d):8545", rf"127.0.0.\1:{RPC}", command)
        print(f"{org:4}$ {command if len(command) < 150 else command[:140] + ' …'}", flush=True)
        if command.startswith("trefoil run"):
            return self.start(org, command.split()[-1])
        refusal = (remark or "").partition("refused: ")[2]
        until = time.monotonic() + (60 if (remark or "").startswith("after ") else 0)
        while True:
            done = subprocess.run(command, shell=True, cwd=self.folder / org, env=self.env(org),
                                  text=True, capture_output=True, timeout=150, check=False)
            if done.returncode == 0 or time.monotonic() > until:
                break
            time.sleep(0.5)
        said = done.stdout + done.stderr
        if bool(done.returncode) != bool(refusal) or refusal not in said:
            sys.exit(f"FAILED: {said}")
        return done.stdout

    def stop(self, org):
        process = self.running.pop(org)
        process.terminate()
        process.wait(timeout=30)

    def hurry(self, org, *commands):
        """Blocks by the half second: sends transactions by these commands, in turn, until it is stopped.
        One that fails ends it, and `ask` says so."""
        script = f"set -e; while true; do {'; '.join(commands)}; done"
        with open(self.folder / "hurry.log", "w") as log:
            self.running["hurry"] = subprocess.Popen(["sh", "-c", script], cwd=self.folder / org,
                                                     env=self.env(org), stdout=log, stderr=log)

    def start(self, org, name):
        """Again, if it runs."""
        if org in self.running:
            self.stop(org)
        log = open(self.folder / org / "log", "a")
        self.running[org] = subprocess.Popen(["trefoil", "run", "--dir", name],
                                             cwd=self.folder / org, env=self.env(org),
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             executable=TARGET / "trefoil")
        wait("it answers", lambda: self.ask(org, "status") is not None)
        return ""

    def ask(self, org, *command):
        """What a machine's node shows, or `None`."""
        if "hurry" in self.running and self.running["hurry"].poll() is not None:
            said = (self.folder / "hurry.log").read_text().splitlines()
            sys.exit("FAILED: what hurries the blocks: " + "\n".join(said[-5:]))
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


def wait_for_row(what, holds):
    """For a row of 64 missed blocks or so, on a machine with other work too."""
    wait(what, holds, 150)


def catch_up(machines, org):
    tip = machines.ask("acme", "status")["height"]
    wait(f"{org} is at the tip", lambda: machines.ask(org, "status")["height"] >= tip)


class Page:
    """A section of the page, done line by line."""

    def __init__(self, machines, title):
        self.machines, self.todo, self.number = machines, lines(title), None

    def do(self, who, start, fill=lambda command: command):
        """The page's next line. `N` is the proposal that the line before was about."""
        org, command, remark = next(self.todo, (None, "the end", None))
        if org != who or not command.startswith(start):
            sys.exit(f"FAILED: the page says {command!r} of {org}, not {start!r} of {who}")
        said = self.machines.run(org, fill(command.replace(" N ", f" {self.number} ")), remark)
        found = re.match(r"proposal (\d+)", said)
        self.number = found.group(1) if found else self.number
        return said

    def votes(self, *orgs, carried=True):
        """They approve, and the last one's vote carries it."""
        for org in orgs:
            state = "executed" if carried and org == orgs[-1] else "open"
            said = self.do(org, "trefoil org vote")
            if f"proposal {self.number}: {state}" not in said:
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
    page.do("dora", "trefoil network new", lambda c: c + HURRY)
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
    page.votes("bolt", "cora", "acme")
    page.end()
    if machines.ask("dora", "org", "settings")["gasLimit"] != 100_000_000:
        sys.exit("FAILED: nothing was decided")


def found(machines):
    """The page's command for one machine, and its directories brought to the others."""
    command = re.search(r"^trefoil network new .*?example/$", section(VOTES), re.M | re.S).group()
    machines.run("acme", re.sub(r"\s*\\\n\s*", " ", command) + HURRY)
    for i, org in enumerate(ORGS[:4]):
        (machines.folder / f"acme/example/{org}-{i}").rename(machines.folder / org / "node")
        machines.start(org, "node")
    wait("blocks", lambda: (machines.ask("acme", "status") or {}).get("height", 0) > 0)


def follow(machines):
    page = Page(machines, VOTES)
    do, votes = page.do, page.votes

    def state(org):
        return machines.ask(org, "status")

    invite = do("acme", "trefoil network invite").strip()
    do("eve", "trefoil keys new account")
    do("eve", "trefoil join", fill(f"'{invite}'"))
    eve = machines.keys("eve", "eve")
    proof = do("eve", "trefoil keys prove").strip()
    do("acme", "trefoil org propose-add", fill(eve["account"], eve["ca"], proof))
    votes("bolt", "cora")
    do("eve", "trefoil org accept")
    do("acme", "trefoil org list")
    do("eve", "trefoil node certify", fill(eve["node"]))
    do("eve", "openssl x509")
    do("eve", "trefoil run")
    catch_up(machines, "eve")

    do("eve", "trefoil keys new validator")
    do("eve", "trefoil run")
    key = machines.keys("eve", "eve")["validator"]
    proofs = do("eve", "trefoil keys prove").split()
    do("acme", "trefoil validator propose-add", fill(eve["node"], key, *proofs))
    votes("bolt", "cora", "eve")
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

    do("acme", "trefoil org propose-remove")
    votes("bolt", "cora", "dora", "eve")
    page.end()
    listed = machines.ask("acme", "org", "list")
    height = state("acme")["height"]
    wait("blocks go on", lambda: state("acme")["height"] > height)
    print([(o["name"], o["status"]) for o in listed])


def standby(machines):
    """A seat moves by itself, and back by hand."""
    page, dora = Page(machines, STANDBY), machines.keys("dora")
    peers = [machines.keys(org)["node"] for org in ORGS[:4]]
    seat = lambda: next(v for v in machines.ask("acme", "validator", "list")
                        if v["peer"] == peers[3])
    shutil.copy(machines.folder / "dora/node/chain.toml", machines.folder / "spare")
    page.do("spare", "trefoil init", fill(*peers))
    spare = machines.keys("spare", "standby")
    page.do("dora", "trefoil node certify", fill(spare["node"]))
    shutil.copy(machines.folder / "dora/spare.der",
                machines.folder / "spare/standby/keys/node.der")
    page.do("spare", "trefoil run")
    catch_up(machines, "spare")
    page.do("spare", "trefoil status")
    name = fill(spare["validator"], peers[3])
    page.do("dora", "trefoil validator standby", name)
    proof = page.do("spare", "trefoil keys prove").strip()
    page.do("dora", "trefoil validator standby", fill(spare["validator"], peers[3], proof))
    if spare["validator"] not in page.do("dora", "trefoil validator list"):
        sys.exit("FAILED: it has no standby")
    machines.run("bolt", "trefoil keys new account --dir hurry")
    machines.hurry("bolt", *(f"trefoil org accounts {what} --dir hurry --rpc 127.0.0.2:{RPC}"
                             for what in ("choose acme", "leave")))
    machines.stop("dora")
    wait_for_row("the standby signs",
                 lambda: seat()["key"] == spare["validator"] and seat()["signedLast"])
    page.do("dora", "trefoil run")
    wait("dora follows", lambda: machines.ask("dora", "status")["validating"] is False)
    proof = page.do("dora", "trefoil keys prove").strip()
    page.do("dora", "trefoil validator rotate-key", fill(peers[3], dora["validator"], proof))
    wait("dora signs", lambda: seat()["key"] == dora["validator"] and seat()["signedLast"])
    page.do("dora", "trefoil validator rotate-key", fill(peers[3], spare["validator"]))
    machines.stop("dora")
    height = machines.ask("acme", "status")["height"]
    wait_for_row("64 heights", lambda: machines.ask("acme", "status")["height"] > height + 70)
    page.do("cora", "trefoil node revoke", fill(peers[2]))
    page.end()


def settings(machines):
    page = Page(machines, SETTINGS)
    ask = lambda: machines.ask("acme", "org", "settings")
    page.do("acme", "trefoil org set gas-limit")
    page.do("acme", "trefoil org set gas-limit")
    page.votes("bolt", "cora")
    page.do("acme", "trefoil org settings")
    page.do("acme", "trefoil org decisions")
    page.do("acme", "trefoil org set min-base-fee")
    page.votes("bolt", "cora", carried=False)
    page.do("dora", "trefoil org vote")
    page.do("acme", "trefoil org unvote")
    page.do("acme", "trefoil org set decision-delay")
    page.votes("bolt", "cora", carried=False)
    page.do("acme", "trefoil org execute")
    page.votes("dora")
    if (ask()["gasLimit"], ask()["decisionDelay"]) != (60_000_000, 5):
        sys.exit(f"FAILED: {ask()}")
    page.do("acme", "trefoil org set account-list")
    page.votes("bolt", "cora", carried=False)
    page.do("acme", "trefoil org execute")
    named = lambda said: fill(said.split()[1])
    eve = named(page.do("eve", "trefoil keys new account"))
    page.do("eve", "trefoil org accounts choose")
    admin = named(page.do("acme", "trefoil keys new account"))
    page.do("acme", "trefoil org accounts administrators", admin)
    page.do("eve", "trefoil org accounts add", eve)
    page.do("acme", "trefoil org accounts add", eve)
    page.do("eve", "trefoil org accounts choose")
    page.do("acme", "trefoil org accounts freeze", eve)
    page.do("eve", "trefoil org accounts leave")
    page.end()


def lost(machines):
    page = Page(machines, LOST)
    named = lambda said: fill(said.split()[1])
    safe = named(page.do("cora", "trefoil keys new account"))
    page.do("cora", "trefoil org recovery-key", safe)
    new = named(page.do("cora", "trefoil keys new account"))
    page.do("cora", "trefoil org recover", new)
    page.do("cora", "trefoil org recover", new)
    if "to be given new keys" not in page.do("bolt", "trefoil org list"):
        sys.exit("FAILED: nobody is told of the recovery")
    page.do("cora", "trefoil org recovery-key", safe)
    for _ in range(2):
        page.do("cora", "trefoil org recover", new)
    page.do("cora", "trefoil org accept")
    page.do("cora", "trefoil org recovery-key", safe)

    new = named(page.do("dora", "trefoil keys new account"))
    page.do("acme", "trefoil org rotate-keys", new)
    page.votes("bolt", "cora", carried=False)
    page.do("bolt", "trefoil org object")
    page.do("dora", "trefoil org object")
    for _ in range(2):
        page.do("acme", "trefoil org execute")
    page.do("dora", "trefoil org accept")

    spare = machines.run("spare", "trefoil keys new node --dir full").split()[1]
    invite = machines.run("acme", "trefoil network invite --dir node --at "
                          f"10.0.0.1:30303 --for {spare}").strip()
    machines.run("spare", f"trefoil join '{invite}' --dir full")
    machines.start("spare", "full")
    is_there = lambda peer: any(p["peerId"] == peer for p in machines.ask("acme", "peers"))
    wait("a full node is there", lambda: is_there(spare))
    guardian = named(page.do("acme", "trefoil keys new account"))
    page.do("acme", "trefoil org set guardian", guardian)
    page.votes("bolt", "cora", "dora")
    dora = machines.keys("dora")["node"]
    page.do("bolt", "trefoil node hold", fill(spare))
    page.do("acme", "trefoil node hold", fill(dora))
    page.do("acme", "trefoil node hold", fill(spare))
    wait("it is cut off", lambda: not is_there(spare))
    if spare not in page.do("acme", "trefoil org settings"):
        sys.exit("FAILED: nobody is told of the hold")
    page.do("acme", "trefoil org hold")
    page.do("bolt", "trefoil org set release")
    page.votes("cora", "dora")
    wait("it is there again", lambda: is_there(spare))
    page.do("acme", "trefoil org hold")

    guardian = named(page.do("bolt", "trefoil keys new account"))
    page.do("bolt", "trefoil org set guardian", guardian)
    page.votes("acme", "cora", "dora")
    page.do("bolt", "trefoil org hold")
    page.do("dora", "trefoil org recovery-key", guardian)
    page.do("acme", "trefoil org set release")
    page.votes("bolt", "dora")

    page.do("acme", "trefoil org propose-suspend")
    page.votes("bolt", "cora")
    wait("dora is cut off", lambda: not is_there(dora))
    page.do("acme", "trefoil org propose-resume")
    page.votes("bolt", "cora")
    wait("dora signs again", lambda: is_there(dora) and machines.ask("acme", "status")["signers"] == 4)
    page.end()


def staking(machines):
    """A newcomer stakes, validates, is stood for, jailed and freed, and leaves."""
    page = Page(machines, PUBLIC)
    account = page.do("eve", "trefoil keys new account").split()[1]
    page.do("acme", "trefoil network new", lambda c: fill(account)(c) + HURRY + " --base-fee 0")
    page.do("acme", "sed -i")
    for i, org in enumerate(ORGS[:4]):
        (machines.folder / f"acme/open/node-{i}").rename(machines.folder / org / "node")
        machines.start(org, "node")
    peers = [machines.keys(org)["node"] for org in ORGS[:3]]
    for org in ORGS[4:]:
        shutil.copy(machines.folder / "acme/open/chain.toml", machines.folder / org)
    row = lambda: next((v for v in machines.ask("acme", "validator", "list")
                        if v.get("owner", "").lower() == account.lower()), None)

    def paid(said, least):
        found = re.search(r"([\d.]+) ether were paid", said)
        if not found or float(found.group(1)) < least:
            sys.exit(f"FAILED: {said}")

    page.do("eve", "trefoil init", fill(*peers))
    page.do("eve", "trefoil run")
    catch_up(machines, "eve")
    page.do("eve", "trefoil status")
    page.do("eve", "trefoil validator add-stake")
    page.do("eve", "trefoil validator stake")
    page.do("eve", "trefoil validator stake")
    page.do("eve", "trefoil validator add-stake")
    machines.hurry("bolt", *(f"trefoil validator set-fee-recipient 0x{digit * 40} --dir node"
                             for digit in "12"))
    wait("eve validates", lambda: row()["power"] == 40 and row()["signedLast"])
    page.do("eve", "trefoil validator list")
    page.do("eve", "trefoil validator unjail")
    page.do("eve", "trefoil validator unstake")
    page.do("eve", "trefoil validator withdraw")
    paid(page.do("eve", "trefoil validator withdraw"), 8)

    page.do("spare", "trefoil init", fill(*peers))
    page.do("spare", "trefoil run")
    key = machines.keys("spare", "standby")["validator"]
    catch_up(machines, "spare")
    page.do("eve", "trefoil validator standby", fill(key))
    proof = page.do("spare", "trefoil keys prove", fill(account)).strip()
    page.do("eve", "trefoil validator standby", fill(key, proof))
    machines.stop("eve")
    wait_for_row("the standby signs", lambda: row()["key"] == key and row()["signedLast"])
    machines.stop("spare")
    wait_for_row("jail", lambda: row()["state"].startswith("jailed"))
    page.do("eve", "trefoil validator unjail")
    page.do("spare", "trefoil run")
    page.do("eve", "trefoil validator unjail")
    wait("it validates again", lambda: row()["state"] == "validates" and row()["signedLast"])

    page.do("eve", "trefoil validator unstake")
    page.do("eve", "trefoil validator withdraw")
    paid(page.do("eve", "trefoil validator withdraw"), 31)
    page.end()
    if row() is not None:
        sys.exit(f"FAILED: {row()}")


WALKS = {"ceremony": [ceremony], "votes": [found, follow], "standby": [found, standby],
         "settings": [found, settings, lost], "staking": [staking]}


def main():
    for steps in [WALKS[name] for name in sys.argv[1:] or WALKS]:
        with tempfile.TemporaryDirectory(prefix="trefoil-operations-") as folder:
            machines = Machines(folder)
            for step in steps:
                step(machines)
            for name in reversed(list(machines.running)):
                machines.stop(name)
    print("every line was followed")


if __name__ == "__main__":
    main()
