//! This node's content over HTTP: the gateway for reading, the `admin_*` methods for
//! putting and fetching.

pub mod admin;
pub mod admin_server;
pub mod gateway;
