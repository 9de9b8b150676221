//! What a client says about a build, as attributes of BuildKit's Dockerfile frontend. Each is followed, refused by its name,
//! or, where the image is the same without it, answered with a warning.

use std::collections::{BTreeMap, HashMap};

use tare_build::Options;
use tare_build::frontend::is_own_frontend;
use tare_build::named::{Named, short_name};
use tare_docker_api::container::{Resources, Ulimit};
use tare_images::oci::Platform;
use tonic::Status;

use crate::caches;
use crate::caller::UPLOADS;
use crate::front::unsupported;
use crate::results::Inputs;

/// Those that are followed, here or where files are asked for.
const FOLLOWED: [&str; 25] = [
    "add-hosts",
    "cache-from",
    "cache-imports",
    "cgroup-parent",
    "context",
    "contextkey",
    "cpuperiod",
    "cpuquota",
    "cpusetcpus",
    "cpusetmems",
    "cpushares",
    "dockerfilekey",
    "filename",
    "force-network-mode",
    "hostname",
    "image-resolve-mode",
    "label",
    "memory",
    "memswap",
    "no-cache",
    "platform",
    "requestid",
    "shm-size",
    "target",
    "ulimit",
];
/// Beginnings of those that are followed; or that only describe the client's directories, to which nothing here is tied.
const FOLLOWED_PREFIXES: [&str; 5] = ["build-arg:", "label:", "local-sessionid:", "sharedkey:", "vcs:"];
/// What a client may require of the frontend.
const CAPABILITIES: [&str; 3] =
    ["moby.buildkit.frontend.contexts", "moby.buildkit.frontend.gitquerystring", "moby.buildkit.frontend.subrequests"];

/// Reads the attributes.
pub(crate) fn options(attributes: &HashMap<String, String>, inputs: &Inputs) -> Result<Options, Status> {
    let mut warnings = Vec::new();
    let mut names: Vec<_> = attributes.iter().collect();
    names.sort();
    for (key, value) in names {
        warnings.extend(look_at(key, value, inputs)?);
    }
    let get = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let starting = |prefix: &'static str| {
        attributes.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
    };
    let labels: BTreeMap<_, _> = starting("label:").collect();
    let no_cache = attributes.get("no-cache");
    let (cache_imports, unusable) = caches::imports(attributes)?;
    warnings.extend(unusable);
    let platform = Some(get("platform")).filter(|text| !text.is_empty());
    let platform = platform.unwrap_or_else(|| Platform::host().to_string());
    let mut contexts = BTreeMap::new();
    for (name, value) in starting("context:") {
        // A name may be meant for one platform.
        let (name, only) = name.split_once("::").map_or((name.as_str(), None), |(name, only)| (name, Some(only)));
        if only.is_none_or(|only| only == platform) {
            contexts.insert(short_name(name), named(name, &value, inputs)?);
        }
    }
    let hostname = Some(get("build-arg:BUILDKIT_SANDBOX_HOSTNAME")).filter(|name| !name.is_empty());
    Ok(Options {
        dockerfile: get("filename"),
        no_cache: no_cache.is_some_and(String::is_empty),
        no_cache_stages: no_cache.map(|names| list(names)).unwrap_or_default(),
        pull: get("image-resolve-mode") == "pull",
        remove: true,
        force_remove: true,
        target: get("target"),
        arguments: starting("build-arg:").map(|(name, value)| (name, Some(value))).collect(),
        labels,
        platform: get("platform"),
        resources: resources(attributes)?,
        shm_size: number(attributes, "shm-size")?,
        network: network(&get("force-network-mode"))?,
        extra_hosts: hosts(&get("add-hosts"))?,
        hostname: hostname.unwrap_or_else(|| get("hostname")),
        remote: Some(get("context")).filter(|context| is_remote(context)).unwrap_or_default(),
        dockerfile_of_caller: attributes.contains_key("dockerfilekey"),
        keep_git: truth("", &get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR"))?,
        checks: get("build-arg:BUILDKIT_DOCKERFILE_CHECK"),
        contexts,
        cache_imports,
        cache_namespace: get("build-arg:BUILDKIT_CACHE_MOUNT_NS"),
        source_date: source_date(&get("build-arg:SOURCE_DATE_EPOCH"))?,
        warnings,
        ..Options::default()
    })
}

