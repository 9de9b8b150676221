//! PAX extended headers: records `length key=value\n`, whose values may hold any byte.

use crate::{Entry, Error, Time};

/// The prefix under which star, libarchive, GNU tar and Docker keep extended attributes.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
/// The prefix of GNU tar's sparse records.
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";

/// Most extended attributes of a file: Linux file systems hold far fewer than this.
const MAX_XATTRS: usize = 256;

/// The records of one extended header that mean something here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Full name.
    pub path: Option<Vec<u8>>,
    /// Full link target.
    pub link: Option<Vec<u8>>,
    /// Bytes of data in the archive.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u64>,
    /// Group.
    pub gid: Option<u64>,
    /// Modification time.
    pub mtime: Option<Time>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// `GNU.sparse.*` by what follows the prefix, repetitions kept in order.
    pub sparse: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Records {
    /// Parses the data of an `x` entry. An empty value means that the header's own stays.
    pub fn parse(mut data: &[u8]) -> Result<Records, Error> {
        let mut records = Records::default();
        while !data.is_empty() {
            let (key, value, rest) = next(data)?;
            data = rest;
            records.set(key, value)?;
        }
        Ok(records)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
            if name.is_empty() || name.contains(&0) {
                return Err(Error::Header("invalid PAX record"));
            }
            self.xattrs.retain(|(n, _)| n != name);
            if self.xattrs.len() >= MAX_XATTRS {
                return Err(Error::TooLong("list of extended attributes"));
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(SPARSE_PREFIX) {
            self.sparse.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        let present = !value.is_empty();
        match key {
            b"path" | b"linkpath" if value.contains(&0) => return Err(Error::Header("invalid PAX record")),
            b"path" => self.path = present.then(|| value.to_vec()),
            b"linkpath" => self.link = present.then(|| value.to_vec()),
            b"size" => self.size = present.then(|| decimal(value)).transpose()?,
            b"uid" => self.uid = present.then(|| decimal(value)).transpose()?,
            b"gid" => self.gid = present.then(|| decimal(value)).transpose()?,
            b"mtime" => self.mtime = present.then(|| time(value)).transpose()?,
            _ => {}
        }
        Ok(())
    }

    /// Overrides the header's values. [`Entry::size`] stays that of the data.
    pub fn apply(&self, entry: &mut Entry) {
        if let Some(path) = &self.path {
            entry.path.clone_from(path);
        }
        if let Some(link) = &self.link {
            entry.link.clone_from(link);
        }
        entry.size = self.size.unwrap_or(entry.size);
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.xattrs.clone_from(&self.xattrs);
    }

    /// The last `GNU.sparse.<name>`.
    pub fn sparse(&self, name: &str) -> Option<&[u8]> {
        self.sparse.iter().rev().find(|(n, _)| n == name.as_bytes()).map(|(_, v)| v.as_slice())
    }
}

/// A record's key and value, and the data behind it.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits off the first record.
fn next(data: &[u8]) -> Result<Record<'_>, Error> {
    let bad = || Error::Header("invalid PAX record");
    let space = data.iter().take(20).position(|&b| b == b' ').ok_or_else(bad)?;
    let length = usize::try_from(decimal(data.get(..space).unwrap_or_default())?).map_err(|_| bad())?;
    let record = data.get(space + 1..length).ok_or_else(bad)?;
    let rest = data.get(length..).ok_or_else(bad)?;
    let body = record.strip_suffix(b"\n").ok_or_else(bad)?;
    let equals = body.iter().position(|&b| b == b'=').ok_or_else(bad)?;
    let (key, value) = body.split_at_checked(equals).ok_or_else(bad)?;
    if key.is_empty() || key.contains(&0) {
        return Err(bad());
    }
    Ok((key, value.get(1..).unwrap_or_default(), rest))
}

/// An unsigned decimal number, digits only.
pub fn decimal(s: &[u8]) -> Result<u64, Error> {
    if s.is_empty() {
        return Err(Error::Header("invalid PAX number"));
    }
    s.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'9' => value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
            .ok_or(Error::Header("PAX number out of range")),
        _ => Err(Error::Header("invalid PAX number")),
    })
}

/// `[-]seconds[.fraction]`
fn time(s: &[u8]) -> Result<Time, Error> {
    let negative = s.first() == Some(&b'-');
    let s = if negative { s.get(1..).unwrap_or_default() } else { s };
    let mut parts = s.splitn(2, |&b| b == b'.');
    let whole = decimal(parts.next().unwrap_or_default())?;
    let mut seconds = i64::try_from(whole).map_err(|_| Error::Header("PAX number out of range"))?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Error::Header("invalid PAX number"));
    }
    // missing digits are zeros, those beyond nanoseconds are cut
    let mut nanoseconds =
        fraction.iter().chain([b'0'; 9].iter()).take(9).fold(0u32, |n, d| n * 10 + u32::from(d - b'0'));
    if negative {
        seconds = -seconds;
        if nanoseconds > 0 {
            seconds -= 1;
            nanoseconds = 1_000_000_000 - nanoseconds;
        }
    }
    Ok(Time { seconds, nanoseconds })
}

/// Appends one record. Its length counts itself, so the number of digits is found by trying.
pub fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // " ", "=" and the newline
    let payload = key.len() + value.len() + 3;
    let mut length = payload + digits(payload);
    if digits(length) != digits(payload) {
        length = payload + digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Appends the record of an extended attribute.
pub fn push_xattr(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    push(out, &[XATTR_PREFIX, name].concat(), value);
}

fn digits(n: usize) -> usize {
    n.checked_ilog10().map_or(1, |log| usize::try_from(log).unwrap_or(0) + 1)
}
