//! What a command asks before it does what is rarely meant.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use crate::error::CommandError;

/// Whether the user agrees beforehand.
#[derive(Debug, Args)]
pub struct ConsentArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl ConsentArgs {
    /// Goes on if the user agrees to `what` will happen.
    ///
    /// # Errors
    /// The user does not agree, or there is nobody to ask.
    pub fn ask(&self, what: &str) -> Result<(), CommandError> {
        if self.yes {
            return Ok(());
        }
        let refused = || CommandError::with_cure(what, "give --yes if that is meant");
        if !io::stdin().is_terminal() {
            return Err(refused());
        }
        eprint!("{what}. Go on? [y/N] ");
        _ = io::stderr().flush();
        let mut answer = String::new();
        match io::stdin().lock().read_line(&mut answer) {
            Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
            _ => Err(refused()),
        }
    }
}
