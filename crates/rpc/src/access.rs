//! Who may call: names and origins, by which a browser tells whose page it is that asks.

use std::net::IpAddr;

use axum::http::{
    HeaderMap, HeaderName, StatusCode, Uri,
    header::{HOST, ORIGIN},
};
use trefoil_content::ContentId;

/// In the settings' lists: every one.
const ANY: &str = "*";

/// Who may call, and what is served to them.
#[derive(Clone, Debug, Default)]
pub struct HttpAccess {
    /// Names by which this server may be addressed, besides IP addresses and
    /// `localhost` (a `Host` check stops DNS rebinding).
    pub hosts: Vec<String>,
    /// Origins of web pages that may call; `http://NAME:*` is every port of NAME, `SCHEME://*`
    /// every origin of a scheme. Empty: none but the node's own, or any on a public network.
    pub origins: Vec<String>,
    // A public network's RPC is for everyone's pages; it holds no keys and no cookies.
    /// Whether any page may use JSON-RPC if `origins` is empty.
    pub any_origin: bool,
    /// Whether `debug_*` is served: a trace costs a core for seconds and memory.
    pub debug: bool,
    /// Each resource has an origin of its own at `ID.content.NAME`; empty: none has.
    pub gateway_name: String,
}

impl HttpAccess {
    /// Why a request is turned away, if it is.
    ///
    /// # Errors
    /// 400: more than one `Host` or `Origin`; 403: a foreign host name (DNS rebinding), or a page of
    /// another origin.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        // A proxy before the node may go by the other one (RFC 9112, 3.2).
        for name in [HOST, ORIGIN] {
            if headers.get_all(&name).iter().nth(1).is_some() {
                let text = format!("more than one `{name}` header\n");
                return Err((StatusCode::BAD_REQUEST, text));
            }
        }
        let forbidden = |text| Err((StatusCode::FORBIDDEN, text));
        // DNS rebinding: a page's own name is made to resolve to this machine. The browser then
        // counts the node as the page's own origin, but still sends the page's name as `Host`.
        let host = host(uri, headers);
        if let Some(host) = host.filter(|host| !self.admits_host(host)) {
            return forbidden(format!(
                "host {host:?} is not allowed; use an IP address or localhost, or add the name to `rpc.hosts`\n"
            ));
        }
        match text(headers, ORIGIN).filter(|origin| !self.admits_origin(origin, host)) {
            Some(origin) => {
                forbidden(format!("origin {origin:?} is not allowed; add it to `rpc.origins`\n"))
            }
            None => Ok(()),
        }
    }

    fn admits_host(&self, host: &str) -> bool {
        let name = name(host);
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.is_own_name(name)
            || self.resource(host).is_some()
            || self.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(name) || listed == ANY)
    }

    fn is_own_name(&self, name: &str) -> bool {
        !self.gateway_name.is_empty() && self.gateway_name.eq_ignore_ascii_case(name)
    }

    /// Whether a page of `origin` may call: the node's own, a listed one, or any.
    pub fn admits_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let own = origin.split_once("://").is_some_and(|(scheme, at)| {
            matches!(scheme, "http" | "https") && host.is_some_and(|host| at == host)
        });
        own || self.lists_origin(origin) || (self.origins.is_empty() && self.any_origin)
    }

    /// Whether `rpc.origins` has it, by whatever pattern.
    pub fn lists_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|listed| matches(listed, origin))
    }

    /// Whether every page may call.
    pub fn admits_any_origin(&self) -> bool {
        let listed = self.origins.iter().any(|listed| listed == ANY);
        listed || (self.origins.is_empty() && self.any_origin)
    }

    /// The resource whose own host name this is: `ID.content.NAME`.
    pub fn resource(&self, host: &str) -> Option<ContentId> {
        if self.gateway_name.is_empty() {
            return None;
        }
        let (id, rest) = name(host).split_once('.')?;
        let base = rest.strip_prefix("content.")?;
        // A directory's id is one letter longer than a label of a name may be (RFC 1035: 63), so
        // its first letter, which all ids share, is left out.
        let parsed = || id.parse().or_else(|_| format!("b{id}").parse()).ok();
        self.is_own_name(base).then(parsed).flatten()
    }
}

