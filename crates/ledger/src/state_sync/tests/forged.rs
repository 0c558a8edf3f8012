//! Files whose every checksum is right and that say what is not so.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use alloy_rlp::{Decodable as _, Encodable as _};
use trefoil_types::{Disk, DiskFile};

use super::{
    super::{
        state_file::{
            AccountRow, STATE_FILE, SlotRow, SlotRows, StateCounts, StateFileHeader, kind,
        },
        trail::{Handover, prove_validators},
    },
    *,
};

type FileFrames = Vec<(u8, Vec<u8>)>;

/// Frames of any length.
fn file(frames: &FileFrames) -> Vec<u8> {
    let mut out = STATE_FILE.magic.to_vec();
    for (kind, rest) in frames {
        let body = [&[*kind], rest.as_slice()].concat();
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(crc32fast::hash(&body).to_le_bytes());
        out.extend(body);
    }
    out
}

/// Why a whole file is refused after `forge` changed it.
fn refusal(forge: impl Fn(&SourceChain, &mut FileFrames)) -> String {
    let chain = SourceChain::busy();
    let mut frames = frames(&state_file(&chain.ledger, chain.tip() - 1));
    forge(&chain, &mut frames);
    let error = restore(&MemDisk::default(), &spec(), &*file(&frames), None).unwrap_err();
    error.to_string()
}

/// Changes the first frame of a kind.
fn body(frames: &mut FileFrames, kind: u8) -> &mut Vec<u8> {
    &mut frames.iter_mut().find(|(of, _)| *of == kind).unwrap().1
}

fn edit_head(frames: &mut FileFrames, edit: impl Fn(&mut StateFileHeader)) {
    let body = body(frames, kind::HEAD);
    let mut head: StateFileHeader = alloy_rlp::decode_exact(&*body).unwrap();
    edit(&mut head);
    *body = alloy_rlp::encode(head);
}

fn edit_handover(frames: &mut FileFrames, edit: impl Fn(&mut Handover)) {
    let body = body(frames, kind::HANDOVER);
    let mut handover: Handover = alloy_rlp::decode_exact(&*body).unwrap();
    edit(&mut handover);
    *body = alloy_rlp::encode(handover);
}

#[test]
fn an_account_with_more_than_it_has() {
    let why = refusal(|_, frames| {
        let body = body(frames, kind::ACCOUNTS);
        let (mut rows, mut out) = (&body[..], Vec::new());
        while !rows.is_empty() {
            let mut row = AccountRow::decode(&mut rows).unwrap();
            row.balance += U256::from(u8::from(out.is_empty()));
            row.encode(&mut out);
        }
        *body = out;
    });
    assert!(why.contains("its state has the root"), "{why}");
}

#[test]
fn a_slot_with_another_value_or_none() {
    let edit = |value: u64| {
        move |_: &SourceChain, frames: &mut FileFrames| {
            let body = body(frames, kind::SLOTS);
            let (mut rows, mut out) = (&body[..], Vec::new());
            while !rows.is_empty() {
                let mut of = SlotRows::decode(&mut rows).unwrap();
                of.slots[0].value = U256::from(value);
                of.encode(&mut out);
            }
            *body = out;
        }
    };
    let why = refusal(edit(77));
    assert!(why.contains("its state has the root"), "{why}");
    let why = refusal(edit(0));
    assert!(why.contains("a slot that is zero"), "{why}");
}

#[test]
fn what_is_left_out_is_missed() {
    let counts = |frames: &mut FileFrames, edit: fn(&mut StateCounts)| {
        let body = body(frames, kind::END);
        let mut counts: StateCounts = alloy_rlp::decode_exact(&*body).unwrap();
        edit(&mut counts);
        *body = alloy_rlp::encode(counts);
    };
    let drop_code = |frames: &mut FileFrames| {
        let at = frames.iter().position(|(of, _)| *of == kind::CODE).unwrap();
        frames.remove(at);
    };
    let why = refusal(|_, frames| drop_code(frames));
    assert!(why.contains("counts"), "{why}");
    let why = refusal(|_, frames| {
        drop_code(frames);
        counts(frames, |counts| counts.codes -= 1);
    });
    assert!(why.contains("lacks the code"), "{why}");
    let why = refusal(|_, frames| {
        frames.retain(|(of, _)| *of != kind::ACCOUNTS);
        counts(frames, |counts| counts.accounts = 0);
    });
    assert!(why.contains("slots of an account"), "{why}");
}

