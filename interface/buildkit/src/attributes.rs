//! What a client says about a build, as attributes of BuildKit's Dockerfile frontend.

use std::collections::{BTreeMap, HashMap};

use tare_build::Options;
use tare_build::frontend::is_own_frontend;
use tare_docker_api::container::{Resources, Ulimit};
use tonic::Status;

use crate::front::unsupported;

/// Reads the attributes.
pub(crate) fn options(attributes: &HashMap<String, String>) -> Result<Options, Status> {
    refuse(attributes)?;
    let get = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let starting = |prefix: &'static str| {
        attributes.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
    };
    let labels: BTreeMap<_, _> = starting("label:").collect();
    let no_cache = attributes.get("no-cache");
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
        extra_hosts: list(&get("add-hosts")).iter().map(|pair| pair.replacen('=', ":", 1)).collect(),
        hostname: get("hostname"),
        ..Options::default()
    })
}

/// Says what there is not.
fn refuse(attributes: &HashMap<String, String>) -> Result<(), Status> {
    for (key, value) in attributes {
        match key.as_str() {
            "platform" if value.contains(',') => return unsupported("building for several platforms at once"),
            "requestid" => return unsupported(&format!("the request {value:?} to the Dockerfile frontend")),
            "context" if !value.starts_with(crate::caller::UPLOADS) => {
                return unsupported(&format!("the build context {value:?}"));
            }
            "device" if !value.is_empty() => return unsupported("a device in a build"),
            "source" if !is_own_frontend(value) => return unsupported(&format!("the Dockerfile frontend {value:?}")),
            key if key.starts_with("context:") => {
                return unsupported(&format!("the named build context {:?}", key.trim_start_matches("context:")));
            }
            "attest:sbom" if value != "false" => return unsupported("an SBOM attestation"),
            _ => {}
        }
    }
    Ok(())
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
        options(&pairs.collect()).map_err(|status| status.message().to_owned())
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
        ])
        .unwrap();
        assert_eq!(options.arguments.get("A"), Some(&Some("1".to_owned())));
        assert_eq!((options.no_cache, options.no_cache_stages.len(), options.pull), (false, 2, true));
        assert_eq!(options.extra_hosts, ["x:1.2.3.4", "y:::1"]);
        assert_eq!(options.shm_size, 7);
        assert!(read(&[("no-cache", "")]).unwrap().no_cache);
    }

    #[test]
    fn what_there_is_not_is_named() {
        for (key, value, said) in [
            ("platform", "linux/amd64,linux/arm64", "building for several platforms at once"),
            ("source", "other/frontend:1", "the Dockerfile frontend \"other/frontend:1\""),
            ("context:base", "oci-layout://x", "the named build context \"base\""),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err(), format!("{said} is not supported by this engine"));
        }
        assert_eq!(read(&[("force-network-mode", "x")]).unwrap_err(), "network mode \"x\" not supported by buildkit");
    }
}
