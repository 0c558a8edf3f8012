//! This node's content over HTTP: the gateway for reading, the `admin_*` methods for
//! putting and fetching.

pub mod admin;
pub mod admin_server;
mod body_reader;
pub mod gateway;
pub mod gateway_keys;
pub mod gateway_visitor;
mod listing;
mod refusal;
mod served_file;
