//! The map of groups on disk: twice, written in turn.
//!
//! ```text
//! sequence (8 bytes)                     body           keyed BLAKE3 of both (32 bytes)
//! as it is                               a bit for each group
//! with its highest bit, and a length (8) a gap and a length for each run, see `Runs`
//! ```
//!
//! What always holds: neither form takes memory by the size of the resource. Bits are written
//! where they take up to 64 KiB, or less than the runs. They are read in steps.

use std::{
    io::{self, ErrorKind},
    sync::Mutex,
};

use trefoil_types::DiskFile;

use super::PartialStore;
use crate::runs::Runs;

/// Sequence number before the map, hash behind it.
const SEQUENCE_BYTES: u64 = 8;
const CHECK_BYTES: usize = 32;

/// In the sequence number: runs follow.
const RUNS: u64 = 1 << 63;
const LENGTH_BYTES: u64 = 8;

// Bits are simple and, for a file of this size, small enough. Beyond it, bits follow the
// claimed size, and runs only what is really here.
/// Maps up to this size are always written as bits: those of files up to 8 GiB.
const BITS_BYTES: u64 = 64 * 1024;

// Opening a store reads two maps, each twice: at most 512 MiB. A larger resource whose groups
// are so scattered that their runs take more than this is fetched again.
/// Larger bit maps are not read: those of more than 16 TiB.
const BITS_BYTES_MAX: u64 = 128 << 20;

impl PartialStore {
    pub(super) fn read_maps(&mut self) -> io::Result<()> {
        let Some(map) = &self.files.map else { return Ok(()) };
        let mut newest = (0, Runs::none(self.groups));
        for slot in 0..2 {
            if let Some((sequence, here)) = some(self.read_map(&**map, slot))?
                && sequence > newest.0
            {
                newest = (sequence, here);
            }
        }
        self.here = Mutex::new(newest.1.clone());
        self.synced = Mutex::new(newest);
        Ok(())
    }

    fn bits_bytes(&self) -> u64 {
        self.groups.div_ceil(8)
    }

    pub(super) fn slot_at(&self, slot: u64) -> u64 {
        slot * (SEQUENCE_BYTES + self.bits_bytes() + CHECK_BYTES as u64)
    }

    pub(super) fn map_bytes(&self, sequence: u64, here: &Runs) -> Vec<u8> {
        let runs = here.encode();
        let fit = runs.len() as u64 + LENGTH_BYTES <= self.bits_bytes();
        let mut bytes = Vec::new();
        if fit && self.bits_bytes() > BITS_BYTES {
            bytes.extend((sequence | RUNS).to_le_bytes());
            bytes.extend((runs.len() as u64).to_le_bytes());
            bytes.extend(runs);
        } else {
            bytes.extend(sequence.to_le_bytes());
            bytes.extend(here.to_bits());
        }
        let check = self.hasher().update(&bytes).finalize();
        bytes.extend(check.as_bytes());
        bytes
    }

    // Attack: the map of another resource, or of the same one with another size, put in
    // place.
    /// The hash under a map is keyed with its resource, so that no other map is accepted.
    fn hasher(&self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.bytes.to_le_bytes());
        hasher
    }

    fn read_map(&self, map: &dyn DiskFile, slot: u64) -> io::Result<Option<(u64, Runs)>> {
        let at = self.slot_at(slot);
        // Sequence numbers begin with 1. Zero is a hole: the second slot was written before
        // the first.
        let sequence = match read_number(map, at)? {
            0 => return Ok(None),
            sequence => sequence,
        };
        let (at, mut hasher) = (at + SEQUENCE_BYTES, self.hasher());
        hasher.update(&sequence.to_le_bytes());
        if sequence & RUNS == 0 {
            return Ok(self.read_bits(map, at, hasher)?.map(|here| (sequence, here)));
        }
        let length = read_number(map, at)?;
        // The length is not verified yet, so it is compared with the file before memory is
        // taken for it.
        let rest = map.len()?.saturating_sub(at + LENGTH_BYTES);
        if length > rest || length + LENGTH_BYTES > self.bits_bytes() {
            return Ok(None);
        }
        let mut runs = vec![0; length as usize];
        map.read_at(at + LENGTH_BYTES, &mut runs)?;
        hasher.update(&length.to_le_bytes()).update(&runs);
        if !is_checked(map, at + LENGTH_BYTES + length, &hasher)? {
            return Ok(None);
        }
        Ok(Runs::decode(self.groups, &runs).map(|here| (sequence & !RUNS, here)))
    }

    /// Reads the bits twice: first for their hash, then for their content. Rotten bits
    /// never become runs.
    fn read_bits(
        &self,
        map: &dyn DiskFile,
        at: u64,
        mut hasher: blake3::Hasher,
    ) -> io::Result<Option<Runs>> {
        let count = self.bits_bytes();
        // The size may be a mere claim. A map that was never written must not be read
        // through.
        if count > BITS_BYTES_MAX || map.len()? < at + count + CHECK_BYTES as u64 {
            return Ok(None);
        }
        let mut step = vec![0; count.min(BITS_BYTES) as usize];
        let mut steps = |take: &mut dyn FnMut(u64, &[u8])| {
            for from in (0..count).step_by(BITS_BYTES as usize) {
                let step = &mut step[..(count - from).min(BITS_BYTES) as usize];
                map.read_at(at + from, step)?;
                take(from * 8, step);
            }
            Ok::<_, io::Error>(())
        };
        steps(&mut |_, bits| {
            hasher.update(bits);
        })?;
        if !is_checked(map, at + count, &hasher)? {
            return Ok(None);
        }
        let (mut here, mut sane) = (Runs::none(self.groups), true);
        steps(&mut |first, bits| sane &= here.insert_bits(first, bits))?;
        Ok(sane.then_some(here))
    }
}

/// A map that ends too early counts as absent.
fn some<T>(read: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        read => read,
    }
}

fn read_number(map: &dyn DiskFile, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    map.read_at(at, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn is_checked(map: &dyn DiskFile, at: u64, hasher: &blake3::Hasher) -> io::Result<bool> {
    let mut check = [0; CHECK_BYTES];
    map.read_at(at, &mut check)?;
    Ok(hasher.finalize() == blake3::Hash::from_bytes(check))
}
