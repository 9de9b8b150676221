//! The mounts of a container as data.

use std::ffi::{CStr, CString};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use tare_oci_runtime::{IdMapping, Mount};
use tare_sys::mount::{MountAttr, attr, propagation};

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
}

/// IDs of an idmapped mount.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IdMap {
    pub(crate) recursive: bool,
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MountKind {
    /// A part of the host's file system.
    Bind { source: CString, recursive: bool },
    /// A new mount of a file system.
    New { file_system: CString, parameters: Vec<Parameter>, copy_up: bool },
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
    pub(crate) fn new(mount: &Mount, bundle: &Path) -> Result<Self> {
        let target = RootPath::new(&mount.destination)?;
        if target.is_root() {
            return Err(Error::invalid(format!("mount destination `{}`: not allowed", mount.destination.display())));
        }
        let options = options::parse(&mount.options);
        let kind = kind(mount, &options, bundle)?;
        let bind = matches!(kind, MountKind::Bind { .. });
        let idmap = (!mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty()).then(|| IdMap {
            recursive: options.idmap.unwrap_or_default(),
            uids: mount.uid_mappings.clone(),
            gids: mount.gid_mappings.clone(),
        });
        if !bind && idmap.is_some() {
            return Err(Error::invalid(format!("mount `{target}`: only bind mounts can be idmapped")));
        }
        Ok(Self {
            target,
            propagation: if bind { bind_propagation(&options) } else { options.propagation },
            own: options.own,
            recursive: options.recursive,
            kind,
            idmap,
        })
    }

    /// The file system of a new mount.
    pub(crate) fn file_system(&self) -> Option<&CStr> {
        match &self.kind {
            MountKind::New { file_system, .. } => Some(file_system),
            _ => None,
        }
    }
}

fn kind(mount: &Mount, options: &Options, bundle: &Path) -> Result<MountKind> {
    if options.remount {
        return Ok(MountKind::Change);
    }
    if options.bind.is_some() || mount.kind == "bind" {
        if mount.source.as_os_str().is_empty() {
            let target = mount.destination.display();
            return Err(Error::invalid(format!("bind mount `{target}`: no source")));
        }
        // An absolute source replaces the bundle's path.
        let source = bundle.join(&mount.source).into_os_string().into_encoded_bytes();
        return Ok(MountKind::Bind { source: c_string(source)?, recursive: options.bind.unwrap_or_default() });
    }
    match mount.kind.as_str() {
        "cgroup" | "cgroup2" => Ok(MountKind::Cgroup),
        "" | "none" if !options.propagation.is_empty() => Ok(MountKind::Change),
        "" | "none" => Err(Error::invalid(format!("mount `{}`: no file system type", mount.destination.display()))),
        file_system => Ok(MountKind::New {
            file_system: c_string(file_system)?,
            parameters: parameters(mount, options)?,
            copy_up: options.copy_up && file_system == "tmpfs",
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
            MountKind::Bind { source, recursive } => {
                write!(f, " {} {}", if *recursive { "rbind" } else { "bind" }, source.to_string_lossy())?;
            }
            MountKind::New { file_system, parameters, copy_up } => {
                write!(f, " new {}", file_system.to_string_lossy())?;
                for Parameter { key, value } in parameters {
                    write!(f, " {}", key.to_string_lossy())?;
                    value.as_ref().map_or(Ok(()), |value| write!(f, "={}", value.to_string_lossy()))?;
                }
                f.write_str(if *copy_up { " copy-up" } else { "" })?;
            }
            MountKind::Cgroup => f.write_str(" cgroup")?,
            MountKind::Change => f.write_str(" change")?,
        }
        attributes(f, "", &self.own)?;
        attributes(f, "r", &self.recursive)?;
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