/// Refuses what there is not; gives a warning about what makes no difference.
fn look_at(key: &str, value: &str, inputs: &Inputs) -> Result<Option<String>, Status> {
    let refused = |what: String| unsupported(&what);
    match key {
        "platform" if value.contains(',') => return refused("building for several platforms at once".to_owned()),
        "multi-platform" | "build-arg:BUILDKIT_MULTI_PLATFORM" => {
            if truth(key, value)? {
                return refused("an image with an index of platforms".to_owned());
            }
        }
        "context" if !value.starts_with(UPLOADS) && !is_remote(value) => {
            return refused(format!("the build context {value:?}"));
        }
        "contextsubdir" => return refused(format!("the directory {value:?} of a build context")),
        "image-resolve-mode" if !matches!(value, "" | "default" | "pull" | "local") => {
            return Err(Status::invalid_argument(format!("invalid image-resolve-mode: {value}")));
        }
        "device" | "devices" if !value.is_empty() => return refused("a device in a build".to_owned()),
        "source" | "cmdline" | "build-arg:BUILDKIT_SYNTAX" => {
            let image = value.split(' ').next().unwrap_or_default();
            if !is_own_frontend(image) {
                return refused(format!("the Dockerfile frontend {image:?}"));
            }
        }
        "frontend.caps" => required(value)?,
        "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR" => drop(truth(key, value)?),
        "build-arg:BUILDKIT_DISABLE_FILEOP" | "override-copy-image" => {
            // Those are BuildKit's words about its own past.
            return Err(Status::invalid_argument(format!(
                "support for {:?} was removed in BuildKit 0.11",
                key.trim_start_matches("build-arg:")
            )));
        }
        // Images are described by what made them nowhere else than in their history. Clients ask for this unasked, with
        // the leave to have it only where it goes with the image.
        "attest:provenance" if value.split(',').any(|part| part == "inline-only=true") => {}
        key if key.starts_with("attest:") || key.starts_with("build-arg:BUILDKIT_ATTEST_") => {
            let name = key.trim_start_matches("attest:").trim_start_matches("build-arg:BUILDKIT_ATTEST_");
            return refused(format!("the attestation {:?}", name.to_ascii_lowercase()));
        }
        key if key.starts_with("context:") => drop(named(key, value, inputs)?),
        // What an input is for, which its image says as well.
        key if key.strip_prefix("input-metadata:").is_some_and(|name| inputs.contains_key(name)) => {}
        key if key.starts_with("input:") || key.starts_with("input-metadata:") => {
            return refused(format!("the input {key:?} of a build"));
        }
        key if FOLLOWED.contains(&key) || FOLLOWED_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) => {}
        _ => return Ok(Some(format!("the option {key:?} of the Dockerfile frontend is not known to this engine"))),
    }
    Ok(None)
}

/// What stands for a name.
fn named(key: &str, value: &str, inputs: &Inputs) -> Result<Named, Status> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(Named::Image(image.to_owned()));
    }
    if let Some(directory) = value.strip_prefix("local:") {
        return Ok(Named::Directory(directory.to_owned()));
    }
    if let Some(image) = value.strip_prefix("input:").and_then(|name| inputs.get(name)) {
        return Ok(Named::Result(image.clone()));
    }
    if is_remote(value) {
        return Ok(Named::Remote(value.to_owned()));
    }
    unsupported(&format!("{value:?} as the named build context {:?}", key.trim_start_matches("context:")))
}

/// Whether files are somewhere that the engine can get them from.
fn is_remote(text: &str) -> bool {
    let known = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    known.iter().any(|start| text.starts_with(start)) && !text.starts_with(UPLOADS)
}

/// Looks at what a client requires: what it marks so may be asked of another frontend, and there is no other.
fn required(capabilities: &str) -> Result<(), Status> {
    for capability in list(capabilities) {
        let name = capability.split('+').next().unwrap_or_default();
        if !CAPABILITIES.contains(&name) {
            return Err(Status::unimplemented(format!("unsupported frontend capability {name}")));
        }
    }
    Ok(())
}

/// Go's way of writing yes and no.
fn truth(key: &str, value: &str) -> Result<bool, Status> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Status::invalid_argument(format!(
            "invalid boolean value for {}: {value}",
            key.trim_start_matches("build-arg:")
        ))),
    }
}

fn source_date(value: &str) -> Result<Option<i64>, Status> {
    let bad = || Status::invalid_argument(format!("invalid SOURCE_DATE_EPOCH: {value}"));
    Some(value).filter(|value| !value.is_empty()).map(|value| value.parse().map_err(|_| bad())).transpose()
}

/// `name=address,…`
fn hosts(text: &str) -> Result<Vec<String>, Status> {
    let bad = |why: String| Status::invalid_argument(format!("failed to parse additional hosts: {why}"));
    let pair = |pair: &String| {
        let (name, address) = pair.split_once('=').ok_or_else(|| bad(format!("invalid key-value pair {pair}")))?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let address: std::net::IpAddr = address.parse().map_err(|_| bad(format!("failed to parse IP {address}")))?;
        Ok(format!("{name}:{address}"))
    };
    list(text).iter().map(pair).collect()
}

/// `a,b`
fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn network(mode: &str) -> Result<String, Status> {
    match mode {
        "" | "sandbox" | "default" => Ok(String::new()),
        "host" | "none" => Ok(mode.to_owned()),
        other => Err(Status::invalid_argument(format!("network mode {other:?} not supported by buildkit"))),
    }
}

