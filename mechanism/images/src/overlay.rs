//! Overlay mounts, detached: a descriptor that shows nothing on the host until it is attached somewhere.
//!
//! One layer per call since Linux 6.8 (`lowerdir+`). Older kernels want all layers in one string, of at most 255
//! bytes through fsconfig: there mount(2) does it, with a page of options and relative names, in a thread with its
//! own working directory and mount namespace, so that the host never sees the mount.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount as mount2, mount_change, open_tree,
};

use crate::{Error, Result};

/// Longest value fsconfig takes, in bytes.
const MAX_VALUE: usize = 255;
/// Longest option string mount(2) takes, in bytes: a page less its end.
const MAX_OPTIONS: usize = 4095;
/// No index and no metadata-only copies: `diff` and `commit` read the upper directory. Renaming a lower directory
/// gives EXDEV for the same reason, as it does by default.
const OPTIONS: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "off")];

/// Whether this kernel has `lowerdir+`; found out before the first mount.
static APPENDS: OnceLock<bool> = OnceLock::new();

/// What a writable overlay's files are worth after a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What programs have synced is on the disk, and unmounting writes out the whole file system of the upper directory:
    /// the end of a container waits for what all others have written.
    Durable,
    /// Nothing: what was written goes with its container, at the latest when the machine is started again. Syncing does
    /// nothing, and unmounting does not wait for the disk. Kernels before 6.8 do as for the other.
    Volatile,
}

/// An overlay's own directories.
#[derive(Debug, Clone, Copy)]
pub struct Writable<'a> {
    /// What is changed.
    pub upper: &'a Path,
    /// Overlayfs's own, on the same file system.
    pub work: &'a Path,
    /// What is left of it after a loss of power.
    pub durability: Durability,
}

/// Mounts layers (topmost first) on each other, with upper and work directory on top, or read-only without them.
pub fn mount(lowers: &[PathBuf], writable: Option<Writable<'_>>) -> Result<OwnedFd> {
    let too_long = |path: &Path| path.as_os_str().len() > MAX_VALUE;
    let upper_too_long = writable.is_some_and(|own| too_long(own.upper) || too_long(own.work));
    if upper_too_long || lowers.iter().any(|lower| too_long(lower)) || !appends_layers()? {
        return mount_old(lowers, writable);
    }
    mount_new(lowers, writable)
}

