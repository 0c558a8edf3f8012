//! A walk: blocks of calls by chance, from every role, on one network.

use std::collections::{BTreeMap, BTreeSet};

use alloy_consensus::TxEip1559;
use trefoil_crypto::Domain;
use trefoil_types::{
    Evidence, ValidatorSignature, Vote, VoteKind,
    spec::{ACCOUNT_ACTIONS, CHAIN_ACTIONS, CONTENT_REGISTRY, ED25519_VERIFIER, GOVERNING_ACTIONS},
};

use super::{
    super::*,
    calls::{CA_KEYS, Dice, Function, PEER_KEYS, VALIDATOR_KEYS, Values, functions},
    networks::{self, DELEGATING, OFFICERS, SUICIDE, WALLETS},
};

const GOVERNANCE: &str = include_str!("../../../../../../contracts/artifacts/Governance.json");
const ACTIONS: &str = include_str!("../../../../../../contracts/artifacts/GovernanceActions.json");
const STAKING: &str = include_str!("../../../../../../contracts/artifacts/Staking.json");
const REGISTRY: &str = include_str!("../../../../../../contracts/artifacts/ContentRegistry.json");
const VERIFIER: &str = include_str!("../../../../../../contracts/artifacts/Ed25519Verifier.json");

sol! {
    function deposit(bytes32 key, address feeRecipient, bytes proof) external payable;
    function execute(uint256 id) external;
    function object(uint256 id) external;
    function withdraw(uint256 id) external;
    function proposalCount() external view returns (uint64);
}

const ROLES: [(KeyRole, std::ops::Range<u8>); 3] =
    [(KeyRole::Peer, PEER_KEYS), (KeyRole::Validator, VALIDATOR_KEYS), (KeyRole::Ca, CA_KEYS)];

/// Blocks after which a walk ends.
const BLOCKS: usize = 70;

/// What a walk did, for whoever runs many.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub walks: u64,
    pub blocks: u64,
    pub calls: u64,
    pub accepted: u64,
    /// Calls that a contract refused without words, by a check of the compiler: input and output.
    pub panics: BTreeSet<String>,
    /// Decisions that were carried out.
    pub decisions: u64,
    /// Blocks with which something changed that nodes act on.
    pub changes: u64,
    pub convictions: u64,
    /// Walks that a rule ended which this program does not know, as they should.
    pub stopped: u64,
    /// The most gas of a call that opens a block.
    pub opening_gas: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.walks += other.walks;
        self.blocks += other.blocks;
        self.calls += other.calls;
        self.accepted += other.accepted;
        self.decisions += other.decisions;
        self.panics.extend(other.panics);
        self.changes += other.changes;
        self.convictions += other.convictions;
        self.stopped += other.stopped;
        self.opening_gas = self.opening_gas.max(other.opening_gas);
    }
}

pub(super) struct Walk {
    pub net: Net,
    pub values: Values,
    /// Each contract with its functions.
    pub contracts: Vec<(Address, Vec<Function>)>,
    pub tally: Tally,
    holders: Vec<Address>,
}

