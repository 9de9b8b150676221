//! What is mounted in a mount namespace: `/proc/PID/mountinfo`, as proc_pid_mountinfo(5) describes it.

/// The caller's own.
pub const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One mount, a line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Its number in this namespace, in decimal digits.
    pub id: &'a [u8],
    /// That of the mount it is mounted on.
    pub parent: &'a [u8],
    /// The directory of its file system that is mounted, as the file spells it.
    pub root: &'a [u8],
    /// Where, without escapes.
    pub point: Vec<u8>,
    /// How it propagates: `shared:N`, `master:N`, `propagate_from:N`, `unbindable`.
    pub tags: Vec<&'a [u8]>,
    /// The type of its file system: `ext4`, `cgroup2`.
    pub kind: &'a [u8],
    /// The options of the file system, not of this mount: with commas.
    pub options: &'a [u8],
}

/// The mounts of a text, in its order: of several at one place the last is on top. Lines that are not of this form are
/// left out.
pub fn mounts(text: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(mount)
}

/// `36 35 98:0 /root /point options [tag…] - type source options`
fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (id, parent) = (fields.next()?, fields.next()?);
    let (root, point) = (fields.nth(1)?, fields.next()?);
    fields.next()?;
    let tags = fields.by_ref().take_while(|field| *field != b"-").collect();
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    Some(Mount { id, parent, root, point: unescaped(point), tags, kind, options })
}

/// A backslash and three octal digits stand for space, tab, newline and backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped(br"/a\040b\134c\9\"), br"/a b\c\9\");
    }

    #[test]
    fn fields_are_told_apart() {
        let text = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
24 22 0:6 /a\\040b /srv\\040x rw,nosuid shared:7 master:3 - cgroup cgroup rw,name=systemd
25 22 0:7 / /cut rw shared:1
26 22 0:7 / /cut rw - tmpfs
broken

";
        let found: Vec<_> = mounts(text).collect();
        let whole = Mount {
            id: b"24",
            parent: b"22",
            root: br"/a\040b",
            point: b"/srv x".to_vec(),
            tags: vec![b"shared:7", b"master:3"],
            kind: b"cgroup",
            options: b"rw,name=systemd",
        };
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, &found[0].tags[..], found[0].options), (&b"ext4"[..], &[][..], &b"rw"[..]));
        assert_eq!(found[1], whole);
    }

    #[test]
    fn this_machines_are_read() {
        let text = std::fs::read(MOUNTINFO).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(mounts(&text).count(), lines);
        assert!(mounts(&text).any(|mount| mount.point == b"/"));
    }
}
