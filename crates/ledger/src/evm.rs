//! The border to revm: state is read through a [`StateReader`]; changes leave as a
//! [`StateDiff`].
//!
//! What always holds: a whole block runs in one revm journal, which reads each account and
//! slot from the state at most once. The values read are kept here, and are the `before` of
//! the diff.

mod counted;

use std::{collections::BTreeMap, fmt};

use alloy_primitives::{
    U256,
    map::{AddressMap, Entry, HashMap},
};
use revm::{
    Database, DatabaseRef, Inspector, MainBuilder,
    context::{
        BlockEnv, CfgEnv, Context, Evm, FrameStack, Journal, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction},
    },
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, Handler, ItemOrResult,
        MainnetHandler, evm::ContextDbError, evm::FrameInitResult, instructions::EthInstructions,
    },
    inspector::{InspectorEvmTr, InspectorHandler},
    interpreter::{
        FrameInput,
        interpreter::EthInterpreter,
        interpreter_action::FrameInit,
        interpreter_types::{MemoryTr as _, ReturnData as _},
    },
    primitives::{KECCAK_EMPTY, hardfork::SpecId},
    state::{Account as Loaded, AccountInfo, Bytecode, EvmState},
};
use trefoil_types::{Address, B256};

use crate::{
    Account, AccountDiff, LedgerError, StateDiff, StateReader,
    call_memory::{ACCOUNT_BYTES, CallMemory, ENTRY_BYTES, FRAME_BYTES, LOG_BYTES, SLOT_BYTES},
    code_cache,
    create_gate::CreateGate,
    precompiles::Precompiles,
};

impl revm::database_interface::DBErrorMarker for LedgerError {}

/// revm's database: a state, and everything that was read of it.
#[derive(Debug)]
pub(crate) struct Reads<'a, S> {
    state: &'a S,
    accounts: AddressMap<Option<Account>>,
    slots: HashMap<(Address, U256), U256>,
    // Attack: 20,000 contracts of one code of 24 KiB, as a factory makes them. revm asks for the code
    // of each, and keeps 27 kB of it: 500 MiB for 50 million gas.
    codes: HashMap<B256, Bytecode>,
    /// What a call may hold; `None`: its chain bounds it.
    memory: Option<&'a CallMemory<'a>>,
    held: EvmBytes,
}

/// What a run holds, bytes, besides accounts and slots.
#[derive(Debug, Default)]
struct EvmBytes {
    codes: usize,
    /// Of the stacks of frames, the most at a time: revm keeps them for the next ones.
    stacks: usize,
    /// Of the memory of those that waited for another frame, likewise.
    memory: usize,
    /// For each open frame: its init code, and what its caller was last returned.
    frames: Vec<usize>,
    journal: usize,
    /// The data of logs.
    logs: usize,
}

impl<'a, S: StateReader> Reads<'a, S> {
    fn new(state: &'a S) -> Self {
        let (accounts, slots, codes) = Default::default();
        Self { state, accounts, slots, codes, memory: None, held: EvmBytes::default() }
    }

    /// Whether there is room for what the run holds by now.
    fn check(&self) -> Result<(), LedgerError> {
        let Some(memory) = self.memory else { return Ok(()) };
        let EvmBytes { codes, stacks, memory: outer, frames, journal, logs } = &self.held;
        let tables = ACCOUNT_BYTES * self.accounts.len() + SLOT_BYTES * self.slots.len();
        let frames = stacks + outer + frames.iter().sum::<usize>();
        memory.hold(tables + codes + frames + journal + logs)
    }
}

/// Counts what a journal holds.
fn count_journal<S: StateReader>(journal: &mut Journal<Reads<'_, S>>) -> Result<(), LedgerError> {
    let Journal { database, inner } = journal;
    database.held.journal = ENTRY_BYTES * inner.journal.len() + LOG_BYTES * inner.logs.len();
    database.check()
}

