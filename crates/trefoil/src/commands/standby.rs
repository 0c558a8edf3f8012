//! `trefoil validator standby`: the machine to which a seat moves by itself.

use alloy_primitives::{B256, Bytes, U256};
use clap::Args;
use trefoil_types::{KeyRole, Kind, PeerId, PublicKey};

use super::{
    prove::{self, ProofArgs},
    transaction::{TransactionArgs, TransactionSender},
};
use crate::{
    chain_client::governance::abi::{
        GovernanceActions::setStandbyCall, Staking::setStandbyCall as setStakedStandbyCall,
    },
    error::{CommandError, OrCure as _},
};

#[derive(Debug, Args)]
pub struct StandbyArgs {
    /// The consensus key of the machine that stands by; `trefoil keys list` there shows it
    #[arg(required_unless_present = "none")]
    key: Option<PublicKey>,
    /// The seat has no standby any more
    #[arg(long, conflicts_with = "key")]
    none: bool,
    /// The validator's peer id (private and consortium networks)
    #[arg(long, value_name = "PEER")]
    node: Option<PeerId>,
    #[command(flatten)]
    proofs: ProofArgs,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl StandbyArgs {
    pub async fn run(self) -> Result<(), CommandError> {
        match self.transaction.kind().await? {
            Kind::Public => self.run_for_stake().await,
            Kind::Private | Kind::Consortium => self.run_for_members().await,
        }
    }

    async fn run_for_members(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let peer = self.node.or_cure(
            "it is not known which validator's seat is to move",
            "name its peer id with --node; `trefoil validator list` shows it",
        )?;
        let owner = sender.owner_of(peer).await?;
        if let Some(key) = self.key {
            let name = sender.name_of(owner).await?;
            self.proofs.bring(&sender, &name, &[(key, KeyRole::Validator)]).await?;
        }
        let key = self.key.map_or(B256::ZERO, |key| key.0);
        sender.decide(owner, setStandbyCall { peer: peer.0.0, validatorKey: key }).await
    }

    async fn run_for_stake(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_stake().await?;
        let (key, proof) = match self.key {
            Some(key) => (key.0, self.proof(&sender, key).await?),
            None => (B256::ZERO, Bytes::new()),
        };
        sender.act(setStakedStandbyCall { validatorKey: key, proof }, U256::ZERO).await
    }

    /// The signature by which the key agrees to the sender.
    async fn proof(
        &self,
        sender: &TransactionSender<'_>,
        key: PublicKey,
    ) -> Result<Bytes, CommandError> {
        let owner = sender.staker()?;
        let proof = self.proofs.of(key).or_cure(
            format!("key {key} has not agreed to stand by for {owner}"),
            format!(
                "run `trefoil keys prove validator --owner {owner} --dir DIR` on the machine that stands by, and give what that prints with --proof"
            ),
        )?;
        prove::check_stake_proof(sender, owner, proof).await?;
        Ok(proof.signature.0.into())
    }
}
