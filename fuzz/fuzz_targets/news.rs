//! A peer's news of what it has: read or refused, and encoded as they were read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_content::News;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(news) = News::decode(bytes, 2_048) {
        assert_eq!(news.encode(), bytes);
        assert!(news.have.iter().all(|run| run.end <= 2_048));
    }
});
