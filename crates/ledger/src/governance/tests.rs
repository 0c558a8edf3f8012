//! Networks that change themselves by vote: what holds, and from which block on.

use std::sync::Arc;

use alloy_consensus::TxEip1559;
use alloy_primitives::{TxKind, U256, bytes};
use alloy_sol_types::sol;
use trefoil_crypto::SecretKey;
use trefoil_types::{
    B256, Certificate, KeyProof, KeyRole, Kind, MemDisk, PeerId, RecoveredBlock, Transaction,
    ValidatorSignature,
    members::OrganisationStatus,
    spec::{FOUNDING_STAKE, FoundingOrganisation, FoundingValidator, Staking},
};

use super::*;

mod actions;
mod evidence;
mod fees;
mod lists;
mod parameters;
mod stakes;

use crate::{
    Draft, History, Ledger, Outcome, TxRefusal,
    testing::chain::{GWEI, address, sent, transfer},
};

// Of contracts/src/Decisions.sol and its actions.
sol! {
    function propose(bytes action) external returns (uint256 id);
    function proposeOwn(bytes action) external returns (uint256 id);
    function approve(uint256 id) external;
    function prove(bytes32 key, uint8 role, string organisation, bytes signature) external;
    function acceptSeat(uint32 organisation) external;
    function addValidator(bytes32 peer, uint32 organisation, bytes32 key, uint64 power, address fees) external;
    function removeValidator(bytes32 peer) external;
    function revokeNode(bytes32 peer, uint32 organisation) external;
    function addOrganisation(string name, uint8 threshold, address[] keys, bytes32[] caKeys) external;
    function setGasLimit(uint64 gasLimit) external;
    function setMinBaseFee(uint64 minBaseFee) external;
    function setAccountsListed(bool listed) external;
    function setDeployersListed(bool listed) external;
    function setPermissions(address[] accounts, uint256[] granted) external;
    function scheduleFork(string name, uint64 height) external;
    function setAdministrators(uint32 id, address[] accounts) external;
    function addAccounts(uint32 id, address[] accounts) external;
    function freezeAccounts(uint32 id, address[] accounts) external;
    function suspendOrganisation(uint32 id) external;
    function resumeOrganisation(uint32 id) external;
    function setParameter(string name, uint64 value, uint64 from) external;
}

/// The account that decides for a private network's owner.
const OWNER: u8 = 0x0f;
/// An account with funds and no vote.
const STRANGER: u8 = 0x57;

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn key(n: u8) -> PublicKey {
    secret(n).public()
}

fn peer(n: u8) -> PeerId {
    PeerId(key(100 + n))
}

/// A private network of two validators whose owner decides at once.
fn spec() -> ChainSpec {
    let validator = |n| FoundingValidator {
        key: key(n),
        power: 100,
        fee_recipient: address(n),
        owner: None,
        node: Some(peer(n)),
        organisation: Some("owner".into()),
    };
    let rich = alloy_genesis::GenesisAccount::default().with_balance(U256::from(1u64 << 60));
    ChainSpec {
        kind: Kind::Private,
        organisations: vec![FoundingOrganisation {
            name: "owner".into(),
            threshold: 1,
            keys: vec![address(OWNER)],
            recovery_key: None,
            ca_keys: vec![key(200)],
            senders: vec![],
        }],
        validators: vec![validator(1), validator(2)],
        alloc: [OWNER, STRANGER].map(|byte| (address(byte), rich.clone())).into(),
        ..crate::testing::chain::spec(0)
    }
}

/// The same with another kind.
fn spec_of(kind: Kind) -> ChainSpec {
    let mut spec = ChainSpec { kind, ..spec() };
    if kind == Kind::Public {
        spec.organisations.clear();
        spec.staking = Some(Staking::default());
        for validator in &mut spec.validators {
            (validator.node, validator.organisation) = (None, None);
            validator.owner = Some(validator.fee_recipient);
            validator.power = FOUNDING_STAKE;
        }
    }
    spec.check().expect("a sound specification");
    spec
}

/// A chain and the nonces of those who use it.
struct Net {
    disk: MemDisk,
    ledger: Ledger,
    nonces: [u64; 256],
    /// Those whose signature no certificate has.
    silent: Vec<PublicKey>,
    decided: Vec<(Arc<RecoveredBlock>, Certificate)>,
}

