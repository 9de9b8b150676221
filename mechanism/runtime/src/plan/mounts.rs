//! The mounts of a container as data.

use std::ffi::{CStr, CString};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use tare_oci_runtime::{IdMapping, Linux, Mount, NamespaceKind};
use tare_sys::mount::{MountAttr, attr, propagation};

use super::Given;
use super::bind::{self, Locks};
use super::options::{self, Options};
use crate::error::{Error, Result};

/// A path below the container's root, without the leading `/` (`.` is the root itself): symbolic links in it are
/// followed as if the root were `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootPath(CString);

impl RootPath {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let mut clean = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => drop(clean.pop()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if clean.as_os_str().is_empty() {
            clean.push(".");
        }
        c_string(clean.into_os_string().into_encoded_bytes()).map(Self)
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.as_c_str() == c"."
    }
}

impl fmt::Display for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("/") } else { write!(f, "/{}", self.0.to_string_lossy()) }
    }
}

pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(text).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\\0");
        Error::invalid(format!("`{text}` contains a NUL byte"))
    })
}

/// One mount.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MountPlan {
    pub(crate) target: RootPath,
    pub(crate) kind: MountKind,
    /// Attributes of the mount itself.
    pub(crate) own: MountAttr,
    /// Attributes of it and all below it.
    pub(crate) recursive: MountAttr,
    /// Propagation types, in order.
    pub(crate) propagation: Vec<(u64, bool)>,
    pub(crate) idmap: Option<IdMap>,
    /// Made read-only when everything below it is there.
    pub(crate) read_only_last: bool,
    /// To be looked at before the attributes are set.
    pub(crate) locks: Option<Locks>,
}

/// IDs of an idmapped mount.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IdMap {
    pub(crate) recursive: bool,
    pub(crate) ids: Ids,
}

/// Where the IDs of a mount come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ids {
    Maps {
        uids: Vec<IdMapping>,
        gids: Vec<IdMapping>,
    },
    /// An existing user namespace.
    Namespace(PathBuf),
}

impl Ids {
    /// The mount's own, or else those of the container's user namespace.
    fn new(mount: &Mount, linux: &Linux) -> Option<Self> {
        let maps = |uids: &[IdMapping], gids: &[IdMapping]| {
            let any = !uids.is_empty() || !gids.is_empty();
            any.then(|| Self::Maps { uids: uids.to_vec(), gids: gids.to_vec() })
        };
        let joined = || {
            let user = linux.namespaces.iter().find(|namespace| namespace.kind == NamespaceKind::User)?;
            (!user.path.as_os_str().is_empty()).then(|| Self::Namespace(user.path.clone()))
        };
        maps(&mount.uid_mappings, &mount.gid_mappings)
            .or_else(|| maps(&linux.uid_mappings, &linux.gid_mappings))
            .or_else(joined)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MountKind {
    /// A part of the host's file system.
    Bind {
        source: CString,
        recursive: bool,
        /// Below the container's root: what is meant is what is mounted there by then.
        in_root: bool,
    },
    /// A new mount of a file system.
    New {
        file_system: CString,
        parameters: Vec<Parameter>,
        copy_up: bool,
        /// It has the mode of the directory that it is mounted on.
        takes_mode: bool,
    },
    /// The container's own cgroups; what that is depends on the host.
    Cgroup,
    /// No new mount: attributes and propagation of what is mounted there.
    Change,
}

/// A parameter of fsconfig(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) key: CString,
    pub(crate) value: Option<CString>,
}

impl MountPlan {
    pub(crate) fn new(mount: &Mount, linux: &Linux, bundle: &Path, given: &Given<'_>) -> Result<Self> {
        let root = given.root;
        // Some specifications name targets by where they are on the host.
        let destination = root.and_then(|root| mount.destination.strip_prefix(root).ok());
        let target = RootPath::new(destination.unwrap_or(&mount.destination))?;
        if target.is_root() {
            return Err(Error::invalid(format!("mount destination `{}`: not allowed", mount.destination.display())));
        }
        let options = options::parse(&mount.options);
        let kind = kind(mount, &options, bundle, root)?;
        let bind = matches!(kind, MountKind::Bind { .. });
        let mapped = options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        let idmap = mapped.then(|| {
            let ids = Ids::new(mount, linux).ok_or_else(|| {
                Error::invalid(format!("mount `{target}`: idmap without mappings, and no user namespace that has some"))
            })?;
            Ok(IdMap { recursive: options.idmap.unwrap_or_default(), ids })
        });
        let idmap = idmap.transpose()?;
        if !bind && idmap.is_some() {
            return Err(Error::invalid(format!("mount `{target}`: only bind mounts can be idmapped")));
        }
        let (mut own, mut recursive, mut locks) = (options.own, options.recursive, None);
        if bind && given.binds_as_asked {
            let user = linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User);
            (own, locks) = bind::attributes(&options, user);
        }
        let holds_mount_points = match &kind {
            MountKind::New { file_system, .. } => file_system.as_c_str() == c"tmpfs" || target.as_c_str() == c"dev",
            _ => false,
        };
        let read_only_last = holds_mount_points && (own.set | recursive.set) & attr::RDONLY != 0;
        if read_only_last {
            own.set &= !attr::RDONLY;
            recursive.set &= !attr::RDONLY;
        }
        Ok(Self {
            target,
            propagation: if bind { bind_propagation(&options) } else { options.propagation },
            own,
            recursive,
            kind,
            idmap,
            read_only_last,
            locks,
        })
    }