/// The host that a request names.
pub fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    text(headers, HOST).or(uri.host())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A value that is no text is refused as a name, not passed over as absent.
    headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"))
}

/// A host without its port.
fn name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether an origin is the listed one, or fits `http://NAME:*` or `SCHEME://*`.
fn matches(listed: &str, origin: &str) -> bool {
    if listed == ANY || listed.eq_ignore_ascii_case(origin) {
        return true;
    }
    if let Some(site) = listed.strip_suffix(":*") {
        let port = without_prefix(origin, site);
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // The scheme's own port is not written.
        return port
            .is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_number));
    }
    let scheme = listed.strip_suffix('*').filter(|scheme| scheme.ends_with("://"));
    scheme.is_some_and(|scheme| without_prefix(origin, scheme).is_some_and(|rest| !rest.is_empty()))
}

fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use trefoil_content::ResourceKind;

    use super::*;

    #[test]
    fn origins_fit_what_is_listed_and_nothing_like_it() {
        let table = [
            ("*", "https://any.example", true),
            ("https://a.example", "https://A.example", true),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "https://a.example.evil", false),
            ("http://localhost:*", "http://localhost:3000", true),
            ("http://localhost:*", "http://localhost", true),
            ("http://localhost:*", "http://localhost:", false),
            ("http://localhost:*", "http://localhost1:30", false),
            ("http://localhost:*", "http://localhost3000", false),
            ("http://localhost:*", "http://localhost:3000.evil", false),
            ("http://localhost:*", "https://localhost:3000", false),
            ("http://localhost:*", "null", false),
            ("chrome-extension://*", "chrome-extension://abc", true),
            ("chrome-extension://*", "chrome-extension://", false),
            ("https://a*", "https://ab", false),
        ];
        for (listed, origin, fits) in table {
            assert_eq!(matches(listed, origin), fits, "{listed} {origin}");
        }
    }

    #[test]
    fn a_page_of_the_node_itself_may_call_wherever_it_is() {
        let members = HttpAccess::default();
        assert!(members.admits_origin("http://10.0.0.1:8545", Some("10.0.0.1:8545")));
        assert!(!members.admits_origin("http://10.0.0.1:3000", Some("10.0.0.1:8545")));
        // A sandboxed page, and a file's.
        assert!(!members.admits_origin("null", Some("10.0.0.1:8545")));
        let public = HttpAccess { any_origin: true, ..HttpAccess::default() };
        assert!(public.admits_origin("null", None) && public.admits_any_origin());
        let listed = HttpAccess { origins: vec!["https://a.example".into()], ..public };
        assert!(!listed.admits_origin("https://b.example", None) && !listed.admits_any_origin());
    }

    #[test]
    fn each_resource_has_a_host_of_its_own() {
        let access = HttpAccess { gateway_name: "node.example".into(), ..HttpAccess::default() };
        let (file, directory) = (ResourceKind::File, ResourceKind::Directory);
        let [file, directory] = [file, directory].map(|kind| ContentId { kind, root: [7; 32] });
        let host = format!("{file}.content.Node.example:8545");
        assert_eq!(access.resource(&host), Some(file));
        let label = directory.to_string()[1..].to_owned();
        assert_eq!(label.len(), 63);
        let named = access.resource(&format!("{label}.content.node.example"));
        assert_eq!(named, Some(directory));
        for host in ["x.content.node.example", "content.node.example", "node.example"] {
            assert_eq!(access.resource(host), None, "{host}");
        }
        assert_eq!(HttpAccess::default().resource(&host), None);
        assert!(access.admits_host(&host) && access.admits_host("node.example"));
        assert!(!access.admits_host("x.content.node.example"));
    }
}