impl<S: StateReader> Database for Reads<'_, S> {
    type Error = LedgerError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, LedgerError> {
        let account = self.state.account(&address)?;
        self.accounts.insert(address, account);
        self.check()?;
        Ok(account.map(info))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, LedgerError> {
        if let Some(code) = self.codes.get(&hash) {
            return Ok(code.clone());
        }
        let code = bytecode(self.state, hash)?;
        self.held.codes += code_cache::held_bytes(&code);
        self.codes.insert(hash, code.clone());
        self.check()?;
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, LedgerError> {
        let value = self.state.storage(&address, slot)?;
        self.slots.insert((address, slot), value);
        self.check()?;
        Ok(value)
    }

    fn block_hash(&mut self, height: u64) -> Result<B256, LedgerError> {
        Ok(self.state.block_hash(height)?.unwrap_or_default())
    }
}

fn info(account: Account) -> AccountInfo {
    AccountInfo {
        balance: account.balance,
        nonce: account.nonce,
        code_hash: account.code_hash,
        account_id: None,
        code: (account.code_hash == KECCAK_EMPTY).then(Bytecode::default),
    }
}

fn bytecode<S: StateReader>(state: &S, hash: B256) -> Result<Bytecode, LedgerError> {
    if hash == KECCAK_EMPTY {
        return Ok(Bytecode::default());
    }
    let code = state.bytecode(&hash)?;
    code.ok_or_else(|| LedgerError::Storage(format!("no code of hash {hash}")))
}

/// A state as revm's tracers read it.
#[derive(Debug)]
pub(crate) struct StateRef<'a, S>(pub(crate) &'a S);

impl<S: StateReader> DatabaseRef for StateRef<'_, S> {
    type Error = LedgerError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, LedgerError> {
        Ok(self.0.account(&address)?.map(info))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, LedgerError> {
        bytecode(self.0, hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, LedgerError> {
        self.0.storage(&address, slot)
    }

    fn block_hash_ref(&self, height: u64) -> Result<B256, LedgerError> {
        Ok(self.0.block_hash(height)?.unwrap_or_default())
    }
}

pub(crate) type EvmContext<'a, S> = Context<BlockEnv, TxEnv, CfgEnv, Reads<'a, S>>;

pub(crate) type EvmFault = EVMError<LedgerError>;

/// Why the EVM does not run a transaction: it is invalid.
///
/// # Errors
/// The fault is not the transaction's: the header fields that revm needs are always
/// given, and Ethereum's precompiles never fail for good.
pub(crate) fn invalid(fault: EvmFault) -> Result<InvalidTransaction, LedgerError> {
    match fault {
        EVMError::Transaction(invalid) => Ok(invalid),
        EVMError::Database(error) => Err(error),
        other => Err(LedgerError::Storage(format!("the EVM gave up: {other}"))),
    }
}

type Instructions<'a, S> = EthInstructions<EthInterpreter, EvmContext<'a, S>>;

/// The frames of the calls that are open.
type EvmStack = FrameStack<EthFrame<EthInterpreter>>;

// Such an account can only come from a genesis, and its address would have to be hit by a
// hash. The official vectors demand the rule, and a client without it could split from
// others.
/// revm with Ethereum's rule that no contract is created where storage is (EIP-7610), which
/// revm does not have, and with the list of deployers. `I` may observe the run.
pub(crate) struct VirtualMachine<'a, S: StateReader, I = ()>(
    Evm<EvmContext<'a, S>, I, Instructions<'a, S>, Precompiles, EthFrame<EthInterpreter>>,
    CreateGate,
);

impl<S: StateReader, I> fmt::Debug for VirtualMachine<'_, S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualMachine").finish_non_exhaustive()
    }
}

impl<'a, S: StateReader> VirtualMachine<'a, S> {
    pub(crate) fn new(state: &'a S, cfg: CfgEnv, block: BlockEnv) -> Self {
        let precompiles = Precompiles::new(cfg.spec);
        let evm = context(state, cfg, block).build_mainnet().with_precompiles(precompiles);
        Self(evm, CreateGate::default())
    }

    pub(crate) fn with_precompiles(self, precompiles: Precompiles) -> Self {
        Self(self.0.with_precompiles(precompiles), self.1)
    }

    pub(crate) fn with_inspector<I>(self, inspector: I) -> VirtualMachine<'a, S, I> {
        VirtualMachine(self.0.with_inspector(inspector), self.1)
    }
}

impl<'a, S: StateReader, I> VirtualMachine<'a, S, I> {
    /// Judges the creates of the next transactions.
    pub(crate) fn judge_creates(&mut self, gate: CreateGate) {
        self.1 = gate;
    }

    /// Runs a transaction after those before it. An error changes nothing.
    pub(crate) fn transact(&mut self, tx: TxEnv) -> Result<ExecutionResult, EvmFault> {
        self.0.ctx.tx = tx;
        MainnetHandler::default().run(self)
    }

