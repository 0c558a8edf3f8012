//! `trefoil share`: a node that has no chain and only shares, and `trefoil
//! fetch`, which is one for as long as a fetch takes.
//!
//! Both use the wire `/trefoil/clear/1` with a network name of their own, so that
//! only other sharing nodes answer them.

use std::{
    fmt,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Args;
use tokio::{net::TcpListener, signal};
use trefoil_content::{ContentId, Origin, scheduler::UploadPolicy};
use trefoil_crypto::SecretKey;
use trefoil_host::{
    HostError, logging,
    settings::{ContentSettings, OriginPolicy, PeerAddress},
};
use trefoil_os::{disk::FileDisk, operator_file};
use trefoil_p2p::{NetHandle, NetworkAccess};
use trefoil_rpc::{
    HttpAccess, HttpConnectionTable, MemoryAccount,
    content::{
        admin,
        admin_server::Admin,
        gateway::{Gateway, GatewayAccess},
    },
};
use trefoil_swarm::{Content, ContentConfig, PutOptions, Selection, StoreError, http::Credentials};
use trefoil_types::{B256, Kind, PeerId, keccak256};

use super::{
    block_on::block_on,
    end_signal::end_signal,
    progress::Bar,
    resource::{byte_range, output_path, parse_link},
    worker::POLL,
};
use crate::error::CommandError;

// Not a node's 30303: both may run on one machine.
/// The port on which a sharing node listens.
const PORT: u16 = 30330;

// Twice a node's default. A hostile one costs at most 8 MiB (docs/security.md): 2 GiB in all.
// All may come from one address: the bound for each source is the same.
/// Connections that strangers open, at most.
const INBOUND_MAX: usize = 256;

/// The longest file of a sharing node's key, bytes: it has 64.
const IDENTITY_BYTES_MAX: u64 = 1_024;

// A reader of the pipe may have seen enough (`trefoil share PATH | head -1`): it goes on sharing.
/// Prints a line, if somebody reads it. `println!` panics otherwise, which ends the process.
fn print(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The name of the network, in place of a genesis hash.
fn network() -> B256 {
    keccak256("trefoil share 1")
}

/// A sharing node's place, its peers and its limits.
#[derive(Debug, Args)]
struct SharingArgs {
    /// Where what comes is kept [default: trefoil/share, or trefoil/fetch, in the user's data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where other nodes connect [default: share: 0.0.0.0:30330; fetch: any free port]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// A node to begin with; may be given many times
    #[arg(long, value_name = "PEERID@IP:PORT")]
    from: Vec<PeerAddress>,
    /// The log filter: error, warn, info, debug, or MODULE=LEVEL,…
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
    /// Kibibytes a second that are sent at most; 0: no limit
    #[arg(long, value_name = "KIB", default_value_t = 0)]
    up_kib_s: u64,
    /// Which HTTP servers are asked that peers name
    #[arg(long, value_enum, default_value_t = OriginPolicy::Global)]
    origins: OriginPolicy,
    /// A file of headers for HTTP servers, by URL prefix (see docs/content.md)
    #[arg(long, value_name = "FILE")]
    origin_credentials: Option<PathBuf>,
}

/// A running one.
struct Sharing {
    me: PeerId,
    net: NetHandle,
    content: Content,
    data: PathBuf,
    // Held as long as it runs.
    _disk: FileDisk,
    // The lanes of a node's messages, which are not used.
    _lanes: [trefoil_p2p::LaneReceiver; 3],
}

impl Sharing {
    /// An address that others can use, as far as this machine knows.
    fn at(&self) -> SocketAddr {
        let listen = self.net.listen_address();
        match listen.ip().is_unspecified() {
            true => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listen.port()),
            false => listen,
        }
    }

    fn print_fetch(&self, id: ContentId) {
        let link = admin::link_of(&self.content, id);
        print(format_args!("get   trefoil fetch '{link}' --from {}@{}", self.me, self.at()));
    }
}

impl SharingArgs {
    /// `name`: of its directory, and `port`, if no other are given.
    async fn start(&self, name: &str, port: u16) -> Result<Sharing, CommandError> {
        logging::start(&self.log)?;
        let data = self.dir.clone().map_or_else(|| default_dir(name), Ok)?;
        let disk = FileDisk::open(&data)?;
        let identity = identity(&data)?;
        let me = PeerId(identity.public());
        let (net, lanes) = trefoil_p2p::start(trefoil_p2p::Config {
            identity,
            listen: self.listen.unwrap_or((Ipv4Addr::UNSPECIFIED, port).into()),
            peers: self.from.iter().map(|known| (known.peer, known.address)).collect(),
            genesis: network(),
            // There is no chain, so there are no rules on which to agree.
            fork_id: [0; 4],
            access: NetworkAccess::Public { encrypt: false },
            inbound_max: INBOUND_MAX,
            inbound_per_source_max: INBOUND_MAX,
            discovery: None,
        })
        .await?;
        let settings = ContentSettings { up_kib_s: self.up_kib_s, ..Default::default() };
        let config = ContentConfig {
            me,
            organisation: None,
            dir: data.join("content"),
            upload_policy: UploadPolicy::Fair,
            rates: settings.rates(),
            quota: None,
            open_bytes_max: trefoil_swarm::OPEN_BYTES_MAX,
            origins: self.origins.reach(Kind::Public),
            credentials: Credentials::read(&self.origin_credentials.clone().unwrap_or_default())?,
        };
        let content = Content::start(config, net.clone(), lanes.content)?;
        let lanes = [lanes.consensus, lanes.catch_up, lanes.gossip];
        Ok(Sharing { me, net, content, data, _disk: disk, _lanes: lanes })
    }
}

#[derive(Debug, Args)]
pub struct ShareArgs {
    /// Files and directories, which are shared from where they are
    paths: Vec<PathBuf>,
    /// An HTTP server's file, which is read once and stays where it is; may be given
    /// many times
    #[arg(long, value_name = "URL")]
    origin: Vec<Origin>,
    #[command(flatten)]
    sharing: SharingArgs,
    /// Where the gateway and the admin methods are served
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8580")]
    rpc: SocketAddr,
}

impl ShareArgs {
    pub fn run(self) -> Result<(), CommandError> {
        block_on(async {
            let sharing = self.sharing.start("share", PORT).await?;
            print(format_args!("node  {}@{}", sharing.me, sharing.at()));
            let listener = TcpListener::bind(self.rpc)
                .await
                .map_err(|source| HostError::RpcListen { address: self.rpc, source })?;
            let admin = Admin::new(sharing.content.clone(), &sharing.data)
                .map_err(|e| CommandError::file("write the token in", &sharing.data, e))?;
            // The gateway serves programs of this machine; others fetch as peers.
            let memory = MemoryAccount::default();
            let admin = admin.drawing_on(memory.clone());
            let gateway = Gateway::new(sharing.content.clone(), GatewayAccess::Loopback);
            let gateway = gateway.admitting(admin.gateway_keys()).drawing_on(memory.clone());
            let served = admin.router().merge(gateway.router());
            // Under no foreign name, and for no page of another origin.
            let served = trefoil_rpc::guarded(served, HttpAccess::default());
            tokio::spawn(trefoil_rpc::accept(served, listener, HttpConnectionTable::new(memory)));
            for path in &self.paths {
                let (content, read) = (&sharing.content, Arc::new(AtomicU64::new(0)));
                let put = content.put(path, PutOptions::default(), read.clone());
                sharing.print_fetch(hashed(put, &read, &AtomicU64::new(0)).await?);
            }
            for origin in self.origin {
                let (read, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
                let put = sharing.content.put_origin(
                    origin,
                    PutOptions::default(),
                    read.clone(),
                    total.clone(),
                );
                sharing.print_fetch(hashed(put, &read, &total).await?);
            }
            end_signal().await;
            sharing.net.shutdown();
            Ok(())
        })
    }
}

/// Shows how far a put is. A `total` of 0 is not known.
async fn hashed(
    put: impl Future<Output = Result<ContentId, StoreError>>,
    read: &AtomicU64,
    total: &AtomicU64,
) -> Result<ContentId, CommandError> {
    let (mut bar, mut put) = (Bar::new(false), std::pin::pin!(put));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    loop {
        tokio::select! {
            id = &mut put => {
                bar.end(count(read), "hashed");
                return Ok(id?);
            }
            () = tokio::time::sleep(POLL) => {
                bar.show(count(read), Some(count(total)).filter(|total| *total > 0), "hashed");
            }
        }
    }
}

#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The link that `trefoil share` printed
    link: String,
    /// Where to write it [default: its name, here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Only this file of a directory
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Only the bytes from A to before B
    #[arg(long, value_name = "A-B", value_parser = byte_range)]
    range: Option<(u64, u64)>,
    /// Go on sharing it until Ctrl-C
    #[arg(long)]
    stay: bool,
    #[command(flatten)]
    sharing: SharingArgs,
}

impl FetchArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let link = parse_link(&self.link)?;
        let output = output_path(self.output.as_deref(), self.path.as_deref(), &link)?;
        block_on(async {
            let sharing = self.sharing.start("fetch", 0).await?;
            let selection = Selection {
                path: self.path.clone(),
                range: self.range.map(|(from, to)| from..to),
                sequential: false,
                apart: false,
            };
            let content = &sharing.content;
            let mut bar = Bar::new(false);
            let mut get = std::pin::pin!(content.export(&link, &selection, &output));
            loop {
                tokio::select! {
                    held = &mut get => {
                        held?;
                        break;
                    }
                    () = tokio::time::sleep(POLL) => {
                        let progress = content.progress(link.id).await?;
                        bar.progress(&admin::JobStatus { ended: None, read: 0, total: None, progress });
                    }
                }
            }
            bar.fetched(content.progress(link.id).await?.as_ref());
            print(format_args!("{}", output.display()));
            if self.stay {
                // Until then it shares.
                let _ = signal::ctrl_c().await;
            }
            sharing.net.shutdown();
            Ok(())
        })
    }
}

fn default_dir(name: &str) -> Result<PathBuf, CommandError> {
    super::devnet::default_dir().map(|dir| dir.with_file_name(name))
}

/// The sharing node's name: a key that is made at the first start. It guards
/// nothing but the name, and lies in a file that only its user reads.
fn identity(dir: &Path) -> Result<SecretKey, CommandError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = dir.join("identity");
    match operator_file::read_text(&path, IDENTITY_BYTES_MAX) {
        Ok(text) => {
            let seed =
                hex::decode(text.trim()).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
            let seed = seed.ok_or_else(|| {
                let what =
                    format!("{} does not hold a key of 64 hexadecimal digits", path.display());
                CommandError::with_cure(what, "remove it: a new one is made")
            })?;
            Ok(SecretKey::from_seed(&seed))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let seed: [u8; 32] = rand::random();
            // Created anew and readable by its user only: never over a key that another
            // process wrote.
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(hex::encode(seed).as_bytes()))
                .map_err(|e| CommandError::file("write", &path, e))?;
            Ok(SecretKey::from_seed(&seed))
        }
        Err(error) => Err(CommandError::file("read", &path, error)),
    }
}
