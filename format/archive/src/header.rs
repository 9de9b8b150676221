//! One 512-byte header block: v7, ustar, star and GNU.

use crate::{BLOCK, Entry, Error, Kind, Time};

/// A header as it is in the archive, before PAX records and long names change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHeader {
    /// Fields common to all formats.
    pub entry: Entry,
    /// The type flag.
    pub flag: u8,
    /// Whether it has GNU's layout after byte 257.
    pub gnu: bool,
}

/// Types that have no data whatever their size field says.
pub fn is_header_only(flag: u8) -> bool {
    matches!(flag, b'1'..=b'6')
}

/// Parses a block that is not all zeros.
pub fn parse(block: &[u8; BLOCK]) -> Result<RawHeader, Error> {
    verify_checksum(block)?;
    let field = |at: usize, len: usize| block.get(at..at + len).unwrap_or_default();
    let flag = field(156, 1).first().copied().unwrap_or(0);
    let magic = field(257, 8);
    let gnu = magic == b"ustar  \0";
    let ustar = magic.starts_with(b"ustar\0");
    let star = ustar && field(508, 4) == b"tar\0";

    let name = text(field(0, 100));
    let prefix = match (star, ustar) {
        (true, _) => text(field(345, 131)),
        (false, true) => text(field(345, 155)),
        _ => &[],
    };
    let mut path = prefix.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);

    let size = u64::try_from(number(field(124, 12))?).map_err(|_| Error::Header("negative size"))?;
    let device = if ustar || gnu { (small(field(329, 8))?, small(field(337, 8))?) } else { (0, 0) };
    let kind = kind(flag, &path);
    let entry = Entry {
        link: text(field(157, 100)).to_vec(),
        kind,
        mode: u32::try_from(number(field(100, 8))? & 0o7777).unwrap_or(0),
        uid: u64::try_from(number(field(108, 8))?).map_err(|_| Error::Header("negative uid"))?,
        gid: u64::try_from(number(field(116, 8))?).map_err(|_| Error::Header("negative gid"))?,
        size: if is_header_only(flag) { 0 } else { size },
        mtime: Time { seconds: number(field(136, 12))?, nanoseconds: 0 },
        device: if matches!(kind, Kind::CharDevice | Kind::BlockDevice) { device } else { (0, 0) },
        xattrs: Vec::new(),
        path,
    };
    Ok(RawHeader { entry, flag, gnu })
}

fn kind(flag: u8, path: &[u8]) -> Kind {
    match flag {
        // v7 has no directories: a trailing slash makes one
        b'\0' if path.ends_with(b"/") => Kind::Directory,
        b'\0' | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    }
}

/// The sum of all bytes with the checksum field read as spaces; some writers summed signed bytes.
fn verify_checksum(block: &[u8; BLOCK]) -> Result<(), Error> {
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (i, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&i) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    let stored = number(block.get(148..156).unwrap_or_default())?;
    if stored != unsigned && stored != signed {
        return Err(Error::Header("wrong checksum"));
    }
    Ok(())
}

/// Up to the first NUL.
pub fn text(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

fn small(field: &[u8]) -> Result<u32, Error> {
    u32::try_from(number(field)?).map_err(|_| Error::Header("device number out of range"))
}

/// Octal digits, or big-endian two's complement when the first bit is set (GNU's base-256).
pub fn number(field: &[u8]) -> Result<i64, Error> {
    match field.first() {
        Some(&first) if first & 0x80 != 0 => base256(first, field),
        _ => octal(field),
    }
}

fn base256(first: u8, field: &[u8]) -> Result<i64, Error> {
    // bit 6 is the sign, bit 7 the marker
    let negative = first & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (i, &byte) in field.iter().enumerate() {
        let byte = match (i, negative) {
            (0, false) => byte & 0x7f,
            (0, true) => byte | 0x80,
            _ => byte,
        };
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).map_err(|_| Error::Header("number out of range"))
}

fn octal(field: &[u8]) -> Result<i64, Error> {
    let start = field.iter().position(|&b| b != b' ' && b != 0).unwrap_or(field.len());
    let digits = field.get(start..).unwrap_or_default();
    let end = digits.iter().position(|&b| b == b' ' || b == 0).unwrap_or(digits.len());
    digits.get(..end).unwrap_or_default().iter().try_fold(0i64, |value, &digit| match digit {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|v| v.checked_add(i64::from(digit - b'0')))
            .ok_or(Error::Header("number out of range")),
        _ => Err(Error::Header("invalid number")),
    })
}
