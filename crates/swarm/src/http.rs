//! HTTP servers that content is taken from: one request for a range of bytes.
//!
//! What always holds: redirects are followed here, and each hop has its own check of the
//! address and its own headers; all bytes are of one version of a server's file; no answer is
//! read beyond the range that was asked for. The store verifies the bytes.

mod credentials;
mod fetching;
mod reach;
mod reading;

use std::{
    error::Error,
    io,
    ops::Range,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    Client, Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use trefoil_content::Origin;
use url::Url;

pub use self::{
    credentials::{Credentials, CredentialsError},
    fetching::{Fetcher, PartRequest},
    reach::{NotGlobal, Reach},
    reading::OriginReader,
};

// The scheduler cancels a request that stalls. A `put` has no other source: with six attempts
// and the pauses between them, it gives up on a dead server after 91 s.
/// A connection that is not established by then has failed.
const CONNECT: Duration = Duration::from_secs(10);

// A stalled request occupies one of the six connections to its server.
/// A request for which nothing comes for this time has failed.
const SILENCE: Duration = Duration::from_secs(20);

// Attack: a ring of redirects has no end. Five is what RFC 2068 (section 10.3) recommended.
/// The most redirects in a row.
const HOPS_MAX: usize = 5;

// A server may ask for a pause of any length. The server is left alone all that time, and a
// `put` waits.
/// The longest pause that a `Retry-After` gets.
const PAUSE_MAX: Duration = Duration::from_secs(120);

/// Why a server does not give the bytes.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("{0}")]
    Network(String),
    #[error("it answers {status}: not now")]
    Busy { status: StatusCode, pause: Option<Duration> },
    #[error("it answers {0}; check the URL, and what the file of credentials has for it")]
    Status(StatusCode),
    #[error(
        "it does not serve ranges of bytes (it answers {0} to a request for some); ask whoever runs it, or share a copy with `trefoil put PATH`"
    )]
    NoRanges(StatusCode),
    #[error("it answers with other bytes than were asked for")]
    WrongRange,
    #[error("its file is encoded as {0:?} though the bytes themselves were asked for")]
    Encoded(HeaderValue),
    #[error("its file is empty")]
    Empty,
    #[error("its file is not the one that it was")]
    Changed,
    #[error("its bytes are not those of the resource, from group {group} on")]
    Lies { group: u64 },
    #[error("it redirects to {0}, which is not followed: {1}")]
    Redirect(String, &'static str),
    #[error("{0}; see the setting `content.origins`")]
    Forbidden(#[from] NotGlobal),
    #[error("cannot keep what came: {0}")]
    Disk(#[from] io::Error),
}

impl WebError {
    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Busy { .. })
    }

    // 1, 2, 4, 8, 16 s: a server in trouble gets ever fewer requests. Then the origin is left.
    /// How long to leave a server alone after so many failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        match self {
            Self::Busy { pause: Some(pause), .. } => *pause,
            _ => Duration::from_millis(500 << failures.min(6)),
        }
    }
}

impl From<reqwest::Error> for WebError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: &dyn Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
            if let Some(forbidden) = cause.downcast_ref::<NotGlobal>() {
                return Self::Forbidden(forbidden.clone());
            }
        }
        match error.is_timeout() {
            true => Self::Network("it does not answer in time".into()),
            false => Self::Network(format!("no connection to it, or it ended: {cause}")),
        }
    }
}

/// Makes requests, with the operator's credentials. One for all servers.
#[derive(Debug)]
pub struct Http {
    anywhere: LazyLock<Client>,
    global: LazyLock<Client>,
    credentials: Credentials,
}

impl Http {
    pub fn new(credentials: Credentials) -> Self {
        Self {
            anywhere: LazyLock::new(|| client(Reach::All)),
            global: LazyLock::new(|| client(Reach::Global)),
            credentials,
        }
    }

    fn client(&self, reach: Reach) -> &Client {
        match reach {
            Reach::All => &self.anywhere,
            Reach::Global => &self.global,
        }
    }
}

