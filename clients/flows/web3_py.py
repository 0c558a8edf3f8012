"""web3.py: transfer, deploy, call, reverts, logs, subscriptions."""
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from eth_account import Account
from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import ContractCustomError, ContractLogicError, Web3RPCError

RPC = os.environ.get("RPC", "http://127.0.0.1:8545")
HERE = Path(__file__).resolve().parent.parent
SOMEONE = Web3.to_checksum_address("0x00000000000000000000000000000000000abcd1")
ACCOUNT = Account.from_key("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6")


def timed(step, what):
    start = time.monotonic()
    result = what()
    print(json.dumps({"step": step, "ms": round((time.monotonic() - start) * 1000)}))
    return result


def compile_counter():
    script = "import('./lib.mjs').then(l => console.log(JSON.stringify(l.compile())))"
    out = subprocess.run(["node", "-e", script], cwd=HERE, check=True, capture_output=True)
    return json.loads(out.stdout)


w3 = Web3(Web3.HTTPProvider(RPC))
assert w3.is_connected()
assert w3.eth.get_block("latest")["extraData"] is not None


def send(tx):
    tx = {"from": ACCOUNT.address, "nonce": w3.eth.get_transaction_count(ACCOUNT.address, "pending"),
          "chainId": w3.eth.chain_id, **tx}
    if "gas" not in tx:
        tx["gas"] = w3.eth.estimate_gas(tx)
    if "maxFeePerGas" not in tx:
        tip = w3.eth.max_priority_fee
        base = w3.eth.get_block("latest")["baseFeePerGas"]
        tx |= {"maxFeePerGas": 2 * base + tip, "maxPriorityFeePerGas": tip}
    hash_ = w3.eth.send_raw_transaction(ACCOUNT.sign_transaction(tx).raw_transaction)
    return w3.eth.wait_for_transaction_receipt(hash_, timeout=30, poll_latency=0.1)


assert timed("transfer", lambda: send({"to": SOMEONE, "value": 1}))["status"] == 1

counter = compile_counter()
factory = w3.eth.contract(abi=counter["abi"], bytecode=counter["bytecode"])
receipt = timed("deploy", lambda: send({"data": factory.constructor(1).data_in_transaction, "value": 0}))
address = receipt["contractAddress"]
with open(os.environ["DEPLOYED"], "a") as f:
    f.write(f"web3.py {address}\n")
contract = w3.eth.contract(address=address, abi=counter["abi"])
receipt = timed("call", lambda: send({"to": address, "value": 0,
                                      "data": contract.encode_abi("increment", [4])}))
assert contract.events.Incremented().process_receipt(receipt)[0]["args"]["value"] == 5
assert contract.functions.value().call() == 5

for amount, error in [(0, ContractLogicError), (101, ContractCustomError)]:
    try:
        contract.functions.increment(amount).call()
        sys.exit(f"increment({amount}) did not revert")
    except error:
        pass
try:
    send({"to": SOMEONE, "value": 0, "nonce": 0, "gas": 21000})
    sys.exit("an old nonce was accepted")
except Web3RPCError as e:
    assert "nonce too low" in str(e), e

proof = w3.eth.get_proof(address, ["0x0"], "latest")
assert int(proof["storageProof"][0]["value"].hex(), 16) == 5

filter_ = contract.events.Incremented.create_filter(from_block=0)
assert len(filter_.get_all_entries()) == 1
for line in Path(os.environ["DEPLOYED"]).read_text().split("\n"):
    if line:
        by, address_ = line.split()
        logs = w3.eth.get_logs({"address": Web3.to_checksum_address(address_), "fromBlock": 0})
        assert logs, f"no logs of the contract deployed by {by}"


async def subscribe():
    async with AsyncWeb3(WebSocketProvider(RPC.replace("http", "ws"))) as ws:
        await ws.eth.subscribe("newHeads")
        async for message in ws.socket.process_subscriptions():
            assert message["result"]["number"] > 0
            return


asyncio.run(asyncio.wait_for(subscribe(), 70))
