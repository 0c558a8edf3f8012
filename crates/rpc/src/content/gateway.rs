//! Content over HTTP, for browsers, players and `curl`: `GET /content/<id>[/path]`.
//!
//! Ranges, `ETag`, `HEAD` and listings as any file server has them (RFC 9110), and
//! what is not here yet is streamed while it comes. What always holds: every byte
//! was verified before it is sent.

use std::{ops::Range, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{
            ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
            CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
            SET_COOKIE,
        },
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};
use trefoil_content::{ContentId, ResourceKind};
use trefoil_swarm::{Content, FetchError, OpenStore};

use crate::{
    MemoryAccount, RemoteAddr, RpcResult,
    content::{
        body_reader::{BodyError, BodyReader},
        gateway_keys::{GatewayKeys, OPEN_PATH},
        gateway_visitor::{OwnOrigin, Visitor},
        listing::{Listing, percent},
    },
    limits,
    memory::Claimed,
};

// A browser shows nothing at all meanwhile.
/// How long nobody may have it before the client is told so.
const FIND_MAX: Duration = Duration::from_secs(30);

// Who asks for what nobody has holds a connection for all that time.
/// Requests at once that have the node look for a resource.
const SEARCHES_MAX: usize = 64;

const NOBODY: &str = "nobody here has it";
const NOT_HERE: &str = "it is not here, and this request does not show that a page of another site did not make it: open it in a browser on this machine by typing its address, run `trefoil get`, or send the token of `data/admin.token` (`Authorization: Bearer …`)";
const BUSY: &str = "too much is being read through the gateway; try again later";

/// Whom the gateway serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayAccess {
    Off,
    #[default]
    Loopback,
    All,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    content: Content,
    open: GatewayAccess,
    /// What the operator's browser and programs show; absent: nobody is the operator.
    keys: Option<Arc<GatewayKeys>>,
    memory: MemoryAccount,
    searches: Arc<Semaphore>,
    gets: Arc<Semaphore>,
}

/// The gateway's part of the memory of all callers.
fn share(memory: &MemoryAccount) -> MemoryAccount {
    memory.within(memory.max() / 4, "try again later, or raise `rpc.memory_mib`")
}

impl Gateway {
    pub fn new(content: Content, open: GatewayAccess) -> Self {
        let [searches, gets] =
            [SEARCHES_MAX, limits::GATEWAY_GETS_MAX].map(|max| Arc::new(Semaphore::new(max)));
        let memory = share(&MemoryAccount::default());
        Self { content, open, keys: None, memory, searches, gets }
    }