#[test]
fn records_out_of_order_or_twice() {
    let why = refusal(|_, frames| {
        let at = frames.iter().position(|(of, _)| *of == kind::SLOTS).unwrap();
        frames.swap(at, at - 1);
    });
    assert!(why.contains("out of order"), "{why}");
    for kind in [kind::ACCOUNTS, kind::SLOTS, kind::CODE] {
        let why = refusal(|_, frames| {
            let at = frames.iter().position(|(of, _)| *of == kind).unwrap();
            frames.insert(at, frames[at].clone());
        });
        assert!(why.contains("a key out of order"), "{why}");
    }
    let why = refusal(|_, frames| frames.insert(4, (99, vec![])));
    assert!(why.contains("unknown kind") || why.contains("out of order"), "{why}");
}

#[test]
fn a_certificate_of_those_who_no_longer_validate() {
    let why = refusal(|chain, frames| {
        let network = chain.ledger.genesis_hash();
        edit_head(frames, |head| {
            let Certificate { height, block, .. } = head.block.certificate;
            let bytes = Vote::signed_bytes(VoteKind::Precommit, height, 0, Some(block));
            let mut signatures: Vec<_> = [1, 2]
                .map(|n| ValidatorSignature {
                    validator: secret(n).public(),
                    signature: secret(n).sign(Domain::Vote, &network, &bytes),
                })
                .into();
            signatures.sort_by_key(|signed| signed.validator);
            head.block.certificate.signatures = signatures;
        });
    });
    assert!(why.contains("not in that height's validator set"), "{why}");
}

/// What is signed is a hash: of a true certificate and another header nothing is proven.
#[test]
fn a_certificate_beside_another_header() {
    let why = refusal(|_, frames| edit_head(frames, |head| head.block.header.gas_used += 1));
    assert!(why.contains("the certificate is not of block"), "{why}");
    let why = refusal(|_, frames| edit_handover(frames, |it| it.header.gas_used += 1));
    assert!(why.contains("the certificate is not of block"), "{why}");
}

#[test]
fn a_change_of_validators_that_is_hidden_or_not_proven() {
    let why = refusal(|_, frames| frames.retain(|(of, _)| *of != kind::HANDOVER));
    assert!(why.contains("not in that height's validator set"), "{why}");
    let why = refusal(|_, frames| edit_handover(frames, |handover| _ = handover.witness.pop()));
    assert!(why.contains("it lacks trie node"), "{why}");
    let why = refusal(|_, frames| edit_handover(frames, |handover| handover.witness.clear()));
    assert!(why.contains("not"), "{why}");
    let why = refusal(|_, frames| {
        edit_handover(frames, |handover| {
            let node = handover.witness.pop().unwrap();
            let mut bytes = node.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            handover.witness.push(bytes.into());
        });
    });
    assert!(why.contains("it lacks trie node"), "{why}");
    let why = refusal(|_, frames| {
        let at = frames.iter().position(|(of, _)| *of == kind::HANDOVER).unwrap();
        frames.insert(at, frames[at].clone());
    });
    assert!(why.contains("out of order"), "{why}");
}

