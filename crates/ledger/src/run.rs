//! The execution of one block, from its opening calls to its closing ones.
//!
//! Owns: the order within a block (system calls, transactions, withdrawals, system calls).
//! What always holds: a transaction that cannot follow leaves the run as it was.

use alloy_consensus::{Receipt as PlainReceipt, Transaction as _};
use alloy_eips::{
    Encodable2718, eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip4895::Withdrawal, eip7002, eip7251, eip7685::Requests,
};
use alloy_evm::FromRecoveredTx;
use alloy_primitives::{Bloom, Bytes, TxKind, U256, b256};
use alloy_trie::root::ordered_trie_root_with_encoder;
use revm::{
    Inspector,
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult},
    },
    handler::SYSTEM_ADDRESS,
    primitives::{KECCAK_EMPTY, hardfork::SpecId},
};
use trefoil_types::{
    Address, B256, Header, Receipt, Transaction, Unlisted, spec::GOVERNING_CONTRACT,
};

use crate::{
    BlockRules, Permissions, StateDiff, StateReader,
    create_gate::CreateGate,
    evm::{EvmContext, EvmFault, VirtualMachine},
    fault::{BlockFault, TxFault},
    governance,
};

/// The gas of a system call (EIP-4788, EIP-2935, EIP-7002, EIP-7251).
const SYSTEM_CALL_GAS: u64 = 30_000_000;

/// EIP-6110's type byte of deposits.
const DEPOSIT_REQUEST: u8 = 0;