    /// Serves what has an allow-list to who shows one of these.
    #[must_use]
    pub fn admitting(self, keys: Arc<GatewayKeys>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// What callers make it hold draws on `memory`, up to a quarter of it.
    #[must_use]
    pub fn drawing_on(self, memory: MemoryAccount) -> Self {
        Self { memory: share(&memory), ..self }
    }

    pub fn router(self) -> Router {
        if self.open == GatewayAccess::Off {
            return Router::new();
        }
        Router::new()
            .route(OPEN_PATH, get(open))
            .route("/content/{id}", get(whole))
            .route("/content/{id}/", get(top))
            .route("/content/{id}/{*path}", get(below))
            .with_state(self)
    }

    /// The store of a resource that this visitor may have.
    async fn find(
        &self,
        id: ContentId,
        visitor: Visitor,
        wanted: u64,
    ) -> Result<Arc<OpenStore>, Response> {
        let known = self.content.metadata(id);
        let hidden =
            !visitor.is_operator && known.as_ref().is_some_and(|known| !known.allow.is_open());
        let whole = !hidden && known.is_some_and(|known| known.whole);
        let _search = match (whole, visitor.may_fetch) {
            (true, _) => None,
            (false, false) => return Err(refuse(StatusCode::NOT_FOUND, NOT_HERE)),
            (false, true) => Some(self.searches.try_acquire().map_err(|_| {
                refuse(StatusCode::SERVICE_UNAVAILABLE, "too many look for content; try later")
            })?),
        };
        let opened = async {
            match hidden {
                // As if it were sought and not found: the time must not tell that it is here.
                true => std::future::pending().await,
                false => self.content.open(id, wanted).await,
            }
        };
        match timeout(FIND_MAX, opened).await {
            // It may have come meanwhile, with a list.
            Ok(Ok(held)) if held.allow.is_open() || visitor.is_operator => Ok(held),
            Ok(Err(error)) => Err(refused(&error)),
            Ok(Ok(_)) | Err(_) => Err(refuse(StatusCode::GATEWAY_TIMEOUT, NOBODY)),
        }
    }
}

/// Sets the cookie of a link that `trefoil gateway open` printed.
async fn open(State(gateway): State<Gateway>, uri: Uri) -> Response {
    let key = uri.query().and_then(|query| query.strip_prefix("key="));
    let cookie = gateway.keys.as_ref().zip(key).and_then(|(keys, key)| keys.redeem(key));
    match cookie {
        Some(cookie) => {
            let text = "this browser may now read what has an allow-list, until it is closed\n";
            (StatusCode::OK, [(SET_COOKIE, cookie)], text).into_response()
        }
        None => {
            let text =
                "this link was used, or is older than a minute; run `trefoil gateway open` again";
            refuse(StatusCode::FORBIDDEN, text)
        }
    }
}

type GatewayRequest =
    (State<Gateway>, Extension<RemoteAddr>, Option<Extension<OwnOrigin>>, Method, HeaderMap, Uri);

async fn whole(asked: GatewayRequest, Path(id): Path<String>) -> Response {
    serve(asked, id, None).await
}

async fn top(asked: GatewayRequest, Path(id): Path<String>) -> Response {
    serve(asked, id, Some(String::new())).await
}

async fn below(asked: GatewayRequest, Path((id, path)): Path<(String, String)>) -> Response {
    serve(asked, id, Some(path)).await
}

fn refuse(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

async fn serve(asked: GatewayRequest, id: String, path: Option<String>) -> Response {
    let (State(gateway), Extension(RemoteAddr(from)), own, method, headers, uri) = asked;
    if gateway.open == GatewayAccess::Loopback && !from.ip().is_loopback() {
        let text = "the gateway is for this machine; set `content.gateway = \"all\"` to open it";
        return refuse(StatusCode::FORBIDDEN, text);
    }
    let id: ContentId = match id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("{error}")),
    };
    let Ok(permit) = gateway.gets.clone().try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY);
    };
    let visitor = Visitor::of(gateway.keys.as_deref(), &headers, own.is_some());
    let held = match gateway.find(id, visitor, wanted(&method, &headers)).await {
        Ok(held) => held,
        Err(refused) => return refused,
    };
    let target = match (id.kind, path) {
        (ResourceKind::File | ResourceKind::Sealed, None) => {
            ServedFile { path: None, size: held.layout.bytes() }
        }
        (ResourceKind::File | ResourceKind::Sealed, Some(_)) => {
            return refuse(StatusCode::NOT_FOUND, "a file has no paths in it");
        }
        // So that what the listing links to is found from there.
        (ResourceKind::Directory, None) => {
            let location = [(LOCATION, format!("/content/{id}/"))];
            return (StatusCode::PERMANENT_REDIRECT, location).into_response();
        }
        (ResourceKind::Directory, Some(path)) => {
            let page = uri.query().and_then(|query| query.strip_prefix("page=")?.parse().ok());
            let (store, memory) = (held.clone(), gateway.memory.clone());
            let find = move || find(&store, &path, visitor.own_origin, page.unwrap_or(0), &memory);
            // Not here: a directory may have 131,072 files.
            match spawn_blocking(find).await {
                Ok(Ok(Found::File(path, size))) => ServedFile { path: Some(path), size },
                Ok(Ok(Found::Listing(page))) => return listed(page, visitor, &held),
                Ok(Ok(Found::Nothing)) => {
                    return refuse(StatusCode::NOT_FOUND, "no such file in it");
                }
                Ok(Err(_)) | Err(_) => return refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY),
            }
        }
    };
    target.answer(&gateway, visitor, held, &method, &headers, permit).await
}

