//! What a trace takes, in bytes, counted while it is made.
//!
//! The tracers keep, for each step, the whole stack and what else is asked for, then as much
//! again in geth's form, then as text: 67 kB a step on a deep stack. A count of steps
//! bounds nothing, and the library's own limit counts neither stacks nor calls. What always holds:
//! an execution ends at the step that would exceed the bound.

use std::collections::BTreeSet;

use alloy_primitives::{Address, Log, U256};
use revm::{
    Inspector,
    bytecode::opcode,
    context_interface::{ContextError, ContextTr},
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, Interpreter,
        interpreter_types::{InputsTr, Jumps, ReturnData},
    },
    state::EvmState,
};

use crate::call_memory::CallMemory;

// Each figure is what the tracer's own form, geth's form and the JSON text take together.
/// A step without its stack.
const STEP_BYTES: usize = 800;
/// A word of the stack, or of storage: 32 and 32 bytes, and 69 characters.
const WORD_BYTES: usize = 140;
/// A byte of memory or of returned data.
const BYTE_BYTES: usize = 8;
/// A slot in the picture of a contract's storage that each SLOAD and SSTORE shows.
const SLOT_BYTES: usize = 400;
/// A call without its data.
const CALL_BYTES: usize = 3_000;
/// A log without its data.
const LOG_BYTES: usize = 1_000;
/// An account in a picture of the state, without its code.
const ACCOUNT_BYTES: usize = 1_000;
/// Code that was not loaded may be of the most that a vote can allow a contract.
const CODE_BYTES_MAX: usize = 0x10000;

/// Counts beside the tracer. The trace shows no more than this allows.
pub struct TraceMeter<'a> {
    memory: &'a CallMemory<'a>,
    used: usize,
    /// Steps that are still shown of this transaction; 0: the tracer shows none.
    steps: u64,
    shows: Shown,
    /// The storage that this transaction touched.
    slots: BTreeSet<(Address, U256)>,
    exceeded: bool,
    /// A transaction is traced; before, the meter counts nothing.
    begun: bool,
}

/// What each step shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// How many steps of a transaction.
    pub steps: u64,
    pub memory: bool,
    pub stack: bool,
    pub storage: bool,
    pub returned: bool,
}

impl<'a> TraceMeter<'a> {
    pub fn new(memory: &'a CallMemory<'a>, shows: Shown) -> Self {
        let slots = BTreeSet::new();
        Self { memory, used: 0, steps: 0, shows, slots, exceeded: false, begun: false }
    }

    /// The next transaction is traced: what was made of the others stays.
    pub fn begin(&mut self) {
        self.begun = true;
        self.steps = self.shows.steps;
        self.slots.clear();
    }

    pub fn exceeded(&self) -> bool {
        self.exceeded
    }

    pub fn max(&self) -> usize {
        self.memory.max
    }

    /// Whether there is room for what a transaction left, as a picture of the state before it
    /// (and after it) shows it.
    pub fn fits_state(&mut self, state: &EvmState) -> bool {
        // Addition, in any order.
        let bytes = state.values().map(|account| {
            let code = match &account.info.code {
                Some(code) => code.len(),
                None if account.info.is_empty_code_hash() => 0,
                None => CODE_BYTES_MAX,
            };
            ACCOUNT_BYTES + 2 * BYTE_BYTES * code + 2 * SLOT_BYTES * account.storage.len()
        });
        let bytes = bytes.sum();
        self.take(bytes)
    }

    // Attack: a sender whom the gate bars, so that its transactions are inspected, fills a block's
    // beginning with input, and those after it could not be traced.
    fn take(&mut self, bytes: usize) -> bool {
        if !self.begun {
            return true;
        }
        self.used = self.used.saturating_add(bytes);
        self.exceeded = self.exceeded || self.memory.hold(self.used).is_err();
        !self.exceeded
    }

    fn step_bytes(&mut self, interp: &Interpreter) -> usize {
        let Shown { memory, stack, storage, returned, .. } = self.shows;
        let mut bytes = STEP_BYTES;
        if stack {
            bytes += WORD_BYTES * interp.stack.len();
        }
        if memory {
            bytes += BYTE_BYTES * interp.memory.len();
        }
        if returned {
            bytes += BYTE_BYTES * interp.return_data.buffer().len();
        }
        if storage && matches!(interp.bytecode.opcode(), opcode::SLOAD | opcode::SSTORE) {
            let slot = interp.stack.data().last().copied().unwrap_or_default();
            self.slots.insert((interp.input.target_address(), slot));
            bytes += SLOT_BYTES * self.slots.len();
        }
        bytes
    }
}

/// Ends the execution: nothing of it will be shown.
fn halt<CTX: ContextTr>(context: &mut CTX) {
    if context.error().is_ok() {
        *context.error() = Err(ContextError::Custom("the trace is too large".into()));
    }
}

impl<CTX: ContextTr> Inspector<CTX> for TraceMeter<'_> {
    fn step(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        if self.steps > 0 && !self.exceeded {
            self.steps -= 1;
            let bytes = self.step_bytes(interp);
            self.take(bytes);
        }
        if self.exceeded {
            halt(context);
            interp.halt_fatal();
        }
    }

    fn log(&mut self, _: &mut CTX, log: Log) {
        self.take(LOG_BYTES + BYTE_BYTES * log.data.data.len());
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if !self.take(CALL_BYTES + BYTE_BYTES * inputs.input.len()) {
            halt(context);
        }
        None
    }

    fn call_end(&mut self, _: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.take(BYTE_BYTES * outcome.result.output.len());
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        if !self.take(CALL_BYTES + BYTE_BYTES * inputs.init_code().len()) {
            halt(context);
        }
        None
    }

    fn create_end(&mut self, _: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.take(BYTE_BYTES * outcome.result.output.len());
    }
}
