//! The engine about itself: info, version, disk usage, events.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tare_docker_api::container::ContainerSummary;
use tare_docker_api::events::{Actor, Message};
use tare_docker_api::filters::Filters;
use tare_docker_api::go::{List, Map};
use tare_docker_api::system::{
    AddressPool, ComponentVersion, DiskUsage, FirewallInfo, Info, PlatformInfo, PluginsInfo, Runtime, SwarmInfo,
    Version,
};
use tare_docker_api::time::Time;
use tare_docker_api::versions;
use tare_reference::Reference;
use tokio::sync::mpsc;

use crate::Engine;
use crate::container::state::Status;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::host;
use crate::options::{EventOptions, ListOptions};

/// What this is built with, where clients expect a version of Go.
const TOOLCHAIN: &str = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));
/// Events a slow client may be behind.
const EVENTS_MAX: usize = 64;
/// Filters that `GET /events` knows.
const EVENT_FILTERS: &[&str] = &[
    "type",
    "event",
    "container",
    "image",
    "volume",
    "network",
    "daemon",
    "label",
    "scope",
    "plugin",
    "service",
    "node",
    "secret",
    "config",
];

/// Tasks that run or wait: what goroutines are for a daemon in Go.
fn tasks() -> i64 {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map_or(0, |runtime| i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX))
}

