//! One connection: its streams, the hello that binds it to a network, frames, lanes and
//! queues, until it ends.

pub(crate) mod answer_pool;
pub(crate) mod behaviour;
pub(crate) mod budget;
pub(crate) mod content_streams;
pub mod frame;
pub mod hello;
pub(crate) mod lane_limits;
mod lane_reader;
pub(crate) mod lanes;
mod read_pool;
pub(crate) mod send_queue;
pub(crate) mod session;
pub(crate) mod session_end;
pub(crate) mod streams;
mod writer;
