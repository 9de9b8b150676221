//! Writing a container's output.
//!
//! A call takes one read's worth of output; all its records have the time of that read and leave with one write(2) per
//! [`FLUSH_BYTES`] of text. Nothing is kept back between calls except an unfinished line, so that what has been handed
//! over is in the file when the call returns: [`Writer::position`] is then exact.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use tare_shim_protocol::LogConfig;

use crate::format::{Encoder, Format};
use crate::lines::{Lines, Piece};
use crate::rotation::{self, Compressor};
use crate::{Stream, local};

/// Bytes of records collected before they are written. One more record can be in the buffer, at most 96 KiB and its
/// attributes.
const FLUSH_BYTES: usize = 128 * 1024;

/// Longest record of a JSON file, with its attributes: every byte of a piece may take six.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// Writes one container's log.
#[derive(Debug)]
pub struct Writer {
    /// `None` with the driver `none`.
    output: Option<Output>,
    lines: [Lines; 2],
}

#[derive(Debug)]
struct Output {
    path: PathBuf,
    max_size: u64,
    max_file: u32,
    compress: bool,
    encoder: Encoder,
    file: File,
    /// Bytes in `file`.
    size: u64,
    buffer: Vec<u8>,
    compressor: Option<Compressor>,
    /// There may be a rotated file that is not compressed.
    uncompressed: bool,
}

impl Writer {
    /// Opens or creates the log. The directory must exist. An unknown driver is [`io::ErrorKind::Unsupported`].
    pub fn open(config: &LogConfig) -> io::Result<Self> {
        let output = match (config.driver.as_str(), Format::of(&config.driver)) {
            ("none", _) => None,
            (_, Some(format)) => Some(Output::open(config, format)?),
            (driver, None) => {
                let message = format!("log driver `{driver}` is not supported");
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        Ok(Self { output, lines: Default::default() })
    }

    /// Takes output as it was read, with the time of the read in nanoseconds since the epoch. On an error (a full disk)
    /// the records concerned are lost; the writer stays usable.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now_ns: i64) -> io::Result<()> {
        let (Some(output), Some(lines)) = (&mut self.output, self.lines.get_mut(stream.index())) else { return Ok(()) };
        let pushed = lines.push(bytes, now_ns, |piece| output.append(stream, &piece));
        pushed.and(output.flush())
    }

    /// A stream has ended: an unfinished line becomes a record without a newline.
    pub fn finish(&mut self, stream: Stream, now_ns: i64) -> io::Result<()> {
        let (Some(output), Some(lines)) = (&mut self.output, self.lines.get_mut(stream.index())) else { return Ok(()) };
        lines.finish(now_ns, |piece| output.append(stream, &piece))?;
        output.flush()
    }

    /// Inode of the current file and bytes in it; zeros with the driver `none`.
    pub fn position(&self) -> io::Result<(u64, u64)> {
        let Some(output) = &self.output else { return Ok((0, 0)) };
        let metadata = output.file.metadata()?;
        Ok((metadata.ino(), metadata.len()))
    }

    /// Output that has been taken but is not in the file yet: the stream's unfinished line.
    pub fn pending(&self, stream: Stream) -> &[u8] {
        self.lines.get(stream.index()).map_or(&[], Lines::pending)
    }

    /// Whether [`Self::background`] has something to do.
    pub fn has_background(&self) -> bool {
        self.output.as_ref().is_some_and(|output| output.uncompressed || output.compressor.is_some())
    }

    /// Goes on with compressing a rotated file; returns whether there is more to do. Takes about a millisecond; to be
    /// called while there is no output.
    pub fn background(&mut self) -> io::Result<bool> {
        let Some(output) = &mut self.output else { return Ok(false) };
        output.background()
    }

    /// Gives back memory that is only needed while there is output.
    pub fn relax(&mut self) {
        self.lines.iter_mut().for_each(Lines::relax);
        if let Some(output) = &mut self.output {
            output.buffer = Vec::new();
        }
    }
}

impl Output {
    fn open(config: &LogConfig, format: Format) -> io::Result<Self> {
        let (file, size) = open(&config.path, format)?;
        Ok(Self {
            path: config.path.clone(),
            max_size: config.max_size.unwrap_or(u64::MAX),
            max_file: config.max_file.clamp(1, rotation::FILES_MAX),
            compress: config.compress,
            encoder: Encoder::new(format, &config.attrs),
            file,
            size,
            buffer: Vec::new(),
            compressor: None,
            uncompressed: config.compress,
        })
    }

    fn append(&mut self, stream: Stream, piece: &Piece<'_>) -> io::Result<()> {
        let before = self.buffer.len();
        self.encoder.append(&mut self.buffer, stream, piece.bytes, piece.ends_line, piece.time_ns);
        let end = self.size + self.buffer.len() as u64;
        if end > self.max_size && self.size + before as u64 > 0 {
            return self.rotate(before);
        }
        if self.buffer.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let length = self.buffer.len();
        self.flush_first(length)
    }

