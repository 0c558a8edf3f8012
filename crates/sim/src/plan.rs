//! The plan of a run: its machines, the faults with their times, and the expectations. A named
//! scenario and a random seed are both plans.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_mempool::MempoolLimits;
use trefoil_types::{Height, Kind, Millis};

use crate::{
    injected_bug::InjectedBug,
    step_partitions::StepPartitions,
    uplink::UplinkRate,
    vice::Vice,
    wire::{Id, Weather},
};

/// Small, so that seeds meet the bounds.
const POOL: MempoolLimits = MempoolLimits {
    txs_max: 64,
    bytes_max: 128 << 10,
    txs_per_sender_max: 16,
    txs_per_peer_max: 32,
};

/// Few, since a run is short and must see checkpoints.
const CHECKPOINT_BLOCKS: usize = 8;

#[derive(Clone, Debug, Default)]
pub struct SimPlan {
    pub name: String,
    /// The seed of every random stream of the run.
    pub seed: u64,
    /// Machines 0 to `validators` − 1 validate with equal power.
    pub validators: usize,
    /// So many machines after those follow the chain without a vote.
    pub full_nodes: usize,
    /// The dishonest: fewer than a third of the validators, and any full node.
    pub vices: BTreeMap<Id, Vice>,
    /// Machines with the key of a validator that runs as well.
    pub twins: BTreeMap<Id, Id>,
    /// Validators that hold their next key beside the one in use.
    pub rotating: BTreeSet<Id>,
    /// Full nodes with a validator's key, which a vote may make validators.
    pub reserves: BTreeSet<Id>,
    /// Full nodes with a validator's key, and the validator for whose seat each may stand by.
    pub standbys: BTreeMap<Id, Id>,
    /// These do not start by themselves.
    pub late: BTreeSet<Id>,
    /// Pairs that can never connect, as behind firewalls.
    pub strangers: Vec<(Id, Id)>,
    /// How far each machine's clock is off; missing: not at all.
    pub skew_ms: BTreeMap<Id, i64>,
    pub chain: ChainOptions,
    /// The bounds of each machine's transaction pool.
    pub pool: MempoolLimits,
    /// After how many blocks a machine's checkpoint is due.
    pub checkpoint_blocks: usize,
    /// Whether a machine refuses a peer for its offences. Off where a test sends messages in
    /// the name of honest machines: they would refuse each other.
    pub bans: bool,
    pub weather: Weather,
    /// The line of each machine; `None`: a byte costs nothing.
    pub uplink: Option<UplinkRate>,
    /// What the wallets' transfers carry, bytes.
    pub tx_bytes: usize,
    /// The longest that a worker takes for a job.
    pub workers_max: Millis,
    pub script: Vec<(Millis, Act)>,
    pub partitions: StepPartitions,
    /// The run is over when each honest machine has this block, as each must before it ends.
    pub until: Option<Height>,
    /// The last instant.
    pub ends: Millis,
    /// A bug put in on purpose, to see that it is found.
    pub bug: Option<InjectedBug>,
}

/// The few fields of the chain specification that plans vary.
#[derive(Clone, Copy, Debug)]
pub struct ChainOptions {
    /// On a public network the organisations' accounts own the stakes.
    pub kind: Kind,
    pub block_interval_ms: u64,
    pub idle_block_s: u64,
    /// First base fee, wei.
    pub base_fee: u64,
    pub gas_limit: u64,
    /// Blocks between two snapshots.
    pub snapshot_every: u64,
    /// How old the chain's genesis is when the run starts.
    pub age_s: u64,
    /// How long decisions wait that would give somebody another's identity.
    pub decision_delay_s: u64,
    /// Blocks over which absence is judged on a public network.
    pub window_blocks: u32,
    pub jail_blocks: u64,
    /// Seats of a public network with power 17 for keys that nobody runs; the machines' have a
    /// million times as much each.
    pub idle_seats: usize,
}

// Room for 33 transfers (30,000 gas) or five new contracts (200,000) of the workload, so that
// a backlog fills several blocks.
/// The gas limit of a block.
const GAS_LIMIT: u64 = 1_000_000;

