//! The port: connections, who may call, POST, WebSocket upgrade, health.
//!
//! POST is JSON-RPC on any path; GET is health, metrics or a WebSocket.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{
        Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
        header::{ACCEPT_RANGES, CONNECTION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG},
        request::Parts,
    },
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::StreamExt as _;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{self, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate as _, predicate::SizeAbove},
    cors::{AllowOrigin, Any, CorsLayer},
};
use trefoil_content::{ContentId, ResourceKind};

use crate::{
    HttpAccess, Limits, Rpc, RpcError, access,
    answer::RpcAnswer,
    answer_body,
    backend::RpcBackend,
    connections::HttpConnectionTable,
    content::gateway_visitor::OwnOrigin,
    dispatch::{self, Caller},
    event_hub,
    http_connection::HttpConnection,
    limits,
    memory::{Claim, Claimed, MemoryAccount},
    metrics, open_files,
    remote_addr::RemoteAddr,
    sync_progress,
    watched_stream::WatchedStream,
    ws,
};

// With its head such an answer fits one TCP segment (about 1,460 bytes) as it is.
/// Answers smaller than this are not worth compressing, bytes.
const GZIP_BYTES_MIN: u16 = 1_024;
// The next `accept` would fail at once too: without a pause this loop would take a whole core
// until a descriptor is free.
/// A pause after the system refused a socket (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Headers of content that pages may see.
const SHOWN: [HeaderName; 3] = [ACCEPT_RANGES, CONTENT_RANGE, ETAG];

/// Serves on `address`, with `content` beside, until the node's thread ends; the address returned
/// has the port, if 0 was asked for. What callers make it hold draws on `memory`.
///
/// # Errors
/// The address cannot be listened on, or the system starts no thread.
pub async fn serve(
    backend: RpcBackend,
    address: SocketAddr,
    access: HttpAccess,
    memory: MemoryAccount,
    content: Router,
) -> std::io::Result<(SocketAddr, thread::JoinHandle<()>)> {
    open_files::allow();
    let listener = listen(address)?.into_std()?;
    let address = listener.local_addr()?;
    // Threads of their own: what callers send is parsed and compressed on them, and must delay no
    // vote, which the caller's runtime carries.
    let server = move || {
        // Health checks are answered by those that read and write, and no work is done there.
        let connections = threads("rpc", 2);
        let works = [threads("rpc-call", 2), threads("rpc-long", 1)];
        let handles = works.each_ref().map(|threads| threads.handle().clone());
        let rpc = Rpc::new(backend, access, Limits::default(), memory, handles);
        connections.block_on(run(rpc, listener, content));
        connections.shutdown_background();
        works.into_iter().for_each(Runtime::shutdown_background);
    };
    Ok((address, thread::Builder::new().name("rpc".into()).spawn(server)?))
}

/// Listens with a queue of [`limits::BACKLOG`].
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As `TcpListener::bind` does: a node that starts anew finds its port free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG)
}

fn threads(name: &str, count: usize) -> Runtime {
    let mut threads = runtime::Builder::new_multi_thread();
    let threads = threads.worker_threads(count).thread_name(name).enable_all().build();
    threads.expect("the system starts threads")
}

async fn run(rpc: Arc<Rpc>, listener: std::net::TcpListener, content: Router) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    let router = router(rpc.clone(), content);
    let stopped = rpc.calls.spawn(event_hub::follow(rpc.events.clone(), rpc.backend.clone()));
    tokio::select! {
        _ = stopped => {}
        () = accept(router, listener, rpc.connections.clone()) => {}
    }
}

/// Accepts connections for ever, and gives each its place in `connections`.
pub async fn accept(router: Router, listener: TcpListener, connections: Arc<HttpConnectionTable>) {
    let routes = TowerToHyperService::new(router);
    let heard = Arc::new(Semaphore::new(limits::UNHEARD_MAX));
    while let Ok(unheard) = heard.clone().acquire_owned().await {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                connections.close_idle();
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let from = RemoteAddr::of(from, stream.local_addr().ok());
        let connection = connections.admit(from.from.ip());
        // Small answers must not wait for Nagle; a refusal costs latency only.
        let _ = stream.set_nodelay(true);
        let stream = WatchedStream::new(stream, connection, connections.clone());
        let routes = routes.clone();
        tokio::spawn(async move {
            drop(unheard);
            converse(stream, routes, from).await;
        });
    }
}