impl Net {
    fn new(spec: ChainSpec) -> Self {
        let disk = MemDisk::default();
        let ledger = Ledger::open(Arc::new(disk.clone()), Arc::new(spec), History::Archive);
        Self {
            disk,
            ledger: ledger.expect("founded"),
            nonces: [0; 256],
            silent: vec![],
            decided: vec![],
        }
    }

    fn tx(&mut self, from: u8, tx: TxEip1559) -> Transaction {
        let nonce = self.nonces[usize::from(from)];
        self.nonces[usize::from(from)] += 1;
        let fee = u128::from(10 * GWEI);
        sent(TxEip1559 { nonce, max_fee_per_gas: fee, ..tx }, address(from))
    }

    /// The owner decides on an action.
    fn decision(&mut self, action: impl SolCall) -> Transaction {
        let call = proposeCall { action: action.abi_encode().into() };
        let input = call.abi_encode().into();
        let tx = TxEip1559 { gas_limit: 5_000_000, input, ..transfer(GOVERNING_CONTRACT, 0) };
        self.tx(OWNER, tx)
    }

    /// A transaction to the governing contract.
    fn call(&mut self, from: u8, call: impl SolCall) -> Transaction {
        let input = call.abi_encode().into();
        self.tx(from, TxEip1559 { gas_limit: 1_000_000, input, ..transfer(GOVERNING_CONTRACT, 0) })
    }

    /// The proof that a key agrees to its use by an organisation.
    fn proof(&mut self, secret: &SecretKey, role: KeyRole, organisation: &str) -> Transaction {
        let network = self.ledger.genesis_hash();
        let proof = KeyProof::sign(secret, &network, role, organisation);
        self.call(
            OWNER,
            proveCall {
                key: proof.key.0,
                role: role as u8,
                organisation: organisation.into(),
                signature: proof.signature.0.into(),
            },
        )
    }

    /// A node and its key agree to validate for the owner, in a block.
    fn prove_validator(&mut self, node: u8, validator: u8) {
        let txs = [
            self.proof(&secret(100 + node), KeyRole::Peer, "owner"),
            self.proof(&secret(validator), KeyRole::Validator, "owner"),
        ];
        self.block(txs);
    }

    fn draft(&self) -> Draft {
        Draft {
            timestamp: self.ledger.tip().timestamp + 1,
            fee_recipient: *self.ledger.governed().fee_recipients.values().next().expect("one"),
            attached: Attached {
                parent_certificate: self.ledger.tip_certificate().cloned(),
                ..Default::default()
            },
        }
    }

    fn build(&self, txs: impl IntoIterator<Item = Transaction>) -> (Outcome, Vec<TxRefusal>) {
        let (outcome, refused) = self.ledger.build(self.draft(), &mut txs.into_iter());
        (outcome, refused.into_iter().map(|(_, why)| why).collect())
    }

    /// Makes a block that holds all of `txs`, after executing it as another node would.
    fn block(&mut self, txs: impl IntoIterator<Item = Transaction>) -> Height {
        let (outcome, refused) = self.build(txs);
        assert_eq!(refused, []);
        let block = outcome.block().clone();
        let failed = outcome.receipts().iter().position(|receipt| !receipt.status());
        assert_eq!(failed, None, "a transaction failed");
        self.commit(block)
    }

    fn commit(&mut self, block: Arc<RecoveredBlock>) -> Height {
        let executed = self.ledger.execute(block.clone()).expect("valid");
        let height = block.header.number;
        // The ledger looks at who signed only.
        let signature = trefoil_types::Signature([0; 64]);
        let signed = |validator| ValidatorSignature { validator, signature };
        let signing = self.ledger.next_validators().iter().map(|validator| validator.key);
        let signatures = signing.filter(|key| !self.silent.contains(key)).map(signed).collect();
        let certificate = Certificate { height, round: 0, block: block.hash, signatures };
        self.decided.push((block, certificate.clone()));
        self.ledger.commit(executed, certificate);
        height
    }

    fn decide(&mut self, action: impl SolCall) -> Height {
        let tx = self.decision(action);
        self.block([tx])
    }

    /// Empty blocks up to that height.
    fn reach(&mut self, height: Height) {
        while self.ledger.tip().number < height {
            self.block([]);
        }
    }

