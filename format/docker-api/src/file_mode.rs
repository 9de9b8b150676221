//! Modes of files as Go's `os.FileMode` has them: permissions in the low nine bits, flags from the top.

/// A directory.
pub const DIRECTORY: u32 = 1 << 31;
/// A symbolic link.
pub const SYMLINK: u32 = 1 << 27;
/// A device: of blocks, unless [`CHARACTER_DEVICE`] is there too.
pub const DEVICE: u32 = 1 << 26;
/// A FIFO.
pub const NAMED_PIPE: u32 = 1 << 25;
/// A unix socket.
pub const SOCKET: u32 = 1 << 24;
/// Set user ID.
pub const SETUID: u32 = 1 << 23;
/// Set group ID.
pub const SETGID: u32 = 1 << 22;
/// A device of characters.
pub const CHARACTER_DEVICE: u32 = 1 << 21;
/// The sticky bit.
pub const STICKY: u32 = 1 << 20;
/// Something else than all of these.
pub const IRREGULAR: u32 = 1 << 19;

/// Bits of `st_mode` (inode(7)) beside the permissions, and Go's.
const SPECIAL: [(u32, u32); 3] = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];

/// Go's mode of a `st_mode`.
pub fn go_file_mode(st_mode: u32) -> u32 {
    const TYPES: [(u32, u32); 6] = [
        (0o040_000, DIRECTORY),
        (0o120_000, SYMLINK),
        (0o010_000, NAMED_PIPE),
        (0o140_000, SOCKET),
        (0o060_000, DEVICE),
        (0o020_000, DEVICE | CHARACTER_DEVICE),
    ];
    let kind = TYPES.iter().find(|(unix, _)| st_mode & 0o170_000 == *unix).map_or(0, |(_, go)| *go);
    let special = SPECIAL.iter().filter(|(unix, _)| st_mode & unix != 0).fold(0, |all, (_, go)| all | go);
    (st_mode & 0o777) | kind | special
}

/// The permissions of Go's mode as chmod(2) takes them.
pub fn permissions(mode: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(_, go)| mode & go != 0);
    special.fold(mode & 0o777, |all, (unix, _)| all | unix)
}
