//! A contract that genesis places, behind a node's JSON-RPC.
//!
//! What always holds: any wallet can make the same calls, with the same `to` and
//! `data`.

use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_primitives::{B256, Bytes, Log, TxKind, U64, U256};
use alloy_sol_types::SolCall;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use trefoil_types::{
    Address, Kind,
    spec::{CONTENT_REGISTRY, GOVERNING_CONTRACT},
};

use crate::chain_client::{
    account_key::AccountKey,
    client::{Client, ClientError},
    ether,
    revert_reasons::revert_reason,
};

// A block interval is a minute at most (chain specification), and the transaction may miss one.
/// A transaction's receipt must come within this.
const RECEIPT_WAIT: Duration = Duration::from_secs(120);
// Five looks at the default interval of half a second: on average 50 ms late.
/// How often the receipt is asked for.
const RECEIPT_POLL: Duration = Duration::from_millis(100);

// Another vote may arrive first, and then this one also executes the action. Unused gas is not
// paid.
/// Gas beyond the estimate.
const SPARE_GAS: u64 = 3_000_000;
// EIP-7825: nodes refuse more.
/// The most gas of one transaction.
const GAS_MAX: u64 = 1 << 24;

#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the {contract} refuses: {why}")]
    Refused { contract: &'static str, why: String },
    #[error(
        "the chain of {url} has no {contract} at {address}; name a node of a network that has one with --rpc or --dir"
    )]
    NoContract { url: String, contract: &'static str, address: Address },
    #[error(
        "the {contract} of {url} answers {view} with something else; use the same version of trefoil as its nodes"
    )]
    Odd { url: String, contract: &'static str, view: &'static str },
    #[error("this network is {}: {instead}", .kind.name())]
    Kind { kind: Kind, instead: &'static str },
    #[error(
        "account {account} owns {} ether, and this may cost {} ether; send it coins first",
        ether(*.owns),
        ether(*.price)
    )]
    CannotPay { account: Address, owns: U256, price: U256 },
    #[error(
        "transaction {hash} is in no block after {} s; it stays in the node's pool: see with `trefoil status` whether the chain makes blocks",
        RECEIPT_WAIT.as_secs()
    )]
    NotIncluded { hash: B256 },
    #[error(
        "transaction {hash} failed in block {height}, and its gas is paid: the chain had changed meanwhile{}",
        .why.as_deref().map_or_else(
            || "; give the command again, it says what stands in the way".into(),
            |why| format!(" ({why})"),
        )
    )]
    Failed { hash: B256, height: u64, why: Option<String> },
}

/// The receipt of a call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallReceipt {
    pub transaction_hash: B256,
    pub block_number: U64,
    pub logs: Vec<Log>,
    status: U64,
}

#[derive(Clone, Debug)]
pub struct Contract {
    pub client: Client,
    /// In words.
    name: &'static str,
    address: Address,
}

// An organisation of 16 governance and 4 CA keys costs 71,000 gas to read.
/// The length of a page of a list: well within the gas of one `eth_call`.
const PAGE: usize = 64;

impl Contract {
    /// The one that governs the network.
    pub fn governing(client: Client) -> Self {
        Self { client, name: "governing contract", address: GOVERNING_CONTRACT }
    }

    /// The one that knows the names of content.
    pub fn registry(client: Client) -> Self {
        Self { client, name: "content registry", address: CONTENT_REGISTRY }
    }

    /// # Errors
    /// No answer, or not a trefoil node's.
    pub async fn kind(&self) -> Result<Kind, ContractError> {
        let status = self.client.call("trefoil_status", json!([])).await?;
        self.parse("trefoil_status", status["kind"].clone())
    }

    /// Whether organisations vote here.
    ///
    /// # Errors
    /// As [`Contract::kind`], and on a public network.
    pub async fn expect_members(&self) -> Result<(), ContractError> {
        let instead = "who stakes validates, and nobody votes; use `trefoil validator stake`";
        match self.kind().await? {
            kind @ Kind::Public => Err(ContractError::Kind { kind, instead }),
            Kind::Private | Kind::Consortium => Ok(()),
        }
    }

    /// Whether stake decides here.
    ///
    /// # Errors
    /// As [`Contract::kind`], and on a network of organisations.
    pub async fn expect_stake(&self) -> Result<(), ContractError> {
        let instead =
            "validators are voted for, there is no stake; use `trefoil validator propose-add`";
        match self.kind().await? {
            Kind::Public => Ok(()),
            kind => Err(ContractError::Kind { kind, instead }),
        }
    }

    /// The result of a view after the newest block.
    ///
    /// # Errors
    /// No answer, no such contract, or its refusal.
    pub async fn view<C: SolCall>(&self, call: C) -> Result<C::Return, ContractError> {
        self.view_at(call, "latest".into()).await
    }

    /// A whole list that the contract gives in pages: at most `count` from index `from` on.
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn list<T, C: SolCall<Return = Vec<T>>>(
        &self,
        page: impl Fn(U256, U256) -> C,
    ) -> Result<Vec<T>, ContractError> {
        let mut all = Vec::new();
        loop {
            let next = self.view(page(U256::from(all.len()), U256::from(PAGE))).await?;
            let last = next.len() < PAGE;
            all.extend(next);
            if last {
                return Ok(all);
            }
        }
    }

