//! The cost of writing and reading each kind of message: 500 transactions in a
//! block, a proposal or a list. `cargo bench -p trefoil-types`.

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trefoil_types::Message;

fn codec(criterion: &mut Criterion) {
    for (name, message) in samples::messages(500) {
        let bytes = message.encode();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        group.bench_function("encode", |b| b.iter(|| black_box(&message).encode()));
        group.bench_function("decode", |b| b.iter(|| Message::decode(black_box(&bytes))));
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
