//! A streaming reader of tar archives.

use std::io::BufRead;

use crate::header::{self, RawHeader};
use crate::pax::Records;
use crate::sparse::{self, DataMap, Map, PaxMap};
use crate::{BLOCK, Entry, Error, Kind, MAX_EXTENSION};

/// Reads entries in order: [`Self::next_entry`], then [`Self::chunk`] until it gives nothing, or not at all.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    /// Bytes that the last chunk lent out of the inner buffer.
    lent: usize,
    /// Bytes of data of the current entry that are still in the archive.
    remaining: u64,
    /// Bytes after the data up to the next block.
    padding: u64,
    /// Offset in the file of the next byte of data.
    offset: u64,
    /// What follows of a sparse file, in reverse; empty for others.
    segments: Vec<sparse::Segment>,
    /// Bytes left of the current segment, when the file is sparse.
    segment: Option<u64>,
    ended: bool,
}

/// A piece of an entry's data.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Where it belongs in the file. What no chunk covers is a hole.
    pub offset: u64,
    /// Never empty.
    pub data: &'a [u8],
}

impl<R: BufRead> Reader<R> {
    /// Reads from the start of an archive.
    pub fn new(inner: R) -> Reader<R> {
        Reader {
            inner,
            lent: 0,
            remaining: 0,
            padding: 0,
            offset: 0,
            segments: Vec::new(),
            segment: None,
            ended: false,
        }
    }

    /// The next entry, skipping what is left of the one before; `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_data()?;
        let (mut records, mut long_path, mut long_link) = (None, None, None);
        loop {
            let Some(block) = self.header_block()? else {
                // an extension without its entry
                let dangling = records.is_some() || long_path.is_some() || long_link.is_some();
                return if dangling { Err(Error::Truncated) } else { Ok(None) };
            };
            let raw = header::parse(&block)?;
            match raw.flag {
                b'x' => records = Some(Records::parse(&self.extension(raw.entry.size)?)?),
                b'g' => {
                    // defaults for later entries; Docker ignores them too
                    self.extension(raw.entry.size)?;
                }
                b'L' => long_path = Some(header::text(&self.extension(raw.entry.size)?).to_vec()),
                b'K' => long_link = Some(header::text(&self.extension(raw.entry.size)?).to_vec()),
                _ => return self.begin(raw, &block, records.as_ref(), long_path, long_link).map(Some),
            }
        }
    }

    /// The next piece of the current entry's data; `None` at its end.
    pub fn chunk(&mut self) -> Result<Option<Chunk<'_>>, Error> {
        self.give_back();
        while self.segment == Some(0) {
            match self.segments.pop() {
                Some(next) => (self.offset, self.segment) = (next.offset, Some(next.length)),
                None => break,
            }
        }
        if self.remaining == 0 {
            return Ok(None);
        }
        let available = self.inner.fill_buf()?;
        if available.is_empty() {
            return Err(Error::Truncated);
        }
        let wanted = self.remaining.min(self.segment.unwrap_or(u64::MAX));
        let take = available.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        let count = take as u64;
        let offset = self.offset;
        self.lent = take;
        self.remaining -= count;
        self.offset += count;
        if let Some(left) = &mut self.segment {
            *left -= count;
        }
        Ok(Some(Chunk { offset, data: available.get(..take).unwrap_or_default() }))
    }

    /// The rest of the stream behind the archive's end.
    pub fn into_inner(mut self) -> R {
        self.give_back();
        self.inner
    }

    fn begin(
        &mut self,
        raw: RawHeader,
        block: &[u8; BLOCK],
        records: Option<&Records>,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, Error> {
        let RawHeader { mut entry, flag, gnu } = raw;
        if let Some(records) = records {
            records.apply(&mut entry);
        }
        if let Some(path) = long_path {
            entry.path = path;
        }
        if let Some(link) = long_link {
            entry.link = link;
        }
        if header::is_header_only(flag) {
            entry.size = 0;
        }
        if !matches!(entry.kind, Kind::HardLink | Kind::Symlink) {
            entry.link.clear();
        }
        self.start_data(entry.size);
        let map = self.sparse_map(flag, gnu, block, records)?;
        if let Some(map) = map {
            map.check(self.remaining)?;
            if let Some(name) = records.and_then(|r| r.sparse("name")) {
                entry.path = header::text(name).to_vec();
            }
            entry.size = map.size;
            self.segments = map.segments;
            self.segments.reverse();
            self.segment = Some(0);
        }
        Ok(entry)
    }

    fn start_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        self.offset = 0;
        self.segments.clear();
        self.segment = None;
    }

    fn sparse_map(
        &mut self,
        flag: u8,
        gnu: bool,
        block: &[u8; BLOCK],
        records: Option<&Records>,
    ) -> Result<Option<Map>, Error> {
        if flag == b'S' {
            if !gnu {
                return Err(Error::Header("sparse file in an archive that is not GNU's"));
            }
            let (mut map, mut more) = sparse::gnu_header(block)?;
            while more {
                let extension = self.block()?.ok_or(Error::Truncated)?;
                more = sparse::gnu_extension(&mut map, &extension)?;
            }
            return Ok(Some(map));
        }
        if !matches!(flag, b'0' | b'\0' | b'7') {
            return Ok(None);
        }
        match records.map_or(Ok(PaxMap::None), sparse::pax)? {
            PaxMap::None => Ok(None),
            PaxMap::Records(map) => Ok(Some(map)),
            PaxMap::Data(size) => {
                let mut reading = DataMap::new(size);
                loop {
                    self.remaining = self.remaining.checked_sub(BLOCK as u64).ok_or(Error::Truncated)?;
                    let block = self.block()?.ok_or(Error::Truncated)?;
                    if let Some(map) = reading.feed(&block)? {
                        return Ok(Some(map));
                    }
                }
            }
        }
    }

    /// The data of an entry that extends the next one.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION {
            return Err(Error::TooLong("extended header"));
        }
        self.start_data(size);
        let mut data = Vec::new();
        while let Some(chunk) = self.chunk()? {
            data.extend_from_slice(chunk.data);
        }
        self.skip_data()?;
        Ok(data)
    }

    /// A header, or `None` at the end: two blocks of zeros, or the end of the stream on a block's border.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        if self.ended {
            return Ok(None);
        }
        let block = self.block()?;
        match block {
            Some(block) if block.iter().any(|&b| b != 0) => return Ok(Some(block)),
            Some(_) if self.block()?.is_some_and(|second| second.iter().any(|&b| b != 0)) => {
                return Err(Error::Header("a lone block of zeros"));
            }
            _ => {}
        }
        self.ended = true;
        Ok(None)
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        self.give_back();
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = self.inner.fill_buf()?;
            if available.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(Error::Truncated) };
            }
            let take = available.len().min(BLOCK - filled);
            if let (Some(to), Some(from)) = (block.get_mut(filled..filled + take), available.get(..take)) {
                to.copy_from_slice(from);
            }
            self.inner.consume(take);
            filled += take;
        }
        Ok(Some(block))
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        self.give_back();
        let padding = std::mem::take(&mut self.padding);
        let mut left = std::mem::take(&mut self.remaining).saturating_add(padding);
        while left > 0 {
            let available = self.inner.fill_buf()?.len();
            if available == 0 {
                // some writers leave out the padding after the last entry
                return if left > padding { Err(Error::Truncated) } else { Ok(()) };
            }
            let take = available.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.inner.consume(take);
            left -= take as u64;
        }
        Ok(())
    }

    fn give_back(&mut self) {
        self.inner.consume(std::mem::take(&mut self.lent));
    }
}
