//! What must hold after every block of a walk, whatever the contracts accepted.

use std::collections::BTreeSet;

use alloy_rpc_types_trace::geth::{
    CallFrame, GethDebugBuiltInTracerType, GethDebugTracingOptions, GethTrace,
};
use revm::context::result::ExecutionResult;

use super::{super::*, walk::Walk};
use crate::{
    CallMemory,
    state_sync::{restore, write_state},
    trace_block,
};

/// As many as a block may convict.
const EQUIVOCATORS: usize = trefoil_types::limits::BLOCK_EVIDENCE_MAX;

/// The selector of `Panic(uint256)`.
const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// More than the dearest opening of networks as small as these, which have 11 validators at most.
const OPENING_GAS: u64 = 5_000_000;

impl Walk {
    /// After each block.
    pub(super) fn check(&mut self) {
        let ledger = &self.net.ledger;
        let (spec, state) = (ledger.spec().clone(), ledger.state());
        let governed = ledger.governed();
        // What a node reads that starts anew, and what one knows that went along.
        let read = Governed::read(&spec, ledger.tip(), &state).expect("the contract answers");
        assert_eq!(read, **governed, "the version did not grow");
        assert_eq!(governed.fee_recipients.len(), governed.validators.len());
        if spec.kind.has_members() {
            self.check_members();
        }
    }

    /// The peers that may connect as validators are those of the set.
    fn check_members(&self) {
        let governed = self.net.ledger.governed();
        let admission = self.net.ledger.admission().expect("a network of members");
        let members = &governed.members;
        let validators = admission.validators().filter(|peer| !members.shuns(peer));
        let keys: BTreeSet<_> =
            validators.filter_map(|peer| members.nodes[&peer].validator).collect();
        let set: BTreeSet<_> = governed.validators.iter().map(|v| v.key).collect();
        // One that the guardian holds validates, and no node talks to it.
        assert!(keys.is_subset(&set) && keys.len() + 1 >= set.len(), "{keys:?} {set:?}");
        let active = |o: &&trefoil_types::Organisation| o.status == OrganisationStatus::Active;
        assert!(members.organisations.values().any(|o| active(&o)));
        for organisation in members.organisations.values().filter(active) {
            let keys = organisation.keys.len();
            assert!((1..=keys).contains(&organisation.threshold.into()), "{organisation:?}");
        }
    }

    /// Now and then.
    pub(super) fn check_all(&mut self) {
        self.check_opening();
        self.check_permissions();
        self.check_views();
        if self.values.dice.once_in(8) {
            self.check_trace();
        }
    }

    /// The next block opens, whoever is absent and whoever is convicted.
    fn check_opening(&mut self) {
        let ledger = &self.net.ledger;
        let keys = ledger.next_validators().iter().map(|validator| validator.key.0);
        let absent: Vec<B256> = keys.collect();
        let equivocators: Vec<B256> = absent.iter().copied().take(EQUIVOCATORS).collect();
        let input = match ledger.spec().kind.has_members() {
            true => IMembership::openCall { absent, equivocators }.abi_encode(),
            false => {
                let failed = absent.clone();
                IStaking::openAfterCall { failed, absent, equivocators }.abi_encode()
            }
        };
        let header = Header {
            number: ledger.tip().number + 1,
            timestamp: ledger.tip().timestamp + 1,
            ..ledger.tip().clone()
        };
        let opened = self.ask(&header, input);
        assert!(opened.is_success(), "{opened:?}");
        let gas = opened.tx_gas_used();
        assert!(gas < OPENING_GAS, "{gas} for a small network");
        self.tally.opening_gas = self.tally.opening_gas.max(gas);
    }

