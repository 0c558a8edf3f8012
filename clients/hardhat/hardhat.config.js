import { createRequire } from "node:module";
import { defineConfig } from "hardhat/config";
import ethers from "@nomicfoundation/hardhat-ethers";
import viem from "@nomicfoundation/hardhat-viem";
import { chainId, keys, rpc } from "../lib.mjs";

const require = createRequire(import.meta.url);

export default defineConfig({
  plugins: [ethers, viem],
  solidity: { version: "0.8.37", path: require.resolve("solc/soljson.js") },
  networks: {
    trefoil: { type: "http", chainType: "l1", url: rpc, chainId, accounts: [keys.hardhat] },
  },
});
