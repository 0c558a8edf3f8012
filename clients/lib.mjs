// What every JavaScript flow shares: the network to talk to, funded keys of the
// `test test … junk` mnemonic, the compiled contract, and a stopwatch.
import { createRequire } from "node:module";
import { readFileSync, appendFileSync } from "node:fs";

const require = createRequire(import.meta.url);

export const rpc = process.env.RPC ?? "http://127.0.0.1:8545";
export const ws = rpc.replace(/^http/, "ws");
export const chainId = Number(process.env.CHAIN_ID ?? 7331);
export const blockTime = Number(process.env.BLOCK_TIME_MS ?? 500);
export const deployedFile = process.env.DEPLOYED ?? "/tmp/trefoil-clients-deployed";

// Accounts 1 to 8 of the mnemonic, one for each flow, so that flows never
// race for a nonce.
export const keys = {
  ethers: "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
  viem: "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
  hardhat: "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
};
export const someone = "0x00000000000000000000000000000000000abcd1";

export function compile() {
  const solc = require("solc");
  const content = readFileSync(new URL("contracts/Counter.sol", import.meta.url), "utf8");
  const input = {
    language: "Solidity",
    sources: { "Counter.sol": { content } },
    settings: {
      optimizer: { enabled: true, runs: 200 },
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const { abi, evm } = output.contracts["Counter.sol"].Counter;
  return { abi, bytecode: "0x" + evm.bytecode.object };
}

export async function timed(name, what) {
  const start = performance.now();
  const result = await what();
  console.log(JSON.stringify({ step: name, ms: Math.round(performance.now() - start) }));
  return result;
}

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

// Tells the later flows which contracts they must find logs of.
export function deployed(by, address) {
  appendFileSync(deployedFile, `${by} ${address}\n`);
}

export function allDeployed() {
  const lines = readFileSync(deployedFile, "utf8").trim().split("\n");
  return lines.map((line) => ({ by: line.split(" ")[0], address: line.split(" ")[1] }));
}
