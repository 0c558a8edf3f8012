import { network } from "hardhat";
import * as t from "../lib.mjs";

const { ethers, viem } = await network.create("trefoil");

const contract = await t.timed("deploy (ethers)", async () => {
  const made = await ethers.deployContract("Counter", [20]);
  return made.waitForDeployment();
});
t.deployed("hardhat-ethers", await contract.getAddress());
const receipt = await (await contract.increment(2)).wait();
t.check(receipt.logs[0].args.value === 22n, "event value");

// Without a polling interval viem polls an unknown chain every four seconds.
const client = await viem.getPublicClient({ pollingInterval: 100 });
const second = await t.timed("deploy (viem)", () =>
  viem.deployContract("Counter", [30n], { client: { public: client } }));
t.deployed("hardhat-viem", second.address);
await client.waitForTransactionReceipt({ hash: await second.write.increment([3n]) });
t.check((await second.read.value()) === 33n, "state");
