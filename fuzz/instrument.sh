#!/usr/bin/env bash
# Cargo's compiler, with libFuzzer's coverage for the crates that `run.sh` names.
rustc=$1; shift
case " $* " in
  *" --crate-type proc-macro "*) exec "$rustc" "$@" ;;
  *"--crate-name build_script_"*) exec "$rustc" "$@" ;;
  # Only they are compiled with these checks (`run.sh`).
  *" debug-assertions=on "*) ;;
  *) exec "$rustc" "$@" ;;
esac
exec "$rustc" "$@" \
  -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
