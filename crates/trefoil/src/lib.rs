//! The trefoil node: settings, clock, threads, JSON-RPC and command line.

pub mod backend;
pub mod certificate;
pub mod client;
pub mod clock;
pub mod commands;
pub mod connect;
pub mod content;
pub mod contract;
pub mod disk;
pub mod failure;
pub mod founding;
pub mod governance;
pub mod home;
pub mod host;
pub mod invite;
pub mod joining;
pub mod keys;
pub mod lanes;
pub mod logging;
pub mod registry;
pub mod renewal;
pub mod rpc;
pub mod run;
pub mod settings;
pub mod snapshots;
pub mod wallet;