impl Walk {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let spec = networks::network(&mut dice);
        let members = spec.kind.has_members();
        let net = Net::new(spec);
        let governing = functions(if members { GOVERNANCE } else { STAKING });
        let mut contracts = vec![(GOVERNING_CONTRACT, governing)];
        contracts.push((CONTENT_REGISTRY, functions(REGISTRY)));
        contracts.push((ED25519_VERIFIER, functions(VERIFIER)));
        let actions = functions(ACTIONS);
        if members {
            for at in [GOVERNING_CONTRACT, GOVERNING_ACTIONS, CHAIN_ACTIONS, ACCOUNT_ACTIONS] {
                contracts.push((at, actions.clone()));
            }
        }
        let holders = networks::holders();
        let of_code = WALLETS.map(address).into_iter().chain(contracts.iter().map(|(at, _)| *at));
        let none = [Address::ZERO, SYSTEM_ADDRESS, address(SUICIDE), address(DELEGATING)];
        let accounts = holders.iter().copied().chain(of_code).chain(none).collect();
        let names = (0..4).map(networks::name).chain(["org-new".into(), "ORG-0".into()]).collect();
        let values = Values {
            dice,
            accounts,
            officers: OFFICERS.map(address).to_vec(),
            names,
            network: net.ledger.genesis_hash(),
            height: 1,
            time: net.ledger.tip().timestamp,
            proposals: 0,
            actions: actions.into_iter().filter(|action| !action.reads()).collect(),
        };
        Self { net, values, contracts, tally: Tally { walks: 1, ..Tally::default() }, holders }
    }

    /// Goes to its end.
    pub(super) fn run(mut self) -> Tally {
        self.prepare();
        for _ in 0..BLOCKS {
            if self.is_stopped() {
                self.tally.stopped += 1;
                return self.tally;
            }
            let txs = self.transactions();
            self.block(txs);
            if self.values.dice.once_in(40) {
                // What waits for a notice of 100 blocks comes.
                let quiet = 90 + self.values.dice.below(40);
                (0..quiet).for_each(|_| {
                    if !self.is_stopped() {
                        self.block(vec![])
                    }
                });
            }
            self.check_all();
        }
        self.check_restart()
    }

    /// Whether the next block has rules that this program does not know.
    fn is_stopped(&self) -> bool {
        let governed = self.net.ledger.governed();
        let next = self.net.ledger.tip().number + 1;
        let stops = governed.unknown_fork.as_ref().is_some_and(|(from, _)| *from <= next);
        assert_eq!(governed.fork_at(next).is_err(), stops);
        stops
    }

    /// The transactions of a block.
    fn transactions(&mut self) -> Vec<Transaction> {
        let mut calls = Vec::new();
        for _ in 0..1 + self.values.dice.below(4) {
            self.act(&mut calls);
        }
        self.signed(calls)
    }

    fn signed(&self, calls: Vec<Call>) -> Vec<Transaction> {
        let mut nonces = BTreeMap::new();
        let gas_limit = self.net.ledger.governed().settings.gas_limit;
        let fee = u128::from(self.net.ledger.next_base_fee()) * 2 + 1;
        let signed = calls.into_iter().map(|Call { from, to, input, value }| {
            let account = self.net.ledger.account(&from);
            let nonce = nonces.entry(from).or_insert(account.map_or(0, |account| account.nonce));
            *nonce += 1;
            let tx = TxEip1559 {
                nonce: *nonce - 1,
                gas_limit: gas_limit.min(6_000_000),
                max_fee_per_gas: fee,
                to,
                value,
                input: input.into(),
                ..transfer(Address::ZERO, 0)
            };
            sent(tx, from)
        });
        signed.collect()
    }

    /// Adds calls of one kind.
    fn act(&mut self, calls: &mut Vec<Call>) {
        let members = self.net.ledger.spec().kind.has_members();
        let kind = self.values.dice.below(20);
        match kind {
            0..=8 if members => self.decide(calls),
            0..=2 => self.stake(calls),
            9..=10 if members => self.prove(calls),
            11 if members => self.accept(calls),
            12 if members => self.follow(calls),
            13 => self.disturb(calls),
            _ => self.call_any(calls),
        }
    }

    /// `account` calls, itself or through a wallet that anybody may use.
    fn call_as(
        &mut self,
        account: Address,
        to: Address,
        input: Vec<u8>,
        value: U256,
    ) -> Option<Call> {
        if self.holders.contains(&account) && !self.values.dice.once_in(50) {
            return Some(Call { from: account, to: to.into(), input, value });
        }
        let from = self.values.dice.one(&self.holders);
        let wallets = [WALLETS[0], WALLETS[1], DELEGATING].map(address);
        wallets.contains(&account).then(|| {
            let input = [to.into_word().to_vec(), input].concat();
            Call { from, to: account.into(), input, value }
        })
    }

    fn governs(&mut self, account: Address, input: Vec<u8>) -> Option<Call> {
        self.call_as(account, GOVERNING_CONTRACT, input, U256::ZERO)
    }

    /// An organisation proposes an action, and others approve.
    fn decide(&mut self, calls: &mut Vec<Call>) {
        let action = self.values.dice.one(&self.values.actions.clone());
        let action: Bytes = match self.values.dice.below(12) {
            0 => action.damaged(&mut self.values),
            1 => action.nonsense(&mut self.values),
            _ => action.call(&mut self.values),
        }
        .into();
        let members = self.net.ledger.governed().members.clone();
        let active = |o: &&trefoil_types::Organisation| o.status == OrganisationStatus::Active;
        let voters: Vec<_> = members.organisations.values().filter(active).cloned().collect();
        let by = self.values.dice.one(&voters);
        let alone = self.values.dice.once_in(4);
        let propose = match alone {
            true => proposeOwnCall { action }.abi_encode(),
            false => proposeCall { action }.abi_encode(),
        };
        let proposer = self.values.dice.one(&by.keys);
        calls.extend(self.governs(proposer, propose));
        let id = U256::from(self.values.proposals + 1);
        self.values.proposals += 1;
        let all = self.values.dice.below(8) != 0;
        for organisation in voters.iter().filter(|o| o.id == by.id || (!alone && all)) {
            for &voter in organisation.keys.iter().filter(|key| **key != proposer).take(2) {
                calls.extend(self.governs(voter, approveCall { id }.abi_encode()));
            }
        }
    }

    /// Somebody goes on with what was proposed before.
    fn follow(&mut self, calls: &mut Vec<Call>) {
        for _ in 0..3 {
            let back = self.values.dice.below(6) as u64;
            let id = U256::from(self.values.proposals.saturating_sub(back));
            let input = match self.values.dice.below(6) {
                0 => objectCall { id }.abi_encode(),
                1 => withdrawCall { id }.abi_encode(),
                2 => approveCall { id }.abi_encode(),
                _ => executeCall { id }.abi_encode(),
            };
            let members = self.net.ledger.governed().members.clone();
            let keys = members.organisations.values().flat_map(|o| o.keys.iter().copied());
            let keys: Vec<Address> = keys.collect();
            let key = self.values.dice.one(&keys);
            calls.extend(self.governs(key, input));
        }
    }

    /// Keys agree to their use.
    fn prove(&mut self, calls: &mut Vec<Call>) {
        for _ in 0..3 {
            let (role, keys) = self.values.dice.one(&ROLES);
            let organisation = self.values.dice.one(&self.values.names);
            let secret = self.values.secret(keys);
            calls.extend(self.proof(&secret, role, organisation));
        }
    }

    fn proof(&mut self, secret: &SecretKey, role: KeyRole, organisation: String) -> Option<Call> {
        let proof = KeyProof::sign(secret, &self.values.network, role, organisation.as_str());
        let (key, signature) = (proof.key.0, proof.signature.0.into());
        let call = proveCall { key, role: role as u8, organisation, signature };
        let from = self.values.dice.one(&self.holders);
        self.governs(from, call.abi_encode())
    }

    /// Most keys agree to their use by one organisation each, before anything is decided.
    fn prepare(&mut self) {
        let count = self.net.ledger.spec().organisations.len();
        if count == 0 {
            return;
        }
        for (role, keys) in ROLES {
            let mut calls = Vec::new();
            for number in keys {
                let organisation = networks::name(self.values.dice.below(count) as u8);
                calls.extend(self.proof(&secret(number), role, organisation));
            }
            let txs = self.signed(calls);
            self.block(txs);
        }
    }

    /// All to whom an organisation may offer a seat take it.
    fn accept(&mut self, calls: &mut Vec<Call>) {
        let organisation = 1 + self.values.dice.below(5) as u32;
        for _ in 0..6 {
            let account = self.values.account();
            calls.extend(self.governs(account, acceptSeatCall { organisation }.abi_encode()));
        }
    }

    /// A deposit with the key's own proof.
    fn stake(&mut self, calls: &mut Vec<Call>) {
        let owner = self.values.account();
        let secret = self.values.secret(VALIDATOR_KEYS);
        let proof = KeyProof::sign(&secret, &self.values.network, KeyRole::Validator, owner);
        let (key, fee_recipient) = (proof.key.0, self.values.account());
        let call =
            depositCall { key, feeRecipient: fee_recipient, proof: proof.signature.0.into() };
        let value = self.values.wei();
        calls.extend(self.call_as(owner, GOVERNING_CONTRACT, call.abi_encode(), value));
    }

    /// Coins, code and bytes where nobody expects them.
    fn disturb(&mut self, calls: &mut Vec<Call>) {
        let from = self.values.dice.one(&self.holders);
        let target = self.values.account();
        let value = self.values.dice.one(&[U256::ZERO, U256::ONE]);
        let (to, input) = match self.values.dice.below(4) {
            0 => (target.into(), vec![]),
            1 => (target.into(), self.values.noise(300)),
            2 => (address(SUICIDE).into(), target.into_word().to_vec()),
            _ => {
                // A constructor that ends itself in favour of somebody.
                let code = [&[0x73], target.as_slice(), &[0xff]].concat();
                (TxKind::Create, code)
            }
        };
        calls.push(Call { from, to, input, value });
    }

    /// Anybody calls any function of a contract.
    fn call_any(&mut self, calls: &mut Vec<Call>) {
        let (to, functions) = self.values.dice.one(&self.contracts);
        let function = self.values.dice.one(&functions);
        let input = function.input(&mut self.values);
        let from = match self.values.dice.below(3) {
            0 => self.values.dice.one(&self.values.officers),
            _ => self.values.account(),
        };
        let pays = function.is_payable() || self.values.dice.once_in(50);
        let value = if pays { self.values.wei() } else { U256::ZERO };
        calls.extend(self.call_as(from, to, input, value));
    }

    /// Builds a block as its proposer does, executes it as others do, and makes it final.
    fn block(&mut self, txs: Vec<Transaction>) {
        let draft = self.draft();
        let (outcome, _) = self.net.ledger.build(draft, &mut txs.into_iter());
        let receipts = outcome.receipts();
        self.tally.calls += receipts.len() as u64;
        self.tally.accepted += receipts.iter().filter(|receipt| receipt.status()).count() as u64;
        let executed = trefoil_types::keccak256("Executed(uint256)");
        let logs = receipts.iter().flat_map(|receipt| receipt.logs());
        let topics = logs.filter_map(|log| log.topics().first());
        self.tally.decisions += topics.filter(|topic| **topic == executed).count() as u64;
        let block = outcome.block().clone();
        let executed = self.net.ledger.execute(block.clone()).expect("others agree");
        let before = self.net.ledger.governed().clone();
        let certificate = self.certificate(&block);
        self.net.ledger.commit(executed, certificate);
        self.tally.blocks += 1;
        self.tally.convictions += block.attached.evidence.len() as u64;
        self.tally.changes += u64::from(before != *self.net.ledger.governed());
        (self.values.height, self.values.time) = (block.header.number + 1, block.header.timestamp);
        if self.net.ledger.spec().kind.has_members() {
            let state = self.net.ledger.state();
            let spec = self.net.ledger.spec().clone();
            let mut contract = GoverningContract::new(&spec, self.net.ledger.tip(), &state);
            self.values.proposals = contract.view(proposalCountCall {}).expect("it answers");
        }
        self.check();
    }

    fn draft(&mut self) -> Draft {
        let mut draft = self.net.draft();
        let day = 86_400;
        draft.timestamp += match self.values.dice.below(20) {
            0 => self.net.ledger.spec().decision_delay_s + 1,
            1 => day * (1 + self.values.dice.below(8) as u64),
            2 => 61 * day,
            _ => self.values.dice.below(3) as u64,
        };
        if self.values.dice.once_in(30) {
            draft.attached.evidence = self.evidence();
        }
        draft
    }

    /// Against some that validate or validated.
    fn evidence(&mut self) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        for _ in 0..1 + self.values.dice.below(2) {
            let secret = self.values.secret(VALIDATOR_KEYS);
            let height =
                self.values.height.saturating_sub(self.values.dice.below(12) as u64).max(1);
            let vote = |block| {
                Vote::sign(&secret, &self.values.network, VoteKind::Precommit, height, 0, block)
            };
            let proof = Evidence::of_votes(vote(None), vote(Some(B256::ZERO))).expect("a conflict");
            let convicts = self.net.ledger.check_evidence(&proof).is_ok();
            let first = |other: &Evidence| other.validator() != proof.validator();
            if convicts && evidence.iter().all(first) {
                evidence.push(proof);
            }
        }
        evidence.sort_by_key(Evidence::validator);
        evidence
    }

    /// Of all that sign, or of a quorum without some.
    fn certificate(&mut self, block: &RecoveredBlock) -> Certificate {
        let (height, hash) = (block.header.number, block.hash);
        let round = match self.values.dice.below(12) {
            0 => self.values.dice.one(&[1, 2, 3, 1_000, u32::MAX]),
            _ => 0,
        };
        let set = self.net.ledger.next_validators().clone();
        let mut power = set.total_power();
        let dozes = self.values.dice.once_in(2);
        let bytes = Vote::signed_bytes(VoteKind::Precommit, height, round, Some(hash));
        let mut signatures = Vec::new();
        for validator in set.iter() {
            if dozes && self.values.dice.once_in(3) && set.is_quorum(power - validator.power) {
                power -= validator.power;
                continue;
            }
            let mut secrets = VALIDATOR_KEYS.map(secret);
            let secret = secrets.find(|secret| secret.public() == validator.key);
            let secret = secret.expect("no other key can prove itself");
            let signature = secret.sign(Domain::Vote, &self.values.network, &bytes);
            signatures.push(ValidatorSignature { validator: validator.key, signature });
        }
        Certificate { height, round, block: hash, signatures }
    }
}

/// A transaction to be.
struct Call {
    from: Address,
    to: TxKind,
    input: Vec<u8>,
    value: U256,
}
