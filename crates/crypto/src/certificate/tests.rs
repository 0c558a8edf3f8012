//! The profile, kept and broken.

use std::process::{Command, Stdio};

use der::{
    Decode, Encode,
    asn1::{BitString, Ia5String, ObjectIdentifier, OctetString},
    oid::AssociatedOid as _,
};
use proptest::prelude::*;
use x509_cert::{
    Version,
    ext::{
        Extension,
        pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectAltName, name::GeneralName},
    },
    name::Name,
    serial_number::SerialNumber,
    time::Validity,
};

use super::{profile::TbsCertificate, *};

const GOLDEN: &str = include_str!("../../../../vectors/node-certificate.hex");

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn claims() -> Claims {
    let mut serial = [0; 20];
    serial[12..].copy_from_slice(&[0x8f, 2, 3, 4, 5, 6, 7, 8]);
    Claims {
        genesis: B256::repeat_byte(0xab),
        organisation: 7,
        peer: PeerId(key(2).public()),
        role: Role::Validator,
        serial: Serial(serial),
        // 2026-01-01 and, as a GeneralizedTime, 2051-01-01.
        not_before: 1_767_225_600,
        not_after: 2_556_144_000,
    }
}

fn good() -> NodeCertificate {
    NodeCertificate::issue(&claims(), &key(1)).expect("sound claims")
}

#[test]
fn a_certificate_has_the_bytes_that_are_checked_in_and_reads_back() {
    let certificate = good();
    let golden: String = GOLDEN.split_whitespace().collect();
    let der = certificate.to_der();
    assert_eq!(alloy_primitives::hex::encode(&der), golden, "vectors/node-certificate.hex");
    assert!(der.len() <= CERTIFICATE_BYTES_MAX / 2, "{} bytes", der.len());
    assert_eq!(NodeCertificate::decode(&der).as_ref(), Ok(&certificate));
    assert_eq!(*certificate, claims());
    assert!(certificate.is_signed_by(&key(1).public()));
    assert!(!certificate.is_signed_by(&key(2).public()));
}

#[test]
fn what_was_signed_elsewhere_is_the_same_certificate() {
    let signed = claims().to_be_signed().unwrap();
    let certificate = NodeCertificate::assemble(&signed, &key(1).sign_plain(&signed));
    assert_eq!(certificate, Ok(good()));
    let unsigned = NodeCertificate::assemble(&signed, &[0; 64]).unwrap();
    assert!(!unsigned.is_signed_by(&key(1).public()));
}

#[test]
fn what_x509_cannot_say_is_not_issued() {
    let zero = Claims { serial: Serial([0; 20]), ..claims() };
    assert_eq!(zero.to_be_signed(), Err(CertificateError::Serial));
    let negative = Claims { serial: Serial([0x80; 20]), ..claims() };
    assert_eq!(negative.to_be_signed(), Err(CertificateError::Serial));
    let late = Claims { not_after: u64::MAX, ..claims() };
    assert_eq!(late.to_be_signed(), Err(CertificateError::Time(u64::MAX)));
    let empty = Claims { not_before: 5, not_after: 5, ..claims() };
    let refused = NodeCertificate::issue(&empty, &key(1));
    assert_eq!(refused, Err(CertificateError::Validity { from: 5, until: 5 }));
    let nobody = Claims { organisation: 0, ..claims() };
    assert!(matches!(NodeCertificate::issue(&nobody, &key(1)), Err(CertificateError::Uri(_))));
}

/// A certificate whose signed part was changed before it was signed.
fn broken(change: impl FnOnce(&mut TbsCertificate)) -> Result<NodeCertificate, CertificateError> {
    let mut signed = TbsCertificate::from_der(&claims().to_be_signed().unwrap()).unwrap();
    change(&mut signed);
    let signed = signed.to_der().unwrap();
    NodeCertificate::assemble(&signed, &key(1).sign_plain(&signed))
}

fn extension(oid: ObjectIdentifier, critical: bool, value: Vec<u8>) -> Extension {
    Extension { extn_id: oid, critical, extn_value: OctetString::new(value).unwrap() }
}

fn named(names: Vec<GeneralName>) -> Result<NodeCertificate, CertificateError> {
    broken(|signed| {
        let names = extension(SubjectAltName::OID, false, SubjectAltName(names).to_der().unwrap());
        *signed.extensions.as_mut().unwrap().last_mut().unwrap() = names;
    })
}

fn uri(text: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(Ia5String::new(text).unwrap())
}

fn with(extension: Extension) -> Result<NodeCertificate, CertificateError> {
    broken(|signed| {
        let extensions = signed.extensions.as_mut().unwrap();
        extensions.retain(|e| e.extn_id != extension.extn_id);
        extensions.push(extension);
    })
}

