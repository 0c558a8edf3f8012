// Compiles contracts/src/*.sol with the npm compiler of clients/ and writes
// contracts/artifacts/*.json; with --check it compares instead and fails on a
// difference. It fails also on a warning, on code over EIP-170's limit, when a
// storage slot that nodes read is not where they read it, when Governance and its
// actions, which share storage, differ about it, and when an error has no @notice.
// GovernanceActions.json lists all actions, also those that it passes on.
import { createRequire } from "node:module";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

/// What is deployed, with the slots that nodes read: [slot, offset, variable, bytes].
const DEPLOYED = {
  Governance: [[0, 0, "_version", 32], [1, 0, "_permissions", 32]],
  GovernanceActions: [[0, 0, "_version", 32], [1, 0, "_permissions", 32]],
  ChainActions: [[0, 0, "_version", 32], [1, 0, "_permissions", 32]],
  AccountActions: [[0, 0, "_version", 32], [1, 0, "_permissions", 32]],
  Staking: [[0, 0, "_version", 32]],
  Ed25519Verifier: [],
  ContentRegistry: [],
  Token: [],
};
const CODE_BYTES_MAX = 24576; // EIP-170

const here = new URL("./", import.meta.url);
const solc = createRequire(new URL("../clients/", here))("solc");
const sources = {};
for (const file of readdirSync(new URL("src/", here)).sort()) {
  sources[file] = { content: readFileSync(new URL(`src/${file}`, here), "utf8") };
}
const outputs = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout", "userdoc"];
const settings = {
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  evmVersion: "cancun",
  outputSelection: { "*": { "*": outputs } },
};
const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
if (output.errors?.length) {
  console.error(output.errors.map((e) => e.formattedMessage).join("\n"));
  process.exit(1);
}

let wrong = 0;
const complain = (text) => {
  console.error(text);
  wrong += 1;
};
const save = (file, value) => {
  const text = JSON.stringify(value, null, 2) + "\n";
  const path = new URL(`artifacts/${file}`, here);
  if (!process.argv.includes("--check")) {
    writeFileSync(path, text);
  } else if (readFileSync(path, "utf8") !== text) {
    complain(`contracts/artifacts/${file} is not what the compiler makes: run node contracts/build.mjs`);
  }
};
// Each error of any contract with its @notice, which the command line prints.
const reasons = {};
const addReasons = (name, abi, userdoc) => {
  for (const { name: error, inputs } of abi.filter((entry) => entry.type === "error")) {
    const notice = userdoc.errors?.[`${error}(${inputs.map((input) => input.type)})`]?.[0].notice;
    const signature = `${error}(${inputs.map((input) => `${input.type} ${input.name}`).join(", ")})`;
    const inText = [...(notice ?? "").matchAll(/\{(\w+)(?::(?:peer|ether|time))?\}/g)].map((match) => match[1]);
    if (!notice) complain(`${name}: error ${signature} lacks an @notice that says what to do`);
    if ((reasons[signature] ?? notice) !== notice) complain(`${name}: error ${signature} has another @notice elsewhere`);
    if (!inText.every((argument) => inputs.some((input) => input.name === argument))) {
      complain(`${name}: the @notice of ${signature} names an argument that it has not`);
    }
    reasons[signature] = notice;
  }
};
const passedOn = (abi) => {
  const known = new Set(abi.map((entry) => JSON.stringify(entry)));
  const more = ["ChainActions", "AccountActions"].flatMap((name) => output.contracts[`${name}.sol`][name].abi);
  return more.filter((entry) => !known.has(JSON.stringify(entry)) && known.add(JSON.stringify(entry)));
};
for (const [name, promised] of Object.entries(DEPLOYED)) {
  const { abi, evm, storageLayout, userdoc } = output.contracts[`${name}.sol`][name];
  const size = evm.deployedBytecode.object.length / 2;
  if (size > CODE_BYTES_MAX) complain(`${name} is ${size} bytes, over EIP-170's ${CODE_BYTES_MAX}: make it smaller`);
  for (const [slot, offset, label, bytes] of promised) {
    const inSlot = storageLayout.storage.filter((v) => v.slot === String(slot));
    const [v] = inSlot;
    const width = v && Number(storageLayout.types[v.type].numberOfBytes);
    if (inSlot.length !== 1 || v.offset !== offset || v.label !== label || width !== bytes) {
      complain(`${name}: slot ${slot} must hold ${label} alone, ${bytes} bytes wide: nodes read it there`);
    }
  }
  addReasons(name, abi, userdoc);
  if (name === "GovernanceActions") abi.push(...passedOn(abi));
  save(`${name}.json`, {
    contract: name,
    source: `contracts/src/${name}.sol`,
    compiler: solc.version(),
    abi,
    bytecode: "0x" + evm.bytecode.object,
    deployedBytecode: "0x" + evm.deployedBytecode.object,
  });
}
save("revert_reasons.json", reasons);
// The actions run on Governance's storage: each variable must lie where that one has it.
const layout = (name) => output.contracts[`${name}.sol`][name].storageLayout.storage.map((v) => `${v.label} ${v.type} ${v.slot}:${v.offset}`);
const governance = layout("Governance");
for (const actions of ["GovernanceActions", "ChainActions", "AccountActions"]) {
  layout(actions).forEach((v, i) => {
    if (governance[i] !== v) complain(`${actions} has ${v} where Governance has ${governance[i]}`);
  });
}
process.exit(wrong ? 1 : 0);
