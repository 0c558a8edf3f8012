#!/usr/bin/env bash
# Runs each fuzz target, or those named, for a minute (or SECONDS_EACH), on the
# product's own stable toolchain: what cargo-fuzz does, without cargo-fuzz.
#   fuzz/run.sh [TARGET…]        SECONDS_EACH=600 fuzz/run.sh message
#   fuzz/run.sh --short          about a minute over all targets: what CI runs
# Seeds are in corpus/TARGET; what is found goes to the build directory. A crash
# leaves its input in artifacts/TARGET and ends the run with an error.
set -euo pipefail
cd "$(dirname "$0")"
# What `cargo build --release --workspace --all-targets` made of the dependencies is used.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}"
# Coverage and checks in our crates, and in those that decode and that few others use.
checked=()
for crate in ../crates/*/Cargo.toml redb yamux x509-cert trefoil-fuzz; do
  case $crate in *.toml) crate=$(sed -n 's/^name = "\(.*\)"/\1/p' "$crate" | head -1) ;; esac
  for check in debug-assertions overflow-checks; do
    checked+=(--config "profile.release.package.$crate.$check=true")
  done
done
RUSTC_WRAPPER="$PWD/instrument.sh" cargo build --release --quiet "${checked[@]}"
short=
if [ "${1:-}" = --short ]; then short=-short; shift; fi
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  for source in fuzz_targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi
more=(-max_total_time="${SECONDS_EACH:-60}")
# In CI the same inputs each time: what it finds is due to the change.
[ -z "$short" ] || more=(-max_total_time=$(((60 + ${#targets[@]} - 1) / ${#targets[@]})) -seed=1)
for target in "${targets[@]}"; do
  found="$CARGO_TARGET_DIR/fuzz/corpus$short/$target"
  [ -z "$short" ] || rm -rf "$found"
  mkdir -p "$found" "artifacts/$target"
  echo "== $target"
  "$CARGO_TARGET_DIR/release/$target" "$found" "corpus/$target" \
    "${more[@]}" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 2>"$found.log" || {
      tail -40 "$found.log"; echo "$target: crashed; see fuzz/artifacts/$target"; exit 1; }
  grep -E 'Done|stat::(number_of_executed_units|peak_rss_mb)' "$found.log"
done