    fn validators_of(&self, height: Height) -> Vec<PublicKey> {
        let set = self.ledger.snapshot().validators(height).expect("readable").expect("known");
        set.iter().map(|validator| validator.key).collect()
    }

    /// Why a block that holds `tx` is invalid.
    fn invalid(&self, tx: &Transaction) -> String {
        let (outcome, _) = self.build([]);
        let mut block = RecoveredBlock::clone(outcome.block());
        block.transactions.push(tx.clone());
        block.header.transactions_root = crate::transactions_root(&block.transactions);
        let error = self.ledger.execute(Arc::new(block)).expect_err("an invalid block");
        error.reason
    }
}

fn sorted(mut keys: Vec<PublicKey>) -> Vec<PublicKey> {
    keys.sort();
    keys
}

#[test]
fn three_kinds_are_three_networks() {
    let kinds = [Kind::Public, Kind::Private, Kind::Consortium];
    let mut hashes = kinds.map(|kind| Net::new(spec_of(kind)).ledger.genesis_hash()).to_vec();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 3);
    // These two differ in nothing but the word.
    let word = ChainSpec { kind: Kind::Consortium, ..spec_of(Kind::Private) };
    assert_eq!(word, spec_of(Kind::Consortium));
}

#[test]
fn genesis_founds_what_the_specification_says() {
    for kind in [Kind::Public, Kind::Private, Kind::Consortium] {
        let spec = spec_of(kind);
        let net = Net::new(spec.clone());
        let governed = net.ledger.governed();
        assert_eq!(governed.validators, spec.validator_set().expect("a set"));
        assert_eq!(governed.settings, ChainSettings::of_founding(&spec));
        assert_eq!((&governed.forks, &governed.unknown_fork), (&spec.forks, &None));
        let members = &governed.members;
        assert_eq!(members.organisations.len(), spec.organisations.len());
        if kind != Kind::Public {
            assert_eq!(members.organisations[&1].name, "owner");
            assert_eq!(members.organisations[&1].ca_keys[0].key, key(200));
            let node = &members.nodes[&peer(1)];
            assert_eq!((node.organisation, node.validator), (1, Some(key(1))));
            assert!(node.validates(1) && node.validates(1_000_000));
        }
    }
}

#[test]
fn founders_whom_the_contract_refuses_found_nothing() {
    let mut spec = spec();
    spec.validators[1].node = spec.validators[0].node;
    let disk = Arc::new(MemDisk::default());
    let error = Ledger::open(disk, Arc::new(spec), History::Archive).expect_err("one node twice");
    assert!(matches!(error, LedgerError::Founding(_)), "{error}");
}

#[test]
fn a_validator_begins_and_ends_at_the_exact_height() {
    let mut net = Net::new(spec());
    net.prove_validator(3, 3);
    let (peer, key3) = (peer(3).0.0, key(3).0);
    let voted = net.decide(addValidatorCall {
        peer,
        organisation: 1,
        key: key3,
        power: 1,
        fees: address(3),
    });
    // The specification's delay is two blocks.
    net.reach(voted + 3);
    let (two, three) = (sorted(vec![key(1), key(2)]), sorted(vec![key(1), key(2), key(3)]));
    assert_eq!(net.validators_of(voted + 1), two);
    assert_eq!(net.validators_of(voted + 2), three);
    let voted = net.decide(removeValidatorCall { peer });
    net.reach(voted + 3);
    assert_eq!(net.validators_of(voted + 1), three);
    assert_eq!(net.validators_of(voted + 2), two);
    assert!(!net.ledger.governed().members.shuns(&PeerId(PublicKey(peer))), "it may follow");
}

/// The node names in each block who did not sign the one before it.
#[test]
fn no_decision_counts_on_a_validator_that_is_away() {
    let mut net = Net::new(spec());
    net.silent.push(key(2));
    net.reach(66);
    let removes = net.decision(removeValidatorCall { peer: peer(1).0.0 });
    let (height, outcomes) = net.outcomes([removes]);
    assert_eq!((height, outcomes), (67, vec![false]), "the other one does not run");
    let voted = net.decide(revokeNodeCall { peer: peer(2).0.0, organisation: 1 });
    assert_eq!(net.validators_of(voted + 1), [key(1)]);
}