/// A fault, its result, and whether an error is the one of that fault.
type Breach =
    (&'static str, Result<NodeCertificate, CertificateError>, fn(&CertificateError) -> bool);

#[test]
fn each_breach_of_the_profile_is_refused_by_its_name() {
    use CertificateError as E;
    let ours = claims().uri();
    let peer = claims().peer.to_string();
    let other = PeerId(key(3).public());
    let unknown = ObjectIdentifier::new_unwrap("1.2.3.4");
    let rsa = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
    let long = format!("CN={}", "x".repeat(300)).parse().unwrap();
    let usage = |usages: KeyUsages| {
        extension(KeyUsage::OID, true, KeyUsage(usages.into()).to_der().unwrap())
    };
    let ca = BasicConstraints { ca: true, path_len_constraint: None };
    let negative = SerialNumber::from_der(&[2, 2, 0x80, 1]).unwrap();

    let table: Vec<Breach> = vec![
        ("version 1", broken(|s| s.version = Version::V1), |e| *e == E::Version),
        ("RSA", broken(|s| s.signature.oid = rsa), |e| *e == E::Algorithm("signature")),
        ("RSA key", broken(|s| s.subject_public_key_info.algorithm.oid = rsa), |e| {
            *e == E::Algorithm("key")
        }),
        (
            "small-order key",
            broken(|s| {
                s.subject_public_key_info.subject_public_key =
                    BitString::from_bytes(&[0; 32]).unwrap();
            }),
            |e| *e == E::Algorithm("key"),
        ),
        (
            "another key",
            broken(|s| {
                let key = other.0.0.as_slice();
                s.subject_public_key_info.subject_public_key = BitString::from_bytes(key).unwrap();
            }),
            |e| matches!(e, E::Key { .. }),
        ),
        ("serial 0", broken(|s| s.serial_number = SerialNumber::new(&[0]).unwrap()), |e| {
            *e == E::Serial
        }),
        ("a negative serial", broken(|s| s.serial_number = negative), |e| *e == E::Serial),
        ("long name", broken(|s| s.issuer = long), |e| matches!(e, E::Name("issuer's", _))),
        ("no name", broken(|s| s.subject = Name::from_der(&[0x30, 0]).unwrap()), |e| {
            matches!(e, E::Name("subject's", _))
        }),
        (
            "times exchanged",
            broken(|s| {
                s.validity = Validity::new(s.validity.not_after, s.validity.not_before);
            }),
            |e| matches!(e, E::Validity { .. }),
        ),
        ("a CA", with(extension(BasicConstraints::OID, true, ca.to_der().unwrap())), |e| {
            *e == E::Authority
        }),
        ("signs certificates", with(usage(KeyUsages::KeyCertSign)), |e| *e == E::Authority),
        ("signs nothing", with(usage(KeyUsages::KeyAgreement)), |e| *e == E::KeyUsage),
        (
            "unknown critical",
            with(extension(unknown, true, vec![5, 0])),
            |e| matches!(e, E::Critical(oid) if oid == "1.2.3.4"),
        ),
        (
            "twice",
            broken(|s| {
                let extensions = s.extensions.as_mut().unwrap();
                extensions.push(extensions[2].clone());
            }),
            |e| matches!(e, E::Twice(_)),
        ),
        ("no extensions", broken(|s| s.extensions = None), |e| *e == E::Names(0)),
        ("two URIs", named(vec![uri(&ours), uri(&ours)]), |e| *e == E::Names(2)),
        (
            "a DNS name beside it",
            named(vec![uri(&ours), GeneralName::DnsName(Ia5String::new("a.b").unwrap())]),
            |e| *e == E::Names(2),
        ),
        ("a DNS name", named(vec![GeneralName::DnsName(Ia5String::new("a.b").unwrap())]), |e| {
            *e == E::NotUri
        }),
        ("another peer's URI", named(vec![uri(&ours.replace(&peer, &other.to_string()))]), |e| {
            matches!(e, E::Key { .. })
        }),
        ("leading zero", named(vec![uri(&ours.replace("/7/", "/07/"))]), is_uri),
        ("organisation 0", named(vec![uri(&ours.replace("/7/", "/0/"))]), is_uri),
        ("beyond u32", named(vec![uri(&ours.replace("/7/", "/4294967296/"))]), is_uri),
        ("large hex", named(vec![uri(&ours.replace("ab", "AB"))]), is_uri),
        ("0x", named(vec![uri(&ours.replace("//", "//0x"))]), is_uri),
        ("short genesis", named(vec![uri(&ours.replacen("ab", "", 1))]), is_uri),
        ("another role", named(vec![uri(&ours.replace("validator", "owner"))]), is_uri),
        ("a tail", named(vec![uri(&format!("{ours}/"))]), is_uri),
        ("another scheme", named(vec![uri(&ours.replace("trefoil", "https"))]), is_uri),
    ];
    for (what, refused, expected) in table {
        let error = refused.expect_err(what);
        assert!(expected(&error), "{what}: {error:?}");
    }
    // An extension that is not critical may be there, within the length.
    let known = with(extension(unknown, false, vec![5, 0])).expect("an ignored extension");
    assert_eq!(*known, claims());
    let long = with(extension(unknown, false, vec![0; 800]));
    assert!(matches!(long, Err(CertificateError::TooLong(_))), "{long:?}");
}

fn is_uri(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Uri(_))
}

