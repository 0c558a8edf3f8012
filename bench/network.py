"""What the benches of running networks share: nodes as processes, a client that
forgets nothing, and a watch on the blocks.

`import network` before anything that lies in `clients/.venv`: it starts the
script again with the Python there.
"""
import atexit
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "clients/.venv/bin/python3"
if VENV.exists() and not sys.prefix.startswith(str(ROOT / "clients")):
    os.execv(VENV, [str(VENV), *sys.argv])
sys.path.insert(0, str(ROOT / "clients"))
from eth_account import Account  # noqa: E402
from run import Devnet, free_port_base, request  # noqa: E402

BINARY = f"{os.environ.get('CARGO_TARGET_DIR', ROOT / 'target')}/release/trefoil"
NODES, CHAIN_ID = 4, 7331
PASSWORD = {"TREFOIL_PASSWORD": "devnet"}
FUNDED = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"


def trefoil(*args, env=None):
    """Runs a command that must succeed; its stdout."""
    done = subprocess.run([BINARY, *map(str, args)], env=os.environ | PASSWORD | (env or {}),
                          stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"FAILED: trefoil {' '.join(map(str, args))}\n{done.stdout}{done.stderr}")
    return done.stdout


def found_public(folder, at, *flags):
    """A gas-free public network with large blocks, a founder at each of `at`; the
    founders' folders."""
    named = [word for address in at for word in ("--at", address)]
    trefoil("network", "new", "--kind", "public", "--yes", "--validators", len(at), "--base-fee", 0,
            *flags, *named, folder)
    for chain in folder.glob("**/chain.toml"):
        text = chain.read_text()
        chain.write_text(re.sub(r"gas_limit = \d+", "gas_limit = 300000000", text))
    return sorted(chain.parent for chain in folder.glob("*/chain.toml"))


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


