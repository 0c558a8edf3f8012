//! A call as the transaction that it simulates: missing fields are filled in, and what geth
//! would refuse is refused in its words.

use alloy_consensus::{
    EthereumTxEnvelope, Signed, TxLegacy,
    transaction::{Recovered, RlpEcdsaEncodableTx},
};
use alloy_eips::{Encodable2718, eip4844::DATA_GAS_PER_BLOB};
use alloy_primitives::{Bytes, Signature, TxKind, U256, keccak256};
use alloy_rpc_types_eth::TransactionRequest;
use revm::context::{TxEnv, either::Either, result::InvalidTransaction};
use trefoil_types::{Header, Transaction, TxEnvelope};

use super::error::{RefusedFor, SimulateError};
use crate::{
    Account, BlockRules, CallError,
    evm::{self, EvmFault},
    execute::tx_bytes,
    fault::TxFault,
    rpc_calls::call::refusal_text,
};

/// The conditions of a call: its block, and the effects of the calls before it.
pub(super) struct Terms<'a> {
    pub rules: &'a BlockRules,
    pub header: &'a Header,
    /// The price of blob gas, wei.
    pub blob_price: u128,
    /// Whether nonces and the base fee count.
    pub validation: bool,
    pub sender: Account,
    /// Gas used in the block.
    pub gas_used: u64,
    /// Gas left to all calls of the request.
    pub gas_left: u64,
}

/// A call that can be run.
pub(super) struct Pretended {
    pub tx: Transaction,
    /// The transaction as the transactions root binds it.
    pub raw: Bytes,
    pub env: TxEnv,
}

impl Pretended {
    /// The length of the transaction in a block's body, bytes.
    pub fn bytes(&self) -> usize {
        match self.tx.inner() {
            TxEnvelope::Legacy(_) => self.raw.len(),
            _ => tx_bytes(&self.tx),
        }
    }
}

/// The fees that a call offers, wei; 0 where it offers none.
struct Fees {
    cap: u128,
    tip: u128,
    blob_cap: u128,
    legacy: bool,
}

impl Fees {
    fn of(request: &TransactionRequest) -> Result<Self, CallError> {
        let blob_cap = request.max_fee_per_blob_gas.unwrap_or(0);
        let (cap, tip) = (request.max_fee_per_gas, request.max_priority_fee_per_gas);
        match request.gas_price {
            Some(_) if cap.is_some() || tip.is_some() => Err(CallError::Invalid(
                "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified".into(),
            )),
            Some(price) => Ok(Self { cap: price, tip: price, blob_cap, legacy: true }),
            None => {
                let (cap, tip) = (cap.unwrap_or(0), tip.unwrap_or(0));
                Ok(Self { cap, tip, blob_cap, legacy: false })
            }
        }
    }
}

/// The fault of a call, and geth's words for it.
type Refusal = (RefusedFor, String);