#[test]
fn what_is_revoked_is_out_with_the_next_block() {
    let mut net = Net::new(spec());
    let before = net.ledger.snapshot();
    let voted = net.decide(revokeNodeCall { peer: peer(2).0.0, organisation: 1 });
    assert_eq!(net.validators_of(voted), sorted(vec![key(1), key(2)]));
    assert_eq!(net.validators_of(voted + 1), [key(1)]);
    assert!(net.ledger.governed().members.shuns(&peer(2)));
    assert!(!before.governed().members.shuns(&peer(2)), "a snapshot never changes");
}

#[test]
fn a_private_network_takes_in_a_second_organisation() {
    let mut net = Net::new(ChainSpec { base_fee: 0, ..spec() });
    let proof = net.proof(&secret(201), KeyRole::Ca, "second");
    net.block([proof]);
    net.decide(addOrganisationCall {
        name: "second".into(),
        threshold: 1,
        keys: vec![address(0x22)],
        caKeys: vec![key(201).0],
    });
    let second = |net: &Net| net.ledger.governed().members.organisations[&2].clone();
    let organisation = second(&net);
    assert_eq!((&*organisation.name, organisation.ca_keys[0].key), ("second", key(201)));
    assert_eq!(organisation.status, OrganisationStatus::Invited);
    let accepts = net.call(0x22, acceptSeatCall { organisation: 2 });
    net.block([accepts]);
    assert_eq!(second(&net).status, OrganisationStatus::Active);
    assert_eq!(second(&net).keys, [address(0x22)]);
}

/// The contract's own verifier says what `trefoil_crypto` says, and its message is that of
/// [`KeyProof`].
#[test]
fn a_key_proves_itself_by_its_own_signature_on_this_network() {
    let mut net = Net::new(spec());
    // The network's hash is in the contract from the first block on.
    net.block([]);
    let network = net.ledger.genesis_hash();
    let bring = |net: &mut Net, proof: KeyProof| {
        let tx = net.call(
            OWNER,
            proveCall {
                key: proof.key.0,
                role: proof.role as u8,
                organisation: "second".into(),
                signature: proof.signature.0.into(),
            },
        );
        let (outcome, refused) = net.build([tx]);
        assert_eq!(refused, []);
        let done = outcome.receipts()[0].status();
        let gas = outcome.block().header.gas_used;
        net.commit(outcome.block().clone());
        (done, gas)
    };
    for n in 1..40 {
        let proof = KeyProof::sign(&secret(n), &network, KeyRole::Ca, "second");
        let (done, gas) = bring(&mut net, proof);
        assert!(done, "key {n}");
        assert!(gas < 500_000, "{gas} gas, of which the smallest block has room for two");
        let mut wrong = proof;
        wrong.signature.0[usize::from(n)] ^= 1;
        assert!(!wrong.verify(&network, "second") && !bring(&mut net, wrong).0);
    }
    for (network, role, organisation) in [
        (B256::repeat_byte(1), KeyRole::Ca, "second"),
        (network, KeyRole::Validator, "second"),
        (network, KeyRole::Ca, "Second"),
    ] {
        let other = KeyProof::sign(&secret(77), &network, role, organisation);
        assert!(!bring(&mut net, KeyProof { role: KeyRole::Ca, ..other }).0, "{role:?}");
    }
}

#[test]
fn the_gas_limit_holds_from_the_next_block_on() {
    let mut net = Net::new(spec());
    let voted = net.decide(setGasLimitCall { gasLimit: 20_000_000 });
    let limit = |net: &Net| net.ledger.tip().gas_limit;
    assert_eq!((net.ledger.tip().number, limit(&net)), (voted, 30_000_000));
    let (outcome, _) = net.build([]);
    let mut old = RecoveredBlock::clone(outcome.block());
    old.header.gas_limit = 30_000_000;
    let error = net.ledger.execute(Arc::new(old)).expect_err("the old limit");
    assert!(error.reason.starts_with("gas_limit is 30000000"), "{error}");
    net.block([]);
    assert_eq!(limit(&net), 20_000_000);
}

