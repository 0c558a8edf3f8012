//! One rule for every message, in the code and in `docs/wire.md`; and what a message may
//! hold is known before it is decoded.

use std::collections::BTreeSet;

use alloy_consensus::{BlockBody, SignableTransaction as _, TxEip1559};
use alloy_eips::{
    eip2930::AccessListItem,
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::U256;
use alloy_rlp::Encodable as _;

use super::{
    message_rule::{self, ByteBudget, MessageRule},
    *,
};

#[test]
fn no_message_is_without_a_rule() {
    let kinds: BTreeSet<u8> = message_rule::RULES.iter().map(|rule| rule.kind).collect();
    assert_eq!(kinds.len(), message_rule::RULES.len(), "a type has one rule");
    let said: BTreeSet<u8> = messages().iter().map(|message| message.rule().kind).collect();
    assert_eq!(said, kinds);
    for message in messages() {
        let (bytes, rule) = (message.encode(), message.rule());
        assert_eq!((bytes[0], bytes.len()), (rule.kind, message.encoded_len()));
        assert!(bytes.len() <= rule.bytes_max, "{}", rule.name);
        assert_eq!(message_rule::of_kind(rule.kind), Some(rule));
        // What is held, or answered, is bounded for a peer and for all.
        for ByteBudget { peer, all } in [rule.held, rule.answers] {
            assert!(peer <= all, "{}", rule.name);
        }
    }
}

/// A row of the table in `docs/wire.md`.
fn row(rule: &MessageRule) -> String {
    let size = |bytes: usize| match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    };
    let budget = |ByteBudget { peer, all }| match all {
        0 => "–".to_owned(),
        _ => format!("{}, {}", size(peer), size(all)),
    };
    let or_none = |text: String| if text.is_empty() { "–".to_owned() } else { text };
    let sends = if rule.relayed { "relayed once".to_owned() } else { budget(rule.answers) };
    let offences: Vec<&str> = rule.offences.iter().map(|offence| offence.rule().name).collect();
    format!(
        "| {} | `{}` | {} | {} | {} | {} | {} | {} | {sends} | {} | {} |",
        rule.kind,
        rule.name,
        rule.from.name(),
        size(rule.bytes_max),
        rule.signatures,
        rule.recoveries,
        budget(rule.held),
        or_none(rule.until.to_owned()),
        rule.at_bound,
        or_none(offences.join(", ")),
    )
}

/// A peer that cannot be judged may bring blocks, and gets none.
#[test]
fn only_tips_and_blocks_bring_blocks() {
    let brings = messages().into_iter().filter(Message::brings_blocks);
    let names: Vec<_> = brings.map(|message| message.rule().name).collect();
    assert_eq!(names, ["Tip", "Blocks"]);
}

#[test]
fn the_document_has_the_rules_of_the_code() {
    let document = include_str!("../../../../docs/wire.md");
    let (_, table) = document.split_once("## Rules of the messages").expect("the section");
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let rows: Vec<&str> = rows.take(message_rule::RULES.len()).collect();
    let expected: Vec<String> = message_rule::RULES.iter().map(row).collect();
    assert_eq!(rows, expected, "\n{}", expected.join("\n"));
}

