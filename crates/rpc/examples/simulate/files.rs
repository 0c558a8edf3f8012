//! The files of execution-apis that are looked at, from a folder or an archive.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
};

/// The fixtures of the method, and what they are run on.
const METHOD: &str = "eth_simulateV1/";

/// Files by name, from the folder `tests` on.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn read(path: &Path) -> io::Result<Files> {
    if path.is_dir() { folder(path) } else { archive(path) }
}

fn folder(path: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for name in ["genesis.json", "chain.rlp"] {
        files.insert(name.into(), fs::read(path.join(name))?);
    }
    for entry in fs::read_dir(path.join(METHOD))? {
        let entry = entry?;
        let name = format!("{METHOD}{}", entry.file_name().to_string_lossy());
        files.insert(name, fs::read(entry.path())?);
    }
    Ok(files)
}

fn archive(path: &Path) -> io::Result<Files> {
    let compressed = io::BufReader::new(fs::File::open(path)?);
    let stream = ruzstd::decoding::StreamingDecoder::new(compressed).map_err(io::Error::other)?;
    let mut files = Files::new();
    for entry in tar::Archive::new(stream).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let name = name.rsplit_once("tests/").map_or(&*name, |(_, name)| name).to_owned();
        if name.starts_with(METHOD) || name == "genesis.json" || name == "chain.rlp" {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.insert(name, bytes);
        }
    }
    Ok(files)
}
