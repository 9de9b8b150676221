//! Creating a container: validation, merging with the image, reservation of everything that has a name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tare_docker_api::container::{Config, CreateRequest, CreateResponse, EndpointSettings, HostConfig};
use tare_docker_api::go::Map;
use tare_shim_protocol::LogConfig;

use super::record::Record;
use super::state::State;
use super::{Container, merge, mounts, names, validate};
use crate::Engine;
use crate::error::{Error, Result};
use crate::host::{clock, random};
use crate::image::ContainerImage;
use crate::spec::security;

/// Docker's words about links on the default bridge.
const LINK_WARNING: &str = "Links on the default bridge network are deprecated and will be removed in a future release. \
                            Use a custom network instead.";

/// Characters of the ID that name a container where no hostname is given.
const HOSTNAME_ID_LEN: usize = 12;

/// Containers that one container's network is followed through.
const JOINED_MAX: usize = 16;

impl Engine {
    /// Creates a container. Answered after its record is on disk.
    pub async fn create(
        self: &Arc<Self>,
        name: Option<&str>,
        platform: Option<&str>,
        request: CreateRequest,
    ) -> Result<CreateResponse> {
        self.create_as(name, platform, request, false).await
    }

    pub(crate) async fn create_as(
        self: &Arc<Self>,
        name: Option<&str>,
        platform: Option<&str>,
        request: CreateRequest,
        for_build: bool,
    ) -> Result<CreateResponse> {
        let CreateRequest { mut config, mut host_config, networking_config } = request;
        let mut warnings = Vec::new();
        validate::create(&config, &host_config, self.facts.cpus)?;
        crate::network::ports::requests(&config, &host_config, None)?;
        crate::network::ports::spread(&mut config.exposed_ports);
        for (port, _) in &config.exposed_ports {
            crate::network::ports::parse(port)?;
        }
        let image = self.image_for_container(&config.image, platform, &mut warnings)?;
        merge::merge(&mut config, &image.defaults);
        crate::network::ports::spread(&mut config.exposed_ports);
        let mut command = merge::command_line(&config).into_iter();
        let path = command.next().ok_or_else(|| Error::invalid("no command specified"))?;
        let id = random::id();
        self.fill_defaults(&id, &mut config, &mut host_config);
        let networks = endpoints(&mut config, &host_config, networking_config.endpoints_config.into_inner())?;
        // Networks may be called by ID; one that does not exist yet keeps what it is called.
        let networks: BTreeMap<_, _> =
            networks.into_iter().map(|(name, settings)| (self.networks.name_of(&name), settings)).collect();
        for (name, settings) in &networks {
            // A network that does not exist is an error of the start.
            if let Ok(net) = self.networks.find(name) {
                crate::network::endpoint::check_settings(&net, settings)?;
            }
        }
        self.check_modes(&host_config)?;
        advice(&config, &host_config, &mut warnings);
        warnings.extend(self.shortcomings(&host_config));
        let name = self.reserve_name(name, &id)?;
        let record = Record {
            id: id.clone(),
            name: name.clone(),
            created_at: clock::now_ns(),
            image_id: image.id.clone(),
            image_manifest: Some(image.manifest.clone()),
            os: image.os.clone(),
            path,
            args: command.collect(),
            log: LogConfig::default(),
            networks,
            mounts: Vec::new(),
            links: Vec::new(),
            for_build,
            state: State::default(),
            config,
            host_config,
        };
        match self.create_reserved(record, &image, &mut warnings).await {
            Ok(()) => Ok(CreateResponse { id, warnings }),
            Err(error) => {
                self.abandon(&id).await;
                Err(error)
            }
        }
    }

