//! The logs of a call, and transfers of value as if they were logged.

use alloy_primitives::{Log, LogData, U256};
use revm::{
    Inspector,
    context::{ContextTr, JournalTr},
    interpreter::{CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome},
};
use trefoil_types::{Address, B256};

/// The address that ERC-7528 gives to the chain's own currency.
const CURRENCY: Address = alloy_primitives::address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");

/// `Transfer(address,address,uint256)` (ERC-20).
const TRANSFER: B256 =
    alloy_primitives::b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Collects the logs of a block's calls while the EVM runs. Logs of a frame that fails are
/// dropped, but their numbers are not used again (as in geth).
#[derive(Debug)]
pub(super) struct LogTrace {
    /// Whether transfers of value are logged.
    transfers: bool,
    /// The next log's number in the block.
    next: u64,
    /// Each with its number.
    logs: Vec<(u64, Log)>,
    /// For each open frame, the number of logs before it.
    frames: Vec<usize>,
}

impl LogTrace {
    pub fn new(transfers: bool) -> Self {
        Self { transfers, next: 0, logs: Vec::new(), frames: Vec::new() }
    }

    /// The logs of the transaction that ended, and their numbers.
    pub fn take(&mut self) -> (Vec<u64>, Vec<Log>) {
        std::mem::take(&mut self.logs).into_iter().unzip()
    }

    fn push(&mut self, log: Log) {
        self.logs.push((self.next, log));
        self.next += 1;
    }

    fn enter(&mut self, transfer: Option<(Address, Address, U256)>) {
        self.frames.push(self.logs.len());
        if let Some((from, to, value)) = transfer {
            self.transfer(from, to, value);
        }
    }

    fn leave(&mut self, succeeded: bool) {
        let before = self.frames.pop().expect("each frame that ends began");
        if !succeeded {
            self.logs.truncate(before);
        }
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if self.transfers && !value.is_zero() {
            let topics = vec![TRANSFER, from.into_word(), to.into_word()];
            let data = LogData::new_unchecked(topics, B256::from(value).into());
            self.push(Log { address: CURRENCY, data });
        }
    }
}

impl<C: ContextTr> Inspector<C> for LogTrace {
    fn log(&mut self, _: &mut C, log: Log) {
        self.push(log);
    }

    fn call(&mut self, _: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        // Only a plain call moves value: `CALLCODE` and `DELEGATECALL` run with a value
        // that stays where it is.
        let moves = inputs.scheme == CallScheme::Call;
        let value = inputs.transfer_value().filter(|_| moves);
        self.enter(value.map(|value| (inputs.caller, inputs.target_address, value)));
        None
    }

    fn call_end(&mut self, _: &mut C, _: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(outcome.result.result.is_ok());
    }

    fn create(&mut self, context: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        // If the state cannot be read, the transaction fails anyway.
        let nonce = context.journal_mut().load_account(inputs.caller());
        let nonce = nonce.map_or(0, |caller| caller.data.info.nonce);
        self.enter(Some((inputs.caller(), inputs.created_address(nonce), inputs.value())));
        None
    }

    fn create_end(&mut self, _: &mut C, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.leave(outcome.result.result.is_ok());
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.transfer(contract, target, value);
    }
}