/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)` (EIP-6110).
const DEPOSIT_EVENT: B256 =
    b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// The fields of a deposit event in order: offset in the event's data, bytes.
const DEPOSIT_LAYOUT: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];

/// The length of a deposit event's data, bytes.
const DEPOSIT_EVENT_BYTES: usize = 576;

/// The whole effect of a block, except the state root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub diff: StateDiff,
    pub receipts: Vec<Receipt>,
    pub gas_used: u64,
    /// From Cancun on.
    pub blob_gas_used: Option<u64>,
    /// EIP-7685, from Prague on.
    pub requests_hash: Option<B256>,
    pub bloom: Bloom,
}

impl Executed {
    pub fn receipts_root(&self) -> B256 {
        ordered_trie_root_with_encoder(&self.receipts, |receipt, out| receipt.encode_2718(out))
    }
}

/// A transaction as the EVM takes it.
pub(crate) fn tx_env(rules: &BlockRules, tx: &Transaction) -> TxEnv {
    let mut env = TxEnv::from_recovered_tx(tx.inner(), tx.signer());
    // A wallet may insist on a price. Where gas is free it is not charged, so that a sender
    // without coins can send.
    if rules.gas_free {
        env.gas_price = 0;
        env.gas_priority_fee = env.gas_priority_fee.map(|_| 0);
    }
    env
}

// The governing contract first: it settles which validators and organisations take part
// before anything else happens in the block (ADR 14).
/// The system calls that open a block: contract and input. `governing` is the input of the
/// governing contract's call, on Trefoil's networks.
pub(crate) fn opening_calls(
    rules: &BlockRules,
    header: &Header,
    governing: Option<Bytes>,
) -> impl Iterator<Item = (Address, Bytes)> + use<> {
    let governing = governing.map(|input| (GOVERNING_CONTRACT, input));
    let root = header.parent_beacon_block_root.unwrap_or_default();
    let beacon = rules.is(SpecId::CANCUN).then(|| (BEACON_ROOTS_ADDRESS, root.into()));
    let parent = header.parent_hash;
    let history = rules.is(SpecId::PRAGUE).then(|| (HISTORY_STORAGE_ADDRESS, parent.into()));
    governing.into_iter().chain(beacon).chain(history)
}

/// A system call as the EVM takes it.
pub(crate) fn system_tx(contract: Address, data: Bytes) -> TxEnv {
    let governing = contract == GOVERNING_CONTRACT;
    TxEnv {
        caller: SYSTEM_ADDRESS,
        kind: TxKind::Call(contract),
        data,
        gas_limit: if governing { governance::NODE_CALL_GAS } else { SYSTEM_CALL_GAS },
        ..Default::default()
    }
}

/// One block being executed, transaction by transaction.
#[derive(Debug)]
pub struct BlockRun<'a, S: StateReader, I = ()> {
    /// Its state is that between the transactions.
    pub(crate) machine: VirtualMachine<'a, S, I>,
    /// The state before the block.
    state: &'a S,
    rules: BlockRules,
    gas_limit: u64,
    receipts: Vec<Receipt>,
    pub(crate) gas_used: u64,
    blob_gas_used: u64,
    bloom: Bloom,
}

impl<'a, S: StateReader> BlockRun<'a, S> {
    /// Of `header`, only what the EVM can see is used.
    pub fn new(rules: BlockRules, header: &Header, state: &'a S) -> Self {
        let machine = VirtualMachine::new(state, rules.cfg(), rules.block_env(header));
        Self::on(machine, state, rules, header.gas_limit)
    }

    /// Executes the next transaction.
    ///
    /// # Errors
    /// Why it cannot follow; the run is then as it was.
    pub fn include(&mut self, tx: &Transaction) -> Result<(), String> {
        self.transact(tx).map_err(|fault| fault.to_string())
    }

    /// Executes the next transaction. An error leaves the run as it was.
    pub(crate) fn transact(&mut self, tx: &Transaction) -> Result<(), TxFault> {
        // By the gas limit, not by the gas that will be used: that is known only after the
        // execution (yellow paper, section 6).
        let (gas, room) = (tx.gas_limit(), self.room());
        if gas > room {
            return Err(TxFault::NoRoom { gas, room });
        }
        let gate = self.check_lists(tx)?;
        let blob_gas = self.check_blobs(tx)?;
        self.machine.judge_creates(gate);
        let result = self.machine.transact(tx_env(&self.rules, tx))?;
        self.blob_gas_used += blob_gas;
        self.record(tx, result);
        Ok(())
    }
}

impl<'a, S: StateReader, I> BlockRun<'a, S, I> {
    /// On a machine that is already set up for the block.
    pub(crate) fn on(
        machine: VirtualMachine<'a, S, I>,
        state: &'a S,
        rules: BlockRules,
        gas_limit: u64,
    ) -> Self {
        Self {
            machine,
            state,
            gas_limit,
            rules,
            receipts: Vec::new(),
            gas_used: 0,
            blob_gas_used: 0,
            bloom: Bloom::ZERO,
        }
    }

    /// Executes a simulated transaction, `env`, which is in the block as `tx`, observed by
    /// the inspector. The caller must know that it may follow, as far as the EVM does not
    /// check it.
    pub(crate) fn pretend(
        &mut self,
        tx: &Transaction,
        env: TxEnv,
    ) -> Result<ExecutionResult, EvmFault>
    where
        I: Inspector<EvmContext<'a, S>>,
    {
        let gate = governance::create_gate(&self.rules, self.state, env.caller);
        self.machine.judge_creates(gate.map_err(EVMError::Database)?);
        let result = self.machine.inspect(env)?;
        self.blob_gas_used += tx.blob_gas_used().unwrap_or(0);
        self.record(tx, result.clone());
        Ok(result)
    }

    // EIP-4788 and EIP-2935: a failing call changes nothing and the block stays valid.
    // Without the governing contract's call, the validators of the next block would be
    // unknown.
    /// Runs the system calls that open a block. Ethereum's may fail; the governing
    /// contract's must succeed.
    pub(crate) fn open(
        &mut self,
        header: &Header,
        governing: Option<Bytes>,
    ) -> Result<(), BlockFault> {
        for (contract, input) in opening_calls(&self.rules, header, governing) {
            let result = self.system_call(contract, input)?;
            if contract == GOVERNING_CONTRACT && !result.is_success() {
                let why = governance::failure(&result);
                return Err(format!("the governing contract does not open the block: {why}").into());
            }
        }
        Ok(())
    }

    /// Gas left in the block.
    pub(crate) fn room(&self) -> u64 {
        self.gas_limit - self.gas_used
    }

    fn record(&mut self, tx: &Transaction, result: ExecutionResult) {
        self.gas_used += result.tx_gas_used();
        let receipt = PlainReceipt {
            status: result.is_success().into(),
            cumulative_gas_used: self.gas_used,
            logs: result.into_logs(),
        };
        let receipt = Receipt::from_typed(tx.tx_type(), receipt);
        self.bloom.accrue_bloom(receipt.logs_bloom());
        self.receipts.push(receipt);
    }

    // By the lists before the block: the order within the block then does not matter, and
    // the mempool knows the answer when a transaction arrives (ADR 29).
    /// The gate for what contracts create on its behalf, if its sender may send it by the lists
    /// before the block.
    fn check_lists(&self, tx: &Transaction) -> Result<CreateGate, TxFault> {
        let (sender, rules) = (tx.signer(), &self.rules);
        let (accounts, deployers) = (rules.accounts_listed, rules.deployers_listed);
        let permissions = Permissions::in_force(self.state, &sender, accounts, deployers);
        let permissions = permissions.map_err(TxFault::Ledger)?;
        if !permissions.may_send() {
            return Err(Unlisted::Account(sender).into());
        }
        if tx.is_create() && !permissions.may_deploy() {
            return Err(Unlisted::Deployer(sender).into());
        }
        Ok(permissions.create_gate(sender))
    }

    /// The blob gas of a transaction, if the block may take it.
    fn check_blobs(&self, tx: &Transaction) -> Result<u64, TxFault> {
        let Some(blob_gas) = tx.blob_gas_used() else { return Ok(0) };
        if !self.rules.blob_txs {
            return Err(TxFault::Blob);
        }
        match &self.rules.blobs {
            Some(blobs) if self.blob_gas_used + blob_gas > blobs.max_blob_gas_per_block() => {
                Err(TxFault::TooManyBlobs { max: blobs.max_blob_count })
            }
            // Before Cancun revm refuses the type.
            _ => Ok(blob_gas),
        }
    }

    /// Pays withdrawals (EIP-4895), after the transactions.
    pub(crate) fn pay(&mut self, withdrawals: &[Withdrawal]) -> Result<(), BlockFault> {
        for withdrawal in withdrawals {
            self.machine.credit(withdrawal.address, withdrawal.amount_wei())?;
        }
        Ok(())
    }

    /// Runs the system calls that close a block, and returns its effect.
    pub(crate) fn close(mut self) -> Result<Executed, BlockFault> {
        let prague = self.rules.is(SpecId::PRAGUE);
        let requests_hash = if prague { Some(self.requests()?.requests_hash()) } else { None };
        Ok(Executed { requests_hash, ..self.finish() })
    }

    /// The effect without the closing system calls.
    pub fn finish(self) -> Executed {
        Executed {
            diff: self.machine.finish(),
            receipts: self.receipts,
            gas_used: self.gas_used,
            blob_gas_used: self.rules.blobs.map(|_| self.blob_gas_used),
            requests_hash: None,
            bloom: self.bloom,
        }
    }

    /// EIP-7685: requests to the consensus layer. Trefoil's networks act on none of them, but
    /// their headers bind them as Ethereum's do.
    fn requests(&mut self) -> Result<Requests, BlockFault> {
        let mut requests = Requests::default();
        let mut push = |kind, data: Bytes| {
            if !data.is_empty() {
                requests.push_request_with_type(kind, data);
            }
        };
        if let Some(contract) = self.rules.deposits {
            push(DEPOSIT_REQUEST, deposits(contract, &self.receipts)?);
        }
        for (kind, contract) in [
            (eip7002::WITHDRAWAL_REQUEST_TYPE, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
            (eip7251::CONSOLIDATION_REQUEST_TYPE, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
        ] {
            push(kind, self.request_call(contract)?);
        }
        Ok(requests)
    }

    // Unlike the opening calls: these EIPs make a block invalid if the contract is missing
    // or fails.
    /// A closing system call, which must succeed (EIP-7002, EIP-7251).
    fn request_call(&mut self, contract: Address) -> Result<Bytes, BlockFault> {
        if self.machine.account(contract)?.code_hash == KECCAK_EMPTY {
            return Err(format!("the system contract {contract} has no code").into());
        }
        match self.system_call(contract, Bytes::new())? {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            failed => Err(format!("the system call of {contract} failed: {failed:?}").into()),
        }
    }

    fn system_call(
        &mut self,
        contract: Address,
        data: Bytes,
    ) -> Result<ExecutionResult, BlockFault> {
        self.machine.system_call(system_tx(contract, data)).map_err(|fault| {
            match TxFault::from(fault) {
                TxFault::Ledger(error) => BlockFault::Ledger(error),
                rule => BlockFault::Rule(rule.to_string()),
            }
        })
    }
}

/// The deposits that the contract at `contract` logged, one after the other.
///
/// # Errors
/// An event that is not laid out as EIP-6110 demands: the block is invalid.
fn deposits(contract: Address, receipts: &[Receipt]) -> Result<Bytes, String> {
    let logs = receipts.iter().flat_map(|receipt| receipt.logs());
    let events =
        logs.filter(|log| log.address == contract && log.topics().first() == Some(&DEPOSIT_EVENT));
    let mut out = Vec::new();
    for event in events {
        deposit(&event.data.data, &mut out)?;
    }
    Ok(out.into())
}

fn deposit(data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let is = |at: usize, want: usize| {
        let word: [u8; 32] = data[at..at + 32].try_into().expect("within the length checked");
        U256::from_be_bytes(word) == U256::from(want)
    };
    let sound = data.len() == DEPOSIT_EVENT_BYTES
        && DEPOSIT_LAYOUT.iter().enumerate().all(|(i, (offset, len))| {
            // EIP-6110 demands exactly this layout: the head names the offset, and at the
            // offset is the length. Any other event makes the block invalid, so the check
            // must not be more lenient.
            is(32 * i, *offset) && is(*offset, *len)
        });
    if !sound {
        return Err("a deposit event is not laid out as EIP-6110 demands".into());
    }
    for (offset, len) in DEPOSIT_LAYOUT {
        out.extend_from_slice(&data[offset + 32..offset + 32 + len]);
    }
    Ok(())
}
