//! `POST /build` with `version=2`: what is asked of the builder is told to its Dockerfile frontend, as Docker's daemon does it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use tare_build::Options;
use tare_buildkit::{Posted, Wanted};
use tare_docker_api::container::Resources;

use super::{Context, build, streams};
use crate::error::{Failure, Result};
use crate::reply::Reply;
use crate::request::Request;
use crate::upload;

/// Says that the files are with the client's session.
const WITH_SESSION: &str = "client-session";
/// Says that the files come with a request of their own, as the docker client did it until 20.10.
const WITH_REQUEST: &str = "upload-request";

/// One of `outputs`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Output {
    #[serde(alias = "type")]
    r#type: String,
    #[serde(alias = "attrs")]
    attrs: Option<HashMap<String, String>>,
}

pub async fn build(context: &Context, options: Options, request: Request) -> Result<Reply> {
    let query = &request.query;
    let remote = options.remote.as_str();
    if remote == WITH_REQUEST || query.get("buildid").starts_with("upload-request:") {
        return Err(Failure::not_implemented(
            "build contexts in a request of their own are not supported by this engine: send them with the build",
        ));
    }
    let wanted = wanted(if request.below(40) {
        Vec::new()
    } else {
        build::json(query, "outputs", "invalid outputs specified")?
    })?;
    let gateway = context.engine.host_gateway().map(|address| address.to_string());
    let posted = Posted {
        attributes: attributes(&options, gateway.as_deref())?,
        names: options.tags.iter().filter(|name| !name.is_empty()).cloned().collect(),
        wanted,
        session: query.get("session").to_owned(),
        archive: remote.is_empty().then(|| upload::source(request.body)),
        host_network: options.network == "host",
        quiet: options.quiet,
        id: query.get("buildid").to_owned(),
    };
    streams::progress(context.front.build(posted)?).await
}

/// What is wanted with what was built: an image, unless something else is said.
fn wanted(mut outputs: Vec<Output>) -> Result<Option<Wanted>> {
    if outputs.len() > 1 {
        return Err(Failure::internal("multiple outputs not supported"));
    }
    let Some(output) = outputs.pop() else {
        return Ok(Some(Wanted { kind: "moby".to_owned(), attributes: HashMap::new() }));
    };
    let wanted = Wanted { kind: output.r#type, attributes: output.attrs.unwrap_or_default() };
    Ok(Some(wanted).filter(|wanted| wanted.kind != "cacheonly"))
}

/// The options as the frontend knows them.
fn attributes(options: &Options, gateway: Option<&str>) -> Result<HashMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        if !value.is_empty() {
            all.insert(name.to_owned(), value);
        }
    };
    set("target", options.target.clone());
    if options.dockerfile != "." {
        set("filename", options.dockerfile.clone());
    }
    if options.remote != WITH_SESSION {
        set("context", options.remote.clone());
    }
    set("cache-from", options.cache_from.join(","));
    set("image-resolve-mode", if options.pull { "pull" } else { "default" }.to_owned());
    set("platform", options.platform.clone());
    match options.network.as_str() {
        "" | "default" => {}
        "host" | "none" => set("force-network-mode", options.network.clone()),
        other => return Err(Failure::internal(format!("network mode {other:?} not supported by buildkit"))),
    }
    set("add-hosts", hosts(&options.extra_hosts, gateway)?);
    for (name, value) in [("shm-size", options.shm_size)].into_iter().chain(limits(&options.resources)) {
        if value > 0 {
            set(name, value.to_string());
        }
    }
    let Resources { cpuset_cpus, cpuset_mems, cgroup_parent, ulimits, .. } = &options.resources;
    set("cpusetcpus", cpuset_cpus.clone());
    set("cpusetmems", cpuset_mems.clone());
    set("cgroup-parent", cgroup_parent.clone());
    let ulimits: Vec<_> = ulimits.iter().map(|limit| format!("{}={}:{}", limit.name, limit.soft, limit.hard)).collect();
    set("ulimit", ulimits.join(","));
    // Those may be empty.
    let arguments = options.arguments.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    all.extend(arguments.map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    all.extend(options.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    if options.no_cache {
        all.insert("no-cache".to_owned(), String::new());
    }
    Ok(all.into_iter().collect())
}

fn limits(resources: &Resources) -> [(&'static str, i64); 5] {
    [
        ("memory", resources.memory),
        ("memswap", resources.memory_swap),
        ("cpushares", resources.cpu_shares),
        ("cpuperiod", resources.cpu_period),
        ("cpuquota", resources.cpu_quota),
    ]
}

/// `name=address,…`; the machine's address stands for its name.
fn hosts(given: &[String], gateway: Option<&str>) -> Result<String> {
    let bad = |host: &str| Failure::internal(format!("invalid host {host}"));
    let mut hosts = Vec::new();
    for host in given {
        let (name, address) = host.split_once(['=', ':']).ok_or_else(|| bad(host))?;
        let address = match address {
            "host-gateway" => {
                gateway.ok_or_else(|| Failure::internal("unable to derive the IP value for host-gateway"))?
            }
            address => address,
        };
        hosts.push(format!("{name}={address}"));
    }
    Ok(hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_attributes() {
        let options = Options {
            dockerfile: "D".to_owned(),
            no_cache: true,
            pull: true,
            network: "none".to_owned(),
            arguments: BTreeMap::from([("A".to_owned(), Some(String::new())), ("B".to_owned(), None)]),
            extra_hosts: vec!["x:::1".to_owned(), "y=1.2.3.4".to_owned(), "z:host-gateway".to_owned()],
            ..Options::default()
        };
        let attributes = attributes(&options, Some("10.0.0.1")).unwrap();
        let expected = [
            ("filename", "D"),
            ("no-cache", ""),
            ("image-resolve-mode", "pull"),
            ("force-network-mode", "none"),
            ("build-arg:A", ""),
            ("add-hosts", "x=::1,y=1.2.3.4,z=10.0.0.1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(attributes, HashMap::from(expected));
        assert!(hosts(&["x".to_owned()], None).is_err());
        assert!(hosts(&["x:host-gateway".to_owned()], None).is_err());
    }

    #[test]
    fn an_image_is_wanted_unless_something_else_is_said() {
        let output = |kind: &str| Output { r#type: kind.to_owned(), attrs: None };
        assert_eq!(wanted(Vec::new()).unwrap().unwrap().kind, "moby");
        assert_eq!(wanted(vec![output("tar")]).unwrap().unwrap().kind, "tar");
        assert!(wanted(vec![output("cacheonly")]).unwrap().is_none());
        assert!(wanted(vec![output("tar"), output("local")]).is_err());
    }
}
