//! A node certificate: refused, or the one encoding of what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_crypto::NodeCertificate;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = NodeCertificate::decode(bytes) {
        assert_eq!(certificate.to_der(), bytes);
        assert_eq!(NodeCertificate::decode(bytes), Ok(certificate));
    }
});