    /// Runs a system call: no sender pays, no nonce moves.
    pub(crate) fn system_call(&mut self, tx: TxEnv) -> Result<ExecutionResult, EvmFault> {
        (self.0.ctx.tx, self.1) = (tx, CreateGate::default());
        MainnetHandler::default().run_system_call(self)
    }

    /// As [`VirtualMachine::transact`], observed by the inspector.
    pub(crate) fn inspect(&mut self, tx: TxEnv) -> Result<ExecutionResult, EvmFault>
    where
        I: Inspector<EvmContext<'a, S>>,
    {
        self.0.ctx.tx = tx;
        MainnetHandler::<_, EvmFault, _>::default().inspect_run(self)
    }

    pub(crate) fn inspector(&mut self) -> &mut I {
        &mut self.0.inspector
    }

    /// An account as the transactions so far left it.
    pub(crate) fn account(&mut self, address: Address) -> Result<Account, LedgerError> {
        let info = &self.0.ctx.journaled_state.load_account(address)?.data.info;
        let AccountInfo { nonce, balance, code_hash, .. } = *info;
        Ok(Account { nonce, balance, code_hash })
    }

    /// Adds to a balance, outside of any transaction.
    pub(crate) fn credit(&mut self, address: Address, wei: U256) -> Result<(), LedgerError> {
        let journal = &mut self.0.ctx.journaled_state;
        journal.balance_incr(address, wei)?;
        journal.touch_account(address);
        journal.commit_tx();
        Ok(())
    }

    /// The changes since the state that is read.
    pub(crate) fn finish(mut self) -> StateDiff {
        let clears = self.0.ctx.cfg.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
        let state = self.0.ctx.journaled_state.finalize();
        diff(state, &self.0.ctx.journaled_state.database, clears)
    }

    /// The address that this frame would create although the state has storage there. The
    /// account has no nonce and no code, so revm does not notice.
    fn storage_only(&mut self, init: &FrameInit) -> Result<Option<Address>, LedgerError> {
        let FrameInput::Create(inputs) = &init.frame_input else { return Ok(None) };
        let Journal { database, inner } = &mut self.0.ctx.journaled_state;
        let nonce = inner.state.get(&inputs.caller()).map_or(0, |caller| caller.info.nonce);
        let address = inputs.created_address(nonce);
        if !database.state.has_storage(&address)? {
            return Ok(None);
        }
        let info = match inner.state.entry(address) {
            Entry::Occupied(loaded) => &loaded.into_mut().info,
            Entry::Vacant(vacant) => {
                let info = database.basic(address)?.unwrap_or_default();
                &vacant.insert(Loaded::from(info).with_cold_mark()).info
            }
        };
        Ok((info.nonce == 0 && info.is_empty_code_hash()).then_some(address))
    }

    /// Counts what the open frames hold when one more is opened.
    fn count_frames(&mut self, init: &FrameInit) -> Result<(), LedgerError> {
        let journal = &mut self.0.ctx.journaled_state;
        if journal.database.memory.is_none() {
            return Ok(());
        }
        let returned = match init.depth {
            0 => 0,
            _ => self.0.frame_stack.get().interpreter.return_data.buffer().len(),
        };
        // As the caller gave it, and as it is run.
        let code = match &init.frame_input {
            FrameInput::Create(inputs) => inputs.init_code().len() * 13 / 4,
            FrameInput::Call(_) | FrameInput::Empty => 0,
        };
        let held = &mut journal.database.held;
        held.frames.truncate(init.depth);
        held.frames.push(returned + code);
        held.stacks = held.stacks.max((init.depth + 1) * FRAME_BYTES);
        held.memory = held.memory.max(init.memory.local_memory_offset());
        count_journal(journal)
    }

    /// Sets the nonce of an account that was loaded before.
    pub(crate) fn set_nonce(&mut self, address: Address, nonce: u64) {
        let account = self.0.ctx.journaled_state.inner.state.get_mut(&address);
        account.expect("loaded before").info.nonce = nonce;
    }
}

fn context<S: StateReader>(state: &S, cfg: CfgEnv, block: BlockEnv) -> EvmContext<'_, S> {
    let spec = cfg.spec;
    let mut context = Context::new(Reads::new(state), spec).with_cfg(cfg);
    context.block = block;
    context
}

