// After all have deployed: ethers reads the logs of every one of their contracts.
import { ethers } from "ethers";
import * as t from "../lib.mjs";

const provider = new ethers.JsonRpcProvider(t.rpc);
const { abi } = t.compile();
for (const { by, address } of t.allDeployed()) {
  const contract = new ethers.Contract(address, abi, provider);
  const logs = await contract.queryFilter("Incremented", 0);
  t.check(logs.length > 0 && logs[0].args.value > 0n, `no logs of the contract deployed by ${by}`);
}
provider.destroy();