// It keeps its origin: from a page without one, a browser sends no cookie, and does not say that
// the user followed a link of ours. Without scripts the origin is of no use to anybody else.
/// This node's own page about a directory: its links work, and nothing runs.
fn listed(page: Bytes, visitor: Visitor, held: &OpenStore) -> Response {
    let mut response = ([(CONTENT_TYPE, LISTING)], page).into_response();
    let headers = response.headers_mut();
    visitor.isolate(headers, LISTING, !held.allow.is_open());
    headers.remove(CONTENT_DISPOSITION);
    put(headers, CONTENT_SECURITY_POLICY, LISTING_POLICY);
    response
}

fn refused(error: &FetchError) -> Response {
    let status = match error {
        FetchError::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
        FetchError::Changed { .. } | FetchError::Damaged { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::BAD_GATEWAY,
    };
    refuse(status, &error.to_string())
}

fn not_begun(error: &BodyError) -> Response {
    match error {
        BodyError::Fetch(error) => refused(error),
        BodyError::NoRoom => refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY),
        BodyError::Stalled => refuse(StatusCode::GATEWAY_TIMEOUT, &error.to_string()),
    }
}

/// How many bytes of a file are asked for, of which nothing is known; all, if that
/// cannot be told.
fn wanted(method: &Method, headers: &HeaderMap) -> u64 {
    if method == Method::HEAD {
        return 0;
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    match range.and_then(|range| parse_range(range, u64::MAX)) {
        Some(Some(range)) => range.end - range.start,
        _ => u64::MAX,
    }
}

/// What is at a path in a directory.
enum Found {
    File(String, u64),
    Listing(Bytes),
    Nothing,
}

/// A file; or a directory's `index.html`, or a list of what is in it.
fn find(
    held: &OpenStore,
    path: &str,
    own_origin: bool,
    page: usize,
    memory: &MemoryAccount,
) -> RpcResult<Found> {
    let path = path.trim_end_matches('/');
    if let Some((_, size)) = held.file(path) {
        return Ok(Found::File(path.into(), size));
    }
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let index = format!("{prefix}index.html");
    if let Some((_, size)) = held.file(&index) {
        return Ok(Found::File(index, size));
    }
    let entries = held.manifest.as_ref().map_or(&[][..], |manifest| manifest.entries());
    if !path.is_empty() && !entries.iter().any(|entry| entry.path.starts_with(&prefix)) {
        return Ok(Found::Nothing);
    }
    let base = if own_origin { String::new() } else { format!("/content/{}", held.id) };
    let listing = Listing { id: held.id, base: &base, prefix: &prefix, page };
    let mut claim = memory.claim_anyway(0);
    let html = listing.html(entries, &mut claim)?;
    Ok(Found::Listing(Claimed::bytes(html.into_bytes(), claim)))
}

/// One file, to be answered with.
struct ServedFile {
    /// In a directory.
    path: Option<String>,
    size: u64,
}

impl ServedFile {
    async fn answer(
        self,
        gateway: &Gateway,
        visitor: Visitor,
        held: Arc<OpenStore>,
        method: &Method,
        headers: &HeaderMap,
        permit: OwnedSemaphorePermit,
    ) -> Response {
        let etag = match &self.path {
            None => format!("\"{}\"", held.id),
            // A root is what the bytes are.
            Some(path) => format!("\"{}-{}\"", held.id, percent(path)),
        };
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let known = text(IF_NONE_MATCH).is_some_and(|known| known == "*" || known.contains(&etag));
        if known {
            return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
        }
        // RFC 9110, 13.1.5: the client has a part of another version, and parts of two versions
        // must not be joined. So it gets this one whole.
        let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|known| known == etag));
        let name = self.path.clone().or_else(|| gateway.content.metadata(held.id)?.name);
        let kind = content_type(name.as_deref());
        let (status, bytes, told) = match range.and_then(|range| parse_range(range, self.size)) {
            None => (StatusCode::OK, 0..self.size, None),
            Some(Some(bytes)) => {
                let told = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, self.size);
                (StatusCode::PARTIAL_CONTENT, bytes, Some(told))
            }
            Some(None) => {
                let told = [(CONTENT_RANGE, format!("bytes */{}", self.size))];
                return (StatusCode::RANGE_NOT_SATISFIABLE, told).into_response();
            }
        };
        let has_allow_list = !held.allow.is_open();
        let mut response = match method == Method::HEAD {
            true => status.into_response(),
            false => self.body(gateway, held, bytes.clone(), status, permit).await,
        };
        if !response.status().is_success() {
            return response;
        }
        let headers = response.headers_mut();
        if let Some(told) = told {
            put(headers, CONTENT_RANGE, &told);
        }
        put(headers, CONTENT_LENGTH, &(bytes.end - bytes.start).to_string());
        put(headers, ETAG, &etag);
        put(headers, ACCEPT_RANGES, "bytes");
        put(headers, CONTENT_TYPE, kind);
        visitor.isolate(headers, kind, has_allow_list);
        response
    }

    /// What is here already of the first bytes is read before anything is answered: what
    /// has changed on disk is an error then. Later it can only break off the body.
    async fn body(
        &self,
        gateway: &Gateway,
        held: Arc<OpenStore>,
        bytes: Range<u64>,
        status: StatusCode,
        permit: OwnedSemaphorePermit,
    ) -> Response {
        let (content, memory) = (gateway.content.clone(), gateway.memory.clone());
        let reader = BodyReader::new(content, memory, held, self.path.clone(), bytes, permit);
        let reader = match reader.begin().await {
            Ok(reader) => reader,
            Err(error) => return not_begun(&error),
        };
        let body = Body::from_stream(stream::try_unfold(reader, BodyReader::next));
        (status, body).into_response()
    }
}

