#!/usr/bin/env bash
# Cargo's compiler, with libFuzzer's coverage for the crates that decode.
rustc=$1; shift
coverage=(
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
)
case " $* " in
  # The compiler itself loads what macros are made of, and has no fuzzer in it.
  *" --crate-type proc-macro "*) exec "$rustc" "$@" ;;
  *" --target "*) ;;
  *) exec "$rustc" "$@" ;;
esac
case " $* " in
  *" --crate-name trefoil"* | *" --crate-name alloy_"* | *" --crate-name toml"* | *" fuzz_targets/"* | \
  *" --crate-name redb "* | *" --crate-name serde_json "* | *" --crate-name arc_malachitebft_"* | \
  *" --crate-name yamux "* | *" --crate-name der "* | *" --crate-name x509_cert "*)
    exec "$rustc" "$@" "${coverage[@]}" ;;
esac
exec "$rustc" "$@"
