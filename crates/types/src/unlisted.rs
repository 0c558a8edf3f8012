//! Why a network that lists accounts refuses a transaction, in the words that its sender reads.

use crate::Address;

/// The sender is not on a list that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlisted {
    #[error(
        "sender {0} is not on this network's list of accounts; an organisation proposes it with `trefoil org set allow {0}`"
    )]
    Account(Address),
    #[error(
        "sender {0} is not on this network's list of deployers; an organisation proposes it with `trefoil org set allow {0} --deploy`"
    )]
    Deployer(Address),
}
