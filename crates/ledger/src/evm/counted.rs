//! A machine whose memory is counted, with its own form of the instructions that take much of it
//! for little gas.

use revm::{
    bytecode::opcode,
    context::Journal,
    context_interface::ContextError,
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, InstructionResult,
        instructions::host, interpreter::EthInterpreter,
    },
};

use super::{EvmContext, VirtualMachine, count_journal};
use crate::{StateReader, call_memory::CallMemory};

type CountedContext<'c, 'a, S> = InstructionContext<'c, EvmContext<'a, S>, EthInterpreter>;

/// Executes an instruction, and counts what it left in the journal.
fn count<'a, S: StateReader>(
    context: CountedContext<'_, 'a, S>,
    instruction: Instruction<EthInterpreter, EvmContext<'a, S>>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let logs = host.journaled_state.inner.logs.len();
    instruction.execute(InstructionContext { interpreter: &mut *interpreter, host: &mut *host })?;
    let Journal { database, inner } = &mut host.journaled_state;
    let new = inner.logs.iter().skip(logs).map(|log| log.data.data.len());
    database.held.logs += new.sum::<usize>();
    count_journal(&mut host.journaled_state).map_err(|error| {
        host.error = Err(ContextError::Db(error));
        InstructionResult::FatalExternalError
    })
}

macro_rules! counted {
    ($($name:ident $instruction:expr;)*) => {$(
        fn $name<S: StateReader>(context: CountedContext<'_, '_, S>) -> InstructionExecResult {
            count(context, Instruction::new($instruction))
        }
    )*};
}

counted! {
    sstore host::sstore;
    tstore host::tstore;
    log0 host::log::<0, _>;
    log1 host::log::<1, _>;
    log2 host::log::<2, _>;
    log3 host::log::<3, _>;
    log4 host::log::<4, _>;
}

impl<'a, S: StateReader, I> VirtualMachine<'a, S, I> {
    /// What it holds is counted, if a memory is given, and ends the run when there is no room.
    pub(crate) fn within(mut self, memory: Option<&'a CallMemory<'a>>) -> Self {
        if memory.is_some() {
            self.0.ctx.journaled_state.database.memory = memory;
            let table = self.0.instruction.instruction_table_mut();
            table[usize::from(opcode::SSTORE)] = Instruction::new(sstore);
            table[usize::from(opcode::TSTORE)] = Instruction::new(tstore);
            table[usize::from(opcode::LOG0)] = Instruction::new(log0);
            table[usize::from(opcode::LOG1)] = Instruction::new(log1);
            table[usize::from(opcode::LOG2)] = Instruction::new(log2);
            table[usize::from(opcode::LOG3)] = Instruction::new(log3);
            table[usize::from(opcode::LOG4)] = Instruction::new(log4);
        }
        self
    }
}
