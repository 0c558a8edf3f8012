//! The headers of answers, and where redirects may lead.

use super::*;

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let pair = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
    pairs.iter().map(pair).collect()
}

#[test]
fn redirects_never_leave_https_nor_bring_credentials() {
    let hop = |from: &str, to: &'static str| {
        hop(&from.parse().unwrap(), &HeaderValue::from_static(to)).map(String::from).ok()
    };
    assert_eq!(hop("https://a/x/y", "z?1").as_deref(), Some("https://a/x/z?1"));
    assert_eq!(hop("http://a/x", "https://b/y").as_deref(), Some("https://b/y"));
    for to in ["http://a/x", "//u@a/", "https://:p@a/", "file:///etc/passwd", "https://", "ftp://a"]
    {
        assert_eq!(hop("https://a/x", to), None, "{to}");
    }
}

#[test]
fn a_content_range_is_read_or_refused() {
    let read = |text| content_range(&headers(&[(header::CONTENT_RANGE, text)]));
    assert_eq!(read("bytes 0-9/100"), Some((0..10, 100)));
    for bad in [
        "0-9/100",
        "bytes 0-9",
        "bytes */100",
        "bytes 0-9/*",
        "bytes -1-9/100",
        "bytes 0-18446744073709551615/1",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn a_pause_is_bounded_however_it_is_written() {
    let read = |text| pause(&headers(&[(header::RETRY_AFTER, text)]));
    assert_eq!(read("7"), Some(Duration::from_secs(7)));
    assert_eq!(read("99999999999"), Some(PAUSE_MAX));
    assert_eq!(read("Fri, 31 Dec 9999 23:59:59 GMT"), Some(PAUSE_MAX));
    assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    assert_eq!(read("soon"), None);
}

#[test]
fn a_server_is_asked_for_the_version_that_was_seen() {
    let condition = |pairs: &[(HeaderName, &str)]| {
        Version::of(&headers(pairs)).condition().map(|(name, _)| name)
    };
    let modified = (header::LAST_MODIFIED, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(condition(&[(header::ETAG, "\"a\""), modified.clone()]), Some(header::IF_MATCH));
    let weak = (header::ETAG, "W/\"a\"");
    assert_eq!(condition(&[weak, modified]), Some(header::IF_UNMODIFIED_SINCE));
    assert_eq!(condition(&[]), None);
}
