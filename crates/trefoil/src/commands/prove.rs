//! `trefoil keys prove`, and the proofs that other commands bring to the chain.

use std::path::Path;

use alloy_primitives::U256;
use clap::Args;
use trefoil_crypto::SecretKey;
use trefoil_os::{
    certificate::Ca,
    keystore::{self, KeyKind},
};
use trefoil_types::{Address, B256, KeyClaimer, KeyProof, KeyRole, PublicKey};

use super::{
    arguments::{DirArgs, PasswordArgs, account, name},
    certify::CaArgs,
    transaction::TransactionSender,
};
use crate::{
    chain_client::governance::abi::{
        Governance::{isProvenCall, networkCall},
        GovernanceActions::proveCall,
        Staking::networkCall as StakingNetworkCall,
    },
    error::{CommandError, OrCure as _},
};

/// A key of a node's directory signs that an organisation, or the owner of a stake, may use it.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// node, validator, next-validator or ca
    kind: KeyKind,
    #[command(flatten)]
    claimer: ClaimerArgs,
    /// The network's genesis hash; without: that of DIR/chain.toml
    #[arg(long, value_name = "HASH", conflicts_with = "founding")]
    network: Option<B256>,
    /// A network that is to be founded, whose genesis hash is not known yet
    #[arg(long, value_name = "NAME:CHAINID", value_parser = founding)]
    founding: Option<B256>,
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
        let network = match self.network.or(self.founding) {
            Some(network) => network,
            None => trefoil_ledger::genesis_hash(&*self.dir.home().spec()?)?,
        };
        let role = match self.kind {
            KeyKind::Node => KeyRole::Peer,
            KeyKind::Validator | KeyKind::NextValidator => KeyRole::Validator,
            KeyKind::Ca => KeyRole::Ca,
            KeyKind::Account | KeyKind::Sealing => {
                return Err(CommandError::with_cure(
                    format!("a {} key needs no proof", self.kind),
                    "name node, validator, next-validator or ca; an account agrees by `trefoil org accept`",
                ));
            }
        };
        let proof = match role {
            KeyRole::Ca => self.ca()?.prove(&network, self.claimer.get()?)?,
            _ => {
                let secret = open(&self.dir.dir, self.kind, &self.password)?;
                KeyProof::sign(&secret, &network, role, self.claimer.get()?)
            }
        };
        println!("{proof}");
        Ok(())
    }

    fn ca(&self) -> Result<Ca, CommandError> {
        self.ca.open(&self.dir.dir, &self.password)
    }
}

/// What keys sign while a network, written `NAME:CHAINID`, is to be founded.
fn founding(text: &str) -> Result<B256, String> {
    let parts = text.split_once(':').and_then(|(name, id)| Some((name, id.parse().ok()?)));
    let (network, chain_id) = parts.ok_or("write NAME:CHAINID, such as example:4242")?;
    Ok(KeyProof::founding(network, chain_id))
}

/// To whose use a key agrees.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ClaimerArgs {
    /// The organisation's name; it may be one to come
    #[arg(long, value_parser = name)]
    org: Option<String>,
    /// Public networks: the account that stakes
    #[arg(long, value_name = "ADDRESS", value_parser = account)]
    owner: Option<Address>,
}

impl ClaimerArgs {
    fn get(&self) -> Result<KeyClaimer, CommandError> {
        let owner = self.owner.map(KeyClaimer::from);
        owner.or(self.org.as_deref().map(KeyClaimer::from)).or_cure(
            "it is not known who will use the key",
            "name an organisation with --org, or the account that stakes with --owner",
        )
    }
}

/// The Ed25519 key of a node's directory.
pub fn open(dir: &Path, kind: KeyKind, password: &PasswordArgs) -> Result<SecretKey, CommandError> {
    let path = keystore::path(dir, kind, "");
    let password = password.source().get(&path.display().to_string())?;
    Ok(keystore::open_ed25519(dir, kind, &password)?)
}

/// The proof that goes with a stake.
#[derive(Debug, Args)]
pub struct StakeProofArgs {
    /// What `trefoil keys prove validator --owner ADDRESS` printed where the consensus key lies; without:
    /// it is signed with DIR/keys/validator.json
    #[arg(long, value_name = "PROOF")]
    proof: Option<KeyProof>,
}

impl StakeProofArgs {
    /// The proof that a consensus key agrees to its owner: the one that was given, or one that the
    /// key in `dir` makes.
    pub async fn get(
        &self,
        sender: &TransactionSender<'_>,
        owner: Address,
        dir: Option<&Path>,
        password: &PasswordArgs,
    ) -> Result<KeyProof, CommandError> {
        let Some(proof) = self.proof else {
            let network = network_of_stakes(sender).await?;
            let dir = dir.or_cure(
                "it is not known which key will validate",
                "name the node's directory with --dir, or give --proof",
            )?;
            let secret = open(dir, KeyKind::Validator, password)?;
            return Ok(KeyProof::sign(&secret, &network, KeyRole::Validator, owner));
        };
        check_stake_proof(sender, owner, &proof).await?;
        Ok(proof)
    }
}

/// Refuses what is no proof that a consensus key agrees to its owner.
pub async fn check_stake_proof(
    sender: &TransactionSender<'_>,
    owner: Address,
    proof: &KeyProof,
) -> Result<(), CommandError> {
    let network = network_of_stakes(sender).await?;
    let is_right = proof.role == KeyRole::Validator && proof.verify(&network, owner);
    is_right.then_some(()).or_cure(
        format!("{proof} is no proof for a validator of {owner} on network {network}"),
        "make it with `trefoil keys prove validator --owner ADDRESS` in a directory with this network's chain.toml",
    )
}

async fn network_of_stakes(sender: &TransactionSender<'_>) -> Result<B256, CommandError> {
    let network = sender.contract.view(StakingNetworkCall {}).await?;
    (!network.is_zero()).then_some(network).or_cure(
        "the chain has no block yet, so that the contract does not know its network",
        "try again when `trefoil status` shows block 1",
    )
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
    /// The proof of a key, if it was given.
    pub fn of(&self, key: PublicKey) -> Option<&KeyProof> {
        self.proofs.iter().find(|proof| proof.key == key)
    }

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
            let call =
                isProvenCall { key: key.0, role: *role as u8, organisation: organisation.into() };
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
    let kind = match role {
        KeyRole::Validator => "validator|next-validator",
        KeyRole::Peer | KeyRole::Ca => role.name(),
    };
    CommandError::with_cure(
        format!("{} key {key} has not agreed to its use by {organisation}", role.name()),
        format!(
            "run `trefoil keys prove {kind} --org {organisation} --dir DIR` where it lies, and give what that prints with --proof"
        ),
    )
}