/// Serves one connection to its end.
async fn converse(stream: WatchedStream, routes: TowerToHyperService<Router>, from: RemoteAddr) {
    // hyper takes 16 KiB of buffers at once: until here a silent client has its socket and a task.
    if stream.first_byte().await.is_err() {
        return;
    }
    let (connection, table) = (stream.connection.clone(), stream.table.clone());
    // A layer of the router would wrap every route anew, for each connection.
    let service = service_fn(move |mut request: Request<Incoming>| {
        let extensions = request.extensions_mut();
        extensions.insert(connection.clone());
        extensions.insert(table.clone());
        extensions.insert(from);
        routes.call(request)
    });
    let mut builder = http1::Builder::new();
    // Slowloris: a head that never ends would hold its connection for ever.
    builder.timer(TokioTimer::new()).header_read_timeout(limits::READ_TIME_MAX);
    builder.max_buf_size(limits::HEAD_BYTES_MAX);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    // A connection that fails is the client's business. In a box: the task of one that says nothing
    // stays small.
    let _ = Box::pin(served).await;
}

/// `content`: what is served of this node's content, on the same port.
pub fn router(rpc: Arc<Rpc>, content: Router) -> Router {
    let gzip = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(GZIP_BYTES_MIN).and(has_gzip_place));
    let places = Arc::new(Semaphore::new(limits::GZIPS_MAX));
    let calls = Router::new()
        .route("/livez", get(live).post(call))
        .route("/readyz", get(ready).post(call))
        .route("/metrics", get(numbers).post(call))
        .fallback(call)
        .layer(middleware::map_response_with_state(places, with_gzip_place))
        .layer(gzip)
        .layer(cors(&rpc.access));
    // Not of itself for any page: content may be for some organisations only, and a
    // page that this machine's user visits comes from this machine.
    let shared = match rpc.access.origins.is_empty() {
        true => content,
        false => content.layer(cors(&rpc.access).expose_headers(SHOWN)),
    };
    let all = calls.with_state(rpc.clone()).merge(shared);
    let apart = middleware::from_fn_with_state(rpc.calls.clone(), apart_from_checks);
    guarded(all.layer(apart), rpc.access.clone())
}

// A handler that takes long by some fault would keep the checks from their answers, and whoever
// watches the node would take it for dead.
/// Works on whatever is no health check where it delays none.
async fn apart_from_checks(State(calls): State<Handle>, request: Request, next: Next) -> Response {
    if is_health_check(&request) {
        return next.run(request).await;
    }
    let failed = || StatusCode::INTERNAL_SERVER_ERROR.into_response();
    run_on(&calls, next.run(request)).await.unwrap_or_else(failed)
}

/// Works on other threads. `None`: it failed.
async fn run_on<T: Send + 'static>(
    threads: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    // Dropped with the request, and its work with it: a client that is gone waits for nothing.
    let mut running = JoinSet::new();
    running.spawn_on(work, threads);
    running.join_next().await?.ok()
}

/// A place among the [`limits::GZIPS_MAX`]: an extension of a response that may be compressed.
#[derive(Clone)]
struct GzipPlace {
    _permit: Arc<OwnedSemaphorePermit>,
}

async fn with_gzip_place(State(places): State<Arc<Semaphore>>, mut response: Response) -> Response {
    if let Ok(permit) = places.try_acquire_owned() {
        response.extensions_mut().insert(GzipPlace { _permit: Arc::new(permit) });
    }
    response
}

fn has_gzip_place(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<GzipPlace>().is_some()
}

/// Keeps the place of a response that is compressed until it is sent.
fn keep_gzip_place(mut response: Response) -> Response {
    let place = response.extensions_mut().remove::<GzipPlace>();
    match place.filter(|_| response.headers().contains_key(CONTENT_ENCODING)) {
        Some(place) => answer_body::holding(response, place),
        None => response,
    }
}

