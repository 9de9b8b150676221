//! `/build`: the builder, by default as the classic one.

use serde::de::DeserializeOwned;
use tare_build::Options;
use tare_docker_api::auth::decode_header;
use tare_docker_api::container::{Resources, Ulimit};
use tare_engine::{Bounds, CacheSelector};

use super::{Context, build_steps, streams};
use crate::error::{Failure, Result};
use crate::reply::Reply;
use crate::request::{Query, Request};
use crate::upload;

/// `POST /build`
pub async fn build(context: Context, request: Request) -> Result<Reply> {
    let options = options(&request)?;
    if request.query.get("version") == "2" {
        return build_steps::build(&context, options, request).await;
    }
    if !matches!(request.query.get("outputs"), "" | "[]" | "null") {
        return Err(Failure::not_implemented("outputs of builds need BuildKit: ask for it with version=2"));
    }
    streams::progress(tare_build::build(&context.engine, options, upload::source(request.body))?).await
}

/// `POST /build/cancel`: ends a build that was posted with `buildid`; one that is not there is none to end.
pub async fn cancel(context: Context, request: Request) -> Result<Reply> {
    let id = request.query.get("id");
    if id.is_empty() {
        return Err(Failure::bad_request("build ID not provided"));
    }
    context.front.cancel(id);
    Ok(Reply::empty(http::StatusCode::OK))
}

/// `POST /build/prune`
pub async fn prune(context: Context, request: Request) -> Result<Reply> {
    let query = &request.query;
    let bytes = |name: &str| Ok::<_, Failure>(query.int(name)?.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0)));
    let reserved = match query.has("reserved-space") {
        true => bytes("reserved-space")?,
        false => bytes("keep-storage")?,
    };
    let bounds = Bounds { reserved, max_used: bytes("max-used-space")?, min_free: bytes("min-free-space")? };
    let selector = CacheSelector::default();
    Ok(Reply::json(&context.engine.build_prune(query.filters()?, selector, bounds).await?))
}

fn options(request: &Request) -> Result<Options> {
    let query = &request.query;
    if !matches!(query.get("version"), "" | "1" | "2") {
        return Err(Failure::bad_request(format!("invalid version {:?}", query.get("version"))));
    }
    if query.flag("squash") {
        return Err(Failure::bad_request("squash is only supported with experimental mode"));
    }
    if query.has("securityopt") {
        return Err(Failure::bad_request("security options are not supported on linux"));
    }
    if !matches!(query.get("isolation"), "" | "default") {
        return Err(Failure::bad_request(format!("unsupported isolation: {:?}", query.get("isolation"))));
    }
    let ulimits: Vec<Ulimit> = json(query, "ulimits", "error reading ulimit settings")?;
    let force_remove = query.flag("forcerm");
    Ok(Options {
        tags: query.all("t").map(str::to_owned).collect(),
        dockerfile: query.get("dockerfile").to_owned(),
        remote: query.get("remote").to_owned(),
        quiet: query.flag("q"),
        no_cache: query.flag("nocache"),
        cache_from: json(query, "cachefrom", "error reading cache-from")?,
        pull: query.flag("pull"),
        remove: force_remove || query.get("rm").is_empty() || query.flag("rm"),
        force_remove,
        target: query.get("target").to_owned(),
        arguments: json(query, "buildargs", "error reading build args")?,
        labels: json(query, "labels", "error reading labels")?,
        platform: if request.below(32) { String::new() } else { query.get("platform").to_owned() },
        resources: Resources {
            memory: number(query, "memory"),
            memory_swap: number(query, "memswap"),
            cpu_shares: number(query, "cpushares"),
            cpu_period: number(query, "cpuperiod"),
            cpu_quota: number(query, "cpuquota"),
            cpuset_cpus: query.get("cpusetcpus").to_owned(),
            cpuset_mems: query.get("cpusetmems").to_owned(),
            cgroup_parent: query.get("cgroupparent").to_owned(),
            ulimits: ulimits.into(),
            ..Resources::default()
        },
        shm_size: query.int("shmsize")?.unwrap_or(0),
        network: query.get("networkmode").to_owned(),
        extra_hosts: query.all("extrahosts").map(str::to_owned).collect(),
        // What is no document of credentials counts as none, as in Docker.
        credentials: decode_header(request.header("x-registry-config")).unwrap_or_default(),
        ..Options::default()
    })
}

/// A parameter that is a document; the default without one.
pub(super) fn json<T: Default + DeserializeOwned>(query: &Query, name: &str, what: &str) -> Result<T> {
    let Some(text) = query.text(name) else { return Ok(T::default()) };
    let failed = |error| Failure::bad_request(format!("{what}: {}", crate::json::why(text, &error)));
    let parsed: Option<T> = serde_json::from_str(text).map_err(failed)?;
    Ok(parsed.unwrap_or_default())
}

/// Docker takes what is no number for 0 here.
fn number(query: &Query, name: &str) -> i64 {
    query.get(name).parse().unwrap_or(0)
}
