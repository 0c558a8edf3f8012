//! What all attackers share: the devnet that they attack, the manners, and what they count.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::hex;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, task::JoinSet, time::sleep};
use trefoil_crypto::SecretKey;
use trefoil_types::{B256, spec::Kind};

/// An attacker that was refused or banned comes back as another after this.
const COMES_BACK: Duration = Duration::from_millis(100);

/// The devnet, as the program that started it tells the attackers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub kind: Kind,
    pub genesis: B256,
    pub fork_id: [u8; 4],
    /// The first is the one that is measured. The last is the witness: its RPC is left in peace.
    pub nodes: Vec<Validator>,
    /// CA keys of the attackers' own organisations: its number and the key's seed, hexadecimal.
    /// An insider has them.
    pub insiders: Vec<(u32, String)>,
    /// The node's program, and where the devnet is.
    pub program: PathBuf,
    pub dir: PathBuf,
}

/// A node of the devnet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Validator {
    pub peer: String,
    pub p2p: SocketAddr,
    pub rpc: SocketAddr,
    pub dir: PathBuf,
}

impl Target {
    pub fn victim(&self) -> &Validator {
        &self.nodes[0]
    }

    pub fn witness(&self) -> &Validator {
        self.nodes.last().expect("a devnet has nodes")
    }
}

/// On which kinds of network a manner means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Networks {
    All,
    Public,
    Members,
}

impl Networks {
    pub fn include(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Public => kind == Kind::Public,
            Self::Members => kind.has_members(),
        }
    }
}

/// One attacker's course, until it fails or is refused; it then begins again.
pub type Attack = fn(Arc<Arena>, usize) -> BoxFuture<'static, std::io::Result<()>>;

/// A manner of attack.
#[derive(Clone, Copy)]
pub struct Manner {
    pub name: &'static str,
    /// Its row of issue 15; `-` for those that are in no row.
    pub row: &'static str,
    pub what: &'static str,
    pub networks: Networks,
    /// How many attackers at a time.
    pub crowd: usize,
    /// Seconds that it takes at least, to show anything.
    pub seconds_min: u64,
    /// An RPC request must be answered in 10 ms (median) meanwhile.
    pub is_silent: bool,
    pub attack: Attack,
}

impl Manner {
    pub const USUAL: Self = Self {
        name: "",
        row: "-",
        what: "",
        networks: Networks::All,
        crowd: 16,
        seconds_min: 0,
        is_silent: false,
        attack: |_, _| Box::pin(std::future::pending()),
    };
}

/// A family's table: a name, a row, what it does, what is unusual about it, and its attack.
#[macro_export]
macro_rules! manners {
    ($($name:literal $row:literal $what:literal {$($field:ident: $value:expr),*} $attack:expr;)*) => {
        pub const MANNERS: &[$crate::arena::Manner] = &[$($crate::arena::Manner {
            name: $name,
            row: $row,
            what: $what,
            $($field: $value,)*
            attack: |arena, n| $crate::arena::boxed($attack, arena, n),
            ..$crate::arena::Manner::USUAL
        }),*];
    };
}

/// An attack as every other is, whatever its future is.
pub fn boxed<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    attack: impl FnOnce(Arc<Arena>, usize) -> F,
    arena: Arc<Arena>,
    n: usize,
) -> BoxFuture<'static, std::io::Result<()>> {
    Box::pin(attack(arena, n))
}

/// What the attackers of one process share.
pub struct Arena {
    pub target: Target,
    pub written: AtomicU64,
    pub read: AtomicU64,
    pub connections: AtomicU64,
    /// What a node did that it must not do.
    pub broken: Mutex<BTreeSet<String>>,
    /// What else is worth a line.
    pub notes: Mutex<BTreeSet<String>>,
    /// Why attackers came to nothing, the last time: else an attack that never reaches the
    /// node would look like one that does no harm.
    pub failure: Mutex<String>,
    /// Transactions in the victim's pool, which attackers put there once.
    pub pooled: OnceCell<Vec<B256>>,
    /// A transaction in the chain whose trace is long.
    pub traced: OnceCell<B256>,
    /// Resources that the victim shares.
    pub shared: OnceCell<Vec<String>>,
}

impl Arena {
    pub fn new(target: Target) -> Arc<Self> {
        Arc::new(Self {
            target,
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            broken: Mutex::default(),
            notes: Mutex::default(),
            failure: Mutex::default(),
            pooled: OnceCell::new(),
            traced: OnceCell::new(),
            shared: OnceCell::new(),
        })
    }

    /// So many attackers of a manner, for as long as the set lives.
    pub fn attack(self: &Arc<Self>, manner: &Manner, crowd: usize) -> JoinSet<()> {
        (0..crowd).map(|n| self.clone().one(manner.attack, n)).collect()
    }

    async fn one(self: Arc<Self>, attack: Attack, n: usize) {
        loop {
            if let Err(error) = attack(self.clone(), n).await {
                *self.failure.lock().expect("nobody panics") = error.to_string();
                sleep(COMES_BACK).await;
            }
        }
    }

    /// Notes that a node did what it must not do.
    pub fn broken(&self, what: impl Into<String>) {
        self.broken.lock().expect("nobody panics").insert(what.into());
    }

    pub fn note(&self, what: impl Into<String>) {
        self.notes.lock().expect("nobody panics").insert(what.into());
    }

    pub fn rpc(&self) -> SocketAddr {
        self.target.victim().rpc
    }

    /// The CA key of the `n`th attacker's organisation, on a network of members.
    pub fn insider(&self, n: usize) -> Option<(u32, SecretKey)> {
        // An organisation has room for 64 full nodes at a validator.
        let (organisation, seed) = self.target.insiders.get(n / 60)?;
        let seed = hex::decode_to_array(seed).expect("the program wrote it");
        Some((*organisation, SecretKey::from_seed(&seed)))
    }

    pub fn count(&self, counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