fn number(attributes: &HashMap<String, String>, name: &str) -> Result<i64, Status> {
    match attributes.get(name).filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|_| Status::invalid_argument(format!("failed to parse {name}: {text:?}"))),
        None => Ok(0),
    }
}

fn resources(attributes: &HashMap<String, String>) -> Result<Resources, Status> {
    let get = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let mut ulimits = Vec::new();
    for text in list(&get("ulimit")) {
        let bad = || Status::invalid_argument(format!("failed to parse ulimit: invalid ulimit: {text}"));
        let (name, limits) = text.split_once('=').ok_or_else(bad)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (soft.parse().map_err(|_| bad())?, hard.parse().map_err(|_| bad())?);
        ulimits.push(Ulimit { name: name.to_owned(), soft, hard });
    }
    Ok(Resources {
        memory: number(attributes, "memory")?,
        memory_swap: number(attributes, "memswap")?,
        cpu_shares: number(attributes, "cpushares")?,
        cpu_period: number(attributes, "cpuperiod")?,
        cpu_quota: number(attributes, "cpuquota")?,
        cpuset_cpus: get("cpusetcpus"),
        cpuset_mems: get("cpusetmems"),
        cgroup_parent: get("cgroup-parent"),
        ulimits: ulimits.into(),
        ..Resources::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options, String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        options(&pairs.collect(), &Inputs::from([("0-x".to_owned(), "sha256:1".to_owned())]))
            .map_err(|status| status.message().to_owned())
    }

    #[test]
    fn attributes_become_options() {
        let options = read(&[
            ("build-arg:A", "1"),
            ("label:l", "m"),
            ("no-cache", "a,b"),
            ("add-hosts", "x=1.2.3.4,y=::1"),
            ("ulimit", "nofile=5:6"),
            ("shm-size", "7"),
            ("image-resolve-mode", "pull"),
            ("source", "docker.io/docker/dockerfile:1@sha256:00"),
            ("vcs:revision", "whatever"),
            ("attest:provenance", "mode=min,inline-only=true"),
            ("build-arg:SOURCE_DATE_EPOCH", "8"),
            ("frontend.caps", "moby.buildkit.frontend.contexts+forward"),
            ("context:x", "input:0-x"),
            ("input-metadata:0-x", "{}"),
            ("of-tomorrow", "x"),
        ])
        .unwrap();
        assert_eq!(options.arguments.get("A"), Some(&Some("1".to_owned())));
        assert_eq!((options.no_cache, options.no_cache_stages.len(), options.pull), (false, 2, true));
        assert_eq!(options.extra_hosts, ["x:1.2.3.4", "y:::1"]);
        assert_eq!((options.shm_size, options.source_date), (7, Some(8)));
        assert_eq!(
            options.warnings,
            ["the option \"of-tomorrow\" of the Dockerfile frontend is not known to this engine"]
        );
        assert_eq!(options.contexts.get("x"), Some(&Named::Result("sha256:1".to_owned())));
        assert!(read(&[("no-cache", "")]).unwrap().no_cache);
    }

    #[test]
    fn what_there_is_not_is_named() {
        for (key, value, said) in [
            ("platform", "linux/amd64,linux/arm64", "building for several platforms at once"),
            ("source", "other/frontend:1", "the Dockerfile frontend \"other/frontend:1\""),
            ("context:base", "oci-layout://x", "\"oci-layout://x\" as the named build context \"base\""),
            ("multi-platform", "1", "an image with an index of platforms"),
            ("attest:provenance", "mode=max", "the attestation \"provenance\""),
            ("build-arg:BUILDKIT_ATTEST_SBOM", "", "the attestation \"sbom\""),
            ("build-arg:BUILDKIT_SYNTAX", "other/frontend x", "the Dockerfile frontend \"other/frontend\""),
            ("context:base", "input:0-y", "\"input:0-y\" as the named build context \"base\""),
            ("input-metadata:0-y", "{}", "the input \"input-metadata:0-y\" of a build"),
            ("input:context", "https://x", "the input \"input:context\" of a build"),
            ("device", "x", "a device in a build"),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err(), format!("{said} is not supported by this engine"));
        }
        for (key, value, said) in [
            ("force-network-mode", "x", "network mode \"x\" not supported by buildkit"),
            ("add-hosts", "x=y", "failed to parse additional hosts: failed to parse IP y"),
            ("multi-platform", "x", "invalid boolean value for multi-platform: x"),
            ("image-resolve-mode", "x", "invalid image-resolve-mode: x"),
            ("build-arg:SOURCE_DATE_EPOCH", "x", "invalid SOURCE_DATE_EPOCH: x"),
            ("frontend.caps", "moby.buildkit.frontend.x", "unsupported frontend capability moby.buildkit.frontend.x"),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err(), said);
        }
    }
}
