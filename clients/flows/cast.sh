#!/usr/bin/env bash
# cast: transfer, call, logs, and the reads that it does along the way.
set -euo pipefail
key=0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a
me=$(cast wallet address $key)
someone=0x00000000000000000000000000000000000abcd1
ms() { date +%s%3N; }
step() { echo "{\"step\": \"$1\", \"ms\": $(($(ms) - $2))}"; }

t=$(ms)
cast send --rpc-url "$RPC" --private-key $key $someone --value 1 --json > /dev/null
step transfer "$t"
t=$(ms)
cast send --sync --rpc-url "$RPC" --private-key $key $someone --value 1 --json > /dev/null
step "transfer (sync)" "$t"

read -r _ address < <(tail -1 "$DEPLOYED")
before=$(cast call --rpc-url "$RPC" "$address" 'value()(uint256)')
cast send --rpc-url "$RPC" --private-key $key "$address" 'increment(uint256)' 2 --json > /dev/null
after=$(cast call --rpc-url "$RPC" "$address" 'value()(uint256)')
[ $((before + 2)) = "$after" ] || { echo "value $before, then $after"; exit 1; }
if why=$(cast call --rpc-url "$RPC" "$address" 'increment(uint256)' 0 2>&1); then
  echo "increment(0) did not revert"; exit 1
fi
case "$why" in *"nothing to add"*) ;; *) echo "revert reason missing: $why"; exit 1 ;; esac

cast balance --rpc-url "$RPC" "$me" > /dev/null
cast nonce --rpc-url "$RPC" "$me" > /dev/null
cast block --rpc-url "$RPC" finalized > /dev/null
cast gas-price --rpc-url "$RPC" > /dev/null
cast proof --rpc-url "$RPC" "$address" 0x0000000000000000000000000000000000000000000000000000000000000000 > /dev/null
cast access-list --rpc-url "$RPC" "$address" 'increment(uint256)' 2 --from "$me" > /dev/null
cast tx-pool status --rpc-url "$RPC" > /dev/null
while read -r by address; do
  logs=$(cast logs --rpc-url "$RPC" --from-block 0 --address "$address" --json)
  [ "$logs" != "[]" ] || { echo "no logs of the contract deployed by $by"; exit 1; }
done < "$DEPLOYED"