#[test]
fn the_base_fee_has_a_floor_and_none_makes_gas_free() {
    let mut net = Net::new(ChainSpec { base_fee: GWEI, ..spec() });
    net.block([]);
    assert_eq!(net.ledger.next_base_fee(), GWEI * 49 / 64, "two empty blocks, an eighth each");
    net.decide(setMinBaseFeeCall { minBaseFee: 2 * GWEI });
    assert_eq!(net.ledger.next_base_fee(), 2 * GWEI);
    net.reach(4);
    assert_eq!(net.ledger.tip().base_fee_per_gas, Some(2 * GWEI));
    net.decide(setMinBaseFeeCall { minBaseFee: 0 });
    assert_eq!(net.ledger.next_base_fee(), 0);
    // Nothing to pay with, and nothing to pay.
    let poor = net.tx(0x99, TxEip1559 { value: U256::ZERO, ..transfer(address(2), 0) });
    net.block([poor]);
    net.decide(setMinBaseFeeCall { minBaseFee: 7 });
    assert_eq!(net.ledger.next_base_fee(), 7, "and back");
}

#[test]
fn only_listed_accounts_send_once_they_are_listed() {
    let mut net = Net::new(spec());
    let list = net.decision(setAccountsListedCall { listed: true });
    // By the lists as they were before the block.
    let last = net.tx(STRANGER, transfer(address(2), 1));
    net.block([list, last]);
    let barred = net.tx(STRANGER, transfer(address(2), 1));
    let (outcome, refused) = net.build([barred.clone()]);
    assert!(outcome.block().transactions.is_empty());
    assert!(matches!(&refused[..], [TxRefusal::Invalid(why)] if why.contains("list of accounts")));
    assert!(net.invalid(&barred).contains("with `trefoil org set allow 0x57"));
    assert!(!net.ledger.permissions(&address(STRANGER)).may_send());
    assert!(net.ledger.permissions(&address(OWNER)).may_send(), "who decides is never shut out");
    let (accounts, granted) = (vec![address(STRANGER)], vec![U256::from(1)]);
    let grant = net.decision(setPermissionsCall { accounts, granted });
    assert!(matches!(&net.build([grant.clone(), barred.clone()]).1[..], [TxRefusal::Invalid(_)]));
    net.block([grant]);
    net.block([barred]);
}

#[test]
fn only_listed_deployers_deploy_once_they_are_listed() {
    let mut net = Net::new(spec());
    let create = TxEip1559 {
        to: TxKind::Create,
        gas_limit: 100_000,
        input: bytes!("00"),
        ..transfer(address(0), 0)
    };
    net.decide(setDeployersListedCall { listed: true });
    let deploys = net.tx(STRANGER, create.clone());
    assert!(net.invalid(&deploys).contains("is not on this network's list of deployers"));
    let permissions = net.ledger.permissions(&address(STRANGER));
    assert!(permissions.may_send() && !permissions.may_deploy());
    let (accounts, granted) = (vec![address(STRANGER)], vec![U256::from(2)]);
    net.decide(setPermissionsCall { accounts, granted });
    net.block([deploys]);
    let other = net.tx(STRANGER, transfer(address(2), 1));
    net.block([other]);
}

/// EIP-7825 came with Osaka: no transaction takes more than 2^24 gas.
#[test]
fn a_fork_that_was_voted_for_holds_from_its_height_on() {
    let mut spec = spec();
    spec.forks.remove(&Fork::Osaka);
    let mut net = Net::new(spec);
    let at = net.ledger.tip().number + 110;
    net.decide(scheduleForkCall { name: "osaka".into(), height: at });
    let large = |net: &mut Net| {
        let tx = TxEip1559 { gas_limit: 20_000_000, ..transfer(address(2), 1) };
        net.tx(STRANGER, tx)
    };
    net.reach(at - 2);
    let tx = large(&mut net);
    assert_eq!(net.block([tx]), at - 1);
    let tx = large(&mut net);
    assert!(matches!(&net.build([tx.clone()]).1[..], [TxRefusal::Invalid(_)]));
    assert!(net.invalid(&tx).contains("transaction 0"));
}

#[test]
fn a_rule_set_that_is_not_known_here_stops_the_node_at_its_height() {
    let mut net = Net::new(spec());
    let at = net.ledger.tip().number + 10_010;
    net.decide(scheduleForkCall { name: "glamsterdam".into(), height: at });
    let governed = net.ledger.governed();
    assert_eq!(governed.unknown_fork, Some((at, "glamsterdam".into())));
    assert_eq!(governed.fork_at(at - 1).expect("known"), Fork::Osaka);
    let error = governed.fork_at(at).expect_err("unknown").to_string();
    assert!(error.contains("`glamsterdam`") && error.contains("newer trefoil"), "{error}");
}

