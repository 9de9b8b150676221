//! Compressed streams, told apart by their first bytes.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;

use crate::oci::media;
use crate::{Error, Result};

/// Bytes read from a compressed source at once.
const INPUT_BUFFER: usize = 128 << 10;
/// Largest zstd window accepted, as a power of two: 128 MiB, what `zstd -d` takes without being asked.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
/// Level of the layers made here (import, commit). Level 1 costs a third of the time of 6 for some 10 % more bytes.
const GZIP_LEVEL: u32 = 1;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Recognised, not supported.
    Bzip2,
    /// Recognised, not supported.
    Xz,
}

impl Compression {
    /// Looks at the first bytes (10 suffice).
    pub fn detect(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }

    /// The OCI media type of a layer compressed like this.
    pub fn layer_media_type(self) -> &'static str {
        match self {
            Compression::Gzip => media::OCI_LAYER_GZIP,
            Compression::Zstd => media::OCI_LAYER_ZSTD,
            _ => media::OCI_LAYER,
        }
    }
}

/// What comes out of [`decompress`].
pub enum Plain<R: BufRead> {
    /// The source was not compressed.
    Same(R),
    /// Decompression as it is read.
    Inflated(Box<dyn Read + Send>),
}

/// Reads a source whatever its compression.
pub fn decompress<R: BufRead + Send + 'static>(mut source: R) -> Result<(Compression, Plain<R>)> {
    let start = source.fill_buf().map_err(Error::io("read", "compressed stream"))?;
    let compression = Compression::detect(start);
    let plain = match compression {
        Compression::None => Plain::Same(source),
        Compression::Gzip => Plain::Inflated(Box::new(MultiGzDecoder::new(source))),
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(source).map_err(Error::io("zstd", "compressed stream"))?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(Error::io("zstd", "compressed stream"))?;
            Plain::Inflated(Box::new(decoder))
        }
        Compression::Bzip2 | Compression::Xz => {
            return Err(Error::Malformed {
                what: "archive",
                reason: format!("{compression:?} compression is not supported; use gzip or zstd"),
            });
        }
    };
    Ok((compression, plain))
}

/// A source with a buffer fit for [`decompress`].
pub fn buffered<R: Read>(source: R) -> BufReader<R> {
    BufReader::with_capacity(INPUT_BUFFER, source)
}

/// Compresses what is written as the layers made here are.
pub fn gzip<W: Write>(to: W) -> flate2::write::GzEncoder<W> {
    flate2::write::GzEncoder::new(to, flate2::Compression::new(GZIP_LEVEL))
}

impl<R: BufRead> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Plain::Same(source) => source.read(buffer),
            Plain::Inflated(source) => source.read(buffer),
        }
    }
}
