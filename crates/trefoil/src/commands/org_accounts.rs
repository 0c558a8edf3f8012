//! `trefoil org accounts`: the accounts of an organisation's people and programs.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use clap::Subcommand;
use serde_json::json;
use trefoil_types::Address;

use super::{
    arguments::account,
    org_arguments::{OrgArgs, OwnArgs},
    transaction::{TransactionArgs, TransactionSender},
};
use crate::{
    chain_client::governance::abi::GovernanceActions::{
        addAccountsCall, chooseOrganisationCall, freezeAccountsCall, setAdministratorsCall,
    },
    error::CommandError,
};

/// The contract passes over accounts of others, so that one of them does not stop the rest.
const ADDED: &str = "added, but for those that belong to, or chose, another organisation";

#[derive(Debug, Subcommand)]
pub enum OrgAccountsCommand {
    /// Name the accounts that add and freeze your organisation's accounts, each alone
    Administrators {
        /// All that were named before go
        #[arg(value_name = "ADDRESS", value_parser = account)]
        accounts: Vec<Address>,
        #[command(flatten)]
        own: OwnArgs,
    },
    /// For an administrator: add accounts, which may send transactions as long as the organisation is active; also
    /// those that were frozen
    Add {
        #[command(flatten)]
        org: OrgArgs,
        #[arg(required = true, value_name = "ADDRESS", value_parser = account)]
        accounts: Vec<Address>,
    },
    /// For an administrator: take back that accounts may send transactions
    Freeze {
        #[command(flatten)]
        org: OrgArgs,
        #[arg(required = true, value_name = "ADDRESS", value_parser = account)]
        accounts: Vec<Address>,
    },
    /// Let only this organisation add your account; it leaves any other
    Choose(OrgArgs),
    /// Leave your account's organisation; any may add it then
    Leave(TransactionArgs),
}

impl OrgAccountsCommand {
    pub async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Administrators { accounts, own } => {
                let (sender, id) = own.sender().await?;
                sender.decide(id, setAdministratorsCall { id, accounts }).await
            }
            Self::Add { org, accounts } => {
                org.send(|id| addAccountsCall { id, accounts }, ADDED).await
            }
            Self::Freeze { org, accounts } => {
                org.send(|id| freezeAccountsCall { id, accounts }, "frozen").await
            }
            Self::Choose(org) => {
                org.send(|id| chooseOrganisationCall { id }, "chosen: it can add your account")
                    .await
            }
            Self::Leave(transaction) => {
                let sender = transaction.for_members().await?;
                send(&sender, chooseOrganisationCall { id: 0 }, "left").await
            }
        }
    }
}

impl OrgArgs {
    /// Sends a call about the organisation, and says `done`.
    async fn send<C: SolCall>(
        self,
        call: impl FnOnce(u32) -> C,
        done: &str,
    ) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let id = sender.organisation(Some(&self.org)).await?;
        send(&sender, call(id), done).await
    }
}

async fn send(
    sender: &TransactionSender<'_>,
    call: impl SolCall,
    done: &str,
) -> Result<(), CommandError> {
    let Some(receipt) = sender.send(call, U256::ZERO).await? else { return Ok(()) };
    sender.report(&receipt, json!({ "done": done }), done);
    Ok(())
}