impl Default for ChainOptions {
    fn default() -> Self {
        Self {
            kind: Kind::Consortium,
            // As `chain.toml` has it by default.
            block_interval_ms: 500,
            // A minute, the default, is longer than most runs: an idle chain must grow in one.
            idle_block_s: 1,
            // 1 gwei: each transaction pays, and changes a balance.
            base_fee: 1_000_000_000,
            gas_limit: GAS_LIMIT,
            snapshot_every: 1_024,
            // A clock that is a few seconds slow is still past genesis.
            age_s: 10,
            decision_delay_s: 172_800,
            // So short that a run sees several.
            window_blocks: 40,
            jail_blocks: 1_200,
            idle_seats: 0,
        }
    }
}

/// An action of the governing contract that the organisations vote for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    AddValidator(Id),
    RemoveValidator(Id),
    RevokeNode(Id),
    /// The organisation of a validator decides alone that its next key takes over.
    RotateKey(Id),
    /// The organisation of a validator, or its owner, decides alone where its seat moves when it is away.
    NameStandby {
        seat: Id,
        standby: Id,
    },
    SetGasLimit(u64),
}

/// One thing done to the cluster.
#[derive(Clone, Debug)]
pub enum Act {
    /// The process ends; see [`Moment`].
    Crash(Id, Moment),
    /// The process starts, if it is not running, and no power cut that was
    /// planned for it will come.
    Start(Id),
    /// Of a validator's machine and its standby, the one without the seat ends.
    StopSpare(Id, Moment),
    /// Only machines of one group reach each other; a machine of none is alone.
    Partition(Vec<Vec<Id>>),
    /// Messages of the first do not reach the second.
    Deafen {
        from: Id,
        to: Id,
    },
    /// The first is connected with no honest machine but the other, if there is one.
    Eclipse {
        victim: Id,
        spared: Option<Id>,
    },
    /// A machine without a chain takes a snapshot of another, and starts.
    Join(Id),
    /// Partitions, eclipses and deafness end.
    Mend,
    /// A connection is reset; it will be dialled again.
    Reset(Id, Id),
    Weather(Weather),
    /// Each input costs the machine so long.
    Slow(Id, Millis),
    /// The disks take so many more bytes and no more.
    FillDisks(Id, u64),
    FreeDisks(Id),
    /// A transaction is submitted somewhere each so often.
    Load(Option<Millis>),
    /// The organisations propose it and, a moment later, enough of them approve.
    Vote(Motion),
    /// Somebody calls a contract of the system by chance each so often.
    Actions(Option<Millis>),
    /// The faults end: mend, free, fair weather, start all that are down. The dishonest stay
    /// dishonest.
    Calm,
    Expect(Expect),
}

/// When exactly a process ends, and what its disk keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It is asked to stop, and first makes its ledger durable.
    Stop,
    /// `kill -9`: the operating system keeps all that was written.
    Kill,
    /// The power goes: unsynced writes are kept, lost or torn.
    PowerCut,
    /// The power goes after the journal's next append, before its sync.
    BeforeSync,
    /// The power goes after the journal's next sync, before any message is sent.
    AfterSync,
    /// The power goes when half of the next messages are sent.
    MidSpeech,
    /// The power goes after so many more writes and syncs of the ledger's disk.
    LedgerWrites(u64),
}

impl Moment {
    /// Those that need no number.
    pub const USUAL: [Self; 6] = [
        Self::Stop,
        Self::Kill,
        Self::PowerCut,
        Self::BeforeSync,
        Self::AfterSync,
        Self::MidSpeech,
    ];
}