    /// The part that leaves traces; [`Engine::abandon`] removes them.
    async fn create_reserved(
        self: &Arc<Self>,
        mut record: Record,
        image: &ContainerImage,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        record.log = self.log_config(&record)?;
        self.resolve_links(&mut record, warnings)?;
        let from = self.volumes_from(&record.host_config)?;
        record.mounts = mounts::plan(&record.config, &record.host_config, from)?;
        mounts::follow_engine(&mut record.mounts, &record.host_config, &self.config.data_root)?;
        if !image.diff_ids.iter().all(|layer| self.images.has_layer(layer)) {
            let unpacked = self.distribution().unpack(Arc::clone(&image.content)).await;
            unpacked.map_err(crate::image::transfer::failed)?;
        }
        let engine = Arc::clone(self);
        let image = image.clone();
        let record = crate::blocking(move || {
            let mut record = record;
            engine.make_directories(&record, &image)?;
            let directory = &record.config.working_dir;
            engine.images.make_working_directory(&record.id, directory).map_err(crate::image::error)?;
            engine.provide_mounts(&mut record, &image)?;
            Ok(record)
        })
        .await?;
        if record.host_config.auto_remove {
            // After a loss of power it would be removed: waiting for the disk protects nothing.
            self.save_later(&record);
        } else {
            self.save_container(&record).await?;
        }
        let (id, attributes) = (record.id.clone(), crate::container::attributes(&record));
        let container = Container::new(record, State::default());
        self.index.write().unwrap_or_else(PoisonError::into_inner).insert(container);
        self.events.publish("container", "create", id, attributes);
        Ok(())
    }

    fn reserve_name(&self, name: Option<&str>, id: &str) -> Result<String> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let name = match name.filter(|name| !name.is_empty()) {
            Some(name) => names::validate(name)?.to_owned(),
            None => names::generate(id, random::number, |name| index.name_holder(name).is_some()),
        };
        index.reserve_name(&name, id)?;
        Ok(name)
    }

    fn fill_defaults(&self, id: &str, config: &mut Config, host: &mut HostConfig) {
        name_protocols(&mut config.exposed_ports);
        name_protocols(&mut host.port_bindings);
        if matches!(host.network_mode.as_str(), "" | "default") {
            "bridge".clone_into(&mut host.network_mode);
        }
        if config.hostname.is_empty() && !host.network_mode.starts_with("container:") {
            config.hostname = if host.network_mode == "host" || host.uts_mode == "host" {
                crate::host::hostname()
            } else {
                id.chars().take(HOSTNAME_ID_LEN).collect()
            };
        }
        let settings = self.settings();
        if host.ipc_mode.is_empty() {
            host.ipc_mode.clone_from(&settings.ipc_mode);
        }
        if host.cgroupns_mode.is_empty() {
            let usual = if self.facts.unified_cgroups { "private" } else { "host" };
            let mode = if host.privileged { "host" } else { settings.cgroupns_mode.as_deref().unwrap_or(usual) };
            mode.clone_into(&mut host.cgroupns_mode);
        }
        if host.shm_size == 0 {
            host.shm_size = settings.shm_size;
        }
        if host.restart_policy.name.is_empty() {
            "no".clone_into(&mut host.restart_policy.name);
        }
        if host.runtime.is_empty() {
            "tare".clone_into(&mut host.runtime);
        }
        if !config.working_dir.is_empty() {
            config.working_dir = mounts::clean(&config.working_dir);
        }
        let resources = &mut host.resources;
        if resources.memory > 0 && resources.memory_swap == 0 {
            resources.memory_swap = resources.memory.saturating_mul(2);
        }
        if resources.memory_swappiness == Some(-1) {
            resources.memory_swappiness = None;
        }
        resources.pids_limit = resources.pids_limit.filter(|limit| *limit > 0);
        let log = &mut host.log_config;
        if log.kind.is_empty() {
            self.config.log_driver.clone_into(&mut log.kind);
        }
        if log.kind == self.config.log_driver {
            // Each of the daemon's options that the container does not give itself.
            let own = std::mem::take(&mut log.config).into_inner();
            log.config = self.config.log_opts.clone().into_iter().chain(own).collect();
        }
        if log.config.is_nil() {
            log.config = Map::empty();
        }
        if !self.facts.unified_cgroups {
            host.resources.oom_kill_disable.get_or_insert(false);
        }
        no_labels(host);
        security::default_paths(host, self.facts.cpus);
        self.name_modes_by_id(host);
    }

    /// Undoes a creation that failed.
    async fn abandon(self: &Arc<Self>, id: &str) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        let directory = self.container_directory(id);
        let images = Arc::clone(&self.images);
        let id = id.to_owned();
        let engine = Arc::clone(self);
        let cleaned = crate::blocking(move || {
            engine.remove_ownerless_volumes(|owner| owner != id);
            // Nothing may exist yet; what does is removed again at the daemon's start if it cannot be now.
            let _ = std::fs::remove_dir_all(&directory);
            for layer in images.rw_layers().iter().filter(|layer| layer.starts_with(&id)) {
                images.remove_rw_layer(layer).map_err(crate::image::error)?;
            }
            Ok(())
        })
        .await;
        if let Err(error) = cleaned {
            tracing::warn!("cleaning up after a failed creation: {error}");
        }
    }
}