fn appends_layers() -> Result<bool> {
    if let Some(known) = APPENDS.get() {
        return Ok(*known);
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(Error::io("fsopen", "overlay"))?;
    Ok(*APPENDS.get_or_init(|| appends(|key| fsconfig_set_string(&context, key, "/").is_ok())))
}

/// Whether an overlay that takes or refuses options one by one takes `lowerdir+`. Before Linux 6.5 it takes everything,
/// and refuses only the mount; so one that nobody has must be refused.
fn appends(takes: impl Fn(&str) -> bool) -> bool {
    !takes("no-such-option") && takes("lowerdir+")
}

fn mount_new(lowers: &[PathBuf], writable: Option<Writable<'_>>) -> Result<OwnedFd> {
    let shown = writable.map(|own| own.upper).or(lowers.first().map(PathBuf::as_path)).unwrap_or(Path::new(""));
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(Error::io("fsopen", "overlay"))?;
    for lower in lowers {
        fsconfig_set_string(&context, "lowerdir+", lower).map_err(Error::io("fsconfig lowerdir+", lower))?;
    }
    if let Some(Writable { upper, work, durability }) = writable {
        fsconfig_set_string(&context, "upperdir", upper).map_err(Error::io("fsconfig upperdir", upper))?;
        fsconfig_set_string(&context, "workdir", work).map_err(Error::io("fsconfig workdir", work))?;
        if durability == Durability::Volatile {
            fsconfig_set_flag(&context, "volatile").map_err(Error::io("fsconfig", "volatile"))?;
        }
    } else if lowers.len() == 1 {
        // overlayfs wants two layers or an upper one; the same one twice it refuses, an empty one does no harm
        let empty = empty_beside(shown);
        fsconfig_set_string(&context, "lowerdir+", &empty).map_err(Error::io("fsconfig lowerdir+", &empty))?;
    }
    for (key, value) in OPTIONS {
        fsconfig_set_string(&context, key, value).map_err(Error::io("fsconfig", key))?;
    }
    fsconfig_set_string(&context, "source", "overlay").map_err(Error::io("fsconfig", "source"))?;
    fsconfig_create(&context).map_err(Error::io("mount overlay", shown))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(Error::io("fsmount", shown))
}

/// With mount(2), in a thread that has its own namespace and ends with it.
pub(crate) fn mount_old(lowers: &[PathBuf], writable: Option<Writable<'_>>) -> Result<OwnedFd> {
    let plan = OldPlan::new(lowers, writable)?;
    let thread = std::thread::Builder::new().name("mount".to_owned());
    std::thread::scope(|scope| {
        let mounting = thread.spawn_scoped(scope, || plan.execute()).map_err(Error::io("spawn thread", "mount"))?;
        mounting.join().unwrap_or_else(|_| {
            Err(Error::Io { step: "mount overlay", path: String::new(), source: std::io::Error::other("thread died") })
        })
    })
}

/// Relative names and their common directory.
struct OldPlan {
    directory: PathBuf,
    /// Where it is mounted in the thread's namespace.
    target: PathBuf,
    options: CString,
}

impl OldPlan {
    fn new(lowers: &[PathBuf], writable: Option<Writable<'_>>) -> Result<OldPlan> {
        let first = lowers.first().map_or(Path::new("/"), PathBuf::as_path);
        // <root>/layers/<short>/diff → <root>/layers
        let directory = first.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned();
        let mut options = b"lowerdir=".to_vec();
        let empty = empty_beside(first);
        let padding = (lowers.len() == 1 && writable.is_none()).then_some(&empty);
        for (i, lower) in lowers.iter().chain(padding).enumerate() {
            if i > 0 {
                options.push(b':');
            }
            options.extend(escape(&relative(&directory, lower)));
        }
        if let Some(Writable { upper, work, .. }) = writable {
            for (key, path) in [("upperdir", upper), ("workdir", work)] {
                options.extend_from_slice(format!(",{key}=").as_bytes());
                options.extend(escape(&relative(&directory, path)));
            }
        }
        for (key, value) in OPTIONS {
            options.extend_from_slice(format!(",{key}={value}").as_bytes());
        }
        if options.len() > MAX_OPTIONS {
            return Err(Error::TooLarge { what: "list of layers", limit: MAX_OPTIONS as u64 });
        }
        let options = CString::new(options).map_err(|e| Error::io("mount overlay", first)(std::io::Error::from(e)))?;
        Ok(OldPlan { directory, target: empty, options })
    }

    fn execute(&self) -> Result<OwnedFd> {
        let target = &self.target;
        // also gives the thread a working directory of its own
        tare_sys::thread::unshare(tare_sys::process::namespace::MOUNT)
            .map_err(Error::io("unshare", "mount namespace"))?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .map_err(Error::io("make private", "/"))?;
        rustix::process::chdir(&self.directory).map_err(Error::io("chdir", &self.directory))?;
        mount2("overlay", target, "overlay", MountFlags::empty(), &*self.options)
            .map_err(Error::io("mount overlay", target))?;
        open_tree(rustix::fs::CWD, target, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
            .map_err(Error::io("open_tree", target))
    }
}

/// An empty directory of the store's: for a layer at `<root>/layers/<short>/diff` that which stands for no layers, for that
/// one another.
fn empty_beside(layer: &Path) -> PathBuf {
    if let (Some(root), true) = (layer.parent(), layer.ends_with("empty")) {
        return root.join("void");
    }
    layer.ancestors().nth(3).map_or_else(|| layer.to_owned(), |root| root.join("empty"))
}

/// `path` as seen from `directory`, by their common part.
fn relative(directory: &Path, path: &Path) -> PathBuf {
    let common = directory.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = directory.components().skip(common).map(|_| Path::new(".."));
    up.chain(path.components().skip(common).map(|c| Path::new(c.as_os_str()))).collect()
}

/// Colons separate layers and commas options; overlayfs reads a backslash before them.
fn escape(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    use super::{Durability, Writable, appends, escape, mount, mount_old, relative};

    /// `<root>/layers/<n>/diff` with a file of its own each, topmost first; and upper and work directory.
    fn stack(root: &Path, count: usize) -> (Vec<PathBuf>, PathBuf, PathBuf) {
        let lowers: Vec<PathBuf> = (0..count).map(|n| root.join(format!("layers/{n:012}/diff"))).collect();
        for (n, lower) in lowers.iter().enumerate() {
            fs::create_dir_all(lower).unwrap();
            fs::write(lower.join(format!("f{n}")), "").unwrap();
            fs::write(lower.join("same"), n.to_string()).unwrap();
        }
        let (upper, work) = (root.join("snapshots/c,1/upper"), root.join("snapshots/c,1/work"));
        for directory in [&upper, &work, &root.join("empty"), &root.join("void")] {
            fs::create_dir_all(directory).unwrap();
        }
        (lowers, upper, work)
    }

    #[test]
    fn old_kernels_get_the_same_mount() {
        let directory = tempfile::tempdir().unwrap();
        // what would end options or layers, and a path too long for fsconfig
        let root = directory.path().join("a:b,c\\d").join("x".repeat(200));
        let (lowers, upper, work) = stack(&root, 125);
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = [
            mount_old(&lowers, Some(Writable { upper: &upper, work: &work, durability: Durability::Durable })).unwrap(),
            mount_old(&lowers, None).unwrap(),
            mount_old(&lowers[..1], None).unwrap(),
            mount(&lowers, None).unwrap(),
        ];
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before, "nothing shows on the host");
        for (mount, count) in mounts.iter().zip([125, 125, 1, 125]) {
            let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
            assert_eq!(fs::read_dir(&path).unwrap().count(), count + 1);
            assert_eq!(fs::read_to_string(path.join("same")).unwrap(), "0");
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", mounts[0].as_raw_fd()));
        fs::write(path.join("new"), "").unwrap();
        assert!(upper.join("new").exists());
        assert!(std::env::current_dir().unwrap() != root.join("layers"), "only the thread's own directory changed");
    }

    #[test]
    fn a_single_layer_and_a_missing_one() {
        let directory = tempfile::tempdir().unwrap();
        let (lowers, ..) = stack(directory.path(), 1);
        assert!(mount(&lowers, None).is_ok());
        let no_layers = [directory.path().join("empty")];
        assert!(mount(&no_layers, None).is_ok() && mount_old(&no_layers, None).is_ok());
        let error = mount(&[directory.path().join("layers/none/diff")], None).unwrap_err().to_string();
        assert!(error.starts_with("fsconfig lowerdir+ `") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn kernels_are_told_apart() {
        assert!(!appends(|_| true), "before 6.5");
        assert!(!appends(|_| false), "6.5 to 6.7");
        assert!(appends(|key| key == "lowerdir+"), "since 6.8");
    }

    #[test]
    fn names_are_relative_and_escaped() {
        let layers = Path::new("/r/layers");
        assert_eq!(relative(layers, Path::new("/r/layers/a/diff")), Path::new("a/diff"));
        assert_eq!(relative(layers, Path::new("/r/snapshots/c/upper")), Path::new("../snapshots/c/upper"));
        assert_eq!(relative(layers, Path::new("/other")), Path::new("../../other"));
        assert_eq!(escape(Path::new("a:b,c\\d")), b"a\\:b\\,c\\\\d");
    }
}
