//! Common parts of the commands that call the governing contract: the account that
//! signs, the request for a decision, and the report of its result.

use std::path::PathBuf;

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall, SolEvent as _, SolEventInterface as _};
use clap::Args;
use serde_json::{Value, json};
use trefoil_os::keystore::KeyFile;
use trefoil_types::{Address, Kind, PeerId, spec::GOVERNING_CONTRACT};

use super::{
    account_file::find_account,
    arguments::{PasswordArgs, account},
    status,
};
use crate::{
    chain_client::{
        account_key::AccountKey,
        contract::{CallReceipt, Contract},
        ether,
        governance::{
            self, Organisations,
            abi::{
                Governance::{Executed, GovernanceEvents, proposeCall, proposeOwnCall},
                GovernanceActions::guardCall,
                Staking::StakingEvents,
            },
        },
        utc::utc,
    },
    error::{CommandError, OrCure as _},
};

/// How a transaction is signed and sent.
#[derive(Debug, Args)]
pub struct TransactionArgs {
    /// The node's directory: its keys, and settings that name the RPC address
    #[arg(long, value_name = "DIR", env = "TREFOIL_DIR", required_unless_present = "dry_run")]
    pub(super) dir: Option<PathBuf>,
    /// The account that signs; without: the only one in DIR/keys
    #[arg(long, value_name = "ADDRESS", value_parser = account)]
    account: Option<Address>,
    #[command(flatten)]
    pub(super) password: PasswordArgs,
    /// A node's RPC address; without: that of DIR
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
    /// Sign nothing (no key is needed): print what a wallet must send
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl TransactionArgs {
    /// Of which kind the network is.
    pub async fn kind(&self) -> Result<Kind, CommandError> {
        Ok(self.sender()?.contract.kind().await?)
    }

    /// For a network that organisations govern.
    pub async fn for_members(&self) -> Result<TransactionSender<'_>, CommandError> {
        let sender = self.sender()?;
        sender.contract.expect_members().await?;
        Ok(sender)
    }

    /// For a network that stake governs.
    pub async fn for_stake(&self) -> Result<TransactionSender<'_>, CommandError> {
        let sender = self.sender()?;
        sender.contract.expect_stake().await?;
        Ok(sender)
    }

    /// Asks all organisations to decide.
    pub async fn propose(&self, action: impl SolCall) -> Result<(), CommandError> {
        self.for_members().await?.propose(action).await
    }

    fn sender(&self) -> Result<TransactionSender<'_>, CommandError> {
        let client = status::client(self.rpc.as_deref(), self.dir.as_deref())?;
        let signer = match &self.dir {
            Some(dir) if !self.dry_run => Some(find_account(dir, self.account)?),
            _ => None,
        };
        Ok(TransactionSender { contract: Contract::governing(client), args: self, signer })
    }
}

/// The sender of calls to the governing contract.
pub struct TransactionSender<'a> {
    pub contract: Contract,
    args: &'a TransactionArgs,
    signer: Option<(Address, KeyFile)>,
}

