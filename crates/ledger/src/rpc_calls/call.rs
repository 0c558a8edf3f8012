//! Runs a transaction that a caller describes, on any [`StateReader`].
//!
//! What always holds: the sender needs no key, no nonce and no permission. It needs only
//! the value that it sends, and the fee that it offers, if it offers one.

use alloy_primitives::{TxKind, U256};
use alloy_rpc_types_eth::{AccessList, TransactionRequest};
use revm::context::{
    BlockEnv, TxEnv,
    either::Either,
    result::{ExecutionResult, HaltReason, InvalidTransaction},
};
use revm_inspectors::access_list::AccessListInspector;
use trefoil_types::Header;

use crate::{
    AccessListOutcome, BlockRules, CallError, CallOptions, CallOutcome, CallSite, Estimate,
    StateAt, StateReader,
    call_memory::CallMemory,
    evm::{EvmFault, VirtualMachine, invalid},
    governance,
    rpc_calls::overrides::Overridden,
};

/// The gas of a transfer between accounts without code (yellow paper, G_transaction).
const TRANSFER_GAS: u64 = 21_000;

/// The gas that a call with value adds for its callee (yellow paper, G_callstipend).
const CALL_STIPEND: u64 = 2_300;

// Attack: a contract that looks at its remaining gas takes another path each time, and its
// list swings for ever. Each round costs a whole run.
/// The access list of a call grows until it stays the same, for this many rounds at most.
const ACCESS_LIST_ROUNDS_MAX: usize = 8;

/// A state and a block in which calls are run.
#[derive(Debug)]
pub struct Simulation<'a, S> {
    rules: BlockRules,
    state: Overridden<'a, S>,
    block: BlockEnv,
    gas_cap: u64,
    memory: Option<&'a CallMemory<'a>>,
}

impl CallSite<'_> {
    /// The place with the caller's overrides, in which calls are run.
    ///
    /// # Errors
    /// An override that contradicts itself or is not supported; a failed disk.
    pub fn simulation(&self, options: &CallOptions) -> Result<Simulation<'_, StateAt>, CallError> {
        let rules = self.governed.rules(self.spec, &self.header)?;
        Simulation::new(rules, &self.header, &self.state, options)
    }
}

impl<'a, S: StateReader> Simulation<'a, S> {
    pub(crate) fn new(
        rules: BlockRules,
        header: &Header,
        state: &'a S,
        options: &CallOptions,
    ) -> Result<Self, CallError> {
        let mut state = Overridden::new(state, rules.fork);
        if let Some(overrides) = &options.state {
            state.apply(overrides)?;
        }
        let mut block = rules.block_env(header);
        if let Some(overrides) = &options.block {
            state.apply_block(overrides, &mut block);
        }
        let gas_cap = if options.gas_cap == 0 { u64::MAX } else { options.gas_cap };
        Ok(Self { rules, state, block, gas_cap, memory: None })
    }

