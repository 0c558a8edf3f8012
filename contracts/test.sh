#!/usr/bin/env bash
# The contracts' unit, fuzz and invariant tests, offline: contracts/test.sh
# Needs clients/install before. Quiet but for the count and what failed;
# arguments go to forge (--match-test NAME -vvv shows one test's calls).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
modules=$here/../clients/node_modules
target=${CARGO_TARGET_DIR:-$here/../target}
export PATH=$modules/.bin:$PATH
export FOUNDRY_OUT=$target/forge/out FOUNDRY_CACHE_PATH=$target/forge/cache
export FOUNDRY_FUZZ_FAILURE_PERSIST_DIR=$target/forge/failures FOUNDRY_TEST_FAILURES_FILE=$target/forge/failed FOUNDRY_DISABLE_NIGHTLY_WARNING=1
cd "$here"
[ $# = 0 ] || exec forge test "$@"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
unformatted=$(forge fmt --check 2>&1) || true
[ -z "$unformatted" ] || { echo "$unformatted"; echo "run forge fmt in contracts/"; exit 1; }
# The exit code of npm's forge says nothing: count.
forge test > "$log" 2>&1 || true
passes=$(grep -c '^\[PASS\]' "$log" || true)
fails=$(sed '/^Failing tests/,$d' "$log" | grep -c '^\[FAIL' || true)
ok=1
[ "$passes" != 0 ] && [ "$fails" = 0 ] || { cat "$log"; ok=0; }
echo "$passes passed, $fails failed"
[ $ok = 1 ]
