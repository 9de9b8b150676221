//! From the mounts a request asks for to the mounts a container gets. Parsing only: volumes are made elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use tare_docker_api::container::{Config, HostConfig, Mount as MountRequest};

use super::record::{Mount, MountKind};
use crate::error::{Error, Result};
use crate::volume::sources::is_local;

/// Mount modes that say something about propagation.
const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// All mounts, by destination, in Docker's order of precedence: `from` (of `--volumes-from`), binds, `--mount`,
/// `--tmpfs`, and volumes of the configuration for what is left. Volumes without a name have `anonymous` set and an
/// empty name.
pub(crate) fn plan(config: &Config, host: &HostConfig, from: Vec<Mount>) -> Result<Vec<Mount>> {
    let mut mounts: BTreeMap<String, Mount> =
        from.into_iter().map(|mount| (mount.destination.clone(), mount)).collect();
    let mut explicit: BTreeMap<String, ()> = BTreeMap::new();
    let mut add = |mount: Mount, mounts: &mut BTreeMap<String, Mount>| {
        if explicit.insert(mount.destination.clone(), ()).is_some() {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        mounts.insert(mount.destination.clone(), mount);
        Ok(())
    };
    for spec in &host.binds {
        add(bind(spec)?, &mut mounts)?;
    }
    for request in &host.mounts {
        add(requested(request)?, &mut mounts)?;
    }
    for (path, options) in &host.tmpfs {
        add(tmpfs(path, options)?, &mut mounts)?;
    }
    for (path, _) in &config.volumes {
        // Those of images, and of `-v` without a source, are below the root whether they say so or not.
        let destination = destination(&format!("/{}", path.trim_start_matches('/')))?;
        mounts.entry(destination.clone()).or_insert_with(|| anonymous(destination));
    }
    // `--volume-driver` is about the volumes of `-v` and of images; `--mount` names its driver itself.
    let driver = &host.volume_driver;
    if !matches!(driver.as_str(), "" | "local")
        && let Some(volume) = mounts.values().find(|mount| mount.kind == MountKind::Volume)
    {
        return Err(Error::not_found(format!(
            "create {}: error looking up volume plugin {driver}: plugin \"{driver}\" not found",
            volume.name
        )));
    }
    Ok(mounts.into_values().collect())
}

/// Binds of the engine's files, or of what they are in, follow what is mounted there on the host, unless they say more: the
/// container must not keep what the engine unmounts.
pub(crate) fn follow_engine(mounts: &mut [Mount], host: &HostConfig, root: &Path) -> Result<()> {
    for mount in mounts.iter_mut().filter(|mount| mount.kind == MountKind::Bind) {
        let source = Path::new(&mount.source);
        if !source.starts_with(root) && !root.starts_with(source) {
            continue;
        }
        if !says_propagation(mount, host) {
            "rslave".clone_into(&mut mount.propagation);
        } else if !matches!(mount.propagation.as_str(), "rslave" | "rshared") {
            return Err(Error::invalid(format!(
                "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is \
                 within the daemon root, daemon root: {root:?}, bind mount source: {:?}, propagation: {:?}",
                mount.source, mount.propagation
            )));
        }
    }
    Ok(())
}

/// Whether the request says how a mount propagates.
pub(crate) fn says_propagation(mount: &Mount, host: &HostConfig) -> bool {
    let by_mode = mount.mode.split(',').any(|option| PROPAGATIONS.contains(&option));
    let request = host.mounts.iter().find(|request| clean(&request.target) == mount.destination);
    let by_options = request.and_then(|request| request.bind_options.as_ref());
    by_mode || by_options.is_some_and(|options| !options.propagation.is_empty())
}

fn anonymous(destination: String) -> Mount {
    Mount {
        kind: MountKind::Volume,
        driver: "local".to_owned(),
        destination,
        writable: true,
        anonymous: true,
        ..Mount::default()
    }
}

/// Parses `source:destination[:mode]` (`-v`).
pub(crate) fn bind(spec: &str) -> Result<Mount> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{spec}'"));
    let parts: Vec<_> = spec.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [_, mode] if valid_mode(mode) => return Err(invalid()),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(invalid()),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(invalid());
    }
    if !valid_mode(mode) && !mode.is_empty() {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let wrong = |error: Error| {
        error.context(format!("invalid volume specification: '{spec}': invalid mount config for type \"{kind}\": "))
    };
    let destination = destination(target).map_err(wrong)?;
    let options: Vec<_> = mode.split(',').collect();
    let propagation = options.iter().find(|option| PROPAGATIONS.contains(option)).copied();
    let mut mount = Mount {
        destination,
        mode: mode.to_owned(),
        writable: !options.contains(&"ro"),
        no_copy: options.contains(&"nocopy"),
        ..Mount::default()
    };
    if source.starts_with('/') {
        if mount.no_copy {
            return Err(Error::invalid(format!("invalid mode: {mode}")));
        }
        mount.kind = MountKind::Bind;
        mount.source = clean(source);
        mount.propagation = propagation.unwrap_or("rprivate").to_owned();
        mount.create_source = true;
    } else {
        if propagation.is_some() {
            return Err(wrong(Error::invalid("field BindOptions must not be specified")));
        }
        mount.kind = MountKind::Volume;
        mount.driver = "local".to_owned();
        source.clone_into(&mut mount.name);
        mount.anonymous = source.is_empty();
        if mount.mode.is_empty() {
            // As Docker shows it: a volume given by name can be relabelled.
            "z".clone_into(&mut mount.mode);
        }
    }
    Ok(mount)
}

