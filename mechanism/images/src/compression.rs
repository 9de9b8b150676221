//! Compressed streams, told apart by their first bytes.

use std::io::{self, BufRead, BufReader, Read, Write};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::oci::media;
use crate::{Error, Result};

/// Bytes read from a compressed source at once.
const INPUT_BUFFER: usize = 128 << 10;
/// Largest zstd window accepted, as a power of two: 128 MiB, what `zstd -d` takes without being asked.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
/// Most memory an xz stream may ask for, in KiB: twice what `xz -9` makes needs.
const MAX_XZ_MEMORY: u32 = 128 << 10;
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
    /// Possibly several streams.
    Bzip2,
    /// Possibly several streams.
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
        Compression::Bzip2 => Plain::Inflated(Box::new(MultiBzDecoder::new(source))),
        Compression::Xz => Plain::Inflated(Box::new(XzReader::new_mem_limit(source, true, MAX_XZ_MEMORY))),
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

#[cfg(test)]
mod tests {
    use super::*;

    const BZIP2: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x19\x31\x65\x3d\x00\x00\x00\x81\x00\x02\x44\xa0\x00\x21\x9a\x68\x33\x4d\x07\x33\x8b\xb9\x22\x9c\x28\x48\x0c\x98\xb2\x9e\x80";
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x0c\x00\x00\x00\x8f\x98\x41\x9c\x01\x00\x04\x68\x65\x6c\x6c\x6f\x00\x00\x00\x00\xb1\x37\xb9\xdb\xe5\xda\x1e\x9b\x00\x01\x1d\x05\xb8\x2d\x80\xaf\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
    /// Wants a dictionary of 1 GiB.
    const XZ_GREEDY: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x24\x00\x00\x00\x5e\x1f\xc7\xf9\x01\x00\x04\x68\x65\x6c\x6c\x6f\x00\x00\x00\x00\xb1\x37\xb9\xdb\xe5\xda\x1e\x9b\x00\x01\x1d\x05\xb8\x2d\x80\xaf\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

    fn plain(bytes: &'static [u8]) -> io::Result<String> {
        let (_, mut plain) = decompress(bytes).expect("known");
        let mut text = String::new();
        plain.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn kinds_of_archives_that_are_added_and_imported() {
        for (bytes, kind) in [(BZIP2, Compression::Bzip2), (XZ, Compression::Xz), (b"hello", Compression::None)] {
            assert_eq!(Compression::detect(bytes), kind);
            assert_eq!(plain(bytes).expect("good"), "hello", "{kind:?}");
        }
        assert!(plain(XZ_GREEDY).is_err());
        assert!(plain(&XZ[..XZ.len() / 2]).is_err() && plain(&BZIP2[..BZIP2.len() / 2]).is_err());
    }
}