fn client(reach: Reach) -> Client {
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("trefoil/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // Each hop is judged by itself, and shown only the credentials for its own URL
            // (ADR 20).
            .redirect(redirect::Policy::none())
            // A proxy would connect in place of the node, to addresses that nobody judged.
            .no_proxy();
        match reach {
            Reach::All => builder,
            Reach::Global => builder.dns_resolver(reach::GlobalOnly),
        }
    };
    builder().build().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine has no certificates of authorities to verify https with: origins of https will fail; install ca-certificates");
        builder().tls_certs_only([]).build().expect("nothing of the system is needed")
    })
}

/// One origin.
#[derive(Debug)]
pub struct Server {
    pub origin: Origin,
    http: Arc<Http>,
    reach: Reach,
    seen: Mutex<ServerState>,
}

/// A server's file, as the answers so far showed it.
#[derive(Debug, Default)]
struct ServerState {
    version: Option<Version>,
    /// Where its redirects led.
    moved: Option<Url>,
}

// The hashes would find another version too. This finds it sooner, and the error names it
// (ADR 20).
/// The headers by which versions of a server's file differ.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Version {
    fn of(headers: &HeaderMap) -> Self {
        let get = |name: HeaderName| headers.get(name).cloned();
        Self { etag: get(header::ETAG), modified: get(header::LAST_MODIFIED) }
    }

    /// The header by which a server is asked for no other version. A weak tag
    /// never matches there (RFC 9110, section 13.1.1).
    fn condition(&self) -> Option<(HeaderName, HeaderValue)> {
        let strong = self.etag.clone().filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        let tag = strong.map(|tag| (header::IF_MATCH, tag));
        tag.or_else(|| Some((header::IF_UNMODIFIED_SINCE, self.modified.clone()?)))
    }
}

/// The answer to a request for a range, whose bytes follow.
#[derive(Debug)]
pub struct RangeResponse {
    response: Response,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes that are still to come.
    pub left: u64,
}

impl RangeResponse {
    /// The next bytes; `None`: all came.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, WebError> {
        match self.response.chunk().await? {
            Some(chunk) => {
                let left = self.left.checked_sub(chunk.len() as u64);
                self.left = left.ok_or(WebError::WrongRange)?;
                Ok(Some(chunk))
            }
            None if self.left > 0 => Err(WebError::Network("its answer ends too early".into())),
            None => Ok(None),
        }
    }
}

/// A request for some bytes of a file.
#[derive(Clone, Debug)]
struct RangeRequest {
    from: u64,
    /// The end, and the size of the file; not known at first.
    known: Option<(u64, u64)>,
}

impl Server {
    pub fn new(http: Arc<Http>, origin: Origin, reach: Reach) -> Self {
        Self { origin, http, reach, seen: Mutex::default() }
    }

    /// Asks for some bytes of a file of `size` bytes.
    pub async fn range(&self, bytes: Range<u64>, size: u64) -> Result<RangeResponse, WebError> {
        self.get(&RangeRequest { from: bytes.start, known: Some((bytes.end, size)) }).await
    }

    /// Asks for all bytes from here on, of a file whose size is not known.
    pub async fn rest(&self, from: u64) -> Result<RangeResponse, WebError> {
        self.get(&RangeRequest { from, known: None }).await
    }

