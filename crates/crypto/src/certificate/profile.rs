//! The profile of a node certificate: X.509 v3 (RFC 5280) with Ed25519 (RFC 8410), and as
//! few of its features as possible.
//!
//! Every feature of X.509 that is accepted is a feature that an attacker can use: there are
//! no chains, no CRL, no OCSP and no name constraints. Membership and revocation are on the
//! chain.

use std::{collections::BTreeSet, time::Duration};

use alloy_primitives::B256;
use der::{
    Decode, Encode, Sequence,
    asn1::{BitString, Ia5String, ObjectIdentifier, OctetString},
    oid::AssociatedOid as _,
};
use x509_cert::{
    AlgorithmIdentifier, SubjectPublicKeyInfo, Version,
    ext::{
        Extension, Extensions,
        pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectAltName, name::GeneralName},
    },
    name::Name,
    serial_number::SerialNumber,
    time::{Time, Validity},
};

use super::{CERTIFICATE_BYTES_MAX, CertificateError, Claims, NodeCertificate, Serial, uri};
use crate::{PeerId, PublicKey};

/// RFC 8410: signatures and keys alike, without parameters.
const ID_ED_25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

// Names are compared with nothing and shown to no one, since the URI has all that counts. Two
// of them leave half of `CERTIFICATE_BYTES_MAX` for the rest.
/// The longest name of issuer or subject, bytes of DER.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// The signed part, under its name in RFC 5280. It has no unique identifiers (version 2):
/// the decoder refuses them.
#[derive(Sequence)]
pub(super) struct TbsCertificate {
    #[asn1(context_specific = "0", default = "Default::default")]
    pub version: Version,
    pub serial_number: SerialNumber,
    pub signature: AlgorithmIdentifier,
    pub issuer: Name,
    pub validity: Validity,
    pub subject: Name,
    pub subject_public_key_info: SubjectPublicKeyInfo,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    pub extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct Whole {
    signed: TbsCertificate,
    signature_algorithm: AlgorithmIdentifier,
    signature: BitString,
}

/// Values that this program makes always have an encoding.
const FITS: &str = "a value of bounded size encodes";

fn ed25519() -> AlgorithmIdentifier {
    AlgorithmIdentifier { oid: ID_ED_25519, parameters: None }
}

impl Claims {
    // A CA key may be on a machine without a network: what is to be signed can be carried
    // there.
    /// The bytes that a CA key signs, wherever that key is. Then:
    /// [`NodeCertificate::assemble`].
    ///
    /// # Errors
    /// A serial number or times that X.509 cannot express.
    pub fn to_be_signed(&self) -> Result<Vec<u8>, CertificateError> {
        let key = self.peer.0.0.as_slice();
        let signed = TbsCertificate {
            version: Version::V3,
            serial_number: serial_number(&self.serial)?,
            signature: ed25519(),
            issuer: name(&format!("CN=organisation {}", self.organisation)),
            validity: Validity::new(time(self.not_before)?, time(self.not_after)?),
            subject: name(&format!("CN={}", self.peer)),
            subject_public_key_info: SubjectPublicKeyInfo {
                algorithm: ed25519(),
                subject_public_key: BitString::from_bytes(key).expect(FITS),
            },
            extensions: Some(extensions(self)),
        };
        Ok(signed.to_der().expect(FITS))
    }
}

fn extensions(claims: &Claims) -> Extensions {
    let uri = Ia5String::new(&claims.uri()).expect("a URI is ASCII");
    let names = SubjectAltName(vec![GeneralName::UniformResourceIdentifier(uri)]);
    let not_a_ca = BasicConstraints { ca: false, path_len_constraint: None };
    let usage = KeyUsage(KeyUsages::DigitalSignature.into());
    vec![
        extension(BasicConstraints::OID, true, &not_a_ca),
        extension(KeyUsage::OID, true, &usage),
        extension(SubjectAltName::OID, false, &names),
    ]
}

fn extension(extn_id: ObjectIdentifier, critical: bool, value: &impl Encode) -> Extension {
    let value = OctetString::new(value.to_der().expect(FITS)).expect(FITS);
    Extension { extn_id, critical, extn_value: value }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name of letters and digits")
}

fn serial_number(serial: &Serial) -> Result<SerialNumber, CertificateError> {
    let start = serial.0.iter().position(|byte| *byte != 0).ok_or(CertificateError::Serial)?;
    SerialNumber::new(&serial.0[start..]).map_err(|_| CertificateError::Serial)
}

fn time(seconds: u64) -> Result<Time, CertificateError> {
    let date = der::DateTime::from_unix_duration(Duration::from_secs(seconds));
    date.map(Time::from).map_err(|_| CertificateError::Time(seconds))
}

/// The DER of the whole certificate around its signed part.
pub(super) fn join(signed: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    let algorithm = ed25519().to_der().expect(FITS);
    let signature = BitString::from_bytes(signature).and_then(|s| s.to_der()).expect(FITS);
    let body = [signed, &algorithm, &signature].concat();
    let length = der::Length::try_from(body.len()).expect(FITS);
    let header = der::Header::new(der::Tag::Sequence, length);
    [header.to_der().expect(FITS), body].concat()
}

impl NodeCertificate {
    /// Reads a certificate. Its signature is not verified.
    ///
    /// # Errors
    /// The first rule of the profile that it breaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        // Before any parsing: these bytes come from peers that are not admitted.
        if bytes.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLong(bytes.len()));
        }
        let whole = Whole::from_der(bytes).map_err(|e| CertificateError::Der(e.to_string()))?;
        // One certificate has one encoding: otherwise a revoked one could come back in other
        // bytes.
        if whole.to_der().is_ok_and(|der| der != bytes) {
            return Err(CertificateError::NotCanonical);
        }
        let signed = &whole.signed;
        check_form(&whole)?;
        let key = key(&signed.subject_public_key_info)?;
        let (genesis, organisation, peer, role) = named(signed)?;
        // The name must be the key's own, so that a certificate cannot name one node and carry
        // the key of another.
        if peer != key {
            return Err(CertificateError::Key { named: peer, key });
        }
        let [not_before, not_after] =
            [signed.validity.not_before, signed.validity.not_after].map(|t| t.to_unix_duration());
        let claims = Claims {
            genesis,
            organisation,
            peer,
            role,
            serial: serial(&signed.serial_number)?,
            not_before: not_before.as_secs(),
            not_after: not_after.as_secs(),
        };
        // It would never be valid.
        if claims.not_before >= claims.not_after {
            let (from, until) = (claims.not_before, claims.not_after);
            return Err(CertificateError::Validity { from, until });
        }
        let signature =
            exactly(&whole.signature).ok_or(CertificateError::Algorithm("signature"))?;
        Ok(Self { claims, signed: signed.to_der().expect(FITS), signature })
    }
}

