//! Maps of sparse files: GNU's old headers (`S`) and PAX 0.0, 0.1 and 1.0.

use crate::header::number;
use crate::pax::{Records, decimal};
use crate::{BLOCK, Error};

/// Most pieces of a sparse file. GNU tar makes one per hole; 16 bytes each bound the memory to 16 MiB.
pub const MAX_SEGMENTS: usize = 1 << 20;

/// A piece of a file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Pieces in order, and the size of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    /// Do not overlap.
    pub segments: Vec<Segment>,
    /// Bytes of the file, holes included.
    pub size: u64,
}

impl Map {
    fn push(&mut self, offset: u64, length: u64) -> Result<(), Error> {
        if self.segments.len() >= MAX_SEGMENTS {
            return Err(Error::TooLong("sparse map"));
        }
        self.segments.push(Segment { offset, length });
        Ok(())
    }

    /// Checks that the pieces are in order, within the file and as long as the archive's data.
    pub fn check(&self, data: u64) -> Result<(), Error> {
        let bad = Error::Header("invalid sparse map");
        let (mut end, mut total) = (0u64, 0u64);
        for segment in &self.segments {
            let next = segment.offset.checked_add(segment.length);
            match (segment.offset >= end, next, total.checked_add(segment.length)) {
                (true, Some(next), Some(sum)) if next <= self.size => (end, total) = (next, sum),
                _ => return Err(bad),
            }
        }
        if total == data { Ok(()) } else { Err(bad) }
    }
}

/// The four pieces of an old GNU header, and whether extension blocks follow.
pub fn gnu_header(block: &[u8; BLOCK]) -> Result<(Map, bool), Error> {
    let mut map = Map { size: unsigned(block.get(483..495))?, ..Map::default() };
    gnu_pieces(&mut map, block.get(386..482).unwrap_or_default())?;
    Ok((map, block.get(482).is_some_and(|&b| b != 0)))
}

/// The 21 pieces of an extension block, and whether another follows.
pub fn gnu_extension(map: &mut Map, block: &[u8; BLOCK]) -> Result<bool, Error> {
    gnu_pieces(map, block.get(..504).unwrap_or_default())?;
    Ok(block.get(504).is_some_and(|&b| b != 0))
}

fn gnu_pieces(map: &mut Map, fields: &[u8]) -> Result<(), Error> {
    for piece in fields.chunks_exact(24) {
        // the first unused piece ends the list
        if piece.first() == Some(&0) {
            break;
        }
        map.push(unsigned(piece.get(..12))?, unsigned(piece.get(12..))?)?;
    }
    Ok(())
}

fn unsigned(field: Option<&[u8]>) -> Result<u64, Error> {
    u64::try_from(number(field.unwrap_or_default())?).map_err(|_| Error::Header("invalid sparse map"))
}

/// Where the map of a file with PAX records is.
#[derive(Debug, PartialEq, Eq)]
pub enum PaxMap {
    /// The file is not sparse.
    None,
    /// In the records (0.0 and 0.1).
    Records(Map),
    /// At the start of the data (1.0); the value is the file's size.
    Data(u64),
}

/// Finds the map that PAX records describe.
pub fn pax(records: &Records) -> Result<PaxMap, Error> {
    let size = match records.sparse("realsize").or_else(|| records.sparse("size")) {
        Some(size) => decimal(size)?,
        None => return Ok(PaxMap::None),
    };
    match (records.sparse("major"), records.sparse("minor")) {
        (Some(b"1"), Some(b"0")) => return Ok(PaxMap::Data(size)),
        (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {}
        _ => return Err(Error::Header("unknown sparse format")),
    }
    let mut map = Map { size, ..Map::default() };
    let mut numbers: Vec<u64> = Vec::new();
    if let Some(list) = records.sparse("map") {
        for number in list.split(|&b| b == b',').filter(|n| !n.is_empty()) {
            numbers.push(decimal(number)?);
        }
    } else {
        for (_, value) in records.sparse.iter().filter(|(name, _)| name == b"offset" || name == b"numbytes") {
            numbers.push(decimal(value)?);
        }
    }
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(Error::Header("invalid sparse map"));
    }
    for pair in pairs {
        if let [offset, length] = *pair {
            map.push(offset, length)?;
        }
    }
    Ok(PaxMap::Records(map))
}

/// Reads the map at the start of the data (PAX 1.0): decimal numbers, one a line, the first counting the pieces.
#[derive(Debug)]
pub struct DataMap {
    map: Map,
    count: Option<u64>,
    offset: Option<u64>,
    digits: Vec<u8>,
}

impl DataMap {
    /// For a file of `size` bytes.
    pub fn new(size: u64) -> DataMap {
        DataMap { map: Map { size, ..Map::default() }, count: None, offset: None, digits: Vec::new() }
    }

    /// Takes a block; returns the map once it is complete. The rest of the block is padding.
    pub fn feed(&mut self, block: &[u8]) -> Result<Option<Map>, Error> {
        for &byte in block {
            if byte != b'\n' {
                self.digits.push(byte);
                // as many digits as a u64 can have
                if self.digits.len() > 20 {
                    return Err(Error::Header("invalid sparse map"));
                }
                continue;
            }
            let number = decimal(&self.digits)?;
            self.digits.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.map.push(offset, number)?,
            }
            if self.count == u64::try_from(self.map.segments.len()).ok() {
                return Ok(Some(std::mem::take(&mut self.map)));
            }
        }
        Ok(None)
    }
}
