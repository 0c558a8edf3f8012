#!/usr/bin/env bash
# Hardhat: compiles with the npm solc, deploys through ethers and through viem.
set -euo pipefail
cd "$(dirname "$0")/../hardhat"
rm -rf contracts artifacts cache
mkdir contracts
cp ../contracts/Counter.sol contracts/
export HARDHAT_DISABLE_TELEMETRY_PROMPT=true
hardhat build > build.log 2>&1 || { cat build.log; exit 1; }
hardhat run --no-compile deploy.mjs
