//! The port: connections, who may call, POST, WebSocket upgrade, health.
//!
//! POST is JSON-RPC on any path; GET is health, metrics or a WebSocket.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{FromRequestParts as _, Request, State, WebSocketUpgrade},
    http::{
        HeaderMap, HeaderName, Method, StatusCode,
        header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST, ORIGIN},
    },
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, predicate::SizeAbove},
    cors::{AllowOrigin, Any, CorsLayer},
};

use crate::{
    HttpAccess, Limits, Rpc,
    backend::RpcBackend,
    dispatch::{self, Caller},
    event_hub, limits, metrics, net, ws,
};

// With its head such an answer fits one TCP segment (about 1,460 bytes) as it is.
/// Answers smaller than this are not worth compressing, bytes.
const GZIP_BYTES_MIN: u16 = 1_024;
// The next `accept` would fail at once too: without a pause this loop would take a whole core
// until a descriptor is free.
/// A pause after the system refused a socket (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// In the settings' lists: every one.
const ANY: &str = "*";

/// Headers of content that pages may see.
const SHOWN: [HeaderName; 3] = [ACCEPT_RANGES, CONTENT_RANGE, ETAG];

/// From where a request came: an extension of each.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAddr(pub SocketAddr);

/// Serves on `address`, with `content` beside, until the node stops or the returned task is aborted;
/// the address returned has the port, if 0 was asked for.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    backend: RpcBackend,
    address: SocketAddr,
    access: HttpAccess,
    content: Router,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let rpc = Rpc::new(backend, access, Limits::default());
    let router = router(rpc.clone(), content);
    let server = tokio::spawn(async move {
        let events = event_hub::follow(rpc.events.clone(), rpc.backend.clone());
        // The node's events end when it stops, and the server with them.
        tokio::select! {
            () = events => {}
            () = accept(router, listener) => {}
        }
    });
    Ok((address, server))
}

/// Accepts connections for ever, so many at once.
pub async fn accept(router: Router, listener: TcpListener) {
    let open = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    loop {
        let permit = open.clone().acquire_owned().await.expect("never closed");
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers must not wait for Nagle; a refusal costs latency only.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone().layer(Extension(RemoteAddr(from))));
        tokio::spawn(async move {
            let _permit = permit;
            let mut builder = Builder::new(TokioExecutor::new());
            // Slowloris: a head that never ends would hold its connection for ever.
            builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::READ_TIME_MAX);
            // A connection that fails is the client's business.
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

/// `content`: what is served of this node's content, on the same port.
pub fn router(rpc: Arc<Rpc>, content: Router) -> Router {
    let gzip = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(GZIP_BYTES_MIN));
    let calls = Router::new()
        .route("/livez", get(live).post(call))
        .route("/readyz", get(ready).post(call))
        .route("/metrics", get(numbers).post(call))
        .fallback(call)
        .layer(gzip)
        .layer(cors(&rpc.access));
    // Not of itself for any page: content may be for some organisations only, and a
    // page that this machine's user visits comes from this machine.
    let shared = match rpc.access.origins.is_empty() {
        true => content,
        false => content.layer(cors(&rpc.access).expose_headers(SHOWN)),
    };
    let all = calls.with_state(rpc.clone()).merge(shared);
    all.layer(middleware::from_fn_with_state(rpc, admit))
}

fn cors(access: &HttpAccess) -> CorsLayer {
    let methods = [Method::GET, Method::HEAD, Method::POST];
    let layer = CorsLayer::new().allow_methods(methods).allow_headers(Any);
    if access.origins.is_empty() || is_listed(&access.origins, ANY) {
        return layer.allow_origin(Any);
    }
    let origins = access.origins.iter().filter_map(|origin| origin.parse().ok());
    layer.allow_origin(AllowOrigin::list(origins))
}

/// Turns away pages that reached us under a foreign name (DNS rebinding), and
/// origins that are not on the operator's list.
async fn admit(State(rpc): State<Arc<Rpc>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    // DNS rebinding: a page's own name is made to resolve to this machine. The browser then
    // counts the node as the page's own origin, but still sends the page's name as `Host`.
    let host = text(headers, HOST).or(request.uri().host());
    if let Some(host) = host.filter(|host| !host_allowed(&rpc.access, host)) {
        let text = format!(
            "host {host:?} is not allowed; use an IP address or localhost, or add the name to `rpc.hosts`\n"
        );
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let origins = &rpc.access.origins;
    let origin = text(headers, ORIGIN);
    if origin.is_some_and(|origin| !origins.is_empty() && !is_listed(origins, origin)) {
        let text = "this origin is not allowed; add it to `rpc.origins`\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether a list of the settings has a name.
fn is_listed(list: &[String], name: &str) -> bool {
    list.iter().any(|listed| listed.eq_ignore_ascii_case(name) || listed == ANY)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A value that is no text is refused as a name, not passed over as absent.
    headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"))
}

fn host_allowed(access: &HttpAccess, host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || is_listed(&access.hosts, name)
}

/// JSON-RPC by POST, or the upgrade to a WebSocket.
async fn call(State(rpc): State<Arc<Rpc>>, request: Request) -> Response {
    match *request.method() {
        Method::POST => respond(Caller::Http(&rpc), request.into_body()).await,
        Method::GET => upgrade(rpc, request).await,
        _ => (StatusCode::METHOD_NOT_ALLOWED, "use POST, or open a WebSocket\n").into_response(),
    }
}

/// Answers what is in a body, which must be here within [`limits::READ_TIME_MAX`].
pub async fn respond(caller: Caller<'_>, body: Body) -> Response {
    let max = caller.limits().body_bytes;
    match tokio::time::timeout(limits::READ_TIME_MAX, to_bytes(body, max)).await {
        Ok(Ok(body)) => answered(dispatch::answer(caller, &body).await),
        Ok(Err(_)) => {
            let text = format!("the request was cut off, or is over {max} bytes\n");
            (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
        }
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// JSON-RPC's answer as a response; a notification has none.
pub fn answered(answer: Option<String>) -> Response {
    match answer {
        Some(answer) => ([(CONTENT_TYPE, "application/json")], answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn upgrade(rpc: Arc<Rpc>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => ws::open(rpc, upgrade),
        Err(_) => {
            let text = "Trefoil JSON-RPC: POST a request here, or open a WebSocket.\n";
            (StatusCode::OK, text).into_response()
        }
    }
}

/// The process answers.
async fn live() -> &'static str {
    "ok\n"
}

/// The node follows the chain's tip and has someone to follow it with.
async fn ready(State(rpc): State<Arc<Rpc>>) -> Response {
    let status = rpc.backend.status();
    // The only validator of a network has no peers and lacks none.
    let alone = status.validators <= 1 && status.validating;
    let reason = match net::behind(&status) {
        Some(to) => format!("syncing: at block {}, the chain is at {to}\n", status.height),
        None if status.peers == 0 && !alone => "no peers\n".into(),
        None => return "ok\n".into_response(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

async fn numbers(State(rpc): State<Arc<Rpc>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&rpc)).into_response()
}