impl TransactionSender<'_> {
    /// The account that signs, if it is known: with `--dry-run` a wallet signs.
    pub fn account(&self) -> Option<Address> {
        self.signer.as_ref().map(|(account, _)| *account).or(self.args.account)
    }

    /// The account whose stake it is.
    pub fn staker(&self) -> Result<Address, CommandError> {
        self.account().or_cure("it is not known whose stake", "name the account with --account")
    }

    /// The organisation that was named, or else the signing account's own.
    pub async fn organisation(&self, named: Option<&str>) -> Result<u32, CommandError> {
        let organisations = Organisations::read(&self.contract).await?;
        if let Some(named) = named {
            return organisations.find(named);
        }
        let account = self.account().or_cure(
            "it is not known which account will sign",
            "name it with --account, or the organisation with --org",
        )?;
        organisations.of_key(account).map(|organisation| organisation.id).or_cure(
            format!("account {account} speaks for no organisation"),
            "name one of its keys with --account; `trefoil org list` shows them",
        )
    }

    /// The name of an organisation.
    pub async fn name_of(&self, id: u32) -> Result<String, CommandError> {
        let organisations = Organisations::read(&self.contract).await?;
        organisations.get(id).map(|organisation| organisation.name.clone()).or_cure(
            format!("there is no organisation {id}"),
            "name one that `trefoil org list` shows",
        )
    }

    /// The organisation of a validator; another organisation's is a matter for all.
    pub async fn owner_of(&self, peer: PeerId) -> Result<u32, CommandError> {
        let nodes = governance::nodes(&self.contract).await?;
        let node = nodes.iter().find(|node| node.peer == peer.0.0 && node.power > 0);
        node.map(|node| node.organisation).or_cure(
            format!("{peer} is no validator"),
            "name a peer id that `trefoil validator list` shows",
        )
    }

    /// Asks all to decide.
    pub async fn propose(&self, action: impl SolCall) -> Result<(), CommandError> {
        self.decision(proposeCall { action: action.abi_encode().into() }).await
    }

    /// Asks `organisation` to decide what is its own affair; all, if the signing
    /// account does not speak for it.
    pub async fn decide(
        &self,
        organisation: u32,
        action: impl SolCall,
    ) -> Result<(), CommandError> {
        let foreign = match self.account() {
            Some(account) => {
                let organisations = Organisations::read(&self.contract).await?;
                organisations.of_key(account).is_none_or(|own| own.id != organisation)
            }
            // Only printed: it is taken for the organisation's own, and the contract refuses
            // it otherwise.
            None => false,
        };
        if foreign {
            return self.propose(action).await;
        }
        self.decision(proposeOwnCall { action: action.abi_encode().into() }).await
    }

    /// Sends a call about a proposal, and prints the proposal's state.
    pub async fn decision(&self, call: impl SolCall) -> Result<(), CommandError> {
        let Some(receipt) = self.send(call, U256::ZERO).await? else { return Ok(()) };
        let concerned = receipt.logs.iter().find_map(|log| concerned(&log.data));
        // The last approval that is needed runs the action in its own transaction.
        let executed = |log: &alloy_primitives::Log| Executed::decode_log_data(&log.data).is_ok();
        let executed = receipt.logs.iter().any(executed);
        let organisations = Organisations::read(&self.contract).await?;
        let open = match concerned {
            Some(id) if !executed => self.contract.proposal(id, &organisations).await?,
            _ => None,
        };
        let state = match (&open, executed) {
            (_, true) => "executed",
            (Some(_), false) => "open",
            (None, false) => "taken back",
        };
        if self.args.json {
            self.print(
                &receipt,
                json!({
                    "proposal": concerned,
                    "state": state,
                    "approving": open.as_ref().map(|open| &open.approving),
                    "missing": open.as_ref().map(|open| open.missing),
                    "closes": open.as_ref().map(|open| open.closes),
                }),
            );
            return Ok(());
        }
        let id = concerned.map_or("?".into(), |id| id.to_string());
        println!("proposal {id}: {state} (block {})", receipt.block_number);
        if let Some(open) = &open {
            println!("approve: {}", organisations.labels(&open.approving));
            println!("{}, until {}", open.waits_for(&organisations), utc(open.closes));
            println!("others do so by: trefoil org vote {id} --dir DIR");
        }
        Ok(())
    }

    /// Sends a call about the sender's own stake, and prints the contract's events.
    pub async fn act(&self, call: impl SolCall, value: U256) -> Result<(), CommandError> {
        let Some(receipt) = self.send(call, value).await? else { return Ok(()) };
        let done: Vec<String> = receipt.logs.iter().filter_map(|log| staked(&log.data)).collect();
        if self.args.json {
            self.print(&receipt, json!({ "did": done }));
            return Ok(());
        }
        done.iter().for_each(|done| println!("{done}"));
        println!("block {}, transaction {}", receipt.block_number, receipt.transaction_hash);
        Ok(())
    }

    /// Whether calls are only printed.
    pub fn is_dry_run(&self) -> bool {
        self.signer.is_none()
    }

    /// `None`: it was only printed.
    pub async fn send(
        &self,
        call: impl SolCall,
        value: U256,
    ) -> Result<Option<CallReceipt>, CommandError> {
        let data = Bytes::from(call.abi_encode());
        let Some((_, file)) = &self.signer else {
            self.print_call(&data, value);
            return Ok(None);
        };
        // The password is asked for last, after all that can be refused without it.
        let wallet = AccountKey::open(&file.path, &self.args.password.source())?;
        Ok(Some(self.contract.send(&wallet, data, value).await?))
    }

    fn print_call(&self, data: &Bytes, value: U256) {
        if self.args.json {
            println!("{:#}", json!({ "to": GOVERNING_CONTRACT, "data": data, "value": value }));
            return;
        }
        println!("to    {GOVERNING_CONTRACT}\ndata  {data}\nvalue {value}");
    }

    /// Sends the guardian's call, and prints how long it holds.
    pub async fn hold(&self, call: impl SolCall) -> Result<(), CommandError> {
        let Some(receipt) = self.send(call, U256::ZERO).await? else { return Ok(()) };
        let until = self.contract.view(guardCall {}).await?.until;
        self.report(&receipt, json!({ "until": until }), &format!("held until {}", utc(until)));
        Ok(())
    }

    /// Prints the result of a call: as JSON, or in words.
    pub fn report(&self, receipt: &CallReceipt, result: Value, words: &str) {
        if self.args.json {
            return self.print(receipt, result);
        }
        println!("{words} (block {})", receipt.block_number);
    }

    fn print(&self, receipt: &CallReceipt, mut result: Value) {
        result["transaction"] = json!(receipt.transaction_hash);
        result["block"] = json!(receipt.block_number.to::<u64>());
        println!("{result:#}");
    }
}

