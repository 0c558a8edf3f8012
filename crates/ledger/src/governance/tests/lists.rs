//! Lists of accounts and deployers: from genesis on, and for what contracts create.

use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::geth::{
    CallFrame, GethDebugBuiltInTracerType, GethDebugTracingOptions, GethTrace,
};

use super::*;
use crate::{
    CallMemory, CallOptions, CallOutcome, CallSite, Estimate, TraceError,
    rpc_calls::simulate_v1::{Ground, PretendedBlock, SimulateOptions, simulate_blocks},
    trace_transaction,
};

/// Where a contract lies that creates an empty one, and hands on why it could not.
const FACTORY: u8 = 0xfa;
/// The same with CREATE2.
const FACTORY_2: u8 = 0xfb;

/// A network on which only the owner deploys, from genesis on.
fn listed() -> Net {
    let mut spec = ChainSpec { deployers: Some(vec![address(OWNER)]), ..spec() };
    let code = |code: Bytes| alloy_genesis::GenesisAccount {
        nonce: Some(1),
        code: Some(code),
        ..Default::default()
    };
    let create = bytes!("5f5f5ff06010573d5f5f3e3d5ffd00005b00");
    let create2 = bytes!("5f5f5f5ff56011573d5f5f3e3d5ffd00005b00");
    spec.alloc.insert(address(FACTORY), code(create));
    spec.alloc.insert(address(FACTORY_2), code(create2));
    spec.check().expect("a sound specification");
    Net::new(spec)
}

impl Net {
    fn use_factory(&mut self, from: u8, factory: u8) -> Transaction {
        self.tx(from, TxEip1559 { gas_limit: 200_000, ..transfer(address(factory), 0) })
    }

    /// Makes a block of `txs`; which of them succeeded.
    pub(super) fn outcomes(
        &mut self,
        txs: impl IntoIterator<Item = Transaction>,
    ) -> (Height, Vec<bool>) {
        let (outcome, refused) = self.build(txs);
        assert_eq!(refused, []);
        let done = outcome.receipts().iter().map(|receipt| receipt.status()).collect();
        (self.commit(outcome.block().clone()), done)
    }