    /// Its calls hold no more than this.
    #[must_use]
    pub fn within(self, memory: &'a CallMemory<'a>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// `eth_call`. The nonce is not checked; without a fee none is charged; without `to`
    /// the input is run as init code.
    pub fn call(&self, request: &TransactionRequest) -> Result<CallOutcome, CallError> {
        let mut tx = self.tx(request)?;
        if request.gas.is_none() {
            tx.gas_limit = tx.gas_limit.min(self.affordable(&tx)?);
        }
        Ok(outcome(self.run(tx)?))
    }

    /// `eth_estimateGas`. As in geth: one run with all gas shows whether it can succeed at
    /// all; a second guess is nearly always close; a binary search makes it exact, if all runs
    /// together need no more gas than one may have.
    pub fn estimate_gas(&self, request: &TransactionRequest) -> Result<Estimate, CallError> {
        let mut tx = self.tx(request)?;
        let most = self.most_gas(request, &tx)?;
        // As in geth: a plain transfer takes one run and no search.
        if self.is_transfer(&tx)?
            && most >= TRANSFER_GAS
            && self.succeeds(&tx, TRANSFER_GAS)?.is_some()
        {
            return Ok(Estimate::Gas(TRANSFER_GAS));
        }
        tx.gas_limit = most;
        let result = match self.run(tx.clone()) {
            Err(Refused::GasTooLow(_)) => return Err(exceeds(most)),
            result => result?,
        };
        let gas = match &result {
            ExecutionResult::Success { gas, .. } => *gas,
            ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => {
                return Err(exceeds(most));
            }
            _ => return Ok(Estimate::Fails(outcome(result))),
        };
        // With less than the gas used it cannot succeed. It may need more: refunds come at
        // the end, and each call keeps 1/64 back (EIP-150), hence the 64/63 in the guess.
        let (mut low, mut high) = (gas.tx_gas_used().saturating_sub(1), most);
        let spent = gas.tx_gas_used() + gas.inner_refunded() + CALL_STIPEND;
        let guess = spent + spent / 63 + 1;
        // Attack: code that needs nearly all that it may have, and burns it in each of 24 runs.
        let mut left = self.gas_cap.saturating_sub(guess);
        if guess < high {
            match self.succeeds(&tx, guess)? {
                Some(()) => high = guess,
                None => low = guess,
            }
        }
        while low + 1 < high {
            // Most need little more than the least, so the search looks near it first (as
            // geth's).
            let middle = (low + (high - low) / 2).min(low.saturating_mul(2).max(low + 1));
            let Some(rest) = left.checked_sub(middle) else { break };
            left = rest;
            match self.succeeds(&tx, middle)? {
                Some(()) => high = middle,
                None => low = middle,
            }
        }
        Ok(Estimate::Gas(high))
    }

    /// `eth_createAccessList`.
    pub fn create_access_list(
        &self,
        request: &TransactionRequest,
    ) -> Result<AccessListOutcome, CallError> {
        let mut tx = self.tx(request)?;
        if request.gas.is_none() {
            tx.gas_limit = tx.gas_limit.min(self.affordable(&tx)?);
        }
        let mut left = self.gas_cap;
        for _ in 1..ACCESS_LIST_ROUNDS_MAX {
            let (list, gas) = self.touched(&tx)?;
            if list == tx.access_list {
                break;
            }
            left = left.saturating_sub(gas);
            tx.tx_type = tx.tx_type.max(1);
            tx.access_list = list;
            if left == 0 {
                break;
            }
        }
        let result = self.run(tx.clone())?;
        let gas_used = result.tx_gas_used();
        let error = match outcome(result) {
            CallOutcome::Success { .. } => None,
            CallOutcome::Revert { .. } => Some("execution reverted".into()),
            CallOutcome::Halt { reason, .. } => Some(reason),
        };
        Ok(AccessListOutcome { access_list: tx.access_list, gas_used, error })
    }

    /// The request as the EVM takes it, checked as far as no state is needed.
    fn tx(&self, request: &TransactionRequest) -> Result<TxEnv, CallError> {
        let invalid = |text: String| Err(CallError::Invalid(text));
        if let Some(have) = request.chain_id.filter(|id| *id != self.rules.chain_id) {
            let want = self.rules.chain_id;
            return invalid(format!("chainId does not match node's (have={have}, want={want})"));
        }
        if request.blob_versioned_hashes.is_some() || request.max_fee_per_blob_gas.is_some() {
            return invalid("blob transactions (type 3) are not supported by this network".into());
        }
        let Ok(input) = request.input.unique_input() else {
            return invalid(
                "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data"
                    .into(),
            );
        };
        let default_gas =
            if self.gas_cap == u64::MAX { self.block.gas_limit } else { self.gas_cap };
        let mut tx = TxEnv {
            caller: request.from.unwrap_or_default(),
            gas_limit: request.gas.unwrap_or(default_gas).min(self.gas_cap),
            kind: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            data: input.cloned().unwrap_or_default(),
            chain_id: Some(self.rules.chain_id),
            access_list: request.access_list.clone().unwrap_or_default(),
            ..Default::default()
        };
        self.set_fees(request, &mut tx)?;
        if let Some(list) = &request.authorization_list {
            tx.authorization_list = list.iter().cloned().map(Either::Left).collect();
        }
        tx.tx_type = match request {
            TransactionRequest { authorization_list: Some(_), .. } => 4,
            _ if tx.gas_priority_fee.is_some() => 2,
            TransactionRequest { access_list: Some(_), .. } => 1,
            _ => 0,
        };
        Ok(tx)
    }

    /// Without a fee in the request, none is charged and the base fee is 0.
    fn set_fees(&self, request: &TransactionRequest, tx: &mut TxEnv) -> Result<(), CallError> {
        let invalid = |text: String| Err(CallError::Invalid(text));
        let base_fee = u128::from(self.block.basefee);
        let dynamic =
            request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some();
        let (cap, tip) = match (request.gas_price, dynamic) {
            (Some(_), true) => {
                return invalid(
                    "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified".into(),
                );
            }
            (Some(price), false) => (price, None),
            (None, false) => (0, None),
            (None, true) => {
                let tip = request.max_priority_fee_per_gas.unwrap_or(0);
                (request.max_fee_per_gas.unwrap_or(base_fee.saturating_add(tip)), Some(tip))
            }
        };
        if let Some(tip) = tip.filter(|tip| *tip > cap) {
            return invalid(format!(
                "max priority fee per gas higher than max fee per gas: address {}, maxPriorityFeePerGas: {tip}, maxFeePerGas: {cap}",
                tx.caller
            ));
        }
        // Nothing is charged where gas is free, whatever the request offers.
        if self.rules.gas_free {
            tx.gas_priority_fee = tip.map(|_| 0);
            return Ok(());
        }
        if cap > 0 && cap < base_fee {
            return invalid(format!(
                "max fee per gas less than block base fee: address {}, maxFeePerGas: {cap}, baseFee: {base_fee}",
                tx.caller
            ));
        }
        (tx.gas_price, tx.gas_priority_fee) = (cap, tip);
        Ok(())
    }

    /// The gas that the sender could pay for at the price it offers.
    fn affordable(&self, tx: &TxEnv) -> Result<u64, CallError> {
        if tx.gas_price == 0 {
            return Ok(u64::MAX);
        }
        let have = self.state.account(&tx.caller)?.map_or(U256::ZERO, |account| account.balance);
        let Some(rest) = have.checked_sub(tx.value) else {
            return Err(insufficient(have, tx.value));
        };
        Ok((rest / U256::from(tx.gas_price)).saturating_to())
    }

    /// The gas limit from which an estimate begins.
    fn most_gas(&self, request: &TransactionRequest, tx: &TxEnv) -> Result<u64, CallError> {
        let asked = request.gas.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(self.block.gas_limit);
        // EIP-7825 caps a transaction's gas from Osaka on: an estimate above it could not
        // be sent.
        let protocol = revm::context_interface::Cfg::tx_gas_limit_cap(&self.rules.cfg());
        Ok(asked.min(self.gas_cap).min(protocol).min(self.affordable(tx)?))
    }

    fn is_transfer(&self, tx: &TxEnv) -> Result<bool, CallError> {
        let TxKind::Call(to) = tx.kind else { return Ok(false) };
        let plain =
            tx.data.is_empty() && tx.access_list.is_empty() && tx.authorization_list.is_empty();
        let account = if plain { self.state.account(&to)? } else { return Ok(false) };
        Ok(account.is_none_or(|account| account.code_hash == revm::primitives::KECCAK_EMPTY))
    }

    /// `Some` if the transaction succeeds with this much gas.
    fn succeeds(&self, tx: &TxEnv, gas: u64) -> Result<Option<()>, CallError> {
        match self.run(TxEnv { gas_limit: gas, ..tx.clone() }) {
            Ok(result) => Ok(result.is_success().then_some(())),
            Err(Refused::GasTooLow(_)) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    fn run(&self, tx: TxEnv) -> Result<ExecutionResult, Refused> {
        Ok(self.machine(&tx)?.transact(tx)?)
    }

    /// The accounts and slots that a run touches, except those that every transaction
    /// touches; and the gas of the run.
    fn touched(&self, tx: &TxEnv) -> Result<(AccessList, u64), Refused> {
        let inspector = AccessListInspector::new(tx.access_list.clone());
        let mut machine = self.machine(tx)?.with_inspector(inspector);
        let gas = machine.inspect(tx.clone())?.tx_gas_used();
        Ok((machine.inspector().access_list(), gas))
    }

    /// A machine for `tx`, whose creates it judges by the sender that the caller names.
    fn machine(&self, tx: &TxEnv) -> Result<VirtualMachine<'_, Overridden<'a, S>>, Refused> {
        let mut block = self.block.clone();
        if tx.gas_price == 0 {
            block.basefee = 0;
        }
        let machine = VirtualMachine::new(&self.state, self.rules.call_cfg(), block);
        let machine = machine.with_precompiles(self.state.precompiles.clone());
        let mut machine = machine.within(self.memory);
        let gate = governance::create_gate(&self.rules, &self.state, tx.caller);
        machine.judge_creates(gate.map_err(|error| Refused::Other(error.into()))?);
        Ok(machine)
    }
}

fn exceeds(gas: u64) -> CallError {
    CallError::Invalid(format!("gas required exceeds allowance ({gas})"))
}

fn insufficient(have: U256, want: U256) -> CallError {
    let text = format!("insufficient funds for gas * price + value: have {have} want {want}");
    CallError::Invalid(text)
}

/// Why the EVM does not run a transaction at all.
enum Refused {
    /// Its gas limit does not cover what every such transaction takes.
    GasTooLow(String),
    Other(CallError),
}

impl From<Refused> for CallError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::GasTooLow(text) => Self::Invalid(text),
            Refused::Other(error) => error,
        }
    }
}