class Node:
    """One `trefoil run`."""

    def __init__(self, folder, rpc, env=None, flags=()):
        self.folder, self.port, self.url = Path(folder), rpc, f"http://127.0.0.1:{rpc}"
        self.flags, self.env, self.process = flags, env or {}, None

    def start(self):
        log = open(self.folder.with_suffix(".out"), "a")
        self.process = subprocess.Popen(
            [BINARY, "run", "--dir", self.folder, "--rpc", f"127.0.0.1:{self.port}", *self.flags],
            env=os.environ | PASSWORD | self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def end(self, name=signal.SIGTERM):
        self.process.send_signal(name)
        return self.process.wait(timeout=30)

    def ask(self, method, *params):
        """`None`: it does not answer, or with an error."""
        try:
            return request(self.url, method, params)
        except (OSError, ValueError, KeyError):
            return None

    def height(self):
        height = self.ask("eth_blockNumber")
        return int(height, 16) if height else -1

    def reach(self, height, seconds=60):
        """Seconds until it is at `height`."""
        start = time.monotonic()
        while self.height() < height:
            if time.monotonic() - start > seconds:
                sys.exit(f"FAILED: {self.folder} is at {self.height()}, not {height}, "
                         f"after {seconds} s\n" + self.tail())
            time.sleep(0.02)
        return time.monotonic() - start

    def tail(self):
        return "\n".join(self.folder.with_suffix(".out").read_text().splitlines()[-15:])


class Network:
    """Four validators of a devnet's folder, each started and killed by hand."""

    def __init__(self, *flags):
        # An idle chain takes its time for the first block.
        self.devnet = Devnet(*flags, height=0)
        self.devnet.process.send_signal(signal.SIGINT)
        self.devnet.process.wait(timeout=30)
        self.folder, self.base = Path(self.devnet.dir.name) / "net", self.devnet.base
        self.nodes = [Node(self.folder / f"node-{i}", self.base + i) for i in range(NODES)]
        for node in self.nodes:
            node.start()
        self.wait_height(0, self.nodes)

    def height(self):
        return max(node.height() for node in self.nodes)

    def wait_height(self, height, nodes, seconds=60):
        """Seconds until all of `nodes` are at `height`."""
        start = time.monotonic()
        for node in nodes:
            node.reach(height, seconds)
        return time.monotonic() - start

    def stop(self):
        codes = [node.end(signal.SIGINT) for node in self.nodes]
        self.devnet.dir.cleanup()
        if any(codes):
            sys.exit(f"FAILED: nodes ended with {codes}")


class Consortium:
    """A gas-free consortium of four organisations, founded and run as
    docs/operations.md says, each on an address of its own."""

    ORGS = ["acme", "bolt", "cora", "dora"]

    def __init__(self, env=None):
        self.dir, self.env = tempfile.TemporaryDirectory(prefix="trefoil-consortium-"), env or {}
        self.folder, self.base = Path(self.dir.name) / "net", free_port_base(40)
        named = [word for i, org in enumerate(self.ORGS)
                 for word in ("--org", org, "--at", f"127.0.0.{i + 1}:{self.base + 20 + i}")]
        trefoil("network", "new", "--kind", "consortium", "--chain-id", CHAIN_ID, "--base-fee", 0,
                "--idle-block-s", 1, *named, self.folder, env=self.env)
        self.nodes = [self.node(f"{org}-{i}", i) for i, org in enumerate(self.ORGS)]
        # However this script ends, its nodes end too.
        atexit.register(lambda: [node.process.kill() for node in self.nodes if node.process])
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.reach(1)

    def node(self, name, index):
        """Where each listens: an address of its own, as if a machine."""
        at = f"127.0.0.{index % 250 + 1}:{self.base + 20 + index}"
        node = Node(self.folder / name, self.base + index, self.env, ("--p2p", at))
        node.at = at
        return node

    def tell(self, who, *args):
        """Organisation `who` gives a command that prints JSON; the answer."""
        node = self.nodes[who]
        return json.loads(trefoil(*args, "--json", "--dir", node.folder, "--rpc", node.url,
                                  env=self.env))

    def see(self, *args):
        """What a command shows that only reads; any node will do."""
        return json.loads(trefoil(*args, "--json", "--rpc", self.nodes[0].url))

    def decide(self, who, *args):
        """Proposed by one, approved by two others."""
        made = self.tell(who, *args)
        for other in (who + 1, who + 2):
            if made["state"] != "executed":
                made = self.tell(other % NODES, "org", "vote", made["proposal"])
        if made["state"] != "executed":
            sys.exit(f"FAILED: {args} was not carried out: {made}")

    def new_key(self, kind, folder):
        """Its public name."""
        return trefoil("keys", "new", kind, "--dir", folder, env=self.env).split()[1]

    def stop(self):
        codes = [node.end() for node in self.nodes]
        self.dir.cleanup()
        if any(codes):
            sys.exit(f"FAILED: nodes ended with {codes}")


class Watch(threading.Thread):
    """When each block was first seen at any of some nodes."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes, self.seen, self.height = nodes, {}, 0

    def run(self):
        while True:
            # Whoever is away is passed over by whoever answers.
            nodes = list(self.nodes)
            height = next((h for h in (node.height() for node in nodes) if h >= 0), -1)
            now = time.monotonic()
            for new in range(self.height + 1, height + 1):
                self.seen[new] = now
            self.height = max(self.height, height)
            time.sleep(0.01)

    def intervals(self, since, until):
        """Between blocks that were seen in a stretch of time, seconds."""
        seen = [at for at in list(self.seen.values()) if since <= at < until]
        return [b - a for a, b in zip(seen, seen[1:])]


class Trickle(threading.Thread):
    """A client that sends a transfer every so often to two nodes (one may be about
    to go) and wants a receipt of each; what has none for ten seconds it sends again."""

    AGAIN_S = 10

    def __init__(self, nodes, chain_id, every=0.2, key=FUNDED, gas_price=10**11):
        super().__init__(daemon=True)
        self.nodes, self.chain_id, self.every, self.gas_price = nodes, chain_id, every, gas_price
        self.account, self.running = Account.from_key(key), True
        self.sent, self.waiting, self.again = 0, {}, 0

    def ask(self, method, *params):
        """Whichever node answers."""
        nodes = list(self.nodes)
        for node in random.sample(nodes, len(nodes)):
            answer = node.ask(method, *params)
            if answer is not None:
                return answer
        return None

    def run(self):
        nonce = int(self.ask("eth_getTransactionCount", self.account.address, "latest"), 16)
        while self.running or self.waiting:
            if self.running:
                self.send(nonce)
                nonce += 1
            self.look()
            time.sleep(self.every)

    def send(self, nonce):
        tx = self.account.sign_transaction({
            "to": "0x000000000000000000000000000000000000dEaD", "value": 0, "nonce": nonce,
            "gas": 21000, "maxFeePerGas": self.gas_price,
            "maxPriorityFeePerGas": min(10**6, self.gas_price),
            "chainId": self.chain_id, "type": 2})
        raw = "0x" + tx.raw_transaction.hex().removeprefix("0x")
        name = "0x" + tx.hash.hex().removeprefix("0x")
        for _ in range(2):
            self.ask("eth_sendRawTransaction", raw)
        self.sent += 1
        self.waiting[name] = (raw, time.monotonic())

    def look(self):
        """Looks after the oldest few that have no receipt yet."""
        for name, (raw, at) in list(self.waiting.items())[:5]:
            if self.ask("eth_getTransactionReceipt", name):
                del self.waiting[name]
            elif time.monotonic() - at > self.AGAIN_S:
                self.again += 1
                self.ask("eth_sendRawTransaction", raw)
                self.waiting[name] = (raw, time.monotonic())

    def finish(self, seconds=60):
        """Every transaction has its receipt, or this fails."""
        self.running = False
        self.join(seconds)
        if self.waiting:
            sys.exit(f"FAILED: {len(self.waiting)} of {self.sent} transactions without a receipt")
