// Compiles contracts/src/*.sol with the npm compiler of clients/ and writes
// contracts/artifacts/*.json; with --check it compares instead and fails on a
// difference.
import { createRequire } from "node:module";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const here = new URL("./", import.meta.url);
const solc = createRequire(new URL("../clients/", here))("solc");
const sources = {};
for (const file of readdirSync(new URL("src/", here)).sort()) {
  sources[file] = { content: readFileSync(new URL(`src/${file}`, here), "utf8") };
}
const settings = {
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  evmVersion: "cancun",
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};
const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
const errors = (output.errors ?? []).filter((e) => e.severity === "error");
if (errors.length) {
  console.error(errors.map((e) => e.formattedMessage).join("\n"));
  process.exit(1);
}
let different = 0;
for (const [file, contracts] of Object.entries(output.contracts)) {
  for (const [name, { abi, evm }] of Object.entries(contracts)) {
    const artifact = {
      contract: name,
      source: `contracts/src/${file}`,
      compiler: solc.version(),
      abi,
      bytecode: "0x" + evm.bytecode.object,
      deployedBytecode: "0x" + evm.deployedBytecode.object,
    };
    const text = JSON.stringify(artifact, null, 2) + "\n";
    const path = new URL(`artifacts/${name}.json`, here);
    if (!process.argv.includes("--check")) {
      writeFileSync(path, text);
    } else if (readFileSync(path, "utf8") !== text) {
      console.error(`contracts/artifacts/${name}.json is not what the compiler makes: run node contracts/build.mjs`);
      different += 1;
    }
  }
}
process.exit(different ? 1 : 0);