    /// What nodes read by slot is what the contract says.
    fn check_permissions(&mut self) {
        let ledger = &self.net.ledger;
        if !ledger.spec().kind.has_members() {
            return;
        }
        let (spec, state) = (ledger.spec().clone(), ledger.state());
        let mut contract = GoverningContract::new(&spec, ledger.tip(), &state);
        for account in &self.values.accounts {
            let said = contract.view(IGovernance::permissionsCall { account: *account });
            let said = said.expect("the contract answers");
            let read = Permissions::in_force(&state, account, true, true).expect("memory");
            assert_eq!(
                (said.bit(0), said.bit(1)),
                (read.may_send(), read.may_deploy()),
                "{account}"
            );
        }
        if ledger.governed().settings.accounts_listed {
            let organisations = ledger.governed().members.organisations.values();
            let mut keys = organisations.flat_map(|o| &o.keys);
            assert!(keys.all(|key| ledger.permissions(key).may_send()), "{:?}", ledger.governed());
        }
    }

    /// Whatever is asked of a view, it answers or refuses.
    fn check_views(&mut self) {
        let header = self.net.ledger.tip().clone();
        for (at, functions) in self.contracts.clone() {
            if at != GOVERNING_CONTRACT {
                continue;
            }
            for view in functions.iter().filter(|function| function.reads()) {
                let input = view.call(&mut self.values);
                let answer = self.ask(&header, input);
                assert!(!answer.is_halt(), "{}: {answer:?}", view.name);
            }
        }
    }

    /// A trace shows what happened, and whether a contract of genesis refused by a check of the
    /// compiler instead of in words.
    fn check_trace(&mut self) {
        let tracer = Some(GethDebugBuiltInTracerType::CallTracer.into());
        let options = GethDebugTracingOptions { tracer, ..Default::default() };
        let (spec, snapshot) = (self.net.ledger.spec(), self.net.ledger.snapshot());
        let memory = CallMemory::of_trace(usize::MAX, &|_| true);
        let height = self.net.ledger.tip().number;
        let traces = trace_block(spec, &snapshot, height, options, &memory).expect("it runs again");
        for (_, trace) in traces {
            let GethTrace::CallTracer(frame) = trace else { panic!("{trace:?}") };
            self.note_panics(&frame);
        }
    }

    fn note_panics(&mut self, frame: &CallFrame) {
        let is_panic = frame.output.as_ref().is_some_and(|output| output.starts_with(&PANIC));
        if is_panic && frame.calls.iter().all(|call| call.output != frame.output) {
            let panic = format!("{:?} {:?}", frame.input, frame.output);
            self.tally.panics.insert(panic);
        }
        frame.calls.iter().for_each(|call| self.note_panics(call));
    }

    /// The node calls its governing contract in a block with this header.
    fn ask(&self, header: &Header, input: Vec<u8>) -> ExecutionResult {
        let (spec, state) = (self.net.ledger.spec().clone(), self.net.ledger.state());
        let mut contract = GoverningContract::new(&spec, header, &state);
        let env = TxEnv {
            caller: SYSTEM_ADDRESS,
            kind: GOVERNING_CONTRACT.into(),
            data: input.into(),
            gas_limit: NODE_CALL_GAS,
            ..Default::default()
        };
        contract.0.system_call(env).expect("memory can be read")
    }

    /// A restart, and a node that joins from a snapshot, find the same.
    pub(super) fn check_restart(mut self) -> super::walk::Tally {
        let checkpoint = self.net.ledger.checkpoint(true).expect("blocks are in memory");
        self.net.ledger.checkpointed(checkpoint.run().expect("written"));
        let (spec, tip) = (self.net.ledger.spec().clone(), self.net.ledger.tip_hash());
        let disk = Arc::new(self.net.disk.clone());
        let again = Ledger::open(disk, spec.clone(), History::Archive).expect("opens");
        assert_eq!((again.tip_hash(), again.governed()), (tip, self.net.ledger.governed()));
        let height = self.net.ledger.tip().number - 1;
        let mut file = Vec::new();
        write_state(&self.net.ledger.snapshot(), height, &mut file).expect("written");
        let joined = MemDisk::default();
        restore(&joined, &spec, &file[..], None).expect("each set is proven by the one before");
        let joined = Ledger::open(Arc::new(joined), spec, History::Archive).expect("opens");
        assert_eq!(joined.tip().number, height);
        self.tally
    }
}
