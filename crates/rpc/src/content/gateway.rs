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
        HeaderMap, Method, StatusCode,
        header::{
            ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            IF_RANGE, LOCATION, RANGE,
        },
    },
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use futures::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::{task::AbortHandle, time::timeout};
use trefoil_content::{ContentId, ResourceKind};
use trefoil_swarm::{Content, FetchError, OpenStore, Selection};

use crate::RemoteAddr;

// Each client holds one of them in memory: 1 GiB at `CONNECTIONS_MAX` clients.
/// Bytes that are read and sent at once.
const CHUNK: u64 = 1 << 20;

// A browser shows nothing at all meanwhile.
/// How long nobody may have it before the client is told so.
const FIND_MAX: Duration = Duration::from_secs(30);

const NOBODY: &str = "nobody here has it";

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
}

impl Gateway {
    pub fn new(content: Content, open: GatewayAccess) -> Self {
        Self { content, open }
    }

    pub fn router(self) -> Router {
        if self.open == GatewayAccess::Off {
            return Router::new();
        }
        Router::new()
            .route("/content/{id}", get(whole))
            .route("/content/{id}/", get(top))
            .route("/content/{id}/{*path}", get(below))
            .with_state(self)
    }
}

type GatewayRequest = (State<Gateway>, Extension<RemoteAddr>, Method, HeaderMap);

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
    let (State(gateway), Extension(RemoteAddr(from)), method, headers) = asked;
    if gateway.open == GatewayAccess::Loopback && !from.ip().is_loopback() {
        let text = "the gateway is for this machine; set `content.gateway = \"all\"` to open it";
        return refuse(StatusCode::FORBIDDEN, text);
    }
    let id: ContentId = match id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("{error}")),
    };
    let opened = timeout(FIND_MAX, gateway.content.open(id, wanted(&method, &headers))).await;
    let held = match opened {
        Ok(Ok(held)) => held,
        Ok(Err(error)) => return refused(&error),
        Err(_) => return refuse(StatusCode::GATEWAY_TIMEOUT, NOBODY),
    };
    // Who asks from elsewhere is of no organisation.
    if !held.allow.is_open() && !from.ip().is_loopback() {
        return refuse(StatusCode::GATEWAY_TIMEOUT, NOBODY);
    }
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
            let path = path.trim_end_matches('/');
            let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
            let file =
                |path: String| Some(ServedFile { size: held.file(&path)?.1, path: Some(path) });
            match file(path.into()).or_else(|| file(format!("{prefix}index.html"))) {
                Some(target) => target,
                None => return listing(&held, &prefix),
            }
        }
    };
    target.answer(&gateway.content, held, &method, &headers).await
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