/// A list of known options, each group at most once.
fn valid_mode(mode: &str) -> bool {
    const GROUPS: &[&[&str]] =
        &[&["rw", "ro"], &["z", "Z"], PROPAGATIONS, &["nocopy"], &["consistent", "cached", "delegated", "default"]];
    if mode.is_empty() {
        return false;
    }
    let options: Vec<_> = mode.split(',').collect();
    options.iter().all(|option| GROUPS.iter().any(|group| group.contains(option)))
        && GROUPS.iter().all(|group| options.iter().filter(|option| group.contains(option)).count() <= 1)
}

fn destination(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{path}' mount path must be absolute")));
    }
    let clean = clean(path);
    if clean == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(clean)
}

/// A lexically clean absolute path: no empty, `.` or `..` components, no trailing slash.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn requested(request: &MountRequest) -> Result<Mount> {
    let kind = request.kind.as_str();
    let invalid = |what: &str| Error::invalid(format!("invalid mount config for type \"{kind}\": {what}"));
    if request.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let destination = destination(&request.target).map_err(|error| invalid(&error.message))?;
    let foreign = [
        ("BindOptions", request.bind_options.is_some(), "bind"),
        ("VolumeOptions", request.volume_options.is_some(), "volume"),
        ("TmpfsOptions", request.tmpfs_options.is_some(), "tmpfs"),
        ("ImageOptions", request.image_options.is_some(), "image"),
    ];
    if let Some((field, ..)) = foreign.iter().find(|(_, present, owner)| *present && *owner != kind) {
        return Err(invalid(&format!("field {field} must not be specified")));
    }
    if let Some(driver) = request.volume_options.as_ref().and_then(|options| options.driver_config.as_ref())
        && !matches!(driver.name.as_str(), "" | "local")
    {
        let name = &driver.name;
        return Err(Error::not_found(format!(
            "create {}: error looking up volume plugin {name}: plugin \"{name}\" not found",
            request.source
        )));
    }
    let base = Mount { destination, writable: !request.read_only, ..Mount::default() };
    match kind {
        "bind" => bind_request(request, base).map_err(|what| invalid(&what)),
        "volume" => volume_request(request, base).map_err(|what| invalid(&what)),
        "tmpfs" => tmpfs_request(request, base).map_err(|what| invalid(&what)),
        "image" => image_request(request, base).map_err(|what| invalid(&what)),
        "npipe" | "cluster" => Err(invalid("mount type is not supported on this engine")),
        _ => Err(invalid("mount type unknown")),
    }
}