/// Checks the fields that have one allowed value, or a bound.
fn check_form(whole: &Whole) -> Result<(), CertificateError> {
    let signed = &whole.signed;
    if signed.version != Version::V3 {
        return Err(CertificateError::Version);
    }
    // Both fields, inside and outside of the signed part, must name the one algorithm:
    // there is nothing to confuse or downgrade.
    if signed.signature != ed25519() || whole.signature_algorithm != ed25519() {
        return Err(CertificateError::Algorithm("signature"));
    }
    for (whose, name) in [("issuer's", &signed.issuer), ("subject's", &signed.subject)] {
        let bytes = name.to_der().map_or(0, |der| der.len());
        if name.is_empty() || bytes > NAME_BYTES_MAX {
            return Err(CertificateError::Name(whose, bytes));
        }
    }
    Ok(())
}

fn key(info: &SubjectPublicKeyInfo) -> Result<PeerId, CertificateError> {
    let bytes = exactly(&info.subject_public_key).filter(|_| info.algorithm == ed25519());
    let key = PublicKey(B256::new(bytes.ok_or(CertificateError::Algorithm("key"))?));
    key.check().map_err(|_| CertificateError::Algorithm("key"))?;
    Ok(PeerId(key))
}

fn exactly<const N: usize>(bits: &BitString) -> Option<[u8; N]> {
    bits.as_bytes()?.try_into().ok()
}

fn serial(number: &SerialNumber) -> Result<Serial, CertificateError> {
    let bytes = number.as_bytes();
    // RFC 5280 demands it; a zero or a leading sign bit would be a second form of another
    // serial.
    let positive = bytes.first().is_some_and(|byte| *byte < 0x80) && bytes != [0];
    if !positive || bytes.len() > 20 {
        return Err(CertificateError::Serial);
    }
    let mut serial = [0; 20];
    serial[20 - bytes.len()..].copy_from_slice(bytes);
    Ok(Serial(serial))
}

/// Checks the extensions, and returns the one name among them.
fn named(signed: &TbsCertificate) -> Result<uri::Named, CertificateError> {
    let (mut seen, mut names) = (BTreeSet::new(), vec![]);
    for extension in signed.extensions.iter().flatten() {
        let id = extension.extn_id;
        // Parsers differ in whether the first or the last of two counts.
        if !seen.insert(id) {
            return Err(CertificateError::Twice(id.to_string()));
        }
        match id {
            BasicConstraints::OID => check_constraints(&value(extension)?)?,
            KeyUsage::OID => check_usage(value(extension)?)?,
            SubjectAltName::OID => names = value::<SubjectAltName>(extension)?.0,
            // RFC 5280: a critical extension that is not understood must be refused. Others
            // are ignored.
            _ if extension.critical => return Err(CertificateError::Critical(id.to_string())),
            _ => {}
        }
    }
    match names.as_slice() {
        [GeneralName::UniformResourceIdentifier(uri)] => uri::read(uri.as_str()),
        [_] => Err(CertificateError::NotUri),
        names => Err(CertificateError::Names(names.len())),
    }
}

fn check_constraints(constraints: &BasicConstraints) -> Result<(), CertificateError> {
    // A node's certificate that could sign others would make every node a CA.
    if constraints.ca { Err(CertificateError::Authority) } else { Ok(()) }
}

fn check_usage(usage: KeyUsage) -> Result<(), CertificateError> {
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(CertificateError::Authority);
    }
    if usage.digital_signature() { Ok(()) } else { Err(CertificateError::KeyUsage) }
}

/// The value of an extension, in its one encoding.
fn value<T: Encode + for<'a> Decode<'a, Error = der::Error>>(
    extension: &Extension,
) -> Result<T, CertificateError> {
    let bytes = extension.extn_value.as_bytes();
    let value = T::from_der(bytes).map_err(|e| CertificateError::Der(e.to_string()))?;
    if value.to_der().is_ok_and(|der| der != bytes) {
        return Err(CertificateError::NotCanonical);
    }
    Ok(value)
}