    /// Whether it can be made only when those before it are attached.
    pub(crate) fn is_made_late(&self) -> bool {
        matches!(self.kind, MountKind::Bind { in_root: true, .. } | MountKind::New { takes_mode: true, .. })
    }

    /// The file system of a new mount.
    pub(crate) fn file_system(&self) -> Option<&CStr> {
        match &self.kind {
            MountKind::New { file_system, .. } => Some(file_system),
            _ => None,
        }
    }
}

fn kind(mount: &Mount, options: &Options, bundle: &Path, root: Option<&Path>) -> Result<MountKind> {
    if options.remount {
        return Ok(MountKind::Change);
    }
    if options.bind.is_some() || mount.kind == "bind" {
        if mount.source.as_os_str().is_empty() {
            let target = mount.destination.display();
            return Err(Error::invalid(format!("bind mount `{target}`: no source")));
        }
        // An absolute source replaces the bundle's path.
        let source = bundle.join(&mount.source);
        let in_root = root.is_some_and(|root| source.starts_with(root));
        let source = c_string(source.into_os_string().into_encoded_bytes())?;
        return Ok(MountKind::Bind { source, recursive: options.bind.unwrap_or_default(), in_root });
    }
    match mount.kind.as_str() {
        "cgroup" | "cgroup2" => Ok(MountKind::Cgroup),
        "" | "none" if !options.propagation.is_empty() => Ok(MountKind::Change),
        "" | "none" => Err(Error::invalid(format!("mount `{}`: no file system type", mount.destination.display()))),
        file_system => Ok(MountKind::New {
            file_system: c_string(file_system)?,
            parameters: parameters(mount, options)?,
            copy_up: options.copy_up && file_system == "tmpfs",
            takes_mode: file_system == "tmpfs" && !options.parameters.iter().any(|(key, _)| key == "mode"),
        }),
    }
}

fn parameters(mount: &Mount, options: &Options) -> Result<Vec<Parameter>> {
    let mut all = Vec::with_capacity(options.parameters.len() + 1);
    if !mount.source.as_os_str().is_empty() {
        let source = mount.source.as_os_str().as_encoded_bytes();
        all.push(Parameter { key: c"source".to_owned(), value: Some(c_string(source)?) });
    }
    for (key, value) in &options.parameters {
        let value = value.as_deref().map(c_string).transpose()?;
        all.push(Parameter { key: c_string(key.as_str())?, value });
    }
    Ok(all)
}

/// A bind mount starts as a peer of its source on the host. Unless sharing is asked for, mounts made in the container
/// must not reach the host, below the bind mount as well as on it.
fn bind_propagation(options: &Options) -> Vec<(u64, bool)> {
    let mut all = options.propagation.clone();
    let shared = all.iter().any(|(kind, _)| *kind == propagation::SHARED);
    if !shared && all.first().is_none_or(|(_, recursive)| !recursive) {
        all.insert(0, (propagation::SLAVE, true));
    }
    all
}

/// Options in words, for messages and tests.
impl fmt::Display for MountPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target)?;
        match &self.kind {
            MountKind::Bind { source, recursive, in_root } => {
                write!(f, " {} {}", if *recursive { "rbind" } else { "bind" }, source.to_string_lossy())?;
                f.write_str(if *in_root { " in-root" } else { "" })?;
            }
            MountKind::New { file_system, parameters, copy_up, takes_mode } => {
                write!(f, " new {}", file_system.to_string_lossy())?;
                for Parameter { key, value } in parameters {
                    write!(f, " {}", key.to_string_lossy())?;
                    value.as_ref().map_or(Ok(()), |value| write!(f, "={}", value.to_string_lossy()))?;
                }
                f.write_str(if *copy_up { " copy-up" } else { "" })?;
                f.write_str(if *takes_mode { " takes-mode" } else { "" })?;
            }
            MountKind::Cgroup => f.write_str(" cgroup")?,
            MountKind::Change => f.write_str(" change")?,
        }
        attributes(f, "", &self.own)?;
        attributes(f, "r", &self.recursive)?;
        f.write_str(if self.read_only_last { " ro-last" } else { "" })?;
        for (kind, recursive) in &self.propagation {
            let name = match *kind {
                propagation::PRIVATE => "private",
                propagation::SLAVE => "slave",
                propagation::SHARED => "shared",
                _ => "unbindable",
            };
            write!(f, " {}{name}", if *recursive { "r" } else { "" })?;
        }
        Ok(())
    }
}

fn attributes(f: &mut fmt::Formatter<'_>, prefix: &str, attributes: &MountAttr) -> fmt::Result {
    let names = [
        (attr::RDONLY, "ro", "rw"),
        (attr::NOSUID, "nosuid", "suid"),
        (attr::NODEV, "nodev", "dev"),
        (attr::NOEXEC, "noexec", "exec"),
        (attr::NOATIME, "noatime", ""),
        (attr::STRICTATIME, "strictatime", ""),
        (attr::NODIRATIME, "nodiratime", "diratime"),
        (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    for (bit, set, clear) in names {
        if attributes.set & bit != 0 {
            write!(f, " {prefix}{set}")?;
        } else if attributes.clear & bit != 0 && !clear.is_empty() {
            write!(f, " {prefix}{clear}")?;
        }
    }
    Ok(())
}
