//! Ethereum's precompiled contracts, some of which a caller may pretend to be
//! elsewhere (`movePrecompileToAddress`) or replaced by code.
//!
//! What always holds: nothing is moved when blocks of the chain are executed,
//! and then these are exactly revm's.

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
    /// What is now at an address: the precompile of the address given, or none.
    moved: BTreeMap<Address, Option<Address>>,
}

impl Precompiles {
    pub(crate) fn new(fork: SpecId) -> Self {
        Self { eth: EthPrecompiles::new(fork), moved: BTreeMap::new() }
    }

    /// Moves those that `overrides` asks to move; one whose account is
    /// overridden in any way is no precompile any more (as in geth).
    ///
    /// # Errors
    /// In geth's words: what is to be moved is no precompile, or its new place
    /// is overridden too.
    pub(crate) fn apply(&mut self, overrides: &StateOverride) -> Result<(), String> {
        // In order of address: the first error is always the same one.
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

    /// Where Ethereum has them, moved or not (as in geth).
    fn warm_addresses(&self) -> &AddressSet {
        self.eth.warm_addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.origin(address).is_some()
    }
}