fn bind_request(request: &MountRequest, mut mount: Mount) -> Result<Mount, String> {
    if request.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    if !request.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", request.source));
    }
    let options = request.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Err(format!("invalid propagation mode: {}", options.propagation));
    }
    mount.kind = MountKind::Bind;
    mount.source = clean(&request.source);
    mount.propagation = if options.propagation.is_empty() { "rprivate".into() } else { options.propagation };
    mount.non_recursive = options.non_recursive;
    mount.create_source = options.create_mountpoint;
    mount.read_only_non_recursive = options.read_only_non_recursive;
    mount.read_only_force_recursive = options.read_only_force_recursive;
    if !mount.create_source && !std::path::Path::new(&mount.source).exists() {
        return Err(format!("bind source path does not exist: {}", mount.source));
    }
    Ok(mount)
}

fn volume_request(request: &MountRequest, mut mount: Mount) -> Result<Mount, String> {
    let options = request.volume_options.clone().unwrap_or_default();
    if request.source.is_empty() && request.read_only {
        return Err("must not set ReadOnly mode when using anonymous volumes".into());
    }
    if request.source.is_empty() && !options.subpath.is_empty() {
        return Err("must not set Subpath when using anonymous volumes".into());
    }
    if !is_local(&options.subpath) {
        return Err("subpath must be a relative path within the volume".into());
    }
    mount.kind = MountKind::Volume;
    mount.name.clone_from(&request.source);
    mount.driver = "local".to_owned();
    mount.anonymous = request.source.is_empty();
    mount.no_copy = options.no_copy;
    mount.subpath = options.subpath;
    mount.mode = "z".to_owned();
    Ok(mount)
}

fn tmpfs_request(request: &MountRequest, mut mount: Mount) -> Result<Mount, String> {
    if !request.source.is_empty() {
        return Err("field Source must not be specified".into());
    }
    let options = request.tmpfs_options.clone().unwrap_or_default();
    if options.size_bytes < 0 {
        return Err("tmpfs size must not be negative".into());
    }
    mount.kind = MountKind::Tmpfs;
    mount.tmpfs_options = tmpfs_defaults();
    if options.size_bytes > 0 {
        mount.tmpfs_options.push(format!("size={}", options.size_bytes));
    }
    if options.mode > 0 {
        mount.tmpfs_options.push(format!("mode={:o}", options.mode));
    }
    for option in &options.options {
        match option.as_slice() {
            [name] | [name, ..] if !tmpfs_option_known(name) => return Err(format!("invalid tmpfs option {name:?}")),
            [name] => set_tmpfs_option(&mut mount.tmpfs_options, name),
            [name, value] => mount.tmpfs_options.push(format!("{name}={value}")),
            _ => return Err("invalid option array length".into()),
        }
    }
    if request.read_only {
        mount.tmpfs_options.push("ro".into());
    }
    Ok(mount)
}

fn image_request(request: &MountRequest, mut mount: Mount) -> Result<Mount, String> {
    if request.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    mount.kind = MountKind::Image;
    // The name until the image is looked up.
    mount.name.clone_from(&request.source);
    mount.subpath = request.image_options.clone().unwrap_or_default().subpath;
    if !is_local(&mount.subpath) {
        return Err("subpath must be a relative path within the volume".into());
    }
    // Changes go to a layer of the container's own, so writing is allowed unless it was asked not to.
    Ok(mount)
}

/// `--tmpfs PATH[:options]`.
fn tmpfs(path: &str, options: &str) -> Result<Mount> {
    let destination = destination(path)?;
    let mut all = tmpfs_defaults();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let name = option.split('=').next().unwrap_or_default();
        if !tmpfs_option_known(name) {
            return Err(Error::invalid(format!("invalid tmpfs option {option:?}")));
        }
        set_tmpfs_option(&mut all, option);
    }
    let writable = !all.iter().any(|option| option == "ro");
    Ok(Mount { kind: MountKind::Tmpfs, destination, tmpfs_options: all, writable, ..Mount::default() })
}

fn tmpfs_defaults() -> Vec<String> {
    ["noexec", "nosuid", "nodev"].map(str::to_owned).into()
}

/// Adds an option, taking back the one it contradicts.
fn set_tmpfs_option(options: &mut Vec<String>, option: &str) {
    let opposite = match option {
        "ro" => "rw".to_owned(),
        "rw" => "ro".to_owned(),
        other => other.strip_prefix("no").map_or_else(|| format!("no{other}"), str::to_owned),
    };
    options.retain(|old| *old != opposite && *old != option);
    options.push(option.to_owned());
}