/// 990 kB named one transaction of 128 KiB 30,000 times, and 3.9 GB were hashed for it.
#[test]
fn a_proposal_that_names_a_transaction_twice_is_malformed() {
    let named = |hashes: &[u8]| {
        Message::Proposal(Box::new(ProposedBlock {
            proposal: Proposal::sign(&key(1), &NETWORK, 3, 2, B256::ZERO, None),
            header: Header::default(),
            tx_hashes: hashes.iter().map(|n| B256::repeat_byte(*n)).collect(),
            attached: Attached::default(),
            bytes: 0,
        }))
    };
    for once in [&[][..], &[1], &[2, 1], &[3, 1, 2]] {
        let message = named(once);
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
    for twice in [&[1, 1][..], &[1, 2, 1], &[2, 1, 3, 1]] {
        let decoded = Message::decode(&named(twice).encode());
        assert_eq!(decoded, Err(MessageError::NamedTwice(message_rule::PROPOSAL.kind)));
    }
}

/// The longest that an honest node sends fits.
#[test]
fn the_longest_honest_messages_are_within_their_rules() {
    let signed = certificate(&[1]).signatures[0];
    let mut full = certificate(&[1]);
    full.signatures = vec![signed; limits::VALIDATORS_MAX];
    let hashes =
        |count| (0..count).map(|n| B256::from(U256::MAX - U256::from(n))).collect::<Vec<_>>();
    let conflict = |block| Proposal::sign(&key(1), &NETWORK, u64::MAX, u32::MAX, block, Some(9));
    let evidence =
        Evidence::of_proposals(conflict(B256::ZERO), conflict(B256::repeat_byte(1))).unwrap();
    let ValidatorSignature { validator, signature } = signed;
    let vote = RoundVote { kind: VoteKind::Prevote, block: Some(NETWORK), validator, signature };
    let (height, round) = (u64::MAX, u32::MAX);
    let longest = [
        Message::Vote(Vote::sign(
            &key(1),
            &NETWORK,
            VoteKind::Prevote,
            height,
            round,
            Some(NETWORK),
        )),
        Message::Proposal(Box::new(ProposedBlock {
            proposal: conflict(NETWORK),
            header: Header::default(),
            tx_hashes: hashes(limits::BLOCK_TXS_MAX),
            attached: Attached {
                evidence: vec![evidence.clone(); limits::BLOCK_EVIDENCE_MAX],
                parent_certificate: Some(full.clone()),
            },
            bytes: u64::MAX,
        })),
        Message::PolkaCertificate(PolkaCertificate {
            height,
            round,
            block: NETWORK,
            signatures: full.signatures.clone(),
        }),
        Message::RoundCertificate(RoundCertificate {
            height,
            round,
            skip: true,
            votes: vec![vote; 2 * limits::VALIDATORS_MAX],
        }),
        Message::Tip(Tip { height, hash: NETWORK, round }),
        Message::GetBlocks(GetBlocks { from: height, count: height }),
        Message::GetBodies(GetBodies { block: NETWORK, tx_hashes: hashes(limits::BLOCK_TXS_MAX) }),
        Message::TxHashes(hashes(limits::TX_HASHES_MAX)),
        Message::GetTxs(hashes(limits::TX_HASHES_MAX)),
        Message::Txs(vec![vec![7u8; limits::TXS_BYTES_MAX / 4_096].into(); limits::TX_HASHES_MAX]),
        Message::Evidence(Box::new(evidence)),
    ];
    for message in longest {
        assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
    }
}

/// A node that counts bytes only fills an answer of 4 MiB with 37,000 transfers, and its last
/// block may be a full one. Its peers once banned it for more than 30,000.
#[test]
fn an_answer_full_of_the_shortest_transfers_is_read() {
    let large = U256::from(1) << 255;
    let signature = alloy_primitives::Signature::new(large, large, false);
    let transfer = TxEip1559 { chain_id: 1, to: Address::ZERO.into(), ..TxEip1559::default() };
    let transfer = TxEnvelope::from(transfer.into_signed(signature));
    let block = |txs: usize| {
        let transactions = vec![transfer.clone(); txs];
        let withdrawals = Some(Default::default());
        let body = BlockBody { transactions, ommers: vec![], withdrawals };
        let block = Block { header: Header::default(), body };
        CertifiedBlock { block, certificate: certificate(&[1]), attached: Attached::default() }
    };
    let answer = |blocks| Message::Blocks(Blocks { from: 1, blocks });
    let count = limits::CATCH_UP_BYTES_MAX / answer(vec![block(1_000)]).encoded_len();
    assert!(count * 1_000 > limits::CATCH_UP_TXS_MAX, "{count}");
    let mut blocks = vec![block(1_000); count];
    blocks.push(block(limits::BLOCK_TXS_MAX));
    let message = answer(blocks);
    assert!(Message::decode(&message.encode()).is_ok_and(|decoded| decoded == message));
}

#[test]
fn what_is_longer_than_its_rule_is_not_looked_at() {
    for rule in message_rule::RULES {
        let bytes = [&[rule.kind][..], &vec![0xc0; rule.bytes_max]].concat();
        let expected =
            MessageError::TooLarge { kind: rule.kind, bytes: bytes.len(), max: rule.bytes_max };
        assert_eq!(Message::decode(&bytes), Err(expected));
    }
}

/// The RLP of a list of these items.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend(payload);
    out
}

/// A list of so many empty lists: one byte each on the wire.
fn empties(count: usize) -> Vec<u8> {
    list(&[vec![0xc0; count]])
}

