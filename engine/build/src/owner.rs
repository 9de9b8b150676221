//! `--chown`: names by the image's own lists.

use std::fs::File;
use std::io::Read as _;

use rustix::fs::OFlags;
use tare_images::rootdir::RootDir;

/// Largest list that is read, bytes.
const MAX_LIST: u64 = 4 << 20;

/// `user[:group]` as numbers; a user without group is its group's name, too.
pub(crate) fn lookup(root: &RootDir, text: &str) -> Result<(u32, u32), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (user, group) = match parts.as_slice() {
        [user] => (*user, *user),
        [user, group] => (*user, *group),
        _ => return Err(format!("invalid chown string format: {text}")),
    };
    let uid = number(root, "passwd", "user", user).map_err(|why| format!("can't find uid for user {user}: {why}"))?;
    let gid =
        number(root, "group", "group", group).map_err(|why| format!("can't find gid for group {group}: {why}"))?;
    Ok((uid, gid))
}

/// The third field of the line with this name.
fn number(root: &RootDir, list: &str, kind: &str, name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let path = format!("etc/{list}");
    let failed = |error: String| format!("open /etc/{list}: {error}");
    let file = root.open_at(path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK).map_err(|e| failed(e.to_string()))?;
    let mut text = Vec::new();
    File::from(file).take(MAX_LIST).read_to_end(&mut text).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&text);
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)).flatten()?.parse().ok()
    });
    found.ok_or_else(|| format!("no such {kind}: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/passwd"), "root:x:0:0:::\nme:x:7:8::/:/bin/sh\n").unwrap();
        std::fs::write(directory.path().join("etc/group"), "root:x:0:\nme:x:9:\n").unwrap();
        let root = RootDir::open(directory.path()).unwrap();
        assert_eq!(lookup(&root, "me"), Ok((7, 9)));
        assert_eq!(lookup(&root, "1:root"), Ok((1, 0)));
        assert_eq!(lookup(&root, "you").unwrap_err(), "can't find uid for user you: no such user: you");
        assert_eq!(lookup(&root, "me:you").unwrap_err(), "can't find gid for group you: no such group: you");
        assert_eq!(lookup(&root, "a:b:c").unwrap_err(), "invalid chown string format: a:b:c");
    }
}