    /// The result of a view after `block` (a number or a tag, as JSON-RPC has them).
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn view_at<C: SolCall>(
        &self,
        call: C,
        block: Value,
    ) -> Result<C::Return, ContractError> {
        let url = || self.client.url().to_owned();
        let request = json!({ "to": self.address, "input": Bytes::from(call.abi_encode()) });
        let answer = self.call("eth_call", json!([request, block])).await?;
        let output: Bytes = self.parse("eth_call", answer)?;
        // A call of an address without code succeeds and returns nothing.
        if output.is_empty() {
            let (contract, address) = (self.name, self.address);
            return Err(ContractError::NoContract { url: url(), contract, address });
        }
        // Validated: with padding ignored, the answer of another contract could pass for this
        // one's.
        C::abi_decode_returns_validate(&output).map_err(|_| ContractError::Odd {
            url: url(),
            contract: self.name,
            view: C::SIGNATURE,
        })
    }

    /// Signs a call of the contract, sends it, and waits until it is in a block.
    ///
    /// # Errors
    /// The contract's refusal, before anything is sent; a node that does not take
    /// the transaction; or no block.
    pub async fn send(
        &self,
        wallet: &AccountKey,
        data: Bytes,
        value: U256,
    ) -> Result<CallReceipt, ContractError> {
        let account = wallet.address();
        // First: the estimate would refuse it, with figures in wei and without the account.
        self.check_funds(account, value).await?;
        // The estimate of the gas executes the call: a refusal is known before anything is
        // signed.
        let call = json!({ "from": account, "to": self.address, "input": data, "value": value });
        let gas = self.number("eth_estimateGas", json!([call])).await?;
        let tx = self.draft(account, data, value, gas).await?;
        let gas = U256::from(tx.gas_limit) * U256::from(tx.max_fee_per_gas);
        // So would the pool.
        self.check_funds(account, gas + value).await?;
        let signed = wallet.sign(tx);
        self.call("eth_sendRawTransaction", json!([signed.raw])).await?;
        let receipt = self.receipt(signed.hash).await?;
        match receipt.status.to() {
            // A transaction that reverts is in a block too, and has spent its gas.
            1u64 => Ok(receipt),
            _ => {
                // By now the same call is refused in words.
                let again = self.call("eth_call", json!([call, receipt.block_number])).await;
                let (hash, height) = (signed.hash, receipt.block_number.to());
                let why = again.err().map(|error| error.to_string());
                Err(ContractError::Failed { hash, height, why })
            }
        }
    }

    async fn draft(
        &self,
        from: Address,
        input: Bytes,
        value: U256,
        gas: u64,
    ) -> Result<TxEip1559, ContractError> {
        let latest = self.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let quantity = |key: &str| self.quantity("eth_getBlockByNumber", latest[key].clone());
        let (block_gas, base_fee) = (quantity("gasLimit")?, quantity("baseFeePerGas")?);
        // A gas-free network takes none.
        let tip = match base_fee {
            0 => 0,
            _ => self.number("eth_maxPriorityFeePerGas", json!([])).await?,
        };
        Ok(TxEip1559 {
            chain_id: self.number("eth_chainId", json!([])).await?,
            // After those that wait in the pool: at "latest" this one would replace the first
            // of them.
            nonce: self.number("eth_getTransactionCount", json!([from, "pending"])).await?,
            gas_limit: gas.saturating_add(SPARE_GAS).min(block_gas).min(GAS_MAX),
            // Twice the base fee suffices for five full blocks to come: each raises it by at
            // most an eighth (EIP-1559).
            max_fee_per_gas: u128::from(base_fee) * 2 + u128::from(tip),
            max_priority_fee_per_gas: tip.into(),
            // The part of the maximum that the base fee leaves is not paid.
            to: TxKind::Call(self.address),
            value,
            input,
            ..Default::default()
        })
    }

    /// Refuses what an account cannot pay.
    async fn check_funds(&self, account: Address, price: U256) -> Result<(), ContractError> {
        if price.is_zero() {
            return Ok(());
        }
        let answer = self.call("eth_getBalance", json!([account, "latest"])).await?;
        let owns: U256 = self.parse("eth_getBalance", answer)?;
        match owns < price {
            true => Err(ContractError::CannotPay { account, owns, price }),
            false => Ok(()),
        }
    }

    async fn receipt(&self, hash: B256) -> Result<CallReceipt, ContractError> {
        let end = Instant::now() + RECEIPT_WAIT;
        loop {
            let method = "eth_getTransactionReceipt";
            let receipt = self.call(method, json!([hash])).await?;
            if !receipt.is_null() {
                return self.parse(method, receipt);
            }
            if Instant::now() > end {
                return Err(ContractError::NotIncluded { hash });
            }
            // Polled: this client speaks HTTP only, which has no subscriptions.
            sleep(RECEIPT_POLL).await;
        }
    }

    /// A method's answer, if that is a number.
    ///
    /// # Errors
    /// No answer, or something else.
    pub async fn number(&self, method: &str, params: Value) -> Result<u64, ContractError> {
        let answer = self.call(method, params).await?;
        self.quantity(method, answer)
    }

    /// A number as JSON-RPC writes it: `0x1f`.
    ///
    /// # Errors
    /// It is something else.
    pub fn quantity(&self, method: &str, value: Value) -> Result<u64, ContractError> {
        self.parse::<U64>(method, value).map(|number| number.to())
    }

    fn parse<T: DeserializeOwned>(&self, method: &str, value: Value) -> Result<T, ContractError> {
        serde_json::from_value(value).map_err(|_| self.client.odd(method).into())
    }

    /// A call; the contract's refusal becomes an error in words.
    async fn call(&self, method: &str, params: Value) -> Result<Value, ContractError> {
        self.client.call(method, params).await.map_err(|error| match error.reverted() {
            Some(data) => ContractError::Refused { contract: self.name, why: revert_reason(&data) },
            None => error.into(),
        })
    }
}