impl Terms<'_> {
    /// The transaction that `request` pretends to be.
    pub fn complete(&self, request: &TransactionRequest) -> Result<Pretended, SimulateError> {
        let (used, limit) = (self.gas_used, self.header.gas_limit);
        let room = limit - used;
        let gas = request.gas.unwrap_or(room);
        if gas > room {
            return Err(SimulateError::BlockGas { used, limit });
        }
        self.check_network(request)?;
        let fees = Fees::of(request)?;
        let gas = gas.min(self.gas_left);
        let nonce = request.nonce.unwrap_or(self.sender.nonce);
        self.check(request, &fees, nonce, gas).map_err(|(kind, text)| SimulateError::Refused {
            kind,
            text,
            gas,
        })?;
        let envelope = self.envelope(request, &fees, nonce, gas);
        let raw = match &envelope {
            EthereumTxEnvelope::Legacy(signed) => unsigned_legacy(signed.tx()),
            typed => typed.encoded_2718().into(),
        };
        let tx = Recovered::new_unchecked(envelope, request.from.unwrap_or_default());
        Ok(Pretended { tx: tx.into(), raw, env: self.env(request, &fees, gas) })
    }

    fn check_network(&self, request: &TransactionRequest) -> Result<(), CallError> {
        let want = self.rules.chain_id;
        if let Some(have) = request.chain_id.filter(|id| *id != want) {
            let text = format!("chainId does not match node's (have={have}, want={want})");
            return Err(CallError::Invalid(text));
        }
        if is_blob(request) && !self.rules.blob_txs {
            return Err(CallError::Invalid(TxFault::Blob.to_string()));
        }
        Ok(())
    }

    /// geth's checks before a transaction is run, in geth's order: of several faults, the
    /// same one is reported.
    fn check(
        &self,
        request: &TransactionRequest,
        fees: &Fees,
        nonce: u64,
        gas: u64,
    ) -> Result<(), Refusal> {
        let from = request.from.unwrap_or_default();
        let state = self.sender.nonce;
        let about = format!("address {from}, tx: {nonce} state: {state}");
        if self.validation && nonce > state {
            return Err((RefusedFor::NonceTooHigh, format!("nonce too high: {about}")));
        }
        if self.validation && nonce < state {
            return Err((RefusedFor::NonceTooLow, format!("nonce too low: {about}")));
        }
        if self.validation && nonce == u64::MAX {
            let text = format!("nonce has max value: address {from}, nonce: {nonce}");
            return Err((RefusedFor::Other, text));
        }
        self.check_fees(request, fees)?;
        if !matches!(request.to, Some(TxKind::Call(_))) {
            if is_blob(request) {
                return Err((RefusedFor::Other, "blob transaction of type create".into()));
            }
            if request.authorization_list.is_some() {
                let text = "EIP-7702 transaction cannot be used to create contract".into();
                return Err((RefusedFor::Other, text));
            }
        }
        self.check_funds(request, fees, gas)
    }

    fn check_fees(&self, request: &TransactionRequest, fees: &Fees) -> Result<(), Refusal> {
        let Fees { cap, tip, blob_cap, .. } = fees;
        let from = request.from.unwrap_or_default();
        let base_fee = self.header.base_fee_per_gas.unwrap_or(0);
        if tip > cap {
            let text = format!(
                "max priority fee per gas higher than max fee per gas: address {from}, maxPriorityFeePerGas: {tip}, maxFeePerGas: {cap}"
            );
            return Err((RefusedFor::TipAboveCap, text));
        }
        // Without validation, a call that offers no fee is charged none.
        let asked = |cap: u128| (self.validation || cap > 0) && !self.rules.gas_free;
        if asked(*cap) && *cap < u128::from(base_fee) {
            let text = format!(
                "max fee per gas less than block base fee: address {from}, maxFeePerGas: {cap}, baseFee: {base_fee}"
            );
            return Err((RefusedFor::BaseFee, text));
        }
        if is_blob(request) && asked(*blob_cap) && *blob_cap < self.blob_price {
            let price = self.blob_price;
            let text = format!(
                "max fee per blob gas less than block blob gas fee: address {from} blobGasFeeCap: {blob_cap}, blobBaseFee: {price}"
            );
            return Err((RefusedFor::Other, text));
        }
        Ok(())
    }

    fn check_funds(
        &self,
        request: &TransactionRequest,
        fees: &Fees,
        gas: u64,
    ) -> Result<(), Refusal> {
        let blobs = request.blob_versioned_hashes.as_ref().map_or(0, Vec::len) as u64;
        let cap = if self.rules.gas_free { 0 } else { fees.cap };
        let blob_fee = U256::from(blobs * DATA_GAS_PER_BLOB) * U256::from(fees.blob_cap);
        let fee = U256::from(gas) * U256::from(cap) + blob_fee;
        let have = self.sender.balance;
        let from = request.from.unwrap_or_default();
        let text = match fee.checked_add(request.value.unwrap_or_default()) {
            Some(want) if want <= have => return Ok(()),
            Some(want) => format!("address {from} have {have} want {want}"),
            None => format!("address {from} required balance exceeds 256 bits"),
        };
        let text = format!("insufficient funds for gas * price + value: {text}");
        Err((RefusedFor::Funds, text))
    }

    // Nobody signed it. Zeros are no signature, so the transaction can be mistaken for no
    // real one.
    /// With a signature of zeros, as in geth.
    fn envelope(
        &self,
        request: &TransactionRequest,
        fees: &Fees,
        nonce: u64,
        gas_limit: u64,
    ) -> TxEnvelope {
        let signature = Signature::new(U256::ZERO, U256::ZERO, false);
        let whole = TransactionRequest {
            chain_id: (!fees.legacy).then_some(self.rules.chain_id),
            nonce: Some(nonce),
            gas: Some(gas_limit),
            to: Some(request.to.unwrap_or(TxKind::Create)),
            max_fee_per_gas: Some(fees.cap),
            max_priority_fee_per_gas: Some(fees.tip),
            max_fee_per_blob_gas: Some(fees.blob_cap),
            ..request.clone()
        };
        if fees.legacy {
            let tx = whole.build_legacy().expect(WHOLE);
            let hash = keccak256(unsigned_legacy(&tx));
            return Signed::new_unchecked(tx, signature, hash).into();
        }
        // Types 3 and 4 create no contracts; `check` has refused those that would.
        if whole.authorization_list.is_some() {
            return Signed::new_unhashed(whole.build_7702().expect(WHOLE), signature).into();
        }
        if is_blob(&whole) {
            let tx = whole.build_4844_without_sidecar().expect(WHOLE);
            return Signed::new_unhashed(tx, signature).into();
        }
        Signed::new_unhashed(whole.build_1559().expect(WHOLE), signature).into()
    }

    fn env(&self, request: &TransactionRequest, fees: &Fees, gas_limit: u64) -> TxEnv {
        let access_list = request.access_list.clone().unwrap_or_default();
        let tx_type = match request {
            _ if fees.legacy => u8::from(!access_list.0.is_empty()),
            TransactionRequest { authorization_list: Some(_), .. } => 4,
            TransactionRequest { blob_versioned_hashes: Some(_), .. } => 3,
            _ => 2,
        };
        let (cap, tip) = if self.rules.gas_free { (0, 0) } else { (fees.cap, fees.tip) };
        let authorizations = request.authorization_list.iter().flatten().cloned();
        TxEnv {
            tx_type,
            caller: request.from.unwrap_or_default(),
            gas_limit,
            gas_price: cap,
            gas_priority_fee: (!fees.legacy).then_some(tip),
            kind: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            data: input(request),
            chain_id: Some(self.rules.chain_id),
            access_list,
            authorization_list: authorizations.map(Either::Left).collect(),
            blob_hashes: request.blob_versioned_hashes.clone().unwrap_or_default(),
            // `check_fees` has accepted calls that offer nothing; the EVM would not.
            max_fee_per_blob_gas: match fees.blob_cap {
                0 => self.blob_price,
                cap => cap,
            },
            ..Default::default()
        }
    }
}

