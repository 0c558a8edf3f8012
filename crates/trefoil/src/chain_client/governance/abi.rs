//! The governing contracts' calls, answers, events and errors, from the artifacts that are deployed.
#![allow(missing_docs, clippy::all, reason = "generated")]

mod members {
    alloy_sol_types::sol!(Governance, "../../contracts/artifacts/Governance.json");
}
mod actions {
    alloy_sol_types::sol!(GovernanceActions, "../../contracts/artifacts/GovernanceActions.json");
}
mod public {
    alloy_sol_types::sol!(Staking, "../../contracts/artifacts/Staking.json");
}

pub use actions::GovernanceActions;
pub use members::{Governance, IGovernance, IMembership};
pub use public::{IStaking, Staking};
