//! Names of entries: made relative and free of `..`, and the names that mean something in layers.

/// The prefix of whiteouts, the names of things a layer deletes.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// In a directory: nothing of the layers below shows in it.
pub const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// AUFS's own files, in layers of its time; they mean nothing any more.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
/// Longest path Linux takes in one call, without the final NUL (PATH_MAX).
pub const MAX_PATH: usize = 4095;

/// A name that must not be extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// `..` leads out of the archive's root.
    #[error("is outside of the root")]
    Outside,
    /// NUL in the middle.
    #[error("contains a NUL byte")]
    Nul,
    /// More than [`MAX_PATH`] bytes.
    #[error("is longer than {MAX_PATH} bytes")]
    TooLong,
    /// `.wh.`, `.wh..` or `.wh...`
    #[error("is an invalid whiteout")]
    Whiteout,
}

/// What the name of a layer's entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryName {
    /// The layer has this path; empty for its root.
    Path(Vec<u8>),
    /// The layer deletes something.
    Whiteout(Whiteout),
    /// Nothing: AUFS's bookkeeping.
    Ignored,
}

/// What a layer deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whiteout {
    /// This path of the layers below.
    Path(Vec<u8>),
    /// All that the layers below have in this directory.
    Opaque(Vec<u8>),
}

/// Lexically cleans a name: no leading `/`, no `.`, no `..`, no empty component; the root is empty.
pub fn clean(name: &[u8]) -> Result<Vec<u8>, NameError> {
    if name.len() > MAX_PATH {
        return Err(NameError::TooLong);
    }
    if name.contains(&0) {
        return Err(NameError::Nul);
    }
    let absolute = name.first() == Some(&b'/');
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    for component in name.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." if out.is_empty() && absolute => {}
            b".." if out.is_empty() => return Err(NameError::Outside),
            b".." => out.truncate(out.iter().rposition(|&b| b == b'/').unwrap_or(0)),
            _ => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(component);
            }
        }
    }
    Ok(out)
}

/// Cleans the name of a layer's entry and tells whiteouts apart.
pub fn classify(name: &[u8]) -> Result<EntryName, NameError> {
    let path = clean(name)?;
    let (parent, last) = split(&path);
    if last == OPAQUE_NAME {
        return Ok(EntryName::Whiteout(Whiteout::Opaque(parent.to_vec())));
    }
    if path.split(|&b| b == b'/').any(|component| component.starts_with(AUFS_PREFIX)) {
        return Ok(EntryName::Ignored);
    }
    match last.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(EntryName::Path(path)),
        Some(b"" | b"." | b"..") => Err(NameError::Whiteout),
        Some(deleted) => Ok(EntryName::Whiteout(Whiteout::Path(join(parent, deleted)))),
    }
}

/// Parent and last component of a clean path; the parent of a top-level name is empty.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// `parent/name`, without a slash for the root.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// The entry name that deletes `path` in a layer: `a/b` → `a/.wh.b`.
pub fn whiteout_of(path: &[u8]) -> Vec<u8> {
    let (parent, name) = split(path);
    join(parent, &[WHITEOUT_PREFIX, name].concat())
}
