//! A socket's hold on its entry in the table.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use super::{SharedTable, lock};
use crate::{
    inbound_limits::slots::{Full, SocketId},
    transport::kill_switch::KillSwitch,
};

/// An open socket's entry. Its place is given back when the socket is closed.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    table: SharedTable,
    pub id: SocketId,
    pub kill_switch: Arc<KillSwitch>,
    /// Whether its places are counted, and its silence.
    pub counted: bool,
}

impl ConnectionHandle {
    /// Of a socket that was accepted.
    ///
    /// # Errors
    /// There is no room: close it.
    pub fn accept(table: &SharedTable, address: SocketAddr) -> Result<Self, Full> {
        let mut inside = lock(table);
        let id = inside.accept(address, Instant::now())?;
        let counted = inside.strangers.is_some();
        drop(inside);
        Ok(Self::of(table, id, counted))
    }

    /// Of a socket that this node dialled.
    pub fn dialled(table: &SharedTable, address: SocketAddr) -> Self {
        let id = lock(table).dialled(address, Instant::now());
        Self::of(table, id, false)
    }

    fn of(table: &SharedTable, id: SocketId, counted: bool) -> Self {
        let kill_switch = lock(table).get(id).map(|it| it.kill_switch.clone()).unwrap_or_default();
        Self { table: table.clone(), id, kill_switch, counted }
    }

    /// The socket's first byte has come.
    pub fn on_first_byte(&self) {
        lock(&self.table).on_first_byte(self.id);
    }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        lock(&self.table).on_closed(self.id, Instant::now());
    }
}
