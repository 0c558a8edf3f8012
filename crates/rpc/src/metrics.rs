//! `/metrics` in Prometheus' text format.
//!
//! What always holds: no label comes from a caller.

use std::fmt::{Display, Write as _};

use crate::{Rpc, sync_progress};

/// Metrics as they are written, family by family.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }
}

pub fn text(rpc: &Rpc) -> String {
    let mut page = Page(String::new());
    node(rpc, &mut page);
    requests(rpc, &mut page);
    let help = "Bytes that callers make the server hold; `rpc.memory_mib` bounds them.";
    page.gauge("trefoil_rpc_memory_bytes", help, rpc.memory.used());
    let help = "Open connections to the RPC's port, WebSockets too.";
    page.gauge("trefoil_rpc_connections", help, rpc.connections.count());
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory of the process.", bytes);
    }
    page.0
}

fn node(rpc: &Rpc, page: &mut Page) {
    let status = rpc.backend.status();
    let seconds = status.tip_at.0 as f64 / 1000.0;
    page.gauge("trefoil_height", "Height of the newest final block.", status.height);
    page.gauge("trefoil_tip_time_seconds", "When it was committed here, Unix time.", seconds);
    page.gauge("trefoil_round", "Consensus round of the next height.", status.round);
    page.gauge("trefoil_peers", "Connected peers.", status.peers);
    page.gauge("trefoil_validators", "Validators of the next height.", status.validators);
    if let Some(held) = rpc.backend.certificate() {
        let left = held.not_after.saturating_sub(rpc.backend.snapshot().tip().timestamp);
        let help = "Seconds until this node's certificate ends, by the chain's time.";
        page.gauge("trefoil_certificate_seconds_left", help, left);
    }
    page.gauge("trefoil_signers", "Signatures in the tip's certificate.", status.signers);
    const TURNS: &str = "trefoil_validator_failed_turns";
    let help = "Turns to propose in a row that this node waited for in vain; left out: none.";
    page.family(TURNS, "gauge", help);
    for (validator, row) in &status.failed_turns {
        page.sample(TURNS, &format!("{{validator=\"{validator}\"}}"), row);
    }
    let syncing = u8::from(sync_progress::behind(&status).is_some());
    page.gauge("trefoil_syncing", "1 while well behind the peers' tip.", syncing);
    page.family("trefoil_pool_transactions", "gauge", "Transactions in the pool.");
    page.sample("trefoil_pool_transactions", "{kind=\"pending\"}", status.pool_pending);
    page.sample("trefoil_pool_transactions", "{kind=\"queued\"}", status.pool_queued);
    page.gauge(
        "trefoil_pool_bytes",
        "What transactions in the pool take in memory, bytes.",
        status.pool_bytes,
    );
    let help = "Transactions committed since the start.";
    page.family("trefoil_transactions_total", "counter", help);
    page.sample("trefoil_transactions_total", "", rpc.events.committed_txs());
    page.family("trefoil_net_dropped_total", "counter", "Messages dropped from full lanes.");
    for (lane, dropped) in rpc.backend.net.dropped() {
        page.sample("trefoil_net_dropped_total", &format!("{{lane={lane:?}}}"), dropped);
    }
    let help = "Connections closed when they were accepted: no room for where they came from.";
    page.family("trefoil_net_turned_away_total", "counter", help);
    page.sample("trefoil_net_turned_away_total", "", rpc.backend.net.turned_away());
}

fn requests(rpc: &Rpc, page: &mut Page) {
    const NAME: &str = "trefoil_rpc_requests_total";
    page.family(NAME, "counter", "JSON-RPC requests answered.");
    for (method, [ok, failed]) in rpc.counters.by_method() {
        for (outcome, count) in [("ok", ok), ("error", failed)] {
            if count > 0 {
                let labels = format!("{{method=\"{method}\",outcome=\"{outcome}\"}}");
                page.sample(NAME, &labels, count);
            }
        }
    }
    page.sample(NAME, "{method=\"(unknown)\",outcome=\"error\"}", rpc.counters.unknown_total());
}

/// Resident memory, where the system reports it (Linux: field 2 of statm, pages
/// of 4 KiB).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(4096)
}
