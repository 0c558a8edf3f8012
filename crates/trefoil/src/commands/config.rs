//! `trefoil config`.

use clap::Args;
use serde_json::json;
use trefoil_host::settings::variable;

use super::arguments::{DirArgs, SettingsArgs};
use crate::error::CommandError;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    dir: DirArgs,
    #[command(flatten)]
    flags: SettingsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ConfigArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let effective = self.dir.home().settings(&self.flags.given())?;
        if self.json {
            let keys = effective.keys.iter().map(|(key, (value, source))| {
                (key.clone(), json!({ "value": value, "source": source.to_string() }))
            });
            println!("{:#}", serde_json::Value::Object(keys.collect()));
            return Ok(());
        }
        for (key, (value, source)) in &effective.keys {
            println!("{key} = {value}    # {source}; {}", variable(key));
        }
        Ok(())
    }
}