impl From<EvmFault> for Refused {
    fn from(fault: EvmFault) -> Self {
        use InvalidTransaction as Tx;
        let invalid = match invalid(fault) {
            Ok(invalid) => invalid,
            Err(error) => return Self::Other(error.into()),
        };
        let text = refusal_text(&invalid);
        match invalid {
            Tx::CallGasCostMoreThanGasLimit { .. } | Tx::GasFloorMoreThanGasLimit { .. } => {
                Self::GasTooLow(text)
            }
            _ => Self::Other(CallError::Invalid(text)),
        }
    }
}

/// geth's words for why a transaction cannot be run.
pub(crate) fn refusal_text(invalid: &InvalidTransaction) -> String {
    use InvalidTransaction as Tx;
    match invalid {
        Tx::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        Tx::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        Tx::LackOfFundForMaxFee { fee, balance } => insufficient(**balance, **fee).to_string(),
        Tx::OverflowPaymentInTransaction => {
            "insufficient funds for gas * price + value: want more than 2^256".into()
        }
        // geth's words but for its numbers: a network may have a limit of its own.
        Tx::CreateInitCodeSizeLimit => "max initcode size exceeded".into(),
        Tx::EmptyAuthorizationList => "EIP-7702 transaction with empty auth list".into(),
        other => other.to_string(),
    }
}