/// The newest change is left out, and those of before sign: the state itself
/// names others.
#[test]
fn the_state_must_name_the_validators_that_the_way_led_to() {
    let chain = SourceChain::busy();
    let handovers = chain.ledger.snapshot().view.handovers().unwrap();
    let height = *handovers.iter().next().unwrap();
    let mut frames = frames(&state_file(&chain.ledger, height));
    edit_head(&mut frames, |head| head.block.witness.clear());
    let disk = MemDisk::default();
    let error = restore(&disk, &spec(), &*file(&frames), None).unwrap_err();
    assert!(error.to_string().contains("leaves out a change"), "{error}");
    let open = || Ledger::open(Arc::new(disk.clone()), spec(), History::Archive);
    assert!(matches!(open(), Err(LedgerError::Unfinished)));

    // A newcomer that has met liars only begins at genesis all the same.
    abandon(&disk).unwrap();
    assert_eq!(standing(&disk).unwrap(), ChainOnDisk::Nothing { unfinished: false });
    drop(open().unwrap());
    // And never drops a chain.
    let disk = restored(&state_file(&chain.ledger, height));
    abandon(&disk).unwrap();
    assert!(matches!(standing(&disk).unwrap(), ChainOnDisk::Chain { .. }));
}

/// A node with other turns would refuse the network's proposals.
#[test]
fn turns_that_the_block_does_not_bind() {
    let edits: [fn(&mut Vec<u8>); 3] = [|t| t[15] ^= 1, |t| t.truncate(16), |t| t.clear()];
    for edit in edits {
        let why = refusal(|_, frames| {
            edit_head(frames, |head| {
                let mut turns = head.turns.to_vec();
                edit(&mut turns);
                head.turns = turns.into();
            });
        });
        assert!(why.contains("does not bind its turns"), "{why}");
    }
}

#[test]
fn a_record_longer_than_any_node_writes() {
    for of in [kind::HEAD, kind::ANCESTORS, kind::HANDOVER, kind::ACCOUNTS, kind::SLOTS, kind::CODE]
    {
        let longest = (STATE_FILE.longest)(of);
        let why = refusal(|_, frames| body(frames, of).resize(longest, 0));
        assert!(why.contains("longer than any"), "{of}: {why}");
    }
    // It is refused by its length: nothing of it need be there.
    let head = [&STATE_FILE.magic[..], &(64u32 << 20).to_le_bytes(), &[0; 4], &[kind::HEAD]];
    let error = prove(&spec(), &*head.concat()).unwrap_err();
    assert!(error.to_string().contains("longer than any"), "{error}");
}

#[test]
fn a_witness_with_more_than_it_proves() {
    let edits: [fn(&mut Vec<Bytes>); 3] = [
        // A node that nothing reads, one twice, and two in another order.
        |witness| witness.insert(0, vec![0; 500].into()),
        |witness| witness.push(witness[0].clone()),
        |witness| witness.swap(0, 1),
    ];
    for edit in edits {
        let why = refusal(|_, frames| edit_handover(frames, |it| edit(&mut it.witness)));
        assert!(why.contains("holds more than it proves"), "{why}");
    }
    // Nodes of a byte would take many times their bytes once they are decoded.
    for len in [1, 31, 533] {
        let why = refusal(|_, frames| {
            edit_handover(frames, |it| it.witness.push(vec![1; len].into()));
        });
        assert!(why.contains("cannot be decoded"), "{len}: {why}");
    }
}

/// So a file could go on with true blocks for as long as anybody looks at its beginning.
#[test]
fn a_handover_that_changes_nothing() {
    for proves in [false, true] {
        let why = refusal(|chain, frames| {
            let ledger = Ledger::open(Arc::new(MemDisk::default()), spec(), History::Archive);
            let mut ledger = ledger.unwrap();
            chain.replay(&mut ledger, 1);
            let proof = || prove_validators(&spec(), &ledger.snapshot()).unwrap();
            let witness = if proves { proof() } else { Vec::new() };
            let (block, certificate) = chain.decided[0].clone();
            let handover = Handover { header: block.header.clone(), certificate, witness };
            let at = frames.iter().position(|(of, _)| *of == kind::HANDOVER).unwrap();
            frames.insert(at, (kind::HANDOVER, alloy_rlp::encode(handover)));
        });
        assert!(why.contains("does not change the validators"), "{why}");
    }
}

