//! Common parts of the content commands: a resource's link, its output path, its size.

use std::path::{Path, PathBuf};

use trefoil_content::Link;
use trefoil_rpc::content::admin;

use crate::error::CommandError;

pub fn parse_link(text: &str) -> Result<Link, CommandError> {
    admin::link(text).map_err(|error| {
        let cure = "give what `trefoil put` printed: trefoil:<id>?name=…&size=…";
        CommandError::with_cure(format!("{text:?} is no link: {error}"), cure)
    })
}

/// Where a resource is written: absolute, and free.
pub fn output_path(
    given: Option<&Path>,
    path: Option<&str>,
    link: &Link,
) -> Result<PathBuf, CommandError> {
    let name = || match path.and_then(|path| path.rsplit('/').next()) {
        Some(name) => name.to_owned(),
        None => link.name.clone().unwrap_or_else(|| link.id.to_string()),
    };
    let output = given.map_or_else(|| PathBuf::from(name()), Path::to_path_buf);
    let output =
        std::path::absolute(&output).map_err(|e| CommandError::file("find", &output, e))?;
    // Asked before the fetch: a file of the user is never overwritten.
    if output.exists() {
        let what = format!("{} is there already", output.display());
        return Err(CommandError::with_cure(what, "name another place with -o, or remove it"));
    }
    Ok(output)
}

/// `A-B`: two numbers of bytes.
pub fn byte_range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once('-').ok_or("write A-B, as in 0-1000000")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number of bytes"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok((from, to)) } else { Err("it ends before it begins".into()) }
}

/// Bytes of a file, or of all below a directory.
pub fn bytes_of(path: &Path) -> std::io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    std::fs::read_dir(path)?.try_fold(0, |sum, entry| {
        let path = entry?.path();
        // Links to directories are not followed.
        let link = std::fs::symlink_metadata(&path)?.is_symlink();
        let bytes = if link && path.is_dir() { 0 } else { bytes_of(&path)? };
        Ok(sum + bytes)
    })
}
