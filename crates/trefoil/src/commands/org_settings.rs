//! `trefoil org settings` and `trefoil org set`: what organisations vote on
//! besides each other.

use alloy_primitives::U256;
use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_types::{
    Address,
    spec::{Fork, Parameter},
};

use super::{
    arguments::{OnOff, Quorum, account, name, quorum},
    status::QueryArgs,
    transaction::TransactionArgs,
};
use crate::{
    chain_client::{
        contract::Contract,
        governance::{
            abi::{
                Governance::{
                    decisionDelayCall, forksCall, parametersCall, permissionsCall, quorumCall,
                    settingsCall, validatorDelayCall,
                },
                GovernanceActions::{
                    cancelForkCall, guardCall, releaseCall, scheduleForkCall,
                    setAccountsListedCall, setDecisionDelayCall, setDeployersListedCall,
                    setGasLimitCall, setGuardianCall, setMinBaseFeeCall, setParameterCall,
                    setPermissionsCall, setQuorumCall, setValidatorDelayCall,
                },
            },
            peer,
        },
        utc::utc,
    },
    error::{CommandError, OrCure as _},
};

// The contract's numbering (`IGovernance.sol`).
/// Permission bits.
const MAY_TRANSACT: u8 = 1;
const MAY_DEPLOY: u8 = 2;

#[derive(Debug, Args)]
pub struct OrgSettingsArgs {
    /// Also show what an account may do; may be given many times
    #[arg(long = "account", value_name = "ADDRESS", value_parser = account)]
    accounts: Vec<Address>,
    #[command(flatten)]
    node: QueryArgs,
}