impl Engine {
    /// Describes the engine and the machine.
    pub async fn info(&self) -> Result<Info> {
        let containers = self.all_containers();
        let count = |wanted: &[Status]| {
            let matching = containers.iter().filter(|container| wanted.contains(&container.read().state.status));
            i64::try_from(matching.count()).unwrap_or(i64::MAX)
        };
        let images: HashSet<_> = self.images.records().into_iter().map(|record| record.target.digest).collect();
        let support = self.hierarchies.support();
        let settings = self.settings();
        Ok(Info {
            id: self.id.clone(),
            containers: i64::try_from(containers.len()).unwrap_or(i64::MAX),
            containers_running: count(&[Status::Running]),
            containers_paused: count(&[Status::Paused]),
            containers_stopped: count(&[
                Status::Created,
                Status::Exited,
                Status::Restarting,
                Status::Removing,
                Status::Dead,
            ]),
            images: i64::try_from(images.len()).unwrap_or(i64::MAX),
            driver: "overlayfs".to_owned(),
            driver_status: vec![vec!["driver-type".to_owned(), "io.tare.snapshotter.v1".to_owned()]].into(),
            plugins: plugins(),
            memory_limit: support.memory_limit,
            swap_limit: support.swap_limit,
            cpu_cfs_period: support.cpu_quota,
            cpu_cfs_quota: support.cpu_quota,
            cpu_shares: support.cpu_shares,
            cpu_set: support.cpuset,
            pids_limit: support.pids_limit,
            oom_kill_disable: support.oom_kill_disable,
            ipv4_forwarding: ipv4_forwarding(),
            n_fd: open_descriptors(),
            n_goroutines: tasks(),
            debug: settings.debug,
            system_time: Time::now().to_string(),
            logging_driver: self.config.log_driver.clone(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version: if self.facts.unified_cgroups { "2" } else { "1" }.to_owned(),
            kernel_version: host::kernel_release(),
            operating_system: os_release("PRETTY_NAME"),
            os_version: os_release("VERSION_ID"),
            os_type: "linux".to_owned(),
            architecture: host::machine(),
            index_server_address: "https://index.docker.io/v1/".to_owned(),
            registry_config: settings.registries()?,
            n_cpu: i64::try_from(self.facts.cpus).unwrap_or(i64::MAX),
            mem_total: i64::try_from(crate::container::stats::total_memory()).unwrap_or(i64::MAX),
            docker_root_dir: self.config.data_root.to_string_lossy().into_owned(),
            http_proxy: without_password(&host::proxy("http_proxy")),
            https_proxy: without_password(&host::proxy("https_proxy")),
            no_proxy: host::proxy("no_proxy"),
            default_address_pools: self.address_pools().into(),
            name: host::hostname(),
            labels: settings.labels.clone(),
            server_version: self.config.version.clone(),
            runtimes: Map::from(BTreeMap::from([("tare".to_owned(), Runtime::default())])),
            default_runtime: "tare".to_owned(),
            swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
            live_restore_enabled: true,
            init_binary: "tare-init".to_owned(),
            security_options: self.security_options(),
            firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), ..FirewallInfo::default() }),
            warnings: self.warnings(&support).into(),
            ..Info::default()
        })
    }

    fn security_options(&self) -> List<String> {
        let mut options = vec![format!("name=seccomp,profile={}", self.config.seccomp.name())];
        if self.facts.unified_cgroups {
            options.push("name=cgroupns".to_owned());
        }
        if self.config.no_new_privileges {
            options.push("name=no-new-privileges".to_owned());
        }
        options.into()
    }

    /// The pools of the settings; Docker's own are not shown.
    fn address_pools(&self) -> Vec<AddressPool> {
        let pools = self.config.address_pools.iter().flat_map(tare_network::Pools::iter);
        pools.map(|(base, size)| AddressPool { base: base.to_string(), size: size.into() }).collect()
    }

    /// What users should know about their machine.
    fn warnings(&self, support: &tare_cgroup::Support) -> Vec<String> {
        let mut warnings = self.config.warnings.clone();
        let unified = self.facts.unified_cgroups;
        let throttle = |v1, v2| (support.blkio_throttle, if unified { v2 } else { v1 });
        // On v1 there is nothing that a user could do about weights, on v2 nothing about what only v1 has.
        for (present, words) in [
            (support.memory_limit, "No memory limit support"),
            (support.swap_limit, "No swap limit support"),
            (support.kernel_memory_tcp || unified, "No kernel memory TCP limit support"),
            (support.oom_kill_disable || unified, "No oom kill disable support"),
            (support.cpu_quota, "No cpu cfs quota support"),
            (support.cpu_quota, "No cpu cfs period support"),
            (support.cpu_shares, "No cpu shares support"),
            (support.cpuset, "No cpuset support"),
            (support.blkio_throttle || !unified, "No io.weight support"),
            (support.blkio_throttle || !unified, "No io.weight (per device) support"),
            throttle("No blkio throttle.read_bps_device support", "No io.max (rbps) support"),
            throttle("No blkio throttle.write_bps_device support", "No io.max (wbps) support"),
            throttle("No blkio throttle.read_iops_device support", "No io.max (riops) support"),
            throttle("No blkio throttle.write_iops_device support", "No io.max (wiops) support"),
        ] {
            if !present {
                warnings.push(format!("WARNING: {words}"));
            }
        }
        if !ipv4_forwarding() {
            warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
        }
        // Whoever looks finds it repaired.
        self.networks.renew_passages();
        warnings.extend(self.networks.firewall_warnings().map(|warning| format!("WARNING: {warning}")));
        warnings
    }

    /// Versions of the engine and its parts.
    pub async fn version(&self) -> Result<Version> {
        let details = BTreeMap::from([
            ("ApiVersion".to_owned(), versions::MAX.to_string()),
            ("MinAPIVersion".to_owned(), versions::MIN.to_string()),
            ("Arch".to_owned(), host::architecture().to_owned()),
            ("Os".to_owned(), "linux".to_owned()),
            ("KernelVersion".to_owned(), host::kernel_release()),
            ("GitCommit".to_owned(), self.config.commit.clone()),
            ("Experimental".to_owned(), "false".to_owned()),
            ("GoVersion".to_owned(), TOOLCHAIN.to_owned()),
        ]);
        Ok(Version {
            platform: PlatformInfo { name: "Tare".to_owned() },
            version: self.config.version.clone(),
            api_version: versions::MAX.to_string(),
            min_api_version: versions::MIN.to_string(),
            os: "linux".to_owned(),
            arch: host::architecture().to_owned(),
            components: vec![ComponentVersion {
                name: "Engine".to_owned(),
                version: self.config.version.clone(),
                details: details.into(),
            }]
            .into(),
            git_commit: self.config.commit.clone(),
            kernel_version: host::kernel_release(),
            go_version: TOOLCHAIN.to_owned(),
            ..Version::default()
        })
    }

    /// What takes space on disk. `types` of `container`, `image`, `volume`, `build-cache`; empty for all.
    pub async fn df(self: &Arc<Self>, types: &[String]) -> Result<DiskUsage> {
        const TYPES: &[&str] = &["container", "image", "volume", "build-cache"];
        if let Some(unknown) = types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
            return Err(Error::invalid(format!("unknown object type: {unknown}")));
        }
        let wanted = |kind: &str| types.is_empty() || types.iter().any(|wanted| wanted == kind);
        let mut usage = DiskUsage::default();
        if wanted("image") {
            usage.images = Some(self.images_with_sizes().await?);
            usage.layers_size = self.layers_size();
        }
        if wanted("container") {
            let options = ListOptions { all: true, size: true, ..ListOptions::default() };
            let mut containers: Vec<ContainerSummary> = self.list(options).await?;
            // Told of containers in lists alone.
            containers.iter_mut().for_each(|container| container.image_manifest_descriptor = None);
            usage.containers = Some(containers);
        }
        if wanted("volume") {
            let engine = Arc::clone(self);
            let volumes = crate::blocking(move || {
                Ok(engine.volumes.all().iter().map(|volume| engine.volume_usage(volume)).collect())
            });
            usage.volumes = Some(volumes.await?);
        }
        if wanted("build-cache") {
            usage.build_cache = Some(self.build_cache().await?);
        }
        Ok(usage)
    }

    /// Follows events.
    pub fn events(&self, options: EventOptions) -> Result<mpsc::Receiver<Message>> {
        options.filters.validate(EVENT_FILTERS)?;
        // Whoever names an end and no beginning wants all that is known.
        let since = options.since_ns.or(options.until_ns.map(|_| 0));
        let (past, mut live) = self.events.subscribe(since);
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(async move {
            let until = options.until_ns;
            let in_time = |event: &Event| until.is_none_or(|until| event.time_ns <= until);
            for event in past.into_iter().filter(|event| in_time(event) && passes(event, &options.filters)) {
                if sender.send(message(event)).await.is_err() {
                    return;
                }
            }
            let left = until.map(|until| u64::try_from(until - host::clock::now_ns()).unwrap_or(0));
            let end = async {
                match left {
                    Some(left) => tokio::time::sleep(std::time::Duration::from_nanos(left)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(end);
            loop {
                let event = tokio::select! {
                    biased;
                    event = live.recv() => event,
                    () = &mut end => return,
                    () = sender.closed() => return,
                };
                match event {
                    // It came before the end was noticed.
                    Ok(event) if !in_time(&event) => return,
                    Ok(event) if passes(&event, &options.filters) => {
                        if sender.send(message(event)).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                        tracing::warn!("a listener was too slow for {lost} events");
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        Ok(receiver)
    }
}

fn plugins() -> PluginsInfo {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<List<String>>();
    PluginsInfo {
        volume: list(&["local"]),
        network: list(&["bridge", "host", "macvlan", "null"]),
        authorization: List::default(),
        log: list(crate::logging::DRIVERS),
    }
}

fn message(event: Event) -> Message {
    Message {
        legacy: None,
        kind: event.kind.to_owned(),
        action: event.action,
        actor: Actor { id: event.id, attributes: event.attributes.into() },
        scope: "local".to_owned(),
        time: event.time_ns.div_euclid(1_000_000_000),
        time_nano: event.time_ns,
    }
}

fn passes(event: &Event, filters: &Filters) -> bool {
    let name = event.attributes.get("name").map(String::as_str).unwrap_or_default();
    let object = |kind: &str| {
        !filters.contains(kind)
            || event.kind == kind
                // As in Docker the beginning is enough, of the name too.
                && filters.get(kind).any(|wanted| event.id.starts_with(wanted) || name.starts_with(wanted))
    };
    // An image filter also takes events of containers made from it; a name without a tag is that of all tags.
    let image = !filters.contains("image") || {
        let attribute = if event.kind == "image" { "name" } else { "image" };
        let named = event.attributes.get(attribute).map(String::as_str).unwrap_or_default();
        filters
            .get("image")
            .any(|wanted| [event.id.as_str(), named].iter().any(|own| wanted == *own || wanted == without_tag(own)))
    };
    let action = !filters.contains("event")
        || filters.get("event").any(|wanted| {
            let prefixed = matches!(wanted, "health_status" | "exec_create" | "exec_start");
            event.action == wanted || prefixed && event.action.starts_with(wanted)
        });
    filters.exact("type", event.kind)
        && filters.exact("scope", "local")
        && action
        && object("container")
        && object("volume")
        && object("network")
        && object("daemon")
        && image
        && filters.pairs("label", &event.attributes)
}

/// A reference's name as users know it, without tag and digest; what is no reference stays as it is.
fn without_tag(text: &str) -> String {
    Reference::parse_normalized(text).map_or_else(|_| text.to_owned(), |reference| reference.familiar_name())
}

/// A proxy's URL as everybody may see it.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://xxxxx:xxxxx{}", &rest[user.len()..]),
        None => url.to_owned(),
    }
}

fn ipv4_forwarding() -> bool {
    std::fs::read("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim_ascii() == b"1")
}

fn open_descriptors() -> i64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0))
}

/// A value of os-release(5).
fn os_release(name: &str) -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_proxies_are_nobody_s() {
        assert_eq!(without_password("http://me:p@ss@proxy:3128/x"), "http://xxxxx:xxxxx@proxy:3128/x");
        assert_eq!(without_password("http://me@proxy"), "http://xxxxx:xxxxx@proxy");
        assert_eq!(without_password("http://proxy/@"), "http://proxy/@");
        assert_eq!(without_password("proxy:3128"), "proxy:3128");
    }

    #[test]
    fn events_of_images_and_their_containers_are_found_by_name() {
        let event = |kind, id: &str, key: &str, value: &str| Event {
            kind,
            action: "start".to_owned(),
            id: id.to_owned(),
            attributes: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            time_ns: 0,
        };
        let container = event("container", "0123", "image", "busybox:1.29");
        let image = event("image", "sha256:4567", "name", "me/app:2");
        let finds = |event: &Event, wanted: &str| {
            passes(event, &Filters::parse(&format!("{{\"image\":{{\"{wanted}\":true}}}}")).unwrap())
        };
        for wanted in ["busybox", "busybox:1.29"] {
            assert!(finds(&container, wanted), "{wanted}");
            assert!(!finds(&image, wanted), "{wanted}");
        }
        for wanted in ["me/app", "me/app:2", "sha256:4567"] {
            assert!(finds(&image, wanted), "{wanted}");
        }
        assert!(!finds(&container, "busy") && !finds(&container, "busybox:1.30"));
    }

    #[test]
    fn events_of_objects_are_found_by_the_beginning_of_id_or_name() {
        let event = Event {
            kind: "container",
            action: "start".to_owned(),
            id: "0123".to_owned(),
            attributes: BTreeMap::from([("name".to_owned(), "web1".to_owned())]),
            time_ns: 0,
        };
        let finds = |kind: &str, wanted: &str| {
            passes(&event, &Filters::parse(&format!("{{\"{kind}\":{{\"{wanted}\":true}}}}")).unwrap())
        };
        assert!(finds("container", "01") && finds("container", "web") && finds("container", ""));
        assert!(!finds("container", "eb1") && !finds("volume", "web1"));
    }
}