fn tmpfs_option_known(name: &str) -> bool {
    const KNOWN: &[&str] = &[
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "size",
        "mode",
        "uid",
        "gid",
        "nr_inodes",
        "nr_blocks",
        "mpol",
        "huge",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
        "bind",
        "rbind",
        "remount",
    ];
    KNOWN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_without_a_source_may_be_relative() {
        let config =
            Config { volumes: [("data/x".to_owned(), Default::default())].into_iter().collect(), ..Config::default() };
        let mounts = plan(&config, &HostConfig::default(), Vec::new()).unwrap();
        assert_eq!(mounts.iter().map(|mount| mount.destination.as_str()).collect::<Vec<_>>(), ["/data/x"]);
    }

    #[test]
    fn binds_volumes_and_modes() {
        let mount = bind("/srv/:/data/../x/:ro,rshared").unwrap();
        assert_eq!((mount.source.as_str(), mount.destination.as_str()), ("/srv", "/x"));
        assert_eq!((mount.writable, mount.propagation.as_str()), (false, "rshared"));
        let mount = bind("vol:/data:nocopy").unwrap();
        assert_eq!((mount.kind, mount.name.as_str(), mount.no_copy), (MountKind::Volume, "vol", true));
        for (spec, message) in [
            ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
            ("/a:/b:what", "invalid mode: what"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: \
                 destination can't be '/'",
            ),
            (
                "/a:b",
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' \
                 mount path must be absolute",
            ),
            (":/b", "invalid volume specification: ':/b'"),
            ("/b:ro", "invalid volume specification: '/b:ro'"),
            (
                "vol:/b:shared",
                "invalid volume specification: 'vol:/b:shared': invalid mount config for type \"volume\": field \
                 BindOptions must not be specified",
            ),
        ] {
            assert_eq!(bind(spec).unwrap_err().message, message);
        }
    }

    #[test]
    fn anonymous_volumes_yield_to_explicit_mounts() {
        let config = Config {
            volumes: [("/data/".to_owned(), tare_docker_api::go::Empty {})].into_iter().collect(),
            ..Config::default()
        };
        let host = HostConfig { binds: vec!["/srv:/data".to_owned()].into(), ..HostConfig::default() };
        let mounts = plan(&config, &host, Vec::new()).unwrap();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts.first().unwrap().kind, MountKind::Bind);
        let mounts = plan(&config, &HostConfig::default(), Vec::new()).unwrap();
        assert!(mounts.first().unwrap().anonymous);
    }

    #[test]
    fn binds_of_the_engines_files() {
        let followed = |spec: &str| {
            let mut mounts = [bind(spec).unwrap()];
            follow_engine(&mut mounts, &HostConfig::default(), Path::new("/var/lib/tare"))
                .map(|()| mounts[0].propagation.clone())
                .map_err(|error| error.message)
        };
        for (spec, propagation) in [
            ("/:/host:ro", "rslave"),
            ("/var/lib:/x", "rslave"),
            ("/var/lib/tare/volumes:/x", "rslave"),
            ("/:/host:rshared", "rshared"),
            ("/srv:/x", "rprivate"),
            ("/srv:/x:private", "private"),
        ] {
            assert_eq!(followed(spec).as_deref(), Ok(propagation), "{spec}");
        }
        assert!(followed("/:/host:rprivate").unwrap_err().starts_with("invalid mount config: must use either"));
    }

    #[test]
    fn duplicates_are_refused() {
        let host = HostConfig { binds: vec!["/a:/x".to_owned(), "/b:/x/".to_owned()].into(), ..HostConfig::default() };
        assert_eq!(plan(&Config::default(), &host, Vec::new()).unwrap_err().message, "Duplicate mount point: /x");
    }

    #[test]
    fn tmpfs_options_replace_their_opposites() {
        assert_eq!(tmpfs("/t", "exec,size=1m").unwrap().tmpfs_options, ["nosuid", "nodev", "exec", "size=1m"]);
        assert_eq!(tmpfs("/t", "wat").unwrap_err().message, "invalid tmpfs option \"wat\"");
    }
}
