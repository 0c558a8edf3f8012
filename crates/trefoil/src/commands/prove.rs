//! `trefoil keys prove`, and the proofs that other commands bring to the chain.

use alloy_primitives::U256;
use clap::Args;
use trefoil_os::{
    certificate::Ca,
    keystore::{self, KeyKind},
};
use trefoil_types::{B256, KeyProof, KeyRole, PublicKey};

use super::{
    arguments::{DirArgs, PasswordArgs, name},
    certify::CaArgs,
    transaction::TransactionSender,
};
use crate::{
    chain_client::governance::abi::Governance::{isProvenCall, networkCall, proveCall},
    error::{CommandError, OrCure as _},
};

/// A key of a node's directory signs that an organisation may use it.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// node, validator or ca
    kind: KeyKind,
    /// The organisation's name; it may be one to come
    #[arg(long, value_parser = name)]
    org: String,
    /// The network's genesis hash; without: that of DIR/chain.toml
    #[arg(long, value_name = "HASH")]
    network: Option<B256>,
    #[command(flatten)]
    ca: CaArgs,
    #[command(flatten)]
    dir: DirArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

impl ProveArgs {
    /// Prints the proof.
    pub fn run(self) -> Result<(), CommandError> {
        let network = match self.network {
            Some(network) => network,
            None => trefoil_ledger::genesis_hash(&*self.dir.home().spec()?)?,
        };
        let role = match self.kind {
            KeyKind::Node => KeyRole::Peer,
            KeyKind::Validator => KeyRole::Validator,
            KeyKind::Ca => KeyRole::Ca,
            KeyKind::Account | KeyKind::Sealing => {
                return Err(CommandError::with_cure(
                    format!("a {} key needs no proof", self.kind),
                    "name node, validator or ca; an account agrees by `trefoil org accept`",
                ));
            }
        };
        let proof = match role {
            KeyRole::Ca => self.ca()?.prove(&network, &self.org)?,
            _ => {
                let path = keystore::path(&self.dir.dir, self.kind, "");
                let password = self.password.source().get(&path.display().to_string())?;
                let secret = keystore::open_ed25519(&self.dir.dir, self.kind, &password)?;
                KeyProof::sign(&secret, &network, role, &self.org)
            }
        };
        println!("{proof}");
        Ok(())
    }

    fn ca(&self) -> Result<Ca, CommandError> {
        self.ca.open(&self.dir.dir, &self.password)
    }
}

/// Proofs that go before a proposal.
#[derive(Debug, Args)]
pub struct ProofArgs {
    /// What `trefoil keys prove` printed where a key lies; once for each key that the chain does
    /// not know yet
    #[arg(long = "proof", value_name = "PROOF")]
    proofs: Vec<KeyProof>,
}

impl ProofArgs {
    // Before all vote: the contract would refuse the last approval, when all have voted.
    /// Brings to the chain that these keys agree to their use by an organisation, and refuses if
    /// one does not.
    pub async fn bring(
        &self,
        sender: &TransactionSender<'_>,
        organisation: &str,
        claims: &[(PublicKey, KeyRole)],
    ) -> Result<(), CommandError> {
        for (key, role) in claims {
            let call = isProvenCall {
                key: key.0,
                role: *role as u8,
                organisation: organisation.into(),
            };
            if sender.contract.view(call).await? {
                continue;
            }
            let given = self.proofs.iter().find(|proof| proof.key == *key && proof.role == *role);
            match given {
                Some(proof) => self.send(sender, organisation, proof).await?,
                // A wallet may bring it later.
                None if sender.is_dry_run() => {}
                None => return Err(missing(*key, *role, organisation)),
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        sender: &TransactionSender<'_>,
        organisation: &str,
        proof: &KeyProof,
    ) -> Result<(), CommandError> {
        let network = sender.contract.view(networkCall {}).await?;
        proof.verify(&network, organisation).then_some(()).or_cure(
            format!("{proof} is no proof for {organisation} on network {network}"),
            "make it with `trefoil keys prove --org NAME` in a directory with this network's chain.toml",
        )?;
        let call = proveCall {
            key: proof.key.0,
            role: proof.role as u8,
            organisation: organisation.into(),
            signature: proof.signature.0.into(),
        };
        sender.send(call, U256::ZERO).await.map(|_| ())
    }
}

fn missing(key: PublicKey, role: KeyRole, organisation: &str) -> CommandError {
    let role = role.name();
    CommandError::with_cure(
        format!("{role} key {key} has not agreed to its use by {organisation}"),
        format!(
            "run `trefoil keys prove {role} --org {organisation} --dir DIR` where it lies, and give what that prints with --proof"
        ),
    )
}