/// The same is read from a checkpoint, and after the journal's blocks are executed again.
#[test]
fn a_restart_in_the_middle_reads_the_same() {
    let mut net = Net::new(spec());
    net.prove_validator(3, 3);
    let add = addValidatorCall {
        peer: peer(3).0.0,
        organisation: 1,
        key: key(3).0,
        power: 1,
        fees: address(3),
    };
    let voted = net.decide(add);
    let checkpoint = net.ledger.checkpoint(true).expect("a block is in memory");
    net.ledger.checkpointed(checkpoint.run().expect("written"));
    net.decide(setGasLimitCall { gasLimit: 20_000_000 });
    net.decide(revokeNodeCall { peer: peer(1).0.0, organisation: 1 });
    net.reach(voted + 4);
    let (disk, spec) = (Arc::new(net.disk.clone()), net.ledger.spec().clone());
    let mut again = Ledger::open(disk, spec, History::Archive).expect("opens");
    assert_eq!(again.tip().number, voted);
    for (block, certificate) in net.decided.iter().skip(again.tip().number as usize) {
        let outcome = again.execute(block.clone()).expect("executes again");
        again.commit(outcome, certificate.clone());
    }
    assert_eq!(again.governed(), net.ledger.governed());
    for height in 1..=voted + 5 {
        let found = again.snapshot().validators(height).expect("readable");
        assert_eq!(found, net.ledger.snapshot().validators(height).expect("readable"));
    }
    // All of it from the disk alone.
    let checkpoint = again.checkpoint(true).expect("blocks are in memory");
    again.checkpointed(checkpoint.run().expect("written"));
    let (disk, spec) = (Arc::new(net.disk.clone()), again.spec().clone());
    let last = Ledger::open(disk, spec, History::Archive).expect("opens");
    assert_eq!((last.tip_hash(), last.governed()), (again.tip_hash(), again.governed()));
    assert_eq!(last.next_validators().len(), 2);
}

#[test]
fn the_opening_call_names_whose_signature_the_certificate_lacks() {
    let (members, public) = (spec(), spec_of(Kind::Public));
    let turns = Turns::first(members.validator_set().expect("a set"));
    let signature =
        |n| ValidatorSignature { validator: key(n), signature: trefoil_types::Signature([0; 64]) };
    let certificate =
        Certificate { height: 1, round: 3, block: B256::ZERO, signatures: vec![signature(2)] };
    let decode = |input: Bytes| IMembership::openCall::abi_decode(&input).expect("our own call");
    let attached = Attached { parent_certificate: Some(certificate), evidence: vec![] };
    let call = decode(opening(&members, Some(&turns), &attached));
    assert_eq!((call.absent, call.equivocators), (vec![key(1).0], vec![]));
    // Genesis had no validators.
    let call = decode(opening(&members, None, &Attached::default()));
    assert_eq!(call.absent, Vec::<B256>::new());
    // Three rounds failed, of two validators; each is named once.
    let decode = |input: Bytes| IStaking::openAfterCall::abi_decode(&input).expect("our own call");
    let call = decode(opening(&public, Some(&turns), &attached));
    assert_eq!((call.absent, call.equivocators), (vec![key(1).0], vec![]));
    let failed: Vec<_> = turns.validators().iter().map(|validator| validator.key.0).collect();
    assert_eq!(call.failed, failed);
    let call = decode(opening(&public, None, &Attached::default()));
    assert_eq!((call.failed, call.absent), (vec![], vec![]));
}

#[test]
fn a_trace_sees_the_opening_of_its_block() {
    let mut net = Net::new(spec());
    let height = net.decide(setGasLimitCall { gasLimit: 20_000_000 });
    let spec = net.ledger.spec().clone();
    let memory = crate::CallMemory::of_trace(usize::MAX, &|_| true);
    let snapshot = net.ledger.snapshot();
    let traces = crate::trace_block(&spec, &snapshot, height, Default::default(), &memory);
    let traces = format!("{:?}", traces.expect("the block runs again"));
    assert!(traces.contains("failed: false"), "{traces:.300}");
}