    async fn get(&self, asked: &RangeRequest) -> Result<RangeResponse, WebError> {
        let (version, moved) = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (seen.version.clone(), seen.moved.clone())
        };
        if let Some(url) = moved {
            // The place of the redirect may be gone by now (a signed URL expires).
            match self.follow(url, asked, version.as_ref()).await {
                Err(WebError::Status(_)) => {}
                answer => return answer,
            }
        }
        self.follow(self.origin.url().clone(), asked, version.as_ref()).await
    }

    async fn follow(
        &self,
        mut url: Url,
        asked: &RangeRequest,
        version: Option<&Version>,
    ) -> Result<RangeResponse, WebError> {
        for _ in 0..=HOPS_MAX {
            let response = self.send(&url, asked, version).await?;
            if response.status().is_redirection()
                && let Some(location) = response.headers().get(header::LOCATION)
            {
                url = hop(&url, location)?;
                continue;
            }
            let answer = check_answer(response, asked, version)?;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.version = Some(Version::of(answer.response.headers()));
            seen.moved = Some(url).filter(|url| url != self.origin.url());
            return Ok(answer);
        }
        Err(WebError::Redirect(url.into(), "too many in a row"))
    }

    async fn send(
        &self,
        url: &Url,
        asked: &RangeRequest,
        version: Option<&Version>,
    ) -> Result<Response, WebError> {
        // A name is judged when it is resolved, by its addresses.
        if self.reach == Reach::Global {
            reach::check_host(url)?;
        }
        let last = asked.known.map_or(String::new(), |(end, _)| (end - 1).to_string());
        let mut request = self
            .http
            .client(self.reach)
            .get(url.clone())
            // The hashes are of the plain bytes, and a range of an encoded file counts
            // encoded bytes (RFC 9110, section 14).
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::RANGE, format!("bytes={}-{last}", asked.from));
        if let Some((name, value)) = version.and_then(Version::condition) {
            request = request.header(name, value);
        }
        for (name, value) in self.http.credentials.of(url) {
            request = request.header(name, value);
        }
        Ok(request.send().await?)
    }
}

/// Where a redirect leads.
fn hop(from: &Url, location: &HeaderValue) -> Result<Url, WebError> {
    let text = String::from_utf8_lossy(location.as_bytes()).into_owned();
    let to = from.join(&text);
    // A server's own text goes into the log: bounded.
    let refused = |why| Err(WebError::Redirect(text.chars().take(256).collect(), why));
    match to {
        Ok(to) if !matches!(to.scheme(), "http" | "https") => refused("neither http nor https"),
        // The operator or the peer chose https, so that nobody on the way can read it.
        Ok(to) if from.scheme() == "https" && to.scheme() == "http" => {
            refused("it would leave https")
        }
        Ok(to) if !to.username().is_empty() || to.password().is_some() => {
            refused("it has credentials in it")
        }
        Ok(to) => Ok(to),
        Err(_) => refused("it is no URL"),
    }
}

/// Whether an answer has the range that was asked for.
fn check_answer(
    response: Response,
    asked: &RangeRequest,
    version: Option<&Version>,
) -> Result<RangeResponse, WebError> {
    let (status, headers) = (response.status(), response.headers());
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
        StatusCode::PRECONDITION_FAILED => return Err(WebError::Changed),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let empty = version.is_none() && asked.known.is_none();
            return Err(if empty { WebError::Empty } else { WebError::Changed });
        }
        status if is_busy(status) => {
            return Err(WebError::Busy { status, pause: pause(headers) });
        }
        status => return Err(WebError::Status(status)),
    }
    if version.is_some_and(|version| *version != Version::of(headers)) {
        return Err(WebError::Changed);
    }
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|e| *e != "identity") {
        return Err(WebError::Encoded(encoding.clone()));
    }
    let range = match (status, asked.known) {
        (StatusCode::PARTIAL_CONTENT, _) => content_range(headers).ok_or(WebError::WrongRange)?,
        // All of it was asked for, and comes.
        (_, Some((end, size))) if (asked.from, end) == (0, size) => {
            (0..size, response.content_length().ok_or(WebError::NoRanges(status))?)
        }
        _ => return Err(WebError::NoRanges(status)),
    };
    let (bytes, size) = range;
    let end = match asked.known {
        Some((_, known)) if known != size => return Err(WebError::Changed),
        Some((end, _)) => end,
        None => size,
    };
    match bytes == (asked.from..end) {
        true => Ok(RangeResponse { response, size, left: end - asked.from }),
        false => Err(WebError::WrongRange),
    }
}

fn is_busy(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || passing.contains(&status)
}

/// `Content-Range: bytes FIRST-LAST/SIZE`.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (first.parse().ok()?, last.parse::<u64>().ok()?, size.parse().ok()?);
    Some((first..last.checked_add(1)?, size))
}

/// `Retry-After`: seconds, or a date.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            at.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests;