/// What stands before all that is served.
struct Guard {
    access: HttpAccess,
    inner: Router,
}

/// Whatever is served, for the names and the pages that `access` lists.
pub fn guarded(router: Router, access: HttpAccess) -> Router {
    let guard = Guard { access, inner: router.clone() };
    router.layer(middleware::from_fn_with_state(Arc::new(guard), admit))
}

fn cors(access: &HttpAccess) -> CorsLayer {
    let methods = [Method::GET, Method::HEAD, Method::POST];
    let layer = CorsLayer::new().allow_methods(methods).allow_headers(Any);
    if access.admits_any_origin() {
        return layer.allow_origin(Any);
    }
    let access = access.clone();
    let admits = move |origin: &HeaderValue, asked: &Parts| {
        let host = access::host(&asked.uri, &asked.headers);
        origin.to_str().is_ok_and(|origin| access.admits_origin(origin, host))
    };
    layer.allow_origin(AllowOrigin::predicate(admits))
}

/// Turns away pages that reached us under a foreign name (DNS rebinding) or are not on the
/// operator's list, and what is no health check when there is no place for it.
async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Err(refused) = guard.access.check(request.uri(), request.headers()) {
        return refused.into_response();
    }
    let host = access::host(request.uri(), request.headers());
    let resource = host.and_then(|host| guard.access.resource(host));
    let is_check = resource.is_none() && is_health_check(&request);
    // A body that never ends must not keep a place: such a request takes one when it is whole.
    let whole = request.method() != Method::POST;
    if whole && !is_check && !has_place(request.extensions()) {
        return no_place();
    }
    let connection = request.extensions().get::<Arc<HttpConnection>>().filter(|_| whole);
    let in_flight = connection.map(HttpConnection::request);
    let response = match resource {
        Some(id) => own_origin(&guard.inner, id, request).await,
        None => next.run(request).await,
    };
    let mut response = keep_gzip_place(response);
    if is_check {
        // Its connection has no place but a newcomer's, which it must not keep for the next one.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    match in_flight {
        Some(in_flight) => in_flight.until_sent(response),
        None => response,
    }
}

/// Whether a request that came whole may be worked on.
fn has_place(extensions: &Extensions) -> bool {
    let connection = extensions.get::<Arc<HttpConnection>>();
    let place = connection.zip(extensions.get::<Arc<HttpConnectionTable>>());
    place.is_none_or(|(connection, table)| table.enter(connection))
}

fn no_place() -> Response {
    let text = "all connections are in use; try again in 10 s\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(CONNECTION, "close")], text).into_response()
}

/// By POST any path takes JSON-RPC.
fn is_health_check(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics")
}

/// What is at a resource's own host: the resource, and nothing else.
async fn own_origin(inner: &Router, id: ContentId, mut request: Request) -> Response {
    let path = match (id.kind, request.uri().path()) {
        // A file has no paths in it.
        (ResourceKind::File | ResourceKind::Sealed, "/") => "",
        (_, path) => path,
    };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(uri) = format!("/content/{id}{path}{query}").parse() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(OwnOrigin);
    let served = TowerToHyperService::new(inner.clone()).call(request).await;
    served.unwrap_or_else(|never| match never {})
}

/// JSON-RPC by POST, or the upgrade to a WebSocket.
async fn call(State(rpc): State<Arc<Rpc>>, request: Request) -> Response {
    match *request.method() {
        Method::POST => {
            let connection = request.extensions().get::<Arc<HttpConnection>>();
            let account = connection.map_or(&rpc.memory, |connection| &connection.memory).clone();
            let source = connection.map(|connection| connection.source);
            respond(Caller::Http(&rpc, &account, source), request).await
        }
        Method::GET => upgrade(rpc, request),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "use POST, or open a WebSocket\n").into_response(),
    }
}