    /// Writes the first `length` bytes of the buffer. On an error they are dropped, and with them what the kernel took of
    /// a record that is not whole.
    fn flush_first(&mut self, length: usize) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let result = self.file.write_all(self.buffer.get(..length).unwrap_or_default());
        self.buffer.drain(..length);
        match result {
            Ok(()) => self.size += length as u64,
            Err(_) => {
                // If that fails too, the reader skips a damaged record.
                let _ = self.file.set_len(self.size);
            }
        }
        result
    }

    /// Ends the current file after the first `keep` bytes of the buffer and starts a new one.
    fn rotate(&mut self, keep: usize) -> io::Result<()> {
        let flushed = self.flush_first(keep);
        // Someone else may have emptied the file meanwhile.
        self.size = self.file.metadata()?.len();
        if self.size + (self.buffer.len() as u64) <= self.max_size {
            return flushed;
        }
        // Made first: on a full disk old files must not move up, and out, again and again for want of a new one.
        let next = rotation::next_name(&self.path);
        let (file, size) = open(&next, self.encoder.format)?;
        rotation::shift(&self.path, self.max_file)?;
        fs::rename(&next, &self.path)?;
        (self.file, self.size) = (file, size);
        self.compressor = self.compressor.take().and_then(|compressor| compressor.shifted(self.max_file));
        self.uncompressed = self.compress;
        flushed
    }

    fn background(&mut self) -> io::Result<bool> {
        if self.compressor.is_none() && self.uncompressed {
            self.compressor = Compressor::find(&self.path, self.max_file);
            self.uncompressed = self.compressor.is_some();
        }
        if let Some(compressor) = self.compressor.take() {
            match compressor.step(&self.path) {
                Ok(compressor) => self.compressor = compressor,
                Err(error) => {
                    // Not tried again before the next rotation.
                    self.uncompressed = false;
                    return Err(error);
                }
            }
        }
        Ok(self.uncompressed)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(compressor) = &self.compressor {
            compressor.abandon();
        }
    }
}

/// Opens a log file for appending and makes sure that it ends with a whole record.
fn open(path: &std::path::Path, format: Format) -> io::Result<(File, u64)> {
    let file = File::options().read(true).append(true).create(true).mode(rotation::MODE).open(path)?;
    let size = file.metadata()?.len();
    if size == 0 {
        return Ok((file, 0));
    }
    let size = match format {
        Format::JsonFile => {
            let mut last = [0];
            file.read_exact_at(&mut last, size - 1)?;
            if last == *b"\n" {
                size
            } else if (&file).write_all(b"\n").is_ok() {
                size + 1
            } else {
                // On a full disk the piece of a record goes: the container must start all the same.
                let whole = whole_lines_end(&file, size)?;
                file.set_len(whole)?;
                whole
            }
        }
        Format::Local => {
            let whole = whole_records_end(&file, size)?;
            if whole < size {
                file.set_len(whole)?;
            }
            whole
        }
    };
    Ok((file, size))
}

/// Where the last whole line of a file ends, as far as it is not further back than a record may be long.
fn whole_lines_end(file: &File, size: u64) -> io::Result<u64> {
    let window = size.min(LINE_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(window).unwrap_or_default()];
    file.read_exact_at(&mut bytes, size - window)?;
    Ok(match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(at) => size - window + at as u64 + 1,
        None if window == size => 0,
        None => size,
    })
}

/// Where the last whole record of a `local` file ends.
fn whole_records_end(file: &File, size: u64) -> io::Result<u64> {
    // Two records: the torn one at the end, and the whole one before it.
    let window = size.min(2 * local::RECORD_BYTES_MAX as u64);
    let mut bytes = vec![0; usize::try_from(window).unwrap_or_default()];
    file.read_exact_at(&mut bytes, size - window)?;
    let torn = (0..bytes.len()).take_while(|torn| {
        let whole = bytes.get(..bytes.len() - torn).unwrap_or_default();
        local::tail(whole).is_none()
    });
    let torn = torn.count() as u64;
    // No record at all where there must be one: not our file, or only the beginning of a first record.
    Ok(if torn == window && window < size { size } else { size - torn })
}

/// Removes a log: the current file and all rotated ones.
pub fn remove(path: &std::path::Path, max_file: u32) -> io::Result<()> {
    let mut result = Ok(());
    for slot in 0..max_file.clamp(1, rotation::FILES_MAX) {
        for name in [rotation::plain_name(path, slot), rotation::gzip_name(path, slot)] {
            match fs::remove_file(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                _ => {}
            }
        }
    }
    result
}
