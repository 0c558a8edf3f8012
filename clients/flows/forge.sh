#!/usr/bin/env bash
# forge: compiles with the npm solc, deploys, and its contract emits a log.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
key=0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cp "$here/contracts/Counter.sol" "$work/src/"
cat > "$work/foundry.toml" <<T
[profile.default]
src = "src"
out = "out"
solc = "$here/solc.sh"
offline = true
T
ms() { date +%s%3N; }
t=$(ms)
address=$(cd "$work" && forge create src/Counter.sol:Counter --rpc-url "$RPC" --private-key $key \
  --broadcast --json --constructor-args 10 | sed -n 's/.*"deployedTo": *"\([^"]*\)".*/\1/p')
[ -n "$address" ] || { echo "forge create printed no address"; exit 1; }
echo "{\"step\": \"compile and deploy\", \"ms\": $(($(ms) - t))}"
echo "forge $address" >> "$DEPLOYED"
cast send --rpc-url "$RPC" --private-key $key "$address" 'increment(uint256)' 5 --json > /dev/null
[ "$(cast call --rpc-url "$RPC" "$address" 'value()(uint256)')" = 15 ]