impl<'a, S: StateReader, I> EvmTr for VirtualMachine<'a, S, I> {
    type Context = EvmContext<'a, S>;
    type Instructions = Instructions<'a, S>;
    type Precompiles = Precompiles;
    type Frame = EthFrame<EthInterpreter>;

    fn all(&self) -> (&EvmContext<'a, S>, &Instructions<'a, S>, &Precompiles, &EvmStack) {
        self.0.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut EvmContext<'a, S>, &mut Instructions<'a, S>, &mut Precompiles, &mut EvmStack) {
        self.0.all_mut()
    }

    fn frame_init(
        &mut self,
        init: FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        self.count_frames(&init)?;
        if let FrameInput::Create(inputs) = &init.frame_input
            && let Some(refused) = self.1.refusal(inputs)
        {
            return Ok(ItemOrResult::Result(FrameResult::Create(refused)));
        }
        let Some(address) = self.storage_only(&init)? else { return self.0.frame_init(init) };
        // revm refuses to create an account whose nonce is not zero, with all that follows
        // (gas, the caller's nonce). So it is shown a nonce for the length of this call.
        self.set_nonce(address, 1);
        let refused = match self.0.frame_init(init)? {
            ItemOrResult::Result(refused) => refused,
            ItemOrResult::Item(_) => unreachable!("created on an account with a nonce"),
        };
        self.set_nonce(address, 0);
        Ok(ItemOrResult::Result(refused))
    }

    fn frame_run(
        &mut self,
    ) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        self.0.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: <Self::Frame as FrameTr>::FrameResult,
    ) -> Result<Option<<Self::Frame as FrameTr>::FrameResult>, ContextDbError<Self::Context>> {
        self.0.frame_return_result(result)
    }
}

impl<'a, S: StateReader, I: Inspector<EvmContext<'a, S>>> InspectorEvmTr
    for VirtualMachine<'a, S, I>
{
    type Inspector = I;

    fn all_inspector(
        &self,
    ) -> (&EvmContext<'a, S>, &Instructions<'a, S>, &Precompiles, &EvmStack, &I) {
        self.0.all_inspector()
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (&mut EvmContext<'a, S>, &mut Instructions<'a, S>, &mut Precompiles, &mut EvmStack, &mut I)
    {
        self.0.all_mut_inspector()
    }
}

/// The difference between a finished revm journal and the values that were read. `clears`:
/// empty accounts that were touched are removed (EIP-161).
fn diff<S: StateReader>(state: EvmState, reads: &Reads<'_, S>, clears: bool) -> StateDiff {
    let mut codes = BTreeMap::new();
    let changed = state.into_iter().filter_map(|(address, loaded)| {
        let diff = account_diff(address, &loaded, reads, clears)?;
        let hash = |account: Option<Account>| account.map(|account| account.code_hash);
        if diff.after.is_some()
            && hash(diff.after) != hash(diff.before)
            && let Some(code) = loaded.info.code.filter(|code| !code.is_empty())
        {
            codes.insert(loaded.info.code_hash, code.original_bytes());
        }
        Some((address, diff))
    });
    let accounts = changed.collect();
    StateDiff { accounts, codes }
}

fn account_diff<S: StateReader>(
    address: Address,
    loaded: &Loaded,
    reads: &Reads<'_, S>,
    clears: bool,
) -> Option<AccountDiff> {
    if !loaded.is_touched() {
        return None;
    }
    let before = reads.accounts.get(&address).copied().flatten();
    // The local mark belongs to the account's last transaction: nothing has revived it
    // since.
    let gone = loaded.is_selfdestructed_locally();
    let AccountInfo { nonce, balance, code_hash, .. } = loaded.info;
    let ends = gone || clears && loaded.info.is_empty();
    let after = (!ends).then_some(Account { nonce, balance, code_hash });
    let slots = loaded.storage.iter().filter(|_| !gone).filter_map(|(slot, value)| {
        let before = reads.slots.get(&(address, *slot)).copied().unwrap_or_default();
        let after = value.present_value;
        (before != after).then_some((*slot, (before, after)))
    });
    let storage: BTreeMap<_, _> = slots.collect();
    // An account that existed before the block loses its storage only by a self-destruct of
    // before EIP-6780.
    let wiped = loaded.is_selfdestructed() && before.is_some();
    let same = before == after && storage.is_empty() && !wiped;
    (!same).then_some(AccountDiff { before, after, wiped, storage })
}
