//! One file over HTTP: the range of it that is asked for, and what a browser takes it for.

use std::{ops::Range, sync::Arc};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, Method, StatusCode,
        header::{
            ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            IF_RANGE, RANGE,
        },
    },
    response::{IntoResponse as _, Response},
};
use futures::stream;
use trefoil_swarm::{Content, OpenStore};

use crate::{
    MemoryAccount,
    content::{
        body_reader::BodyReader, gateway_visitor::Visitor, listing::percent, refusal::not_begun,
    },
    source_places::SourcePlace,
};

/// What a page is to a browser.
pub const HTML: &str = "text/html; charset=utf-8";

/// One file, to be answered with.
pub struct ServedFile {
    pub held: Arc<OpenStore>,
    /// In a directory.
    pub path: Option<String>,
    pub size: u64,
}

impl ServedFile {
    /// What of it was asked for, or nothing new if the client has it already.
    pub async fn answer(
        self,
        content: Content,
        memory: MemoryAccount,
        visitor: Visitor,
        method: &Method,
        headers: &HeaderMap,
        place: SourcePlace,
    ) -> Response {
        let id = self.held.id;
        let etag = match &self.path {
            None => format!("\"{id}\""),
            // A root is what the bytes are.
            Some(path) => format!("\"{id}-{}\"", percent(path)),
        };
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let known = text(IF_NONE_MATCH).is_some_and(|known| known == "*" || known.contains(&etag));
        if known {
            return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
        }
        // RFC 9110, 13.1.5: the client has a part of another version, and parts of two versions
        // must not be joined. So it gets this one whole.
        let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|known| known == etag));
        let name = self.path.clone().or_else(|| content.metadata(id)?.name);
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
        let has_allow_list = !self.held.allow.is_open();
        let mut response = match method == Method::HEAD {
            true => status.into_response(),
            false => self.body(content, memory, bytes.clone(), status, place).await,
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
        self,
        content: Content,
        memory: MemoryAccount,
        bytes: Range<u64>,
        status: StatusCode,
        place: SourcePlace,
    ) -> Response {
        let reader = BodyReader::new(content, memory, self.held, self.path, bytes, place);
        let reader = match reader.begin().await {
            Ok(reader) => reader,
            Err(error) => return not_begun(&error),
        };
        let body = Body::from_stream(stream::try_unfold(reader, BodyReader::next));
        (status, body).into_response()
    }
}

pub fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
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

/// How many bytes of a file are asked for, of which nothing is known; all, if that
/// cannot be told.
pub fn wanted(method: &Method, headers: &HeaderMap) -> u64 {
    if method == Method::HEAD {
        return 0;
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    match range.and_then(|range| parse_range(range, u64::MAX)) {
        Some(Some(range)) => range.end - range.start,
        _ => u64::MAX,
    }
}

/// By the end of a name: what browsers show or play.
fn content_type(name: Option<&str>) -> &'static str {
    let end = name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end.to_ascii_lowercase());
    match end.as_deref() {
        Some("html" | "htm") => HTML,
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
