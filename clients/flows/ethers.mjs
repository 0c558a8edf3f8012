import { ethers } from "ethers";
import * as t from "../lib.mjs";

// As `trefoil connect ethers` prints it.
const provider = new ethers.JsonRpcProvider(t.rpc, undefined, { polling: true, pollingInterval: 200 });
const wallet = new ethers.Wallet(t.keys.ethers, provider);
const { abi, bytecode } = t.compile();

t.check((await provider.getNetwork()).chainId === BigInt(t.chainId), "chain id");
const before = await provider.getBalance(t.someone);
const receipt = await t.timed("transfer", async () =>
  (await wallet.sendTransaction({ to: t.someone, value: 1n })).wait());
t.check(receipt.status === 1, "transfer failed");
t.check((await provider.getBalance(t.someone)) === before + 1n, "balance did not change");

const contract = await t.timed("deploy", async () => {
  const made = await new ethers.ContractFactory(abi, bytecode, wallet).deploy(41n);
  return made.waitForDeployment();
});
t.deployed("ethers", await contract.getAddress());
const call = await t.timed("call", async () => (await contract.increment(1n)).wait());
t.check(call.logs[0].args.value === 42n, "event value");
t.check((await contract.value()) === 42n, "state");

// Both kinds of revert are decoded from eth_call / eth_estimateGas.
const reason = await contract.increment.staticCall(0n).catch((e) => e);
t.check(reason.code === "CALL_EXCEPTION" && reason.reason === "nothing to add", `reason: ${reason}`);
const custom = await contract.increment.staticCall(101n).catch((e) => e);
t.check(custom.revert?.name === "TooMuch" && custom.revert.args[0] === 101n, `custom error: ${custom}`);

// A transaction that reverts in a block: included, with status 0.
const outcome = await t.timed("reverted", async () => {
  const failed = await contract.increment(0n, { gasLimit: 100000n });
  return failed.wait().catch((e) => e);
});
t.check(outcome.receipt?.status === 0, `reverted transaction: ${outcome}`);

// Errors that ethers classifies by their text.
const nonce = await wallet.sendTransaction({ to: t.someone, nonce: 0 }).catch((e) => e);
t.check(nonce.code === "NONCE_EXPIRED", `nonce: ${nonce.code} ${nonce.message}`);
const poor = ethers.Wallet.createRandom(provider);
const funds = await poor.sendTransaction({ to: t.someone, value: 1n, gasLimit: 21000n }).catch((e) => e);
t.check(funds.code === "INSUFFICIENT_FUNDS", `funds: ${funds.code} ${funds.message}`);

// WebSocket: new heads, logs and pending transactions are pushed.
const socket = new ethers.WebSocketProvider(t.ws);
const pushed = new Promise((resolve) => socket.once({ address: contract.target }, resolve));
const head = new Promise((resolve) => socket.once("block", resolve));
const pending = new Promise((resolve) => socket.once("pending", resolve));
await socket.getBlockNumber();
const sent = await contract.increment(1n);
await sent.wait();
await t.timed("pushes", () => Promise.all([pushed, head, pending]));
t.check((await pushed).transactionHash === sent.hash, "pushed log");
t.check((await head) > 0, "pushed head");
t.check((await pending) === sent.hash, "pushed pending transaction");
await socket.destroy();
provider.destroy();