/// The shortest lists that are long enough for transactions, and are none.
fn shortest(count: usize) -> Vec<u8> {
    list(&[list(&[vec![0xc0; 9]]).repeat(count)])
}

/// A commit certificate with so many signatures, of nobody.
fn unsigned(signatures: usize) -> Vec<u8> {
    list(&[vec![1], vec![1], vec![1], empties(signatures)])
}

fn attached(evidence: usize, signatures: usize) -> Vec<u8> {
    list(&[empties(evidence), unsigned(signatures)])
}

/// A block of block sync with these transactions.
fn certified(txs: Vec<u8>) -> Vec<u8> {
    let block = list(&[empties(0), txs, empties(0), empties(0)]);
    list(&[block, unsigned(1), attached(0, 1)])
}

fn blocks(blocks: &[Vec<u8>]) -> Vec<u8> {
    [vec![message_rule::BLOCKS.kind], list(&[vec![1], list(blocks)])].concat()
}

// A list that is counted after it is decoded costs its memory first: 9 MiB of empty
// transactions were 500 MB. That none of these decodes shows that they were counted before:
// an empty list is no signature or hash, and one of empty lists no transaction.
#[test]
fn every_list_is_counted_before_it_is_decoded() {
    let (txs, validators) = (limits::BLOCK_TXS_MAX, limits::VALIDATORS_MAX);
    let proposal = |hashes, evidence, signatures| {
        let (signed, header) = (empties(0), empties(0));
        list(&[signed, header, empties(hashes), attached(evidence, signatures), vec![1]])
    };
    let of_block = |items| list(&[vec![1], items]);
    let of_rule = |rule: MessageRule, body: Vec<u8>| [vec![rule.kind], body].concat();
    let with_certificate = |certificate, attached| {
        let block = list(&[empties(0), empties(0), empties(0), empties(0)]);
        blocks(&[list(&[block, certificate, attached])])
    };
    let evidence = limits::BLOCK_EVIDENCE_MAX;
    let (half, read) = (certified(shortest(txs / 2 + 1)), limits::CATCH_UP_TXS_READ_MAX);
    let too_many = [
        (of_rule(message_rule::PROPOSAL, proposal(txs + 1, 0, 0)), txs),
        (of_rule(message_rule::PROPOSAL, proposal(0, evidence + 1, 0)), evidence),
        (of_rule(message_rule::PROPOSAL, proposal(0, 0, validators + 1)), validators),
        (of_rule(message_rule::POLKA, unsigned(validators + 1)), validators),
        (of_rule(message_rule::ROUND, unsigned(2 * validators + 1)), 2 * validators),
        (of_rule(message_rule::GET_BODIES, of_block(empties(txs + 1))), txs),
        (of_rule(message_rule::BODIES, of_block(shortest(txs + 1))), txs),
        (of_rule(message_rule::TX_HASHES, empties(4_097)), 4_096),
        (of_rule(message_rule::GET_TXS, empties(4_097)), 4_096),
        (of_rule(message_rule::TXS, shortest(4_097)), 4_096),
        (blocks(&vec![certified(empties(0)); 257]), 256),
        (blocks(&[certified(shortest(txs + 1))]), txs),
        // All blocks together: each alone has few.
        (blocks(&vec![half; read / (txs / 2 + 1) + 1]), read),
        (blocks(&[certified(shortest(900_000))]), txs),
        (blocks(&[certified(list(&[empties(limits::TX_BYTES_MAX + 1)]))]), limits::TX_BYTES_MAX),
        (with_certificate(unsigned(validators + 1), attached(0, 0)), validators),
        (with_certificate(unsigned(0), attached(evidence + 1, 0)), evidence),
        (with_certificate(unsigned(0), attached(0, validators + 1)), validators),
    ];
    for (bytes, max) in too_many {
        let kind = bytes[0];
        assert_eq!(Message::decode(&bytes), Err(MessageError::TooMany { kind, max }));
    }
    // Ommers and withdrawals.
    for (ommers, withdrawals) in [(1, 0), (0, 1)] {
        let block = list(&[empties(0), empties(0), empties(ommers), empties(withdrawals)]);
        let bytes = blocks(&[list(&[block, unsigned(0), attached(0, 0)])]);
        let none = MessageError::TooMany { kind: bytes[0], max: 0 };
        assert_eq!(Message::decode(&bytes), Err(none));
    }
    // At the limit they are looked at, and are nothing.
    for bytes in [
        blocks(&[certified(shortest(txs))]),
        of_rule(message_rule::PROPOSAL, proposal(txs, evidence, validators)),
        of_rule(message_rule::TXS, shortest(4_096)),
    ] {
        let refused = Message::decode(&bytes);
        assert!(matches!(refused, Err(MessageError::Malformed { .. })), "{refused:?}");
    }
}