pub(crate) fn outcome(result: ExecutionResult) -> CallOutcome {
    let gas_used = result.tx_gas_used();
    match result {
        ExecutionResult::Success { output, logs, .. } => {
            CallOutcome::Success { output: output.into_data(), gas_used, logs }
        }
        ExecutionResult::Revert { output, .. } => CallOutcome::Revert { output, gas_used },
        ExecutionResult::Halt { reason, .. } => {
            CallOutcome::Halt { reason: halt_text(&reason), gas_used }
        }
    }
}

/// geth's words for why execution ended.
fn halt_text(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas",
        HaltReason::OpcodeNotFound | HaltReason::NotActivated => "invalid opcode",
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID",
        HaltReason::InvalidJump => "invalid jump destination",
        HaltReason::StackUnderflow => "stack underflow",
        HaltReason::StackOverflow => "stack limit reached 1024",
        HaltReason::OutOfOffset => "return data out of bounds",
        HaltReason::CreateCollision => "contract address collision",
        HaltReason::NonceOverflow => "nonce uint64 overflow",
        HaltReason::CreateContractSizeLimit => "max code size exceeded",
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded",
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => {
            "write protection"
        }
        HaltReason::OutOfFunds | HaltReason::OverflowPayment => "insufficient balance for transfer",
        HaltReason::CallTooDeep => "max call depth exceeded",
        HaltReason::PrecompileError | HaltReason::PrecompileErrorWithContext(_) => {
            return reason.to_string();
        }
    }
    .into()
}

#[cfg(test)]
mod tests;
