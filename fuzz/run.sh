#!/usr/bin/env bash
# Runs each fuzz target, or those named, for a minute (or SECONDS_EACH), on the
# product's own stable toolchain: what cargo-fuzz does, without cargo-fuzz.
#   fuzz/run.sh [TARGET…]        SECONDS_EACH=600 fuzz/run.sh message
#   fuzz/run.sh --short          about a minute over all targets: what CI runs
# Seeds are in corpus/TARGET; what is found goes to the build directory. A crash
# leaves its input in artifacts/TARGET and ends the run with an error.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}/fuzz"
# Coverage in our crates and those whose decoders we call; the rest stays fast.
export RUSTC_WRAPPER="$PWD/instrument.sh"
# Named, so that what macros are made of is compiled apart, without coverage.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --quiet --target "$host"
short=
if [ "${1:-}" = --short ]; then short=1; shift; fi
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  for source in fuzz_targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi
seconds=${SECONDS_EACH:-60}
if [ -n "$short" ]; then seconds=$(((60 + ${#targets[@]} - 1) / ${#targets[@]})); fi
for target in "${targets[@]}"; do
  found="$CARGO_TARGET_DIR/corpus/$target"
  mkdir -p "$found" "artifacts/$target"
  echo "== $target"
  "$CARGO_TARGET_DIR/$host/release/$target" "$found" "corpus/$target" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 2>"$found.log" || {
      tail -40 "$found.log"; echo "$target: crashed; see fuzz/artifacts/$target"; exit 1; }
  grep -E 'Done|stat::(number_of_executed_units|peak_rss_mb)' "$found.log"
done
