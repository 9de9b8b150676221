//! Giving a container its mounts: volumes are made and filled, sources of binds are checked or made.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tare_docker_api::container::HostConfig;

use super::held::Visit;
use super::sources::{image_layer, open_below};
use super::{ANONYMOUS_LABEL, Release};
use crate::Engine;
use crate::container::Container;
use crate::container::record::{Mount, MountKind, Record};
use crate::error::{Error, Result};
use crate::image::ContainerImage;

impl Engine {
    /// The mounts of the containers named by `--volumes-from`.
    pub(crate) fn volumes_from(&self, host: &HostConfig) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for text in &host.volumes_from {
            let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
            if name.is_empty() {
                return Err(Error::invalid("malformed volumes-from specification: ".to_owned() + text));
            }
            if !mode.split(',').all(|option| matches!(option, "rw" | "ro" | "z" | "Z")) {
                return Err(Error::invalid(format!("invalid mode: {mode}")));
            }
            // Not 404, which clients take for a missing image.
            let other = self.find(name).map_err(|error| Error::invalid(error.message))?;
            let read_only = mode.split(',').any(|option| option == "ro");
            for mount in &other.read().record.mounts {
                if matches!(mount.kind, MountKind::Bind | MountKind::Volume) {
                    mounts.push(Mount {
                        writable: mount.writable && !read_only,
                        mode: if read_only { "ro".to_owned() } else { mount.mode.clone() },
                        create_source: false,
                        no_copy: true,
                        ..mount.clone()
                    });
                }
            }
        }
        Ok(mounts)
    }

    /// Makes what a new container's mounts need. Blocking.
    pub(crate) fn provide_mounts(self: &Arc<Self>, record: &mut Record, image: &ContainerImage) -> Result<()> {
        let labels = volume_labels(&record.host_config);
        let options = volume_options(&record.host_config);
        for mount in &mut record.mounts {
            match mount.kind {
                MountKind::Volume if mount.source.is_empty() => {
                    let labels = labels(&mount.destination);
                    let options = options(&mount.destination);
                    let (volume, new) = self.volumes.create(&mount.name, &record.id, labels, options)?;
                    mount.anonymous = mount.name.is_empty();
                    mount.name.clone_from(&volume.name);
                    mount.source = self.volumes.content(&volume.name).to_string_lossy().into_owned();
                    if new {
                        self.volume_event("create", &volume.name, &[]);
                    }
                    let fits = mount.no_copy || self.fill(&volume, image, mount)?;
                    if !fits && mount.anonymous {
                        return Err(Error::internal(format!(
                            "cannot mount volume over existing file, file exists {}",
                            mount.destination
                        )));
                    }
                }
                MountKind::Image => {
                    // Of another platform's image it is not said twice.
                    let mounted = self.image_for_container(&mount.name, None, &mut Vec::new())?;
                    let layer = image_layer(&record.id, &mount.destination);
                    self.images.create_rw_layer(&layer, &mounted.diff_ids).map_err(crate::image::error)?;
                    mount.source = mounted.id;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks at the sources of mounts before a start. Blocking.
    pub(crate) fn check_mount_sources(&self, record: &Record) -> Result<()> {
        for mount in &record.mounts {
            match mount.kind {
                MountKind::Bind => bind_source(mount)?,
                MountKind::Volume | MountKind::Tmpfs | MountKind::Image => {}
            }
        }
        Ok(())
    }

    /// Copies what the image has at a volume's place into an empty volume; false when that is no directory. Blocking.
    fn fill(self: &Arc<Self>, volume: &super::Volume, image: &ContainerImage, mount: &Mount) -> Result<bool> {
        let visit = Visit::new(self);
        self.hold_volume(volume, &visit.user).map_err(|error| error.context("failed to populate volume: "))?;
        if mount.subpath.is_empty() {
            return self.copy_up(image, &mount.destination, Path::new(&mount.source));
        }
        // A path that is not there is the start's mistake, as is one that leads out.
        let Ok(below) = open_below(Path::new(&mount.source), &mount.subpath) else { return Ok(true) };
        let place = PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd()));
        if place.is_dir() { self.copy_up(image, &mount.destination, &place) } else { Ok(true) }
    }

    /// Containers, by ID, that use a volume.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        let uses = |record: &Record| record.mounts.iter().any(|m| m.kind == MountKind::Volume && m.name == name);
        let containers = self.all_containers();
        containers.iter().filter(|container| uses(&container.read().record)).map(|c| c.id.clone()).collect()
    }

    /// What becomes of a container's anonymous volumes when it is removed, with its volumes or without: those that another
    /// one uses stay.
    pub(crate) fn release_volumes(&self, record: &Record, with_volumes: bool) -> Release<'_> {
        let anonymous = record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume && mount.anonymous);
        let names = anonymous.map(|mount| mount.name.clone()).filter(|name| self.volumes.get(name).is_some());
        let unused = |name: &String| with_volumes && self.volume_users(name).iter().all(|user| *user == record.id);
        let (unused, kept) = names.partition(unused);
        self.volumes.release(unused, kept)
    }

    /// Removes the anonymous volumes of containers that are not there.
    pub(crate) fn remove_ownerless_volumes(&self, known: impl Fn(&str) -> bool) {
        for name in self.volumes.ownerless(known) {
            match self.volumes.remove(&name) {
                Ok(()) => self.volume_event("destroy", &name, &[]),
                Err(error) => tracing::warn!("removing the volume {name}, whose container is gone: {error}"),
            }
        }
    }

    /// Tells that a container's volumes are in their places.
    pub(crate) fn mounted(&self, container: &Container) {
        for mount in volumes(container) {
            let written = mount.writable.to_string();
            let facts = [
                ("container", container.id.as_str()),
                ("destination", &mount.destination),
                ("read/write", &written),
                ("propagation", &mount.propagation),
            ];
            self.volume_event("mount", &mount.name, &facts);
        }
    }

    /// Tells that they are no more.
    pub(crate) fn unmounted(&self, container: &Container) {
        for mount in volumes(container) {
            self.volume_event("unmount", &mount.name, &[("container", &container.id)]);
        }
    }

    pub(crate) fn volume_event(&self, action: &str, name: &str, extra: &[(&str, &str)]) {
        let mut attributes: std::collections::BTreeMap<String, String> =
            extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        attributes.insert("driver".to_owned(), "local".to_owned());
        self.events.publish("volume", action, name, attributes);
    }
}