/// A page that links to all that is directly in a directory.
fn listing(held: &OpenStore, prefix: &str) -> Response {
    let id = held.id;
    let entries = held.manifest.as_ref().map_or(&[][..], |manifest| manifest.entries());
    let mut inside = entries.iter().filter(|entry| entry.path.starts_with(prefix)).peekable();
    if inside.peek().is_none() && !prefix.is_empty() {
        return refuse(StatusCode::NOT_FOUND, "no such file in it");
    }
    let title = escape(&format!("{id}/{prefix}"));
    let mut page = format!(
        "<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><table>\n"
    );
    let mut last = "";
    for entry in inside {
        let name = &entry.path[prefix.len()..];
        let (name, size) = match name.split_once('/') {
            Some((directory, _)) if directory == last => continue,
            Some((directory, _)) => {
                last = directory;
                (format!("{directory}/"), String::new())
            }
            None => (name.to_owned(), entry.size.to_string()),
        };
        let href = format!("/content/{id}/{}", percent(&format!("{prefix}{name}")));
        let name = escape(&name);
        page += &format!("<tr><td><a href=\"{href}\">{name}</a><td align=right>{size}\n");
    }
    Html(page + "</table>\n").into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// What a URL's path has unescaped (RFC 3986: unreserved characters), and slashes.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

fn percent(path: &str) -> String {
    utf8_percent_encode(path, PLAIN).to_string()
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
        content: &Content,
        held: Arc<OpenStore>,
        method: &Method,
        headers: &HeaderMap,
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
        let name = self.path.clone().or_else(|| content.metadata(held.id)?.name);
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
        let mut response = self.body(content, held, bytes, method, status).await;
        if !response.status().is_success() {
            return response;
        }
        let headers = response.headers_mut();
        if let Some(told) = told {
            put(headers, CONTENT_RANGE, &told);
        }
        put(headers, ETAG, &etag);
        put(headers, ACCEPT_RANGES, "bytes");
        put(headers, CONTENT_TYPE, kind);
        response
    }

    /// What is here already of the first bytes is read before anything is answered: what
    /// has changed on disk is an error then. Later it can only break off the body.
    async fn body(
        &self,
        content: &Content,
        held: Arc<OpenStore>,
        bytes: Range<u64>,
        method: &Method,
        status: StatusCode,
    ) -> Response {
        let length = [(CONTENT_LENGTH, (bytes.end - bytes.start).to_string())];
        if method == Method::HEAD {
            return (status, length).into_response();
        }
        let reader = BodyReader::new(content.clone(), held, self.path.clone(), bytes);
        let reader = match reader.begin().await {
            Ok(reader) => reader,
            Err(error) => return refused(&error),
        };
        let body = Body::from_stream(stream::try_unfold(reader, BodyReader::next));
        (status, length, body).into_response()
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

/// By the end of a name: what browsers show or play.
fn content_type(name: Option<&str>) -> &'static str {
    let end = name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end.to_ascii_lowercase());
    match end.as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
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

/// Reads along with a fetch.
struct BodyReader {
    content: Content,
    held: Arc<OpenStore>,
    path: Option<String>,
    file: u32,
    left: Range<u64>,
    /// What was read before it was asked for.
    first: Option<Vec<u8>>,
    /// Fetches what is ahead, for as long as somebody reads.
    ahead: AbortHandle,
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        self.ahead.abort();
    }
}

impl BodyReader {
    fn new(content: Content, held: Arc<OpenStore>, path: Option<String>, left: Range<u64>) -> Self {
        let file = path.as_deref().and_then(|path| held.file(path)).map_or(0, |(file, _)| file);
        let (all, id) = (content.clone(), held.id);
        let selection = Selection {
            path: path.clone(),
            range: Some(left.clone()),
            sequential: true,
            apart: false,
        };
        let ahead = tokio::spawn(async move { all.get(&id.into(), selection).await });
        Self { content, held, path, file, left, first: None, ahead: ahead.abort_handle() }
    }

    /// Before the first bytes are asked for.
    async fn begin(mut self) -> Result<Self, FetchError> {
        // An answer that has begun cannot become an error any more.
        self.content.has_room(&self.held, self.file, self.left.clone())?;
        let parts = self.held.layout.pieces_of(self.file, self.now());
        let mut parts = parts.map(|piece| self.held.layout.part(piece));
        if parts.all(|part| self.held.store.has(&part)) {
            self.first = Some(self.content.read(&self.held, self.file, self.now()).await?);
        } else if self.held.noted().is_some() {
            self.first = Some(self.read().await?);
        }
        Ok(self)
    }

    /// What is read next.
    fn now(&self) -> Range<u64> {
        self.left.start..self.left.end.min(self.left.start + CHUNK)
    }

    /// The next bytes, when they are here.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, FetchError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let read = match self.first.take() {
            Some(first) => Ok(first),
            None => self.read().await,
        };
        let bytes = read.inspect_err(|error| {
            tracing::warn!(id = %self.held.id, %error, "breaks off what it gives over HTTP");
        })?;
        self.left.start += bytes.len() as u64;
        Ok(Some((bytes.into(), self)))
    }

    async fn read(&mut self) -> Result<Vec<u8>, FetchError> {
        let range = Some(self.now());
        let selection = Selection { path: self.path.clone(), range, ..Selection::default() };
        // Its store may have been closed meanwhile, and opened anew.
        self.held = self.content.get(&self.held.id.into(), selection).await?;
        self.content.read(&self.held, self.file, self.now()).await
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

    #[test]
    fn names_in_pages_and_links_are_escaped() {
        assert_eq!(escape("<a> & \"b\""), "&lt;a> &amp; &quot;b&quot;");
        assert_eq!(percent("a b/ü?.txt"), "a%20b/%C3%BC%3F.txt");
    }
}
