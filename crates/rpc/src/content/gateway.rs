//! Content over HTTP, for browsers, players and `curl`: `GET /content/<id>[/path]`.
//!
//! Ranges, `ETag`, `HEAD` and listings as any file server has them (RFC 9110), and
//! what is not here yet is streamed while it comes. What always holds: every byte
//! was verified before it is sent.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Path, State},
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{
            CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, SET_COOKIE,
        },
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use trefoil_content::{ContentId, ResourceKind};
use trefoil_swarm::{Content, OpenStore};

use crate::{
    MemoryAccount, RemoteAddr, RpcResult,
    content::{
        gateway_keys::{GatewayKeys, OPEN_PATH},
        gateway_visitor::{OwnOrigin, Visitor},
        listing::Listing,
        refusal::{BUSY, refuse, refused},
        served_file::{HTML, ServedFile, put, wanted},
    },
    http_connection, limits,
    memory::Claimed,
    source_places::SourcePlaces,
};

// A browser shows nothing at all meanwhile.
/// How long nobody may have it before the client is told so.
const FIND_MAX: Duration = Duration::from_secs(30);

// Who asks for what nobody has holds a connection for all that time.
/// Requests at once that have the node look for a resource.
const SEARCHES_MAX: usize = 64;

const NOBODY: &str = "nobody here has it";
const NOT_HERE: &str = "it is not here, and this request does not show that a page of another site did not make it: open it in a browser on this machine by typing its address, run `trefoil get`, or send the token of `data/admin.token` (`Authorization: Bearer …`)";

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
    searches: Arc<SourcePlaces>,
    gets: Arc<SourcePlaces>,
    /// Held while a directory is walked through.
    walk: Arc<Semaphore>,
}

/// The gateway's part of the memory of all callers.
fn share(memory: &MemoryAccount) -> MemoryAccount {
    memory.within(memory.max() / 4, "try again later, or raise `rpc.memory_mib`")
}

impl Gateway {
    pub fn new(content: Content, open: GatewayAccess) -> Self {
        let [searches, gets] = [SEARCHES_MAX, limits::GATEWAY_GETS_MAX].map(SourcePlaces::new);
        let memory = share(&MemoryAccount::default());
        let walk = Arc::new(Semaphore::new(1));
        Self { content, open, keys: None, memory, searches, gets, walk }
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
        (visitor, source): (Visitor, IpAddr),
        wanted: u64,
    ) -> Result<Arc<OpenStore>, Response> {
        let whole = match visitor.is_operator {
            true => self.content.is_whole(id),
            false => self.content.is_open(id),
        };
        let _search = match (whole, visitor.may_fetch) {
            (true, _) => None,
            (false, false) => return Err(refuse(StatusCode::NOT_FOUND, NOT_HERE)),
            (false, true) => Some(self.searches.take(Some(source)).ok_or_else(|| {
                refuse(StatusCode::SERVICE_UNAVAILABLE, "too many look for content; try later")
            })?),
        };
        let opened = async {
            let known = self.content.metadata(id).filter(|_| !whole && !visitor.is_operator);
            match known.is_some_and(|known| !known.allow.is_open()) {
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

async fn serve(asked: GatewayRequest, id: String, path: Option<String>) -> Response {
    let (State(gateway), Extension(remote), own, method, headers, uri) = asked;
    if gateway.open == GatewayAccess::Loopback && !remote.is_loopback() {
        let text = "the gateway is for this machine; set `content.gateway = \"all\"` to open it";
        return refuse(StatusCode::FORBIDDEN, text);
    }
    let id: ContentId = match id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("{error}")),
    };
    let source = http_connection::source(remote.from.ip());
    let Some(place) = gateway.gets.take(Some(source)) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY);
    };
    let visitor = Visitor::of(gateway.keys.as_deref(), &headers, own.is_some());
    let held = match gateway.find(id, (visitor, source), wanted(&method, &headers)).await {
        Ok(held) => held,
        Err(refused) => return refused,
    };
    let target = match (id.kind, path) {
        (ResourceKind::File | ResourceKind::Sealed, None) => {
            let size = held.layout.bytes();
            ServedFile { held, path: None, size }
        }
        (ResourceKind::File | ResourceKind::Sealed, Some(_)) => {
            return refuse(StatusCode::NOT_FOUND, "a file has no paths in it");
        }
        // So that what the listing links to is found from there.
        (ResourceKind::Directory, None) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let location = [(LOCATION, format!("/content/{id}/{query}"))];
            return (StatusCode::PERMANENT_REDIRECT, location).into_response();
        }
        (ResourceKind::Directory, Some(path)) => {
            let page = uri.query().and_then(|query| query.strip_prefix("page=")?.parse().ok());
            let (store, memory) = (held.clone(), gateway.memory.clone());
            // Not here: a directory may have 131,072 files. Attack: a page with 64 pictures, each
            // on a thread beside the node's.
            let turn = gateway.walk.acquire_owned().await;
            let find = move || {
                let _turn = turn;
                find(&store, &path, visitor.own_origin, page.unwrap_or(0), &memory)
            };
            match spawn_blocking(find).await {
                Ok(Ok(Found::File(path, size))) => ServedFile { held, path: Some(path), size },
                Ok(Ok(Found::Listing(page))) => return listed(page, visitor, &held),
                Ok(Ok(Found::Nothing)) => {
                    return refuse(StatusCode::NOT_FOUND, "no such file in it");
                }
                Ok(Err(_)) | Err(_) => return refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY),
            }
        }
    };
    target.answer(gateway.content, gateway.memory, visitor, &method, &headers, place).await
}

const LISTING_POLICY: &str = "default-src 'none'; sandbox allow-same-origin allow-downloads";

// It keeps its origin: from a page without one, a browser sends no cookie, and does not say that
// the user followed a link of ours. Without scripts the origin is of no use to anybody else.
/// This node's own page about a directory: its links work, and nothing runs.
fn listed(page: Bytes, visitor: Visitor, held: &OpenStore) -> Response {
    let mut response = ([(CONTENT_TYPE, HTML)], page).into_response();
    let headers = response.headers_mut();
    visitor.isolate(headers, HTML, !held.allow.is_open());
    headers.remove(CONTENT_DISPOSITION);
    put(headers, CONTENT_SECURITY_POLICY, LISTING_POLICY);
    response
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
    // They are sorted.
    let entries = &entries[entries.partition_point(|entry| *entry.path < *prefix)..];
    if !path.is_empty() && !entries.first().is_some_and(|entry| entry.path.starts_with(&prefix)) {
        return Ok(Found::Nothing);
    }
    let base = if own_origin { String::new() } else { format!("/content/{}", held.id) };
    let listing = Listing { id: held.id, base: &base, prefix: &prefix, page };
    let mut claim = memory.claim_anyway(0);
    let html = listing.html(entries, &mut claim)?;
    Ok(Found::Listing(Claimed::bytes(html.into_bytes(), claim)))
}