#[test]
fn no_other_encoding_of_a_certificate_is_taken() {
    let der = good().to_der();
    let tail = [der.as_slice(), &[0]].concat();
    assert!(NodeCertificate::decode(&tail).is_err());
    assert!(NodeCertificate::decode(&der[..der.len() - 1]).is_err());
    // `critical` is FALSE by default: DER does not write it.
    let at = der.windows(5).position(|w| w == [6, 3, 0x55, 0x1d, 0x11]).expect("the URI") + 5;
    let mut explicit = der.clone();
    explicit.splice(at..at, [1, 1, 0]);
    assert!(NodeCertificate::decode(&explicit).is_err());
}

/// Whatever byte is changed: it is refused, or nobody signed it.
#[test]
fn a_changed_byte_is_refused_or_not_signed() {
    let der = good().to_der();
    let ca = key(1).public();
    let mut decoded = 0;
    for at in 0..der.len() {
        for change in [1, 0x80, 0xff, 0x20] {
            let mut other = der.clone();
            other[at] ^= change;
            if let Ok(certificate) = NodeCertificate::decode(&other) {
                decoded += 1;
                assert!(!certificate.is_signed_by(&ca), "byte {at} ^ {change:#x}");
                assert_eq!(certificate.to_der(), other);
            }
        }
    }
    assert!(decoded >= 200, "the signature's bytes at least decode: {decoded}");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let _ = NodeCertificate::decode(&bytes);
    }

    #[test]
    fn damaged_bytes_are_refused_or_not_signed(
        changes in proptest::collection::vec((0_usize..420, any::<u8>()), 1..6),
        cut in 0_usize..500,
    ) {
        let der = good().to_der();
        let mut other = der.clone();
        for (at, byte) in changes {
            let at = at % other.len();
            other[at] = byte;
        }
        other.truncate(der.len() - cut.saturating_sub(400).min(der.len()));
        if let Ok(certificate) = NodeCertificate::decode(&other) {
            prop_assert_eq!(&certificate.to_der(), &other);
            prop_assert_eq!(certificate.is_signed_by(&key(1).public()), other == der);
        }
    }

    #[test]
    fn what_is_issued_is_read_back(
        genesis in any::<[u8; 32]>(),
        organisation in 1..=u32::MAX,
        owner in any::<[u8; 32]>(),
        validator in any::<bool>(),
        mut serial in any::<[u8; 20]>(),
        not_before in 0_u64..200_000_000_000,
        lasts in 1_u64..50_000_000_000,
    ) {
        serial[0] &= 0x7f;
        serial[19] |= 1;
        let claims = Claims {
            genesis: B256::from(genesis),
            organisation,
            peer: PeerId(SecretKey::from_seed(&owner).public()),
            role: if validator { Role::Validator } else { Role::Full },
            serial: Serial(serial),
            not_before,
            not_after: not_before + lasts,
        };
        let certificate = NodeCertificate::issue(&claims, &key(1)).unwrap();
        prop_assert_eq!(&*certificate, &claims);
        prop_assert_eq!(NodeCertificate::decode(&certificate.to_der()), Ok(certificate));
    }
}

/// Says on stderr when it could not run.
#[test]
fn openssl_reads_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file.as_file(), &good().to_der()).unwrap();
    let read = Command::new("openssl")
        .args(["x509", "-inform", "DER", "-noout", "-text", "-in"])
        .arg(file.path())
        .stdin(Stdio::null())
        .output();
    let Ok(read) = read else {
        eprintln!("NOT RUN: there is no openssl here to read the certificate");
        return;
    };
    let text = String::from_utf8_lossy(&read.stdout);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    for expected in [
        "Version: 3 (0x2)",
        "8f:02:03:04:05:06:07:08",
        "Signature Algorithm: ED25519",
        "Not Before: Jan  1 00:00:00 2026 GMT",
        "Not After : Jan  1 00:00:00 2051 GMT",
        "CA:FALSE",
        "Digital Signature",
        &format!("URI:{}", claims().uri()),
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}
