//! Who asks the gateway, and what a browser may do with the answer.
//!
//! What always holds: what a peer shared runs nowhere near the node's own origin, and a page that a
//! user merely visits makes the node fetch nothing.

use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS},
};

use crate::content::gateway_keys::GatewayKeys;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Told by browsers, and out of a script's reach (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The resource is served at a host of its own, `ID.content.NAME`: an extension of a request.
#[derive(Clone, Copy, Debug)]
pub struct OwnOrigin;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Read what has an allow-list.
    pub is_operator: bool,
    /// Have the node fetch what is not here.
    pub may_fetch: bool,
    pub own_origin: bool,
}

impl Visitor {
    pub fn of(keys: Option<&GatewayKeys>, headers: &HeaderMap, own_origin: bool) -> Self {
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        // The user typed the address, or a page of the gateway's own links to it. Browsers do not say
        // so on plain HTTP in a LAN, and a page of another port is no page of ours.
        let own_doing = matches!(site, Some(b"same-origin" | b"none"));
        let has_token = keys.is_some_and(|keys| keys.has_token(headers));
        let has_cookie = keys.is_some_and(|keys| keys.has_cookie(headers));
        // `SameSite` counts every port of this machine as one site.
        let is_operator = has_token || (has_cookie && (own_doing || site.is_none()));
        // On plain HTTP in a LAN a browser sends the cookie with what a page of another port asks.
        Self { is_operator, may_fetch: own_doing || has_token, own_origin }
    }

    /// Adds what keeps a resource of a type from running as the node's own page.
    pub fn isolate(self, headers: &mut HeaderMap, kind: &str, has_allow_list: bool) {
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        // Or a browser takes text that looks like HTML for HTML.
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        if has_allow_list {
            // A proxy would give it to the next one who asks.
            set(CACHE_CONTROL, "private");
            // A page of another port may show an image, or play a video, with the user's cookie.
            set(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin");
        }
        if self.own_origin {
            return;
        }
        if is_inert(kind) {
            // A player asks for ranges from its own page: without an origin it sends no cookie.
            set(CONTENT_SECURITY_POLICY, "sandbox allow-same-origin");
        } else {
            set(CONTENT_SECURITY_POLICY, "sandbox");
            set(CONTENT_DISPOSITION, "attachment");
        }
    }
}

/// Whether no browser runs anything that it finds in such a resource.
fn is_inert(kind: &str) -> bool {
    let name = kind.split(';').next().unwrap_or(kind);
    let is_media = ["audio/", "video/"].iter().any(|media| name.starts_with(media));
    let plain = ["text/plain", "text/css", "application/json"];
    let images = ["image/png", "image/jpeg", "image/gif", "image/webp"];
    is_media || plain.contains(&name) || images.contains(&name)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{AUTHORIZATION, COOKIE};

    use super::*;

    #[test]
    fn a_visitor_fetches_and_reads_what_it_shows_that_it_may() {
        let keys = GatewayKeys::new("token".into());
        let set = keys.redeem(&keys.new_link()).unwrap();
        let cookie = set.split(';').next().unwrap();
        // `Sec-Fetch-Site`, what else is shown: reads what is listed, has it fetched.
        let table = [
            (None, None, false, false),
            (Some("cross-site"), None, false, false),
            (Some("same-site"), None, false, false),
            (Some("same-origin"), None, false, true),
            (Some("none"), None, false, true),
            (None, Some((COOKIE, cookie)), true, false),
            (Some("none"), Some((COOKIE, cookie)), true, true),
            (Some("same-site"), Some((COOKIE, cookie)), false, false),
            (Some("cross-site"), Some((COOKIE, cookie)), false, false),
            (None, Some((AUTHORIZATION, "Bearer token")), true, true),
            (None, Some((AUTHORIZATION, "Bearer guess")), false, false),
        ];
        for (site, shown, is_operator, may_fetch) in table {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert(SEC_FETCH_SITE, site.parse().unwrap());
            }
            if let Some((name, value)) = shown.clone() {
                headers.insert(name, value.parse().unwrap());
            }
            let visitor = Visitor::of(Some(&keys), &headers, false);
            let want = Visitor { is_operator, may_fetch, own_origin: false };
            assert_eq!(visitor, want, "{site:?} {shown:?}");
            assert!(!Visitor::of(None, &headers, false).is_operator);
        }
    }

    #[test]
    fn what_can_run_is_not_shown_at_the_nodes_origin() {
        let visitor = Visitor { is_operator: false, may_fetch: false, own_origin: false };
        for (kind, attached) in [
            ("text/html; charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/xml", true),
            ("application/pdf", true),
            ("text/javascript", true),
            ("application/wasm", true),
            ("application/octet-stream", true),
            ("text/plain; charset=utf-8", false),
            ("image/png", false),
            ("video/mp4", false),
        ] {
            let mut headers = HeaderMap::new();
            visitor.isolate(&mut headers, kind, false);
            let policy = if attached { "sandbox" } else { "sandbox allow-same-origin" };
            assert_eq!(headers[CONTENT_SECURITY_POLICY], policy);
            assert!(!headers.contains_key(CROSS_ORIGIN_RESOURCE_POLICY));
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers.contains_key(CONTENT_DISPOSITION), attached, "{kind}");
        }
        let mut headers = HeaderMap::new();
        Visitor { own_origin: true, ..visitor }.isolate(&mut headers, "text/html", true);
        assert!(!headers.contains_key(CONTENT_SECURITY_POLICY));
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[CACHE_CONTROL], "private");
        assert_eq!(headers[CROSS_ORIGIN_RESOURCE_POLICY], "same-origin");
    }
}
