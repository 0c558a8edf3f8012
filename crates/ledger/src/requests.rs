//! EIP-7685: requests of the execution layer to the consensus layer. Trefoil's networks act
//! on none of them, but their headers bind them as Ethereum's do.

use alloy_primitives::{B256, Bytes, b256};
use trefoil_types::{Address, Receipt};

/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)` (EIP-6110).
const DEPOSIT_EVENT: B256 =
    b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// The fields of a deposit event in order: offset in the event's data, bytes.
const DEPOSIT_LAYOUT: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];

/// The length of a deposit event's data, bytes.
const DEPOSIT_EVENT_BYTES: usize = 576;

/// The deposits that the contract at `contract` logged, one after the other.
///
/// # Errors
/// An event that is not laid out as EIP-6110 demands: the block is invalid.
pub(crate) fn deposits(contract: Address, receipts: &[Receipt]) -> Result<Bytes, String> {
    let logs = receipts.iter().flat_map(|receipt| receipt.logs());
    let events =
        logs.filter(|log| log.address == contract && log.topics().first() == Some(&DEPOSIT_EVENT));
    let mut out = Vec::new();
    for event in events {
        deposit(&event.data.data, &mut out)?;
    }
    Ok(out.into())
}

fn deposit(data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let is = |at: usize, want: usize| {
        let word: [u8; 32] = data[at..at + 32].try_into().expect("within the length checked");
        alloy_primitives::U256::from_be_bytes(word) == alloy_primitives::U256::from(want)
    };
    let sound = data.len() == DEPOSIT_EVENT_BYTES
        && DEPOSIT_LAYOUT.iter().enumerate().all(|(i, (offset, len))| {
            // EIP-6110 demands exactly this layout: the head names the offset, and at the
            // offset is the length. Any other event makes the block invalid, so the check
            // must not be more lenient.
            is(32 * i, *offset) && is(*offset, *len)
        });
    if !sound {
        return Err("a deposit event is not laid out as EIP-6110 demands".into());
    }
    for (offset, len) in DEPOSIT_LAYOUT {
        out.extend_from_slice(&data[offset + 32..offset + 32 + len]);
    }
    Ok(())
}
