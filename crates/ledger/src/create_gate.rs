//! The list of deployers inside the EVM: every create, also one of a contract, is judged by the
//! account that sent the transaction (ADR 29).

use alloy_primitives::Bytes;
use alloy_sol_types::{Revert, SolError};
use revm::{
    Inspector,
    context_interface::ContextTr,
    interpreter::{CreateInputs, CreateOutcome, Gas, InstructionResult, InterpreterResult},
};
use trefoil_types::{Address, Unlisted};

/// Whether the transaction that runs may create contracts. As an inspector it judges in an EVM
/// that has no other place for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CreateGate {
    /// The sender, if the list shuts it out.
    barred: Option<Address>,
}

impl CreateGate {
    /// The gate for the transactions of `sender`, which the list shuts out.
    pub(crate) fn closed_to(sender: Address) -> Self {
        Self { barred: Some(sender) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.barred.is_some()
    }

    // Before anything else: the creator keeps its nonce and the gas that it gave. It sees a
    // constructor that reverts, which every factory knows, and hands the reason to its caller.
    /// The outcome of a create that is refused.
    pub(crate) fn refusal(&self, inputs: &CreateInputs) -> Option<CreateOutcome> {
        let reason = Unlisted::Deployer(self.barred?).to_string();
        let gas = Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit(), inputs.reservoir());
        let output = Bytes::from(Revert::from(reason).abi_encode());
        let result = InterpreterResult { result: InstructionResult::Revert, output, gas };
        let charged_create_state_gas = inputs.charged_create_state_gas();
        Some(CreateOutcome { result, address: None, charged_create_state_gas })
    }
}

impl<CTX: ContextTr> Inspector<CTX> for CreateGate {
    fn create(&mut self, _: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.refusal(inputs)
    }
}
