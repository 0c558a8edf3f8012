#!/usr/bin/env python3
"""Tries the wallets and tools that people use against a live network.

    clients/run.py [--rpc URL] [--only NAME,…]

Without --rpc it starts `trefoil devnet` from target/release on free ports.
Prints the time of each step and ends with `N passed, N failed`.
The tools are installed by `clients/install`, from lock files.
"""
import argparse
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# In this order: later flows read the logs of the contracts that earlier ones deploy.
FLOWS = {
    "ethers": ["node", "flows/ethers.mjs"],
    "forge": ["flows/forge.sh"],
    "hardhat": ["flows/hardhat.sh"],
    "viem": ["node", "flows/viem.mjs"],
    "web3py": ["python3", "flows/web3_py.py"],
    "cast": ["flows/cast.sh"],
    "ethers-again": ["node", "flows/ethers_logs.mjs"],
}
FLOW_SECONDS_MAX = 180


def request(url, method, params=()):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
    head = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), head), timeout=5) as r:
        return json.load(r)["result"]


def free_port_base(count):
    """A base such that base … base+count-1 can be bound on loopback."""
    for base in range(21000, 60000, 97):
        try:
            for port in range(base, base + count):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    sys.exit("no free ports on loopback")


class Devnet:
    """`trefoil devnet`, started, awaited until it is at `height`, and ended."""

    def __init__(self, *flags, height=2):
        self.base = free_port_base(40)
        self.dir = tempfile.TemporaryDirectory(prefix="trefoil-clients-")
        target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
        self.log = open(Path(self.dir.name) / "devnet.log", "w+")
        self.process = subprocess.Popen(
            [f"{target}/release/trefoil", "devnet", "--dir", f"{self.dir.name}/net",
             "--rpc-port", str(self.base), "--p2p-port", str(self.base + 20), *flags],
            stdout=self.log, stderr=subprocess.STDOUT)
        # However this script ends, its network ends too.
        atexit.register(self.process.send_signal, signal.SIGINT)
        self.rpc = f"http://127.0.0.1:{self.base}"
        for _ in range(300):
            try:
                if int(request(self.rpc, "eth_blockNumber"), 16) >= height:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.log.seek(0)
        sys.exit("devnet did not start:\n" + self.log.read())

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=30)
        self.dir.cleanup()
        return code


def run_flow(name, env):
    start = time.monotonic()
    done = subprocess.run(FLOWS[name], cwd=HERE, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=FLOW_SECONDS_MAX, check=False)
    steps, rest = [], []
    for line in done.stdout.splitlines():
        try:
            step = json.loads(line)
            steps.append(f"{step['step']} {step['ms']} ms")
        except (ValueError, TypeError, KeyError):
            rest.append(line)
    word = "ok" if done.returncode == 0 else "FAILED"
    print(f"{name:13} {word:7} {time.monotonic() - start:5.1f} s   {', '.join(steps)}", flush=True)
    if done.returncode:
        print("    " + "\n    ".join(rest[-40:]), flush=True)
    return done.returncode == 0


def check_schemas(folder, rpc, env):
    """Walks the chain that the flows made and validates every answer."""
    done = subprocess.run(["python3", folder / "check_node.py", folder / "schemas.json", rpc],
                          env=env, text=True, capture_output=True, timeout=FLOW_SECONDS_MAX,
                          check=False)
    lines = done.stdout.splitlines()
    # The schema of eth_getFilterChanges is a oneOf of two lists, so that an empty
    # one, the only right answer when nothing has changed, "violates" it twice over.
    bad = sum(" BAD x" in line and "[] is valid under each of" not in line for line in lines)
    good = sum(int(line.split()[2]) for line in lines if line[:1] not in ("", " "))
    fine = done.returncode == 0 and bad == 0 and good > 0
    print(f"{'schemas':13} {'ok' if fine else 'FAILED':7} {good} answers valid, {bad} violations", flush=True)
    if not fine:
        print(done.stdout[-6000:] + done.stderr[-2000:])
    return fine


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--rpc", help="a running node; default: start a devnet")
    args.add_argument("--schemas", type=Path,
                      help="folder of schemas.json and check_node.py: validates every answer too")
    args.add_argument("--only", help="names of flows, with commas: " + ", ".join(FLOWS))
    args = args.parse_args()
    devnet = None if args.rpc else Devnet()
    rpc = args.rpc or devnet.rpc
    with tempfile.NamedTemporaryFile(prefix="trefoil-deployed-") as deployed:
        # Foundry's own binaries before npm's wrappers, which exit with 0 on errors.
        native = sorted((HERE / "node_modules/@foundry-rs").glob("*-linux-*/bin"))
        bin_dirs = [*native, HERE / "node_modules/.bin", HERE / ".venv/bin"]
        env = os.environ | {
            "RPC": rpc, "DEPLOYED": deployed.name, "NO_PROXY": "127.0.0.1",
            "CHAIN_ID": str(int(request(rpc, "eth_chainId"), 16)),
            "PATH": ":".join([*map(str, bin_dirs), os.environ["PATH"]]),
        }
        names = args.only.split(",") if args.only else list(FLOWS)
        passed = sum(run_flow(name, env) for name in names)
        if args.schemas:
            names.append("schemas")
            passed += check_schemas(args.schemas, rpc, env)
    if devnet and devnet.stop() != 0:
        print("devnet did not end cleanly")
        passed -= 1
    print(f"{passed} passed, {len(names) - passed} failed")
    sys.exit(passed != len(names))


if __name__ == "__main__":
    main()