/// Settings that are taken but do not do what one might expect.
fn advice(config: &Config, host: &HostConfig, warnings: &mut Vec<String>) {
    if host.network_mode == "host" && (host.publish_all_ports || !host.port_bindings.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    let checked = config.healthcheck.as_ref().is_some_and(super::health::is_check);
    if host.restart_policy.name == super::exit::ON_UNHEALTHY && !checked {
        warnings.push("Restart policy 'on-unhealthy' without a health check does what 'on-failure' does".to_owned());
    }
    if host.resources.oom_kill_disable == Some(true) && host.resources.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
}

/// Ports without a protocol are TCP's.
fn name_protocols<V>(ports: &mut tare_docker_api::go::Map<V>) {
    if ports.keys().any(|port| !port.contains('/')) {
        let all = std::mem::take(ports).into_inner();
        let named = |port: String| if port.contains('/') { port } else { format!("{port}/tcp") };
        *ports = all.into_iter().map(|(port, value)| (named(port), value)).collect();
    }
}

/// The networks a container is on, by name.
fn endpoints(
    config: &mut Config,
    host: &HostConfig,
    mut asked: BTreeMap<String, EndpointSettings>,
) -> Result<BTreeMap<String, EndpointSettings>> {
    if let Some(default) = asked.remove("default") {
        asked.entry("bridge".to_owned()).or_insert(default);
    }
    let mode = &host.network_mode;
    if mode.starts_with("container:") || mode == "host" {
        let others = asked.keys().any(|name| name != mode);
        if others {
            return Err(Error::invalid(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
    }
    if mode.starts_with("container:") || config.network_disabled {
        return Ok(BTreeMap::new());
    }
    let mac = std::mem::take(&mut config.mac_address);
    // Whoever names networks and leaves the mode as it is gets those alone.
    if mode != "bridge" || asked.is_empty() || !mac.is_empty() {
        let primary = asked.entry(mode.clone()).or_default();
        if !mac.is_empty() && primary.mac_address.is_empty() {
            primary.mac_address = mac;
        }
    }
    for (name, settings) in &asked {
        crate::network::endpoint::mac(&settings.mac_address)?;
        let addressed = settings.ipam_config.as_ref().is_some_and(|ipam| !ipam.ipv4_address.is_empty());
        if name == "bridge" && addressed {
            return Err(Error::invalid(
                "invalid config for network bridge: invalid endpoint settings:\nuser-specified IP address is \
                 supported on user-defined networks only",
            ));
        }
    }
    Ok(asked)
}

impl Engine {
    /// What this host cannot do of what a container asks for.
    fn shortcomings(&self, host: &HostConfig) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.facts.apparmor {
            let profiles = host.security_opt.iter().filter_map(|option| option.strip_prefix("apparmor")?.get(1..));
            let profiles = profiles.filter(|profile| *profile != "unconfined");
            let told = |profile| format!("This host does not have AppArmor enabled. Profile {profile} discarded.");
            warnings.extend(profiles.map(told));
        }
        if !self.config.forward_accept {
            warnings.extend(self.networks.firewall_warnings());
        }
        warnings
    }

    /// Turns `--link NAME:ALIAS` into references to containers.
    fn resolve_links(&self, record: &mut Record, warnings: &mut Vec<String>) -> Result<()> {
        if record.host_config.links.is_empty() {
            return Ok(());
        }
        if record.host_config.network_mode != "bridge" {
            // On a user-defined network a link is an alias for one's own eyes: resolved by name when it is used.
            if let Some(settings) = record.networks.get_mut(&self.networks.name_of(&record.host_config.network_mode)) {
                settings.links = record.host_config.links.clone();
            }
            record.host_config.links = tare_docker_api::go::List::default();
            return Ok(());
        }
        warnings.push(LINK_WARNING.to_owned());
        let mut shown = Vec::new();
        for link in &record.host_config.links {
            let (target, alias) = split_link(link)?;
            let find = |name: &str| {
                self.find(name).map_err(|error| Error::invalid(format!("could not get container for {name}: {error}")))
            };
            let mut target = find(target)?;
            // Whoever is in another's network is reached there.
            for _ in 0..JOINED_MAX {
                let mode = target.read().record.host_config.network_mode.clone();
                match mode.strip_prefix("container:") {
                    Some(owner) => target = find(owner)?,
                    None => break,
                }
            }
            let name = target.name();
            if target.read().record.host_config.network_mode == "host" {
                return Err(Error::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in \
                     undefined behavior",
                ));
            }
            let path = format!("{}/{alias}", record.name);
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            // Said twice it is the first that counts.
            if index.name_holder(&path).is_some() {
                continue;
            }
            index.reserve_name(&path, &target.id)?;
            drop(index);
            record.links.push((target.id.clone(), alias.to_owned()));
            shown.push(format!("/{name}:/{path}"));
        }
        record.host_config.links = shown.into();
        Ok(())
    }
}

/// `name`, `name:alias`, or what inspect shows, `/name:/parent/alias`.
fn split_link(link: &str) -> Result<(&str, &str)> {
    let invalid = || Error::invalid(format!("bad format for links: {link}"));
    if link.is_empty() {
        return Err(Error::invalid("empty string specified for links"));
    }
    let (name, alias) = match link.split_once(':') {
        None => (link, link),
        Some((_, alias)) if alias.contains(':') => return Err(invalid()),
        Some((name, alias)) => (name, alias.rsplit('/').next().unwrap_or(alias)),
    };
    if name.is_empty() || alias.is_empty() {
        return Err(invalid());
    }
    Ok((name, alias.trim_start_matches('/')))
}

/// What shares the host's processes or may do everything is written as having no label, unless it was given one.
fn no_labels(host: &mut HostConfig) {
    let labelled = host.security_opt.iter().any(|option| option.split('=').next() == Some("label"));
    if !labelled && (host.ipc_mode == "host" || host.pid_mode == "host" || host.privileged) {
        host.security_opt.push("label=disable".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_split() {
        assert_eq!(split_link("db").unwrap(), ("db", "db"));
        assert_eq!(split_link("db:sql").unwrap(), ("db", "sql"));
        assert_eq!(split_link("/db:/web/sql").unwrap(), ("/db", "sql"));
        assert_eq!(split_link("a:b:c").unwrap_err().message, "bad format for links: a:b:c");
    }

    #[test]
    fn advice_is_given() {
        let mut warnings = Vec::new();
        let mut host = HostConfig { network_mode: "host".to_owned(), ..HostConfig::default() };
        advice(&Config::default(), &host, &mut warnings);
        assert!(warnings.is_empty());
        host.publish_all_ports = true;
        host.resources.oom_kill_disable = Some(true);
        advice(&Config::default(), &host, &mut warnings);
        assert_eq!(warnings.len(), 2);
        host.resources.memory = 1 << 30;
        host.network_mode = "bridge".to_owned();
        warnings.clear();
        advice(&Config::default(), &host, &mut warnings);
        assert!(warnings.is_empty());
    }

    #[test]
    fn endpoints_follow_the_network_mode() {
        let host = |mode: &str| HostConfig { network_mode: mode.to_owned(), ..HostConfig::default() };
        let asked = || [("default".to_owned(), EndpointSettings::default())].into_iter().collect();
        let mut config = Config::default();
        let networks = endpoints(&mut config, &host("bridge"), asked()).unwrap();
        assert_eq!(networks.keys().collect::<Vec<_>>(), ["bridge"]);
        assert!(endpoints(&mut config, &host("container:x"), BTreeMap::new()).unwrap().is_empty());
        assert!(endpoints(&mut config, &host("host"), asked()).is_err());
    }
}
