# One-liners. `just` alone lists them.
default:
    @just --list

# A network of four validators on this machine
devnet *FLAGS:
    cargo run --release -p trefoil -- devnet {{FLAGS}}

# All tests (the quick ones: just test quick)
test *ARGS:
    ./test {{ARGS}}

# Simulated clusters under faults
sim *ARGS:
    cargo run --release -p trefoil-sim -- {{ARGS}}

# The long simulator run
sim-long:
    cargo run --release -p trefoil-sim -- --seeds 2000

# Official execution vectors from files or folders
eest *PATHS:
    cargo run --release -p trefoil-ledger --example eest -- {{PATHS}}

# Each fuzz target for a minute
fuzz:
    fuzz/run.sh

# Benchmarks of the parts
bench:
    cargo bench --workspace

# Wallets and tools against a devnet
clients *ARGS:
    clients/install && python3 clients/run.py {{ARGS}}

# Rebuild the checked-in contract artifacts
contracts:
    clients/install && clients/node_modules/.bin/node contracts/build.mjs