fn volumes(container: &Container) -> Vec<Mount> {
    let record = &container.read().record;
    record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume).cloned().collect()
}

fn bind_source(mount: &Mount) -> Result<()> {
    let source = Path::new(&mount.source);
    match std::fs::symlink_metadata(source) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && mount.create_source => {
            std::fs::create_dir_all(source).map_err(|error| {
                Error::internal(format!(
                    "error while creating mount source path '{}': mkdir {}: {error}",
                    mount.source, mount.source
                ))
            })
        }
        Err(_) => Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            mount.source
        ))),
    }
}

/// Labels that `--mount volume-label=` gives to new volumes, by destination.
fn volume_labels(host: &HostConfig) -> impl Fn(&str) -> std::collections::BTreeMap<String, String> + use<> {
    let mounts = host.mounts.to_vec();
    move |destination| {
        let request = mounts.iter().find(|mount| crate::container::mounts::clean(&mount.target) == destination);
        let labels = request.and_then(|mount| mount.volume_options.as_ref()).map(|options| options.labels.clone());
        let mut labels = labels.unwrap_or_default().into_inner();
        labels.remove(ANONYMOUS_LABEL);
        labels
    }
}

/// Driver options that `--mount volume-opt=` gives to new volumes, by destination.
fn volume_options(host: &HostConfig) -> impl Fn(&str) -> std::collections::BTreeMap<String, String> + use<> {
    let mounts = host.mounts.to_vec();
    move |destination| {
        let request = mounts.iter().find(|mount| crate::container::mounts::clean(&mount.target) == destination);
        let driver = request.and_then(|mount| mount.volume_options.as_ref()?.driver_config.clone());
        driver.map(|driver| driver.options.into_inner()).unwrap_or_default()
    }
}