/// The fields that a transaction must have are there.
const WHOLE: &str = "each field is filled in";

fn is_blob(request: &TransactionRequest) -> bool {
    request.blob_versioned_hashes.is_some()
}

fn input(request: &TransactionRequest) -> Bytes {
    request.input.input().cloned().unwrap_or_default()
}

/// A legacy transaction whose `v`, `r` and `s` are zero, which no signature makes.
fn unsigned_legacy(tx: &TxLegacy) -> Bytes {
    let mut fields = Vec::new();
    tx.rlp_encode_fields(&mut fields);
    fields.extend([alloy_rlp::EMPTY_STRING_CODE; 3]);
    let mut out = Vec::with_capacity(fields.len() + 4);
    alloy_rlp::Header { list: true, payload_length: fields.len() }.encode(&mut out);
    out.extend(fields);
    out.into()
}

/// Why the EVM did not run a call that passed the checks above.
pub(super) fn refused(fault: EvmFault, gas: u64) -> SimulateError {
    use InvalidTransaction as Tx;
    let invalid = match evm::invalid(fault) {
        Ok(invalid) => invalid,
        Err(error) => return CallError::Ledger(error).into(),
    };
    let kind = match &invalid {
        Tx::CallGasCostMoreThanGasLimit { .. } => RefusedFor::IntrinsicGas,
        Tx::LackOfFundForMaxFee { .. } | Tx::OverflowPaymentInTransaction => RefusedFor::Funds,
        Tx::CreateInitCodeSizeLimit => RefusedFor::InitCode,
        _ => RefusedFor::Other,
    };
    SimulateError::Refused { kind, text: refusal_text(&invalid), gas }
}