    pub(super) fn traced(&self, height: Height, index: usize) -> CallFrame {
        let tracer = Some(GethDebugBuiltInTracerType::CallTracer.into());
        let options = GethDebugTracingOptions { tracer, ..Default::default() };
        let memory = CallMemory::of_trace(usize::MAX, &|_| true);
        let (spec, snapshot) = (self.ledger.spec(), self.ledger.snapshot());
        match trace_transaction(spec, &snapshot, height, index, options, &memory) {
            Ok(GethTrace::CallTracer(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }
}

fn says_what_to_do(output: &Bytes) -> bool {
    let reason = alloy_sol_types::decode_revert_reason(output).unwrap_or_default();
    reason.contains("list of deployers") && reason.contains("set allow 0x57")
}

#[test]
fn lists_hold_from_genesis() {
    let spec = ChainSpec { accounts: Some(vec![address(0x33)]), ..spec() };
    let mut net = Net::new(spec);
    assert!(net.ledger.governed().settings.accounts_listed);
    let barred = net.tx(STRANGER, transfer(address(2), 1));
    assert!(net.invalid(&barred).contains("list of accounts"));
    assert!(net.ledger.permissions(&address(0x33)).may_send(), "listed");
    assert!(net.ledger.permissions(&address(OWNER)).may_send(), "an organisation's key");
    net.decide(setAccountsListedCall { listed: false });
    net.block([barred]);
}

#[test]
fn what_a_factory_creates_is_judged_by_the_sender() {
    let mut net = listed();
    for (factory, created) in [(FACTORY, true), (FACTORY_2, false)] {
        let refused = net.use_factory(STRANGER, factory);
        let done = net.use_factory(OWNER, factory);
        let (height, outcomes) = net.outcomes([refused, done]);
        assert_eq!(outcomes, [false, true]);
        let refused = net.traced(height, 0);
        assert!(says_what_to_do(refused.output.as_ref().expect("a reason")), "{refused:?}");
        assert_eq!(refused.calls.len(), 1, "the create is shown");
        let done = net.traced(height, 1);
        let address = done.calls[0].to.expect("created");
        assert!(net.ledger.account(&address).is_some(), "the trace's is the chain's");
        // The refused one took no nonce of the factory.
        assert!(!created || address == Address::create(&Address::repeat_byte(factory), 1));
    }
}

/// Attack: transactions of a barred sender with much input, before the one that is asked for.
#[test]
fn what_is_not_traced_takes_nothing_of_the_traces_room() {
    let mut net = listed();
    let input = vec![0; 20_000].into();
    let much = TxEip1559 { gas_limit: 1_000_000, input, ..transfer(address(0x77), 0) };
    let first = net.tx(STRANGER, much);
    let wanted = net.tx(OWNER, transfer(address(0x77), 1));
    let (height, outcomes) = net.outcomes([first, wanted]);
    assert_eq!(outcomes, [true, true]);
    let traced = |index| {
        let tracer = Some(GethDebugBuiltInTracerType::CallTracer.into());
        let options = GethDebugTracingOptions { tracer, ..Default::default() };
        let memory = CallMemory::of_trace(100_000, &|_| true);
        let (spec, snapshot) = (net.ledger.spec(), net.ledger.snapshot());
        trace_transaction(spec, &snapshot, height, index, options, &memory)
    };
    assert!(matches!(traced(0), Err(TraceError::TooLarge(_))), "its own input counts");
    assert!(traced(1).is_ok(), "the input before it does not");
}

#[test]
fn a_trace_goes_by_the_lists_of_its_block() {
    let mut net = listed();
    let refused = net.use_factory(STRANGER, FACTORY);
    let (height, outcomes) = net.outcomes([refused]);
    assert_eq!(outcomes, [false]);
    net.decide(setDeployersListedCall { listed: false });
    assert!(net.traced(height, 0).error.is_some(), "as it was");
    let now = net.use_factory(STRANGER, FACTORY);
    let (open, outcomes) = net.outcomes([now]);
    assert_eq!(outcomes, [true]);
    net.decide(setDeployersListedCall { listed: true });
    assert_eq!(net.traced(open, 0).error, None, "as it was");
}

#[test]
fn calls_and_estimates_judge_the_sender_that_they_name() {
    let mut net = listed();
    net.block([]);
    let (spec, snapshot) = (net.ledger.spec().clone(), net.ledger.snapshot());
    let options = CallOptions::default();
    for to in [TxKind::Create, address(FACTORY).into(), address(FACTORY_2).into()] {
        for site in [CallSite::at(&spec, &snapshot, 0), CallSite::pending(&spec, &snapshot)] {
            let site = site.expect("a state");
            let simulation = site.simulation(&options).expect("no override");
            let request = |from| TransactionRequest {
                from: Some(address(from)),
                to: Some(to),
                ..Default::default()
            };
            match simulation.call(&request(STRANGER)).expect("runs") {
                CallOutcome::Revert { output, .. } => assert!(says_what_to_do(&output)),
                other => panic!("{other:?}"),
            }
            match simulation.estimate_gas(&request(STRANGER)).expect("runs") {
                Estimate::Fails(CallOutcome::Revert { output, .. }) => {
                    assert!(says_what_to_do(&output));
                }
                other => panic!("{other:?}"),
            }
            let list = simulation.create_access_list(&request(STRANGER)).expect("runs");
            assert!(list.error.is_some());
            let done = simulation.call(&request(OWNER)).expect("runs");
            assert!(matches!(done, CallOutcome::Success { .. }), "{done:?}");
            let estimate = simulation.estimate_gas(&request(OWNER)).expect("runs");
            assert!(matches!(estimate, Estimate::Gas(_)), "{estimate:?}");
        }
    }
    let memory = CallMemory::new(usize::MAX, &|_| true);
    let ground = Ground::at(&spec, &snapshot, 0, &memory).expect("kept");
    let call = |from| TransactionRequest {
        from: Some(address(from)),
        to: Some(address(FACTORY).into()),
        ..Default::default()
    };
    let block = PretendedBlock { calls: vec![call(STRANGER), call(OWNER)], ..Default::default() };
    let options = SimulateOptions { validation: false, transfers: false, gas_cap: 10_000_000 };
    let blocks = simulate_blocks(&ground, vec![block], options, None).expect("runs");
    let [refused, done] = &blocks[0].calls[..] else { panic!("two calls") };
    assert!(
        matches!(&refused.outcome, CallOutcome::Revert { output, .. } if says_what_to_do(output))
    );
    assert!(matches!(&done.outcome, CallOutcome::Success { .. }));
}

/// An organisation's administrator adds and freezes its accounts without a vote.
#[test]
fn accounts_of_an_organisation_come_and_go_with_it() {
    let (administrator, anna) = (0x70, 0xa1);
    let mut net = Net::new(ChainSpec { base_fee: 0, accounts: Some(vec![]), ..spec() });
    let send = |net: &mut Net| net.tx(anna, transfer(address(2), 0));
    let first = send(&mut net);
    assert!(net.invalid(&first).contains("list of accounts"));
    net.decide(setAdministratorsCall { id: 1, accounts: vec![address(administrator)] });
    let accounts = vec![address(anna)];
    let adds = net.call(administrator, addAccountsCall { id: 1, accounts: accounts.clone() });
    net.block([adds]);
    assert!(net.ledger.permissions(&address(anna)).may_send());
    net.block([first]);
    let freezes = net.call(administrator, freezeAccountsCall { id: 1, accounts: accounts.clone() });
    net.block([freezes]);
    let second = send(&mut net);
    assert!(net.invalid(&second).contains("list of accounts"));
    let adds = net.call(administrator, addAccountsCall { id: 1, accounts });
    net.block([adds]);
    net.block([second]);
}

/// Other organisations may go, and each takes its accounts along.
#[test]
fn a_suspended_organisations_accounts_do_not_send() {
    let anna = 0xa1;
    let owner = |n: u8| FoundingOrganisation {
        name: format!("org-{n}"),
        threshold: 1,
        keys: vec![address(n)],
        recovery_key: None,
        ca_keys: vec![key(200 + n)],
        senders: vec![],
    };
    let mut spec = ChainSpec { base_fee: 0, kind: Kind::Consortium, ..spec() };
    spec.accounts = Some(vec![]);
    spec.organisations = [OWNER, 0x21, 0x22].map(owner).into();
    for (validator, organisation) in spec.validators.iter_mut().zip([OWNER, 0x21]) {
        validator.organisation = Some(format!("org-{organisation}"));
    }
    spec.check().expect("a sound specification");
    let mut net = Net::new(spec);
    let own = |net: &mut Net, by, action: Vec<u8>| {
        let tx = net.call(by, proposeOwnCall { action: action.into() });
        net.block([tx]);
    };
    let accounts = vec![address(0x22)];
    own(&mut net, 0x22, setAdministratorsCall { id: 3, accounts }.abi_encode());
    let adds = net.call(0x22, addAccountsCall { id: 3, accounts: vec![address(anna)] });
    net.block([adds]);
    let vote = |net: &mut Net, id: u64, action: Vec<u8>| {
        let proposes = net.call(OWNER, proposeCall { action: action.into() });
        let approves = net.call(0x21, approveCall { id: U256::from(id) });
        net.block([proposes, approves]);
    };
    vote(&mut net, 2, suspendOrganisationCall { id: 3 }.abi_encode());
    let sent = net.tx(anna, transfer(address(2), 0));
    assert!(net.invalid(&sent).contains("list of accounts"));
    assert!(!net.ledger.permissions(&address(anna)).may_send());
    vote(&mut net, 3, resumeOrganisationCall { id: 3 }.abi_encode());
    net.block([sent]);
}

/// The owner's key is a contract, which cannot send, and gas is free.
#[test]
fn senders_from_genesis_vote_by_the_wallet_of_their_organisation() {
    const WALLET: u8 = 0xc0;
    let mut spec = ChainSpec { accounts: Some(vec![]), ..spec() };
    // Calls whom the first word of its input names, with the rest.
    let code = Some(bytes!("602036038060205f375f5f915f345f355af100"));
    let wallet = alloy_genesis::GenesisAccount { code, ..Default::default() };
    spec.alloc.insert(address(WALLET), wallet);
    spec.organisations[0].keys = vec![address(WALLET)];
    let nobody = spec.check().expect_err("nobody could vote to change the list").to_string();
    assert!(nobody.contains("`accounts` is a list under which 0 of the 1"), "{nobody}");
    spec.organisations[0].senders = vec![address(STRANGER)];
    spec.check().expect("a sound specification");
    let mut net = Net::new(spec);
    assert!(!net.ledger.permissions(&address(OWNER)).may_send());
    let action = setGasLimitCall { gasLimit: 20_000_000 }.abi_encode().into();
    let call = proposeCall { action }.abi_encode();
    let input = [GOVERNING_CONTRACT.into_word().to_vec(), call].concat().into();
    let tx = TxEip1559 { gas_limit: 5_000_000, input, ..transfer(address(WALLET), 0) };
    let tx = net.tx(STRANGER, tx);
    net.block([tx]);
    assert_eq!(net.ledger.governed().settings.gas_limit, 20_000_000);
}