fn put(headers: &mut HeaderMap, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}

/// One range of a file of `size` bytes (RFC 9110, section 14.1.2). `None`: none
/// that is understood, so that all is sent; `Some(None)`: beyond the file.
fn parse_range(text: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    // RFC 9110, 14.2: a server may pass over a `Range` that it does not serve; all is sent
    // then.
    if text.contains(',') {
        return None;
    }
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (first.trim().is_empty(), last.trim().is_empty()) {
        (true, true) => return None,
        (true, false) => size.saturating_sub(number(last)?)..size,
        (false, true) => number(first)?..size,
        (false, false) => number(first)?..number(last)?.saturating_add(1).min(size),
    };
    Some((range.start < range.end).then_some(range))
}

const LISTING_POLICY: &str = "default-src 'none'; sandbox allow-same-origin allow-downloads";

/// What a listing is to a browser.
const LISTING: &str = "text/html; charset=utf-8";

/// By the end of a name: what browsers show or play.
fn content_type(name: Option<&str>) -> &'static str {
    let end = name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end.to_ascii_lowercase());
    match end.as_deref() {
        Some("html" | "htm") => LISTING,
        Some("txt" | "log" | "md" | "csv" | "toml") => "text/plain; charset=utf-8",
        Some("css") => "text/css",
        Some("js" | "mjs") => "text/javascript",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("pdf") => "application/pdf",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("svg") => "image/svg+xml",
        Some("webp") => "image/webp",
        Some("mp3") => "audio/mpeg",
        Some("ogg" | "oga") => "audio/ogg",
        Some("mp4" | "m4v") => "video/mp4",
        Some("webm") => "video/webm",
        Some("mkv") => "video/x-matroska",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let all = [
            ("bytes=0-0", Some(Some(0..1))),
            ("bytes=5-", Some(Some(5..10))),
            ("bytes=-3", Some(Some(7..10))),
            ("bytes=-30", Some(Some(0..10))),
            ("bytes=8-99", Some(Some(8..10))),
            ("bytes=10-", Some(None)),
            ("bytes=5-4", Some(None)),
            ("bytes=0-1,3-4", None),
            ("items=0-1", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
        ];
        for (text, range) in all {
            assert_eq!(parse_range(text, 10), range, "{text}");
        }
    }
}