/// Answers what is in a request's body, which must keep the pace of [`limits::read_time`].
pub async fn respond(caller: Caller<'_>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let connection = parts.extensions.get::<Arc<HttpConnection>>();
    connection.inspect(|connection| connection.receives());
    let (body, _claim) = match gather(body, caller).await {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    connection.inspect(|connection| connection.received());
    // A body that never ends must not keep a place: such a request takes one when it is whole.
    if !has_place(&parts.extensions) {
        return no_place();
    }
    let in_flight = connection.map(HttpConnection::request);
    let answer = match caller {
        Caller::Http(rpc, account, source) if body.len() > limits::LONG_BYTES => {
            answer_long(rpc, account.clone(), source, body).await
        }
        _ => dispatch::answer(caller, &body).await,
    };
    let response = answered(answer);
    match in_flight {
        Some(in_flight) => in_flight.until_sent(response),
        None => response,
    }
}

/// Answers a long body where it delays no short one.
async fn answer_long(
    rpc: &Arc<Rpc>,
    account: MemoryAccount,
    source: Option<IpAddr>,
    body: Vec<u8>,
) -> Option<RpcAnswer> {
    let (own, memory) = (rpc.clone(), account.clone());
    let answer = async move { dispatch::answer(Caller::Http(&own, &account, source), &body).await };
    let failed = || dispatch::refusal(&memory, RpcError::Internal("the request failed".into()));
    run_on(&rpc.long, answer).await.unwrap_or_else(|| Some(failed()))
}

// Its memory is claimed as it comes: a length that is only claimed takes none.
/// The bytes of a body.
async fn gather(body: Body, caller: Caller<'_>) -> Result<(Vec<u8>, Claim), Response> {
    let (limits, memory) = (caller.limits(), caller.memory());
    let max = limits.body_bytes;
    let mut claim = memory.claim_anyway(0);
    let (mut bytes, mut parts) = (Vec::new(), body.into_data_stream());
    let began = Instant::now();
    loop {
        let until = began + limits::read_time(limits.body_time, bytes.len());
        let part = match timeout_at(until, parts.next()).await {
            Ok(Some(part)) => part,
            Ok(None) => return Ok((bytes, claim)),
            Err(_) => return Err(StatusCode::REQUEST_TIMEOUT.into_response()),
        };
        let part = part.ok().filter(|part: &Bytes| bytes.len() + part.len() <= max);
        let Some(part) = part else {
            let text = format!("the request was cut off, or is over {max} bytes\n");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, text).into_response());
        };
        if let Err(busy) = claim.make_room(&mut bytes, part.len(), max) {
            caller.relieve();
            return Err(answered(Some(dispatch::refusal(memory, busy))));
        }
        bytes.extend_from_slice(&part);
    }
}

/// JSON-RPC's answer as a response; a notification has none.
pub fn answered(answer: Option<RpcAnswer>) -> Response {
    match answer {
        Some(RpcAnswer { text, claim }) => {
            let body = Claimed::bytes(text.into_bytes(), claim);
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn upgrade(rpc: Arc<Rpc>, request: Request) -> Response {
    ws::open(rpc, request).unwrap_or_else(|| {
        let text = "Trefoil JSON-RPC: POST a request here, or open a WebSocket.\n";
        (StatusCode::OK, text).into_response()
    })
}

/// The process answers.
async fn live() -> &'static str {
    "ok\n"
}

/// The node follows the chain's tip and has someone to follow it with.
async fn ready(State(rpc): State<Arc<Rpc>>) -> Response {
    let status = rpc.backend.status();
    // The only validator of a network has no peers and lacks none.
    let alone = status.validators <= 1 && status.validator.is_some();
    let lacks_room = rpc.backend.lacks_room.borrow().clone();
    let reason = match (lacks_room, sync_progress::behind(&status)) {
        (Some(why), _) => format!("{why}\n"),
        (None, Some(to)) => format!("syncing: at block {}, the chain is at {to}\n", status.height),
        (None, None) if status.peers == 0 && !alone => "no peers\n".into(),
        (None, None) => return "ok\n".into_response(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

async fn numbers(State(rpc): State<Arc<Rpc>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&rpc)).into_response()
}