/// The beginning of a file proves its block, and a block that nobody signed is refused before
/// anything of the state is read.
#[test]
fn a_block_is_proven_by_the_beginning_of_its_file() {
    let chain = SourceChain::busy();
    let height = chain.tip() - 1;
    let all = frames(&state_file(&chain.ledger, height));
    let rows = all.iter().position(|(kind, _)| *kind > kind::HANDOVER).unwrap();
    let hash = chain.decided[height as usize - 1].0.hash;
    let beginning = |all: &FileFrames| file(&all[..=rows].to_vec());
    assert_eq!(prove(&spec(), &*beginning(&all)).unwrap(), (height, hash));
    let cut = file(&all[..rows].to_vec());
    assert!(matches!(prove(&spec(), &*cut), Err(JoinError::Truncated { .. })));
    let mut unsigned = all.clone();
    edit_head(&mut unsigned, |head| head.block.certificate.signatures.truncate(1));
    let error = prove(&spec(), &*beginning(&unsigned)).unwrap_err();
    assert!(error.to_string().contains("not more than two thirds"), "{error}");
}

#[test]
fn headers_that_do_not_lead_to_the_block() {
    let edit = |edit: fn(&mut Vec<trefoil_types::Header>)| {
        move |_: &SourceChain, frames: &mut FileFrames| {
            let body = body(frames, kind::ANCESTORS);
            let mut headers = alloy_rlp::decode_exact(&*body).unwrap();
            edit(&mut headers);
            *body = alloy_rlp::encode(headers);
        }
    };
    let edits: [fn(&mut Vec<trefoil_types::Header>); 3] =
        [|h| _ = h.remove(0), |h| h[2].gas_used += 1, |h| h.clear()];
    for change in edits {
        let why = refusal(edit(change));
        assert!(why.contains("headers do not lead"), "{why}");
    }
}

/// A disk on which so many bytes may still be written.
#[derive(Clone, Debug)]
struct SmallDisk {
    disk: MemDisk,
    room: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct SmallFile(Arc<dyn DiskFile>, Arc<AtomicUsize>);

impl Disk for SmallDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SmallFile(self.disk.open(name)?, self.room.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

impl DiskFile for SmallFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let less = |room: usize| room.checked_sub(data.len());
        self.1.fetch_update(Relaxed, Relaxed, less).map_err(|_| io::ErrorKind::StorageFull)?;
        self.0.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A row of 6 bytes takes thirty times as much on the disk.
#[test]
fn a_state_that_does_not_fit_is_told_from_a_disk_that_fails() {
    const ROWS: u64 = 20_000;
    let chain = SourceChain::busy();
    let mut frames = frames(&state_file(&chain.ledger, chain.tip() - 1));
    let honest = file(&frames);
    let rows = body(&mut frames, kind::SLOTS);
    let SlotRows { address, .. } = SlotRows::decode(&mut &rows[..]).unwrap();
    let slot = |slot| SlotRow { slot: U256::from(slot), value: U256::from(1) };
    *rows = alloy_rlp::encode(SlotRows { address, slots: (0..ROWS).map(slot).collect() });
    let end = body(&mut frames, kind::END);
    let counts: StateCounts = alloy_rlp::decode_exact(&*end).unwrap();
    *end = alloy_rlp::encode(StateCounts { slots: ROWS, ..counts });
    let small =
        |room| SmallDisk { disk: MemDisk::default(), room: Arc::new(AtomicUsize::new(room)) };
    // The room ends in the first row, in the rows, when they are sorted, in the trie, or nowhere.
    let mut lacked = 0;
    for room in (0..12).map(|n| n << 20) {
        let disk = small(room);
        let error = restore(&disk, &spec(), &*file(&frames), None).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.lacks_room(), text.contains("free some space"), "{room}: {text}");
        assert!(error.lacks_room() || text.contains("the root"), "{room}: {text}");
        lacked += usize::from(error.lacks_room());
        // Half a state is in nobody's way; what is kept free is there for its removal.
        abandon(&disk.disk).unwrap();
        assert_eq!(standing(&disk.disk).unwrap(), ChainOnDisk::Nothing { unfinished: false });
        assert!(!disk.list().unwrap().contains(&"sorting.redb".into()));
        restore(&disk.disk, &spec(), &*honest, None).unwrap();
    }
    assert!((2..12).contains(&lacked), "{lacked}");
}