impl OrgSettingsArgs {
    pub async fn run(self) -> Result<(), CommandError> {
        let contract = Contract::governing(self.node.client()?);
        contract.expect_members().await?;
        let settings = contract.view(settingsCall {}).await?;
        let forks = contract.view(forksCall {}).await?;
        let parameters = contract.view(parametersCall {}).await?;
        let quorum = contract.view(quorumCall {}).await?;
        let delay = contract.view(validatorDelayCall {}).await?;
        let decision_delay = contract.view(decisionDelayCall {}).await?;
        let guard = contract.view(guardCall {}).await?;
        let held = match (guard.until, guard.organisation) {
            (0, _) => None,
            (until, 0) => Some((peer(&guard.peer).to_string(), until)),
            (until, id) => Some((format!("organisation {id}"), until)),
        };
        let mut permissions = Vec::new();
        for account in self.accounts {
            let bits = contract.view(permissionsCall { account }).await?;
            permissions.push((account, bits.bit(0), bits.bit(1)));
        }
        let quorum = format!("{}/{}", quorum.numerator, quorum.denominator);
        if self.node.json {
            let fork = |fork: &crate::chain_client::governance::abi::IGovernance::Fork| json!({ "name": fork.name, "height": fork.height });
            let account = |(account, transact, deploy): &(Address, bool, bool)| json!({ "account": account, "mayTransact": transact, "mayDeploy": deploy });
            let all = json!({
                "gasLimit": settings.gasLimit,
                "minBaseFee": settings.minBaseFee,
                "accountsListed": settings.accountsListed,
                "deployersListed": settings.deployersListed,
                "parameters": parameters.iter().map(|p| json!({ "name": p.name, "value": p.value, "from": p.from })).collect::<Vec<_>>(),
                "forks": forks.iter().map(fork).collect::<Vec<_>>(),
                "quorum": quorum,
                "validatorDelay": delay,
                "decisionDelay": decision_delay,
                "guardian": (!guard.guardian.is_zero()).then_some(guard.guardian),
                "held": held.as_ref().map(|(what, _)| what),
                "heldUntil": held.as_ref().map(|(_, until)| until),
                "permissions": permissions.iter().map(account).collect::<Vec<_>>(),
            });
            println!("{all:#}");
            return Ok(());
        }
        let who = |listed| if listed { "listed accounts only" } else { "all accounts" };
        println!("gas limit        {}", settings.gasLimit);
        println!("min base fee     {} wei", settings.minBaseFee);
        println!("may transact     {}", who(settings.accountsListed));
        println!("may deploy       {}", who(settings.deployersListed));
        println!("a vote passes    with more than {quorum} of the organisations");
        println!("validator delay  {delay} blocks");
        println!("decision delay   {decision_delay} s, for what may hurt an organisation");
        if !guard.guardian.is_zero() {
            println!("guardian         {}", guard.guardian);
        }
        if let Some((what, until)) = held {
            println!("held by it       {what}, until {}", utc(until));
        }
        for fork in &forks {
            println!("rules of {:7} from height {}", fork.name, fork.height);
        }
        for parameter in &parameters {
            let value = match parameter.value {
                0 => "what the rule set says".into(),
                value => value.to_string(),
            };
            println!("{:16} {value} from height {}", parameter.name, parameter.from);
        }
        let on = |listed| if listed { "listed" } else { "not listed" };
        for (account, transact, deploy) in permissions {
            println!("{account}  to transact: {}, to deploy: {}", on(transact), on(deploy));
        }
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
pub enum OrgSetCommand {
    /// Gas that one block may use
    GasLimit {
        #[arg(value_parser = clap::value_parser!(u64).range(1_000_000..=600_000_000))]
        gas: u64,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// The base fee never falls below this; 0: gas is free
    MinBaseFee {
        #[arg(value_parser = clap::value_parser!(u64).range(..=1_000_000_000_000))]
        wei: u64,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Whether only listed accounts may send transactions
    AccountList {
        switch: OnOff,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Whether only listed accounts may deploy contracts
    DeployerList {
        switch: OnOff,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Put accounts on the list of those that may send transactions
    Allow {
        #[arg(required = true, value_name = "ACCOUNT", value_parser = account)]
        accounts: Vec<Address>,
        /// Also on the list of those that may deploy contracts
        #[arg(long)]
        deploy: bool,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Take accounts off both lists
    Deny {
        #[arg(required = true, value_name = "ACCOUNT", value_parser = account)]
        accounts: Vec<Address>,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// From which height the rules of a later Ethereum hold
    Fork {
        /// prague, osaka, …
        #[arg(value_parser = name)]
        name: String,
        /// At least 100 blocks ahead of the last vote
        height: u64,
        /// A rule set of a later program: those that do not know it stop before its height
        #[arg(long)]
        unknown: bool,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Call off the rule set that was scheduled last
    CancelFork {
        #[arg(value_parser = name)]
        name: String,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// A number that nodes act on: code-size (bytes of a contract), tx-gas (gas of a transaction)
    Parameter {
        #[arg(value_parser = name)]
        name: String,
        /// 0: what the rule set says
        value: u64,
        /// At least 100 blocks ahead of the last vote; without: the soonest
        #[arg(long, value_name = "HEIGHT", default_value_t = 0, hide_default_value = true)]
        from: u64,
        /// A name of a later program: those that do not know it stop before its height
        #[arg(long)]
        unknown: bool,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// A vote passes with more than this part of the organisations
    Quorum {
        #[arg(value_parser = quorum)]
        part: Quorum,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// What may hurt an organisation is carried out so many seconds after the last approval
    DecisionDelay {
        #[arg(value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=2_592_000))]
        seconds: u64,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// The account that can hold one node or one organisation's vote for a week
    Guardian {
        /// None: no account can
        #[arg(value_name = "ADDRESS", value_parser = account)]
        guardian: Option<Address>,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Let go what the guardian holds
    Release(TransactionArgs),
    /// After so many blocks a change of validators holds
    ValidatorDelay {
        #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
        blocks: u64,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
}

impl OrgSetCommand {
    pub async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::GasLimit { gas, transaction } => {
                transaction.propose(setGasLimitCall { gasLimit: gas }).await
            }
            Self::MinBaseFee { wei, transaction } => {
                transaction.propose(setMinBaseFeeCall { minBaseFee: wei }).await
            }
            Self::AccountList { switch, transaction } => {
                transaction.propose(setAccountsListedCall { listed: switch.is_on() }).await
            }
            Self::DeployerList { switch, transaction } => {
                transaction.propose(setDeployersListedCall { listed: switch.is_on() }).await
            }
            Self::Allow { accounts, deploy, transaction } => {
                let bits = if deploy { MAY_TRANSACT | MAY_DEPLOY } else { MAY_TRANSACT };
                transaction.propose(permit(accounts, bits)).await
            }
            Self::Deny { accounts, transaction } => transaction.propose(permit(accounts, 0)).await,
            Self::Fork { name, height, unknown, transaction } => {
                require_known("rule set", &name, &Fork::ALL.map(Fork::name), unknown)?;
                transaction.propose(scheduleForkCall { name, height }).await
            }
            Self::CancelFork { name, transaction } => {
                transaction.propose(cancelForkCall { name }).await
            }
            Self::Parameter { name, value, from, unknown, transaction } => {
                let known = Parameter::ALL.map(Parameter::name);
                require_known("parameter", &name, &known, unknown || value == 0)?;
                transaction.propose(setParameterCall { name, value, from }).await
            }
            Self::Quorum { part: Quorum { numerator, denominator }, transaction } => {
                transaction.propose(setQuorumCall { numerator, denominator }).await
            }
            Self::DecisionDelay { seconds, transaction } => {
                transaction.propose(setDecisionDelayCall { delay: seconds }).await
            }
            Self::Guardian { guardian, transaction } => {
                let guardian = guardian.unwrap_or_default();
                transaction.propose(setGuardianCall { guardian }).await
            }
            Self::Release(transaction) => transaction.propose(releaseCall {}).await,
            Self::ValidatorDelay { blocks, transaction } => {
                transaction.propose(setValidatorDelayCall { blocks }).await
            }
        }
    }
}

/// Mistake: a typing error in the name, by which all nodes stop at its height.
fn require_known(
    kind: &str,
    name: &str,
    known: &[&str],
    unknown: bool,
) -> Result<(), CommandError> {
    (unknown || known.contains(&name)).then_some(()).or_cure(
        format!("this program knows no {kind} {name} and would stop before its height"),
        format!(
            "use one of {}, or --unknown for one of a later program that all nodes run by then",
            known.join(", ")
        ),
    )
}

fn permit(accounts: Vec<Address>, bits: u8) -> setPermissionsCall {
    let granted = vec![U256::from(bits); accounts.len()];
    setPermissionsCall { accounts, granted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_in_the_name_of_a_parameter_or_rule_set_is_refused() {
        let known = Parameter::ALL.map(Parameter::name);
        assert!(known.iter().all(|name| require_known("parameter", name, &known, false).is_ok()));
        assert!(require_known("rule set", "Osaka", &["osaka"], false).is_err());
        assert!(require_known("rule set", "amsterdam", &["osaka"], true).is_ok());
        let refused = require_known("parameter", "code_size", &known, false).unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("code_size") && refused.contains("code-size, tx-gas"),
            "{refused}"
        );
        assert!(refused.contains("--unknown"), "{refused}");
    }
}
