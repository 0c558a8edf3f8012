//! Stakes on a public network, as the node executes them: keys that agree to their owner, and power
//! that comes by fifths.

use trefoil_types::KeyClaimer;

use super::*;

sol! {
    function deposit(bytes32 key, address feeRecipient, bytes proof) external payable;
}

/// An account with ether, and the number of its key.
const NEWCOMER: u8 = 7;

fn net() -> Net {
    let mut spec = spec_of(Kind::Public);
    spec.staking = Some(Staking { epoch_blocks: 5, ..Staking::default() });
    let ether = Staking::default().stake_unit;
    let rich = alloy_genesis::GenesisAccount::default()
        .with_balance(ether * U256::from(10 * FOUNDING_STAKE));
    for account in [NEWCOMER, STRANGER] {
        spec.alloc.insert(address(account), rich.clone());
    }
    Net::new(spec)
}

impl Net {
    /// Whether a deposit for the newcomer's key is accepted in a block.
    fn deposits(&mut self, from: u8, ethers: u64, proof: KeyProof) -> bool {
        let call = depositCall {
            key: proof.key.0,
            feeRecipient: address(from),
            proof: proof.signature.0.into(),
        };
        let tx = TxEip1559 {
            gas_limit: 1_000_000,
            input: call.abi_encode().into(),
            value: Staking::default().stake_unit * U256::from(ethers),
            ..transfer(GOVERNING_CONTRACT, 0)
        };
        let tx = self.tx(from, tx);
        let (outcome, refused) = self.build([tx]);
        assert_eq!(refused, []);
        let accepted = outcome.receipts()[0].status();
        self.commit(outcome.block().clone());
        accepted
    }

    fn agrees(&self, claimer: impl Into<KeyClaimer>) -> KeyProof {
        let network = self.ledger.genesis_hash();
        KeyProof::sign(&secret(NEWCOMER), &network, KeyRole::Validator, claimer)
    }

    fn power(&self, n: u8) -> u64 {
        self.ledger.next_validators().get(&key(n)).map_or(0, |validator| validator.power)
    }
}

#[test]
fn a_key_agrees_to_its_owner_or_nobody_stakes_for_it() {
    let mut net = net();
    net.block([]);
    // What somebody else signed for, or brought first.
    let proof = net.agrees(address(NEWCOMER));
    assert!(!net.deposits(STRANGER, 1, proof), "it is of another owner");
    let foreign = KeyProof::sign(
        &secret(NEWCOMER),
        &B256::repeat_byte(1),
        KeyRole::Validator,
        address(NEWCOMER),
    );
    assert!(!net.deposits(NEWCOMER, 1, foreign), "it is of another network");
    let organisation = net.agrees("owner");
    assert!(!net.deposits(NEWCOMER, 1, organisation), "it is for an organisation");
    assert!(net.deposits(NEWCOMER, 1, proof));
}

#[test]
fn power_comes_by_fifths_to_a_validator_that_signs() {
    let mut net = net();
    net.block([]);
    let proof = net.agrees(address(NEWCOMER));
    assert!(net.deposits(NEWCOMER, 5 * FOUNDING_STAKE, proof));
    net.reach(4);
    assert_eq!(net.power(NEWCOMER), 0);
    net.reach(5);
    assert_eq!(net.power(NEWCOMER), 1, "on probation");
    net.reach(10);
    let fifth = (2 * FOUNDING_STAKE + 1) / 5;
    assert_eq!(net.power(NEWCOMER), 1 + fifth);
    net.reach(15);
    let fifth = (2 * FOUNDING_STAKE + 1 + fifth) / 5 + fifth;
    assert_eq!(net.power(NEWCOMER), 1 + fifth);
}
