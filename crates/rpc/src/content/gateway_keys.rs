//! What shows the gateway that a caller may read what has an allow-list: the operator's token in
//! a header, or a cookie that `trefoil gateway open` sets.
//!
//! What always holds: an address shows nothing, since a proxy on the same machine makes
//! everybody come from it; and a link that sets the cookie works once, for a minute.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{
    HeaderMap,
    header::{AUTHORIZATION, COOKIE},
};
use trefoil_types::keccak256;

/// Where the link leads that sets the cookie.
pub const OPEN_PATH: &str = "/content/open";

const COOKIE_NAME: &str = "trefoil_gateway";
/// Links that nobody opened yet; the oldest make room.
const LINKS_MAX: usize = 16;
// A link stays in the browser's history.
/// How long a link works.
const LINK_TIME: Duration = Duration::from_secs(60);

pub struct GatewayKeys {
    /// The operator's, of `admin.token`.
    token: String,
    // Another secret than the token: a browser sends it to every port of this machine, and it
    // opens nothing but content.
    cookie: String,
    links: Mutex<VecDeque<(String, Instant)>>,
}

impl fmt::Debug for GatewayKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayKeys")
    }
}

fn random() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Hashes are compared, so that the time taken says nothing of the secret.
fn same(given: &str, secret: &str) -> bool {
    keccak256(given) == keccak256(secret)
}

impl GatewayKeys {
    pub fn new(token: String) -> Self {
        Self { token, cookie: random(), links: Mutex::default() }
    }

    /// A new link's key.
    pub fn new_link(&self) -> String {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.truncate(LINKS_MAX - 1);
        let key = random();
        links.push_front((key.clone(), Instant::now()));
        key
    }

    /// The `Set-Cookie` for whoever opens a link; its key is used up.
    pub fn redeem(&self, key: &str) -> Option<String> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|(_, made)| made.elapsed() < LINK_TIME);
        let at = links.iter().position(|(link, _)| same(key, link))?;
        links.remove(at);
        let cookie = &self.cookie;
        Some(format!("{COOKIE_NAME}={cookie}; Path=/content; HttpOnly; SameSite=Strict"))
    }

    /// Whether a request shows the token.
    pub fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        given.is_some_and(|given| same(given, &self.token))
    }

    /// Whether a request shows the cookie.
    pub fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = all.flat_map(|value| value.split(';'));
        pairs.any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            name.trim() == COOKIE_NAME && same(value.trim(), &self.cookie)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_link_sets_the_cookie_once() {
        let keys = GatewayKeys::new("token".into());
        let key = keys.new_link();
        assert_eq!(keys.redeem("guess"), None);
        let set = keys.redeem(&key).unwrap();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
        assert_eq!(keys.redeem(&key), None);
        let (cookie, _) = set.split_once(';').unwrap();
        assert!(keys.has_cookie(&headers(COOKIE, &format!("a=b; {cookie}"))));
        assert!(!keys.has_cookie(&headers(COOKIE, "trefoil_gateway=token")));
        let first = keys.new_link();
        (0..LINKS_MAX).for_each(|_| drop(keys.new_link()));
        assert_eq!(keys.redeem(&first), None);
    }

    #[test]
    fn the_token_is_shown_in_a_header() {
        let keys = GatewayKeys::new("token".into());
        assert!(keys.has_token(&headers(AUTHORIZATION, "Bearer token")));
        for value in ["Bearer guess", "token", "Bearer "] {
            assert!(!keys.has_token(&headers(AUTHORIZATION, value)), "{value}");
        }
    }
}
