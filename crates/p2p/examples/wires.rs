//! How fast each wire is: bulk bytes over loopback from one task to another,
//! through the same upgrade and muxer as the node's, against bare TCP.
//!
//! `cargo run --release -p trefoil-p2p --example wires [RUNS [MEBIBYTES]]`
//!
//! The wires take turns within a run; the table shows medians over the runs.
//! CPU is that of both ends together, kernel included.

mod shared;
mod support;

use std::{
    env, fs, io,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use shared::Wire;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use trefoil_p2p::{Config, NetworkAccess, wire};

/// What the sender writes at once, and the receiver reads.
const CHUNK: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
enum Kinds {
    Tcp,
    Noise,
    Clear,
    Member,
}

const WIRES: [(&str, Kinds); 4] = [
    ("bare TCP", Kinds::Tcp),
    ("noise", Kinds::Noise),
    ("clear", Kinds::Clear),
    ("member", Kinds::Member),
];

struct Sample {
    elapsed: Duration,
    cpu: Duration,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> io::Result<()> {
    let mut numbers = env::args().skip(1).map(|text| text.parse().expect("a whole number"));
    let runs = numbers.next().unwrap_or(7);
    let bytes = numbers.next().unwrap_or(256) << 20;
    let mut samples = WIRES.map(|_| Vec::new());
    for _ in 0..runs {
        for ((_, kind), samples) in WIRES.iter().zip(&mut samples) {
            let (cpu, start) = (cpu(), Instant::now());
            match kind {
                Kinds::Tcp => over_tcp(bytes).await?,
                kind => over(wire(*kind, 1), wire(*kind, 2), bytes).await?,
            }
            samples.push(Sample { elapsed: start.elapsed(), cpu: self::cpu() - cpu });
        }
    }
    println!("{runs} runs of {} MiB, medians", bytes >> 20);
    println!("{:10} {:>8} {:>10} {:>10}", "wire", "MB/s", "CPU s/GiB", "of noise");
    let rates = samples.map(|mut samples| rates(&mut samples, bytes));
    for ((name, _), (speed, cpu)) in WIRES.iter().zip(rates) {
        println!("{name:10} {speed:8.0} {cpu:10.2} {:9.0}%", 100.0 * speed / rates[1].0);
    }
    Ok(())
}

/// Median megabytes a second, and median CPU seconds a gibibyte.
fn rates(samples: &mut [Sample], bytes: usize) -> (f64, f64) {
    let middle = samples.len() / 2;
    samples.sort_by_key(|sample| sample.elapsed);
    let speed = bytes as f64 / 1e6 / samples[middle].elapsed.as_secs_f64();
    samples.sort_by_key(|sample| sample.cpu);
    (speed, samples[middle].cpu.as_secs_f64() * (1u64 << 30) as f64 / bytes as f64)
}

fn wire(kind: Kinds, seed: u8) -> Wire {
    let member = support::config(seed, &[]);
    wire::ungated(&match kind {
        Kinds::Noise => Config { access: NetworkAccess::Public { encrypt: true }, ..member },
        Kinds::Clear => Config { access: NetworkAccess::Public { encrypt: false }, ..member },
        Kinds::Member => member,
        Kinds::Tcp => unreachable!("it has no upgrade"),
    })
}

/// Sends `bytes` over one stream; ends when the receiver has said that it has them.
async fn over(mut here: Wire, mut there: Wire, bytes: usize) -> io::Result<()> {
    let address = shared::listen(&mut here).await;
    let receiver = tokio::spawn(async move {
        let (_, mut mux) = shared::accept(&mut here).await.await?;
        let mut stream = shared::opened(&mut mux).await?;
        let driver = tokio::spawn(shared::drive(mux));
        let (mut left, mut buffer) = (bytes, vec![0; CHUNK]);
        while left > 0 {
            left -= match stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count,
            };
        }
        stream.write_all(&[1]).await?;
        stream.flush().await?;
        driver.await.expect("it does not panic");
        io::Result::Ok(())
    });
    let (_, mut mux) = shared::dial(&mut there, address).await?;
    let mut stream = shared::open(&mut mux).await?;
    let driver = tokio::spawn(shared::drive(mux));
    let chunk = vec![7; CHUNK];
    for _ in 0..bytes / CHUNK {
        stream.write_all(&chunk).await?;
    }
    stream.flush().await?;
    stream.read_exact(&mut [0]).await?;
    driver.abort();
    receiver.await.expect("it does not panic")
}

async fn over_tcp(bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let receiver = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await?;
        let (mut left, mut buffer) = (bytes, vec![0; CHUNK]);
        while left > 0 {
            left -= match socket.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count,
            };
        }
        socket.write_all(&[1]).await
    });
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let chunk = vec![7; CHUNK];
    for _ in 0..bytes / CHUNK {
        socket.write_all(&chunk).await?;
    }
    socket.read_exact(&mut [0]).await?;
    receiver.await.expect("it does not panic")
}

/// This process's time on CPUs so far. Linux tells it per thread in nanoseconds.
fn cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("this example needs Linux's /proc");
    let of_thread = |task: io::Result<fs::DirEntry>| -> u64 {
        let told = task.and_then(|task| fs::read_to_string(task.path().join("schedstat")));
        let told = told.unwrap_or_default();
        told.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
    };
    Duration::from_nanos(tasks.map(of_thread).sum())
}
