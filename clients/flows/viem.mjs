import {
  createPublicClient, createWalletClient, defineChain, http, webSocket, parseEventLogs,
  ContractFunctionRevertedError,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import * as t from "../lib.mjs";

// As `trefoil connect viem` prints it.
const chain = defineChain({
  id: t.chainId,
  name: "trefoil",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [t.rpc] } },
  blockTime: t.blockTime,
});
const account = privateKeyToAccount(t.keys.viem);
const read = createPublicClient({ chain, transport: http(), pollingInterval: 200 });
const wallet = createWalletClient({ chain, account, transport: http() });
const { abi, bytecode } = t.compile();

const receipt = await t.timed("transfer", async () => {
  const hash = await wallet.sendTransaction({ to: t.someone, value: 1n });
  return read.waitForTransactionReceipt({ hash });
});
t.check(receipt.status === "success", "transfer failed");

await t.timed("transfer (sync)", () => wallet.sendTransactionSync({ to: t.someone, value: 1n }));

const made = await t.timed("deploy", async () => {
  const hash = await wallet.deployContract({ abi, bytecode, args: [7n] });
  return read.waitForTransactionReceipt({ hash });
});
const address = made.contractAddress;
t.deployed("viem", address);
const done = await t.timed("call", async () => {
  const hash = await wallet.writeContract({ address, abi, functionName: "increment", args: [3n] });
  return read.waitForTransactionReceipt({ hash });
});
t.check(parseEventLogs({ abi, logs: done.logs })[0].args.value === 10n, "event value");
t.check((await read.readContract({ address, abi, functionName: "value" })) === 10n, "state");

const error = await read
  .simulateContract({ address, abi, functionName: "increment", args: [101n], account })
  .catch((e) => e.walk((inner) => inner instanceof ContractFunctionRevertedError));
t.check(error?.data?.errorName === "TooMuch", `custom error: ${error}`);

// Two calls, the second on what the first would change; nothing of it stays.
const { results } = await read.simulateCalls({
  account,
  calls: [
    { to: address, abi, functionName: "increment", args: [5n] },
    { to: address, abi, functionName: "value" },
  ],
});
t.check(results[1].result === 15n, `simulated value: ${results[1].result}`);
const [block] = await read.simulateBlocks({
  blocks: [{
    blockOverrides: { number: 1n + (await read.getBlockNumber()) },
    stateOverrides: [{ address: t.someone, balance: 10n }],
    calls: [{ account: t.someone, to: account.address, value: 7n }],
  }],
  traceTransfers: true,
});
t.check(block.calls[0].status === "success", "simulated transfer");
t.check(block.calls[0].logs.length === 1, "the transfer's log");
t.check((await read.readContract({ address, abi, functionName: "value" })) === 10n, "kept state");

const proof = await read.getProof({ address, storageKeys: ["0x" + "0".repeat(64)] });
t.check(proof.storageProof[0].value === 10n, "proof");

for (const transport of [http(), webSocket(t.ws)]) {
  const client = createPublicClient({ chain, transport, pollingInterval: 100 });
  const seen = new Promise((resolve) => {
    const stop = client.watchContractEvent({
      address, abi, eventName: "Incremented", onLogs: (logs) => { stop(); resolve(logs); },
    });
  });
  // The watcher's filter must exist before the event does.
  await client.getBlockNumber();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await wallet.writeContract({ address, abi, functionName: "increment", args: [1n] });
  t.check((await seen).length === 1, "watched event");
}
for (const { by, address } of t.allDeployed()) {
  const logs = await read.getContractEvents({ address, abi, fromBlock: 0n });
  t.check(logs.length > 0, `no logs of the contract deployed by ${by}`);
}
process.exit(0);