/// Attack: 9 MiB of items of one byte, each of which takes an allocation.
#[test]
fn what_is_shorter_than_any_transaction_is_not_decoded() {
    let too_short = Err(alloy_rlp::Error::InputTooShort);
    for (rule, body) in [
        (message_rule::TXS, list(&[list(&[vec![7; 8]])])),
        (message_rule::BODIES, list(&[vec![1], list(&[vec![0x80]])])),
        (message_rule::BLOCKS, list(&[vec![1], list(&[certified(list(&[vec![0xc0]]))])])),
    ] {
        let refused = Message::decode(&[vec![rule.kind], body].concat());
        let refused = refused.map_err(|error| match error {
            MessageError::Malformed { reason, .. } => reason,
            other => panic!("{other}"),
        });
        assert_eq!(refused, too_short, "{}", rule.name);
    }
}

/// No access list and no authorisation uses less gas in a block than it is counted for.
#[test]
fn the_least_gas_of_a_transaction_follows_from_its_bytes() {
    let of = |access: usize, authorisations: usize| {
        let lists = [access, authorisations].map(|bytes| list(&vec![vec![7]; bytes]));
        let body = list(&[vec![vec![0x80]; 8], lists.to_vec()].concat());
        least_gas(&[vec![4], body].concat())
    };
    assert_eq!(of(0, 0), 21_000 * 4 / 5);
    for slots in [0, 1, 2, 10, 1_000, 4_000] {
        let item = AccessListItem {
            address: Address::repeat_byte(0xff),
            storage_keys: vec![B256::repeat_byte(0xff); slots],
        };
        let gas = 21_000 + 2_400 + 1_900 * slots as u64;
        assert!(of(item.length(), 0) <= gas * 4 / 5, "{slots}");
    }
    let longest =
        Authorization { chain_id: U256::MAX, address: Address::repeat_byte(0xff), nonce: u64::MAX };
    let longest = SignedAuthorization::new_unchecked(longest, u8::MAX, U256::MAX, U256::MAX);
    assert_eq!(longest.length(), 133);
    assert!(of(0, longest.length()) <= (21_000 + 25_000) * 4 / 5);
}

/// What waits for the node is charged as it is in memory.
#[test]
fn many_short_transactions_take_more_than_their_bytes() {
    let of_txs = |count: usize, bytes: usize| Message::Txs(vec![vec![7; bytes].into(); count]);
    let unpacked = |message: Message| Message::unpacked_bytes(&message.encode());
    assert_eq!(unpacked(of_txs(4_096, 9)), 4_096 * 64);
    assert_eq!(unpacked(of_txs(10, 100_000)), 10 * 64);
    let in_block = blocks(&[certified(shortest(100))]);
    assert_eq!(Message::unpacked_bytes(&in_block), 100 * 512);
    // Attack: what a transaction holds takes more than it has on the wire, too.
    for (kind, fields, beyond) in [(1, 7, 4_000), (2, 8, 4_000), (4, 8, 13_000), (5, 8, 0)] {
        let lists = [(); 2].map(|()| list(&vec![vec![7]; 1_000]));
        let body = list(&[vec![vec![0x80]; fields], lists.to_vec()].concat());
        let raw = [vec![kind], body].concat();
        assert_eq!(decoded_bytes(&raw), raw.len() + beyond, "{kind}");
        assert_eq!(decoded_bytes(&raw[..raw.len() - 1]), raw.len() - 1, "it is none");
        let mut in_list = vec![];
        alloy_rlp::Encodable::encode(&raw[..], &mut in_list);
        let in_block = blocks(&[certified(list(&[in_list]))]);
        assert_eq!(Message::unpacked_bytes(&in_block), 512 + beyond, "{kind}");
    }
    let others = messages()
        .into_iter()
        .filter(|message| !matches!(message, Message::Txs(_) | Message::Bodies(_)));
    for message in others {
        assert_eq!(unpacked(message), 0);
    }
    assert_eq!(Message::unpacked_bytes(&[]), 0);
}