/// An expectation at an instant. Times are from the plan's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// So many blocks or more became final since then.
    Grew { since: Millis, blocks: u64 },
    /// No more than so many blocks became final since then.
    Stood { since: Millis, blocks: u64 },
    /// Each block since then was decided in its first round.
    FirstRounds { since: Millis },
    /// No two blocks since then were further apart, to this very instant.
    GapAtMost { since: Millis, gap: Millis },
    /// Blocks since then came as those between the instants of `calm`: the median of the
    /// intervals is at most 1.1 times as long, and 95 of 100 are at most 1.5 times as long as
    /// 95 of 100 were.
    Paced { calm: [Millis; 2], since: Millis },
    /// Of the blocks since then this validator proposed at least so many of a hundred.
    Proposes { by: Id, since: Millis, percent: u64 },
    /// Of the blocks since then so many of a hundred, from the first to the second number, lack
    /// this validator's signature for the block before them.
    LeftOut { whom: Id, since: Millis, percent: [u64; 2] },
    /// The first new block after `since` came within so long.
    ResumedWithin { since: Millis, within: Millis },
    /// Each honest machine holds what was final so long ago.
    AllWithin(Millis),
    /// Each that no other shuns does.
    MembersWithin(Millis),
    /// This one does.
    CaughtUp(Id, Millis),
    /// This one lacks so many blocks or more.
    Behind(Id, u64),
    /// This one began by a snapshot.
    Joined(Id),
    /// The tip's timestamp is no farther than this from the true time.
    TimeWithin(Millis),
    /// The process ended by itself.
    Down(Id),
    /// All honest running machines cut this one off for its offences.
    Banned(Id),
    /// Each honest running machine that is not cut off knows so many validators
    /// of the next block.
    Validators(usize),
    /// The next key of this validator validates, and its old one does not, wherever a machine is
    /// not cut off.
    Rotated(Id),
    /// The key of this machine has the seat of that validator, wherever a machine is not cut off.
    Moved { seat: Id, to: Id },
    /// For at most so many blocks in a row nobody heard a vote for this seat, which has a standby.
    SeatSigned { seat: Id, gap: u64 },
    /// No honest machine is connected with this one.
    CutOff(Id),
    /// The gas limit of the tip, wherever a machine is not cut off.
    GasLimit(u64),
    /// A block carried proof that this validator signed two things, and it is none
    /// of the next block's wherever a machine is not cut off.
    Convicted(Id),
    /// Of stakes so many wei are burned, wherever.
    Burned(u128),
    /// So many transactions or more became final since then.
    Included { since: Millis, txs: u64 },
}

impl SimPlan {
    /// `validators` honest machines in fair weather, doing nothing until `ends`.
    pub fn quiet(name: &str, seed: u64, validators: usize, ends: Millis) -> Self {
        Self {
            name: name.into(),
            seed,
            validators,
            pool: POOL,
            checkpoint_blocks: CHECKPOINT_BLOCKS,
            bans: true,
            weather: Weather::FAIR,
            // Longer than the wire's 20 ms, so that messages overtake results.
            workers_max: Millis(30),
            ends,
            ..Self::default()
        }
    }

    /// Adds an act at so many milliseconds from the start.
    pub fn at(mut self, ms: u64, act: Act) -> Self {
        self.script.push((Millis(ms), act));
        self
    }

    /// A machine is down from one instant to another.
    pub fn outage(self, id: Id, from: u64, moment: Moment, to: u64) -> Self {
        self.at(from, Act::Crash(id, moment)).at(to, Act::Start(id))
    }

    pub fn expect(self, ms: u64, expect: Expect) -> Self {
        self.at(ms, Act::Expect(expect))
    }

    pub fn machines(&self) -> usize {
        self.validators + self.full_nodes
    }

    /// Whether a machine has a validator's key, whether it validates yet or not.
    pub fn has_key(&self, id: Id) -> bool {
        id < self.validators || self.reserves.contains(&id) || self.standbys.contains_key(&id)
    }

    pub fn is_honest(&self, id: Id) -> bool {
        !self.vices.contains_key(&id)
    }

    /// Whether a machine by itself keeps to the rules, so that what it makes final is judged: also
    /// a twin, which signs what its other does not know of.
    pub fn follows_rules(&self, id: Id) -> bool {
        self.vices.get(&id).is_none_or(|vice| *vice == Vice::Twin)
    }

    /// Adds a machine with a validator's key beside that validator.
    pub fn twin_of(mut self, validator: Id) -> Self {
        let twin = self.machines();
        self.full_nodes += 1;
        self.twins.insert(twin, validator);
        self.vices.extend([validator, twin].map(|id| (id, Vice::Twin)));
        self
    }

    /// The validators that may be dishonest together: fewer than a third.
    pub fn faulty_max(validators: usize) -> usize {
        (validators - 1) / 3
    }
}
