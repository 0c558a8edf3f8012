//! Ethereum's precompiled contracts. A simulated call may move some of them
//! (`movePrecompileToAddress`) or replace them by code.
//!
//! What always holds: nothing is moved when blocks of the chain are executed; then these
//! are exactly revm's.

use std::collections::BTreeMap;

use alloy_primitives::map::AddressSet;
use alloy_rpc_types_eth::state::StateOverride;
use revm::{
    context::{Cfg, ContextTr},
    handler::{EthPrecompiles, PrecompileProvider},
    interpreter::{CallInputs, InterpreterResult},
    primitives::hardfork::SpecId,
};
use trefoil_types::Address;

#[derive(Clone, Debug)]
pub(crate) struct Precompiles {
    eth: EthPrecompiles,
    /// The precompile at an address now, by its address in Ethereum; `None`: no precompile
    /// any more.
    moved: BTreeMap<Address, Option<Address>>,
}

impl Precompiles {
    pub(crate) fn new(fork: SpecId) -> Self {
        Self { eth: EthPrecompiles::new(fork), moved: BTreeMap::new() }
    }

    /// Moves precompiles as `overrides` demands. A precompile whose account is
    /// overridden in any way becomes an ordinary account (as in geth).
    ///
    /// # Errors
    /// In geth's words: the account to move is no precompile, or its new place is
    /// overridden too.
    pub(crate) fn apply(&mut self, overrides: &StateOverride) -> Result<(), String> {
        // In order of address: a request with several faults gets the same answer each
        // time.
        let ordered: BTreeMap<_, _> = overrides.iter().collect();
        for (address, over) in ordered {
            let precompile = self.origin(address);
            if let Some(to) = over.move_precompile_to {
                if precompile.is_none() {
                    return Err(format!("account {address} is not a precompile"));
                }
                if overrides.contains_key(&to) {
                    return Err(format!("account {to} is already overridden"));
                }
                self.moved.insert(to, precompile);
            }
            if precompile.is_some() {
                self.moved.insert(*address, None);
            }
        }
        Ok(())
    }

    /// The address at which Ethereum has the precompile that is at `address`.
    fn origin(&self, address: &Address) -> Option<Address> {
        match self.moved.get(address) {
            Some(origin) => *origin,
            None => self.eth.contains(address).then_some(*address),
        }
    }
}

impl<C: ContextTr> PrecompileProvider<C> for Precompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: <C::Cfg as Cfg>::Spec) -> bool {
        <EthPrecompiles as PrecompileProvider<C>>::set_spec(&mut self.eth, spec)
    }

    fn run(
        &mut self,
        context: &mut C,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        match self.moved.get(&inputs.bytecode_address) {
            None => self.eth.run(context, inputs),
            Some(None) => Ok(None),
            Some(Some(origin)) => {
                let inputs = CallInputs { bytecode_address: *origin, ..inputs.clone() };
                self.eth.run(context, &inputs)
            }
        }
    }

    // EIP-2929 makes them warm, and gas of a simulated call must be geth's.
    /// Ethereum's own addresses, moved or not (as in geth).
    fn warm_addresses(&self) -> &AddressSet {
        self.eth.warm_addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.origin(address).is_some()
    }
}
