//! Arguments that name an organisation.

use alloy_sol_types::SolCall;
use clap::Args;

use super::transaction::{TransactionArgs, TransactionSender};
use crate::error::CommandError;

#[derive(Debug, Args)]
pub struct OrgArgs {
    /// Its name or number
    pub org: String,
    #[command(flatten)]
    pub transaction: TransactionArgs,
}

impl OrgArgs {
    /// Proposes to all what is to become of it.
    pub async fn propose<C: SolCall>(
        self,
        action: impl FnOnce(u32) -> C,
    ) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let id = sender.organisation(Some(&self.org)).await?;
        sender.propose(action(id)).await
    }
}

/// Which organisation's own decision it is.
#[derive(Debug, Args)]
pub struct WhoseArgs {
    /// Its name or number; without: the organisation of the account that signs.
    /// Another's affair is put to the vote of all
    #[arg(long, value_name = "ORG")]
    pub org: Option<String>,
}

/// A decision of one organisation, and the transaction that asks for it.
#[derive(Debug, Args)]
pub struct OwnArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl OwnArgs {
    /// The sender, and the organisation that decides.
    pub async fn sender(&self) -> Result<(TransactionSender<'_>, u32), CommandError> {
        let sender = self.transaction.for_members().await?;
        let id = sender.organisation(self.whose.org.as_deref()).await?;
        Ok((sender, id))
    }
}
