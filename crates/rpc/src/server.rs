//! Starts the server.

use std::{io, net::SocketAddr};

use axum::Router;

use crate::{HttpAccess, Limits, Rpc, backend::RpcBackend, event_hub, http};

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
) -> io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let rpc = Rpc::new(backend, access, Limits::default());
    let router = http::router(rpc.clone(), content);
    let server = tokio::spawn(async move {
        let events = event_hub::follow(rpc.events.clone(), rpc.backend.clone());
        // The node's events end when it stops, and the server with them.
        tokio::select! {
            () = events => {}
            () = http::accept(router, listener) => {}
        }
    });
    Ok((address, server))
}
