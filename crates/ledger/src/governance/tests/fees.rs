//! Fee recipients: where a block's fees may go, and what a change of them costs others.

use super::*;

sol! {
    function setFeeRecipient(address feeRecipient) external;
}

impl Net {
    /// Founder 1 of a public network lets its fees go elsewhere.
    fn redirect(&mut self, recipient: Address) -> Height {
        let input = setFeeRecipientCall { feeRecipient: recipient }.abi_encode().into();
        let call = TxEip1559 { gas_limit: 200_000, input, ..transfer(GOVERNING_CONTRACT, 0) };
        let tx = self.tx(1, call);
        self.block([tx])
    }

    fn snapshot_bytes(&self) -> usize {
        let mut file = Vec::new();
        let height = self.ledger.tip().number - 1;
        crate::state_sync::write_state(&self.ledger.snapshot(), height, &mut file)
            .expect("it is written");
        file.len()
    }
}

/// It was: each change proved another set of validators to whoever joins, for ever.
#[test]
fn a_hundred_and_fifty_changes_of_a_fee_recipient_leave_snapshots_as_they_were() {
    // The headers before the block are 255 from here on.
    let mut net = Net::new(spec_of(Kind::Public));
    net.redirect(address(0x40));
    net.reach(260);
    let before = net.snapshot_bytes();
    for n in 0..150 {
        net.redirect(address(0x41 + n));
    }
    net.reach(net.ledger.tip().number + 1);
    let after = net.snapshot_bytes();
    assert!(net.ledger.snapshot().view.handovers().expect("readable").is_empty());
    // Headers of blocks with a transaction and a bloom filter are longer, by bytes.
    let most = before + 150 * 128;
    assert!(after <= most, "{before} bytes before, {after} after");
}

#[test]
fn fees_go_where_a_validator_wants_them_and_nowhere_else() {
    let mut net = Net::new(spec_of(Kind::Public));
    net.redirect(address(0x40));
    let beneficiaries = |recipient| {
        let draft = Draft { fee_recipient: recipient, ..net.draft() };
        let block = net.ledger.build(draft, &mut std::iter::empty()).0.block().clone();
        net.ledger.execute(block).map(drop).map_err(|error| error.reason)
    };
    assert_eq!(beneficiaries(address(0x40)), Ok(()), "the new one of founder 1");
    assert_eq!(beneficiaries(address(2)), Ok(()), "that of founder 2");
    for stranger in [address(1), address(9), Address::ZERO] {
        let refused = beneficiaries(stranger).expect_err("nobody's fee recipient");
        assert!(refused.contains("is no validator's fee recipient"), "{refused}");
    }
}
