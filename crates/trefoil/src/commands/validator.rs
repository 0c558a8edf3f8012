//! `trefoil validator`: the validators, and the candidates.

use alloy_primitives::{U256, aliases::U96};
use alloy_sol_types::SolCall;
use clap::{Args, Subcommand};
use trefoil_types::{Address, KeyRole, PeerId, PublicKey, spec::MEMBER_POWER};

use super::{
    arguments::{account, ether},
    consent::ConsentArgs,
    floor::few_validators,
    prove::{ProofArgs, StakeProofArgs},
    standby::StandbyArgs,
    status::QueryArgs,
    transaction::{TransactionArgs, TransactionSender},
    validator_list,
};
use crate::{
    chain_client::{
        self,
        governance::{
            self,
            abi::{
                GovernanceActions::{
                    addValidatorCall, removeValidatorCall, rotateValidatorKeyCall,
                    setFeeRecipientCall as setNodeFeeRecipientCall, setPowerCall,
                },
                IGovernance::Node,
                Staking::{
                    addStakeCall, candidateCall, candidatesCall, depositCall, parametersCall,
                    setFeeRecipientCall, unbondCall, unjailCall, withdrawCall,
                },
            },
        },
    },
    error::CommandError,
};

#[derive(Debug, Subcommand)]
pub enum ValidatorCommand {
    /// The validators, their power, and whether they signed the last block
    List(QueryArgs),
    /// Propose a validator: a node of an organisation and its key
    ProposeAdd(AddValidatorArgs),
    /// Propose that a node validates no more
    ProposeRemove {
        /// The node's peer id; `trefoil validator list` shows it
        peer: PeerId,
        #[command(flatten)]
        consent: ConsentArgs,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Propose another voting power of a validator
    ProposePower {
        /// The node's peer id; `trefoil validator list` shows it
        peer: PeerId,
        #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 60))]
        power: u64,
        #[command(flatten)]
        consent: ConsentArgs,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Let your validator sign with another key
    RotateKey {
        /// The node's peer id; `trefoil validator list` shows it
        peer: PeerId,
        /// Its new Ed25519 consensus key
        key: PublicKey,
        #[command(flatten)]
        proofs: ProofArgs,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Name the machine to which your validator's seat moves by itself when its own is away
    Standby(StandbyArgs),
    /// Say where the fees of your validator's blocks go
    SetFeeRecipient(FeeRecipientArgs),
    /// Public networks: become a candidate, with a stake
    Stake(StakeArgs),
    /// Public networks: add to your stake
    AddStake {
        #[arg(value_name = "ETHER", value_parser = ether)]
        amount: U256,
        #[command(flatten)]
        consent: ConsentArgs,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Public networks: take stake back; it can be withdrawn when it is unbonded
    Unstake(UnstakeArgs),
    /// Public networks: be paid what was unbonded long enough ago
    Withdraw(TransactionArgs),
    /// Public networks: end your jail, when its time is over
    Unjail(TransactionArgs),
}

impl ValidatorCommand {
    pub async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::List(node) => validator_list::list(&node).await,
            Self::ProposeAdd(command) => command.run().await,
            Self::ProposeRemove { peer, consent, transaction } => {
                let sender = transaction.for_members().await?;
                ask_about_power(&sender, peer, 0, &consent).await?;
                sender.propose(removeValidatorCall { peer: peer.0.0 }).await
            }
            Self::ProposePower { peer, power, consent, transaction } => {
                let sender = transaction.for_members().await?;
                ask_about_power(&sender, peer, power, &consent).await?;
                sender.propose(setPowerCall { peer: peer.0.0, power }).await
            }
            Self::RotateKey { peer, key, proofs, transaction } => {
                let sender = transaction.for_members().await?;
                let owner = sender.owner_of(peer).await?;
                let name = sender.name_of(owner).await?;
                proofs.bring(&sender, &name, &[(key, KeyRole::Validator)]).await?;
                let action = rotateValidatorKeyCall { peer: peer.0.0, validatorKey: key.0 };
                sender.decide(owner, action).await
            }
            Self::Standby(command) => command.run().await,
            Self::SetFeeRecipient(command) => command.run().await,
            Self::Stake(command) => command.run().await,
            Self::AddStake { amount, consent, transaction } => {
                let sender = transaction.for_stake().await?;
                ask_about_share(&sender, amount, &consent).await?;
                sender.act(addStakeCall {}, amount).await
            }
            Self::Unstake(command) => command.run().await,
            Self::Withdraw(transaction) => act(&transaction, withdrawCall {}).await,
            Self::Unjail(transaction) => act(&transaction, unjailCall {}).await,
        }
    }
}

/// Asks, if a stake that is larger by `more` would give more than the largest share of power.
async fn ask_about_share(
    sender: &TransactionSender<'_>,
    more: U256,
    consent: &ConsentArgs,
) -> Result<(), CommandError> {
    let terms = sender.contract.view(parametersCall {}).await?;
    let own = sender.account();
    let candidates = sender.contract.view(candidatesCall {}).await?;
    let (mine, others): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|candidate| Some(candidate.owner) == own);
    let mine: U256 = mine.iter().map(|c| U256::from(c.stake)).sum::<U256>() + more;
    let all: U256 = mine + others.iter().map(|c| U256::from(c.stake)).sum::<U256>();
    let (share, whole) = (U256::from(terms.maxShare), U256::from(10_000));
    if mine * whole <= all * share {
        return Ok(());
    }
    consent.ask(&format!(
        "{} ether are more than {} ten thousandths of all stake, and no validator grows beyond that part of the power",
        chain_client::ether(mine),
        terms.maxShare
    ))
}

/// Asks, if too few validators or too large a share would be left with that power of a node.
async fn ask_about_power(
    sender: &TransactionSender<'_>,
    peer: PeerId,
    power: u64,
    consent: &ConsentArgs,
) -> Result<(), CommandError> {
    let nodes = governance::nodes(&sender.contract).await?;
    let change = |node: &Node| if node.peer == peer.0.0 { power } else { node.power };
    few_validators(&nodes, change).map_or(Ok(()), |what| consent.ask(&what))
}

/// Calls the staking contract without paying anything into it.
async fn act(transaction: &TransactionArgs, call: impl SolCall) -> Result<(), CommandError> {
    transaction.for_stake().await?.act(call, U256::ZERO).await
}

#[derive(Debug, Args)]
pub struct AddValidatorArgs {
    /// The node's peer id
    peer: PeerId,
    /// The organisation whose node it is, by name or number
    #[arg(long)]
    org: String,
    /// Its Ed25519 consensus key; `trefoil keys list` on that node shows it
    #[arg(long, value_name = "KEY")]
    key: PublicKey,
    /// Voting power; what is new together must be less than half of what validates
    #[arg(long, default_value_t = MEMBER_POWER, value_parser = clap::value_parser!(u64).range(1..=1 << 60))]
    power: u64,
    /// Where the fees of its blocks go
    #[arg(long, value_name = "ADDRESS", value_parser = account, default_value_t = Address::ZERO)]
    fee_recipient: Address,
    #[command(flatten)]
    proofs: ProofArgs,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl AddValidatorArgs {
    async fn run(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let organisation = sender.organisation(Some(&self.org)).await?;
        let name = sender.name_of(organisation).await?;
        let claims = [(self.peer.0, KeyRole::Peer), (self.key, KeyRole::Validator)];
        self.proofs.bring(&sender, &name, &claims).await?;
        let action = addValidatorCall {
            peer: self.peer.0.0,
            organisation,
            validatorKey: self.key.0,
            power: self.power,
            feeRecipient: self.fee_recipient,
        };
        sender.propose(action).await
    }
}

#[derive(Debug, Args)]
pub struct FeeRecipientArgs {
    #[arg(value_parser = account)]
    address: Address,
    /// The validator's peer id (private and consortium networks)
    #[arg(long, value_name = "PEER")]
    node: Option<PeerId>,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl FeeRecipientArgs {
    async fn run(self) -> Result<(), CommandError> {
        let Some(peer) = self.node else {
            return act(&self.transaction, setFeeRecipientCall { feeRecipient: self.address })
                .await;
        };
        let sender = self.transaction.for_members().await?;
        let owner = sender.owner_of(peer).await?;
        let action = setNodeFeeRecipientCall { peer: peer.0.0, feeRecipient: self.address };
        sender.decide(owner, action).await
    }
}

#[derive(Debug, Args)]
pub struct StakeArgs {
    /// How much
    #[arg(value_name = "ETHER", value_parser = ether)]
    amount: U256,
    #[command(flatten)]
    proof: StakeProofArgs,
    #[command(flatten)]
    consent: ConsentArgs,
    /// Where the fees of its blocks go; without: to the account that signs
    #[arg(long, value_name = "ADDRESS", value_parser = account)]
    fee_recipient: Option<Address>,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl StakeArgs {
    async fn run(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_stake().await?;
        let owner = sender.staker()?;
        ask_about_share(&sender, self.amount, &self.consent).await?;
        let (dir, password) = (self.transaction.dir.as_deref(), &self.transaction.password);
        let proof = self.proof.get(&sender, owner, dir, password).await?;
        let call = depositCall {
            validatorKey: proof.key.0,
            feeRecipient: self.fee_recipient.unwrap_or(owner),
            proof: proof.signature.0.into(),
        };
        sender.act(call, self.amount).await
    }
}

#[derive(Debug, Args)]
pub struct UnstakeArgs {
    /// How much; or --all
    #[arg(value_name = "ETHER", value_parser = ether, required_unless_present = "all", conflicts_with = "all")]
    amount: Option<U256>,
    /// All of it: you are no candidate any more
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    consent: ConsentArgs,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl UnstakeArgs {
    async fn run(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_stake().await?;
        let amount = match self.amount {
            // Bounded where it was read.
            Some(amount) => amount.saturating_to::<U96>(),
            None => {
                let owner = sender.staker()?;
                self.ask_about_floor(&sender).await?;
                sender.contract.view(candidateCall { owner }).await?.stake
            }
        };
        sender.act(unbondCall { amount }, U256::ZERO).await
    }

    /// Asks, if too few validators would stay.
    async fn ask_about_floor(&self, sender: &TransactionSender<'_>) -> Result<(), CommandError> {
        let terms = sender.contract.view(parametersCall {}).await?;
        let own = sender.account();
        let candidates = sender.contract.view(candidatesCall {}).await?;
        let stay = candidates.iter().filter(|c| c.active && Some(c.owner) != own).count();
        if stay >= usize::from(terms.minValidators) {
            return Ok(());
        }
        self.consent.ask(&format!(
            "{stay} validators would stay, of at least {}: the one that leaves keeps a unit of power, and its last part on its way out, until another is active",
            terms.minValidators
        ))
    }
}
