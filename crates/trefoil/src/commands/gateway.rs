//! `trefoil gateway open`: lets a browser read what has an allow-list.

use std::net::Ipv4Addr;

use clap::Subcommand;
use serde_json::json;
use trefoil_rpc::content::gateway::GatewayAccess;

use super::{block_on::block_on, worker::WorkerArgs};
use crate::error::CommandError;

#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Print a link: the browser that opens it may read what has an allow-list. It works
    /// once, for a minute
    Open(WorkerArgs),
}

impl GatewayCommand {
    pub fn run(self) -> Result<(), CommandError> {
        let Self::Open(worker) = self;
        let settings = worker.home()?.settings(&[])?.settings;
        if settings.content.gateway == GatewayAccess::Off {
            let cure = "set `content.gateway = \"loopback\"` in node.toml and restart the node";
            return Err(CommandError::with_cure("this node's gateway is off", cure));
        }
        let method = "admin_openGateway";
        let client = worker.client()?;
        let answer = block_on(client.call(method, json!([])))?;
        let path = answer.as_str().ok_or_else(|| client.odd(method))?;
        let mut listen = settings.rpc.listen;
        // Every address of this machine is none that a browser can open.
        if listen.ip().is_unspecified() {
            listen.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let link = format!("http://{listen}{path}");
        match worker.json {
            true => println!("{:#}", json!({ "link": link })),
            false => println!("{link}"),
        }
        Ok(())
    }
}
