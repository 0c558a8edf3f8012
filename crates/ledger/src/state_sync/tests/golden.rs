//! The bytes of both formats, of values made by hand: a change here is a new
//! version of the format.

use alloy_consensus::constants::KECCAK_EMPTY;
use trefoil_types::Header;

use super::{
    super::{
        archive,
        frames::{FileKind, FrameWriter},
        state_file::{
            AccountRow, STATE_FILE, SlotRow, SlotRows, StateCounts, StateFileHeader, kind,
        },
        trail::Handover,
    },
    *,
};

fn handover(number: u64, witness: &[&'static [u8]]) -> Handover {
    let header = Header { number, gas_limit: 7, ..Default::default() };
    let block = header.hash_slow();
    let validator = secret(1).public();
    let signature = secret(1).sign(Domain::Vote, &B256::ZERO, b"golden");
    let signatures = vec![ValidatorSignature { validator, signature }];
    let certificate = Certificate { height: number, round: 1, block, signatures };
    let witness = witness.iter().map(|node| Bytes::from_static(node)).collect();
    Handover { header, certificate, witness }
}

fn state() -> Vec<(u8, Vec<u8>)> {
    let turns = bytes!("00000000000000000000000000000008");
    let head = StateFileHeader { genesis: B256::repeat_byte(1), block: handover(2, &[]), turns };
    let (address, value) = (address(3), U256::from(4));
    let nonce = 5;
    let account = AccountRow { address, nonce, balance: value, code_hash: KECCAK_EMPTY };
    let slots = SlotRows { address, slots: vec![SlotRow { slot: U256::from(6), value }] };
    vec![
        (kind::HEAD, alloy_rlp::encode(head)),
        (kind::ANCESTORS, alloy_rlp::encode(vec![Header::default()])),
        (kind::HANDOVER, alloy_rlp::encode(handover(1, &[b"node", b"leaf"]))),
        (kind::ACCOUNTS, alloy_rlp::encode(account)),
        (kind::SLOTS, alloy_rlp::encode(slots)),
        (kind::CODE, vec![0x60, 0x00]),
        (kind::END, alloy_rlp::encode(StateCounts { accounts: 1, slots: 1, codes: 1 })),
    ]
}

fn bytes(of: &'static FileKind, frames: &[(u8, Vec<u8>)]) -> String {
    let mut out = Vec::new();
    let mut file = FrameWriter::begin(&mut out, of).unwrap();
    frames.iter().for_each(|(kind, body)| file.put(*kind, body).unwrap());
    file.finish().unwrap();
    hex::encode(out)
}

#[test]
fn a_state_snapshot_is_these_bytes() {
    let golden = include_str!("../../../../../vectors/state-snapshot-2.hex").replace('\n', "");
    assert_eq!(bytes(&STATE_FILE, &state()), golden);
    let file = hex::decode(golden).unwrap();
    assert_eq!(frames(&file), state());
    assert_eq!(peek(&*file).unwrap().0, 2);
}

#[test]
fn a_history_archive_is_these_bytes() {
    let golden = include_str!("../../../../../vectors/history-archive-1.hex").replace('\n', "");
    let (genesis, first, last) = (B256::repeat_byte(1), 1, 1);
    let head = archive::ArchiveHeader { genesis, first, last };
    let row = archive::BlockRow { block: bytes!("0102"), receipts: bytes!("c0") };
    let frames = [
        (archive::kind::HEAD, alloy_rlp::encode(head)),
        (archive::kind::BLOCK, alloy_rlp::encode(row)),
    ];
    assert_eq!(bytes(&archive::ARCHIVE, &frames), golden);
}