/// The proposal that an event is about.
fn concerned(log: &alloy_primitives::LogData) -> Option<u64> {
    use GovernanceEvents as E;
    let id = match E::decode_raw_log(log.topics(), &log.data).ok()? {
        E::Proposed(e) => e.id,
        E::Approved(e) => e.id,
        E::ApprovalWithdrawn(e) => e.id,
        E::ProposalWithdrawn(e) => e.id,
        E::Waiting(e) => e.id,
        E::Objected(e) => e.id,
        E::Executed(e) => e.id,
        _ => return None,
    };
    Some(id.saturating_to())
}

/// An event about a stake, in words.
fn staked(log: &alloy_primitives::LogData) -> Option<String> {
    use StakingEvents as E;
    Some(match E::decode_raw_log(log.topics(), &log.data).ok()? {
        E::Deposited(e) => format!(
            "{} stakes {} ether for key {}; let its node run: at the end of an epoch it gets one unit of power on probation, and when it signed half of an epoch its power grows to its stake, if that is among the largest",
            e.owner,
            ether(e.amount),
            e.key
        ),
        E::StakeAdded(e) => format!("{} stakes {} ether now", e.owner, ether(e.stake)),
        E::Unbonded(e) => format!(
            "{} ether are on their way out: `trefoil validator withdraw` from height {} on (later, if they are so much that their power goes in several epochs); {} ether stay",
            ether(e.amount),
            e.release,
            ether(e.stake)
        ),
        E::Withdrawn(e) => format!("{} ether were paid to {}", ether(e.amount), e.owner),
        E::Evicted(e) => format!("{} made place, for the smallest stake leaves", e.owner),
        E::Unjailed(e) => {
            format!(
                "{} may be chosen again: it is on probation from the end of an epoch on",
                e.owner
            )
        }
        E::StandbyNamed(e) if e.key.is_zero() => format!("{} has no standby now", e.owner),
        E::StandbyNamed(e) => format!(
            "the seat of {} moves to key {} when its own has signed none of 64 blocks in a row; let the machine with that key run",
            e.owner, e.key
        ),
        E::FeeRecipientChanged(e) => format!("fees go to {} now", e.feeRecipient),
        _ => return None,
    })
}
