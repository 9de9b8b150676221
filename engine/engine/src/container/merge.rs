//! Merging an image's configuration into a container's: what the user did not set comes from the image.

use std::collections::{BTreeMap, BTreeSet};

use tare_docker_api::container::{Config, Healthcheck};
use tare_docker_api::go::{Empty, Map};

/// What an image brings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ImageDefaults {
    pub(crate) user: String,
    pub(crate) exposed_ports: BTreeSet<String>,
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) volumes: BTreeSet<String>,
    pub(crate) working_dir: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stop_signal: String,
    pub(crate) healthcheck: Option<Healthcheck>,
    pub(crate) shell: Vec<String>,
    pub(crate) on_build: Vec<String>,
}

/// Fills `config` from `image`.
pub(crate) fn merge(config: &mut Config, image: &ImageDefaults) {
    fill(&mut config.user, &image.user);
    fill(&mut config.working_dir, &image.working_dir);
    fill(&mut config.stop_signal, &image.stop_signal);
    for port in &image.exposed_ports {
        config.exposed_ports.entry(port.clone()).or_default();
    }
    // As Docker shows it, whether clients say that there are none or nothing.
    if config.volumes.is_empty() {
        config.volumes = Map::default();
    }
    for path in &image.volumes {
        config.volumes.entry(path.clone()).or_insert(Empty {});
    }
    // Clients look into a container's labels without asking whether there are any.
    if config.labels.is_nil() {
        config.labels = Map::empty();
    }
    for (name, value) in &image.labels {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    merge_env(config, &image.env);
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        // An empty list takes the image's away.
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if config.shell.is_empty() && !image.shell.is_empty() {
        config.shell = image.shell.clone().into();
    }
    if config.on_build.is_empty() && !image.on_build.is_empty() {
        config.on_build = image.on_build.clone().into();
    }
    merge_healthcheck(config, image.healthcheck.as_ref());
}

fn fill(own: &mut String, image: &str) {
    if own.is_empty() {
        image.clone_into(own);
    }
}

/// The image's variables that the user did not set are appended.
fn merge_env(config: &mut Config, image: &[String]) {
    let key = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let own: BTreeSet<_> = config.env.iter().map(|variable| key(variable)).collect();
    let missing = image.iter().filter(|variable| !own.contains(&key(variable))).cloned();
    if config.env.is_empty() {
        config.env = missing.collect();
    } else {
        config.env.extend(missing);
    }
}

fn merge_healthcheck(config: &mut Config, image: Option<&Healthcheck>) {
    let Some(image) = image else { return };
    let Some(own) = config.healthcheck.as_mut() else {
        config.healthcheck = Some(image.clone());
        return;
    };
    if own.test.is_empty() {
        own.test = image.test.clone();
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

/// The words to run: entrypoint and command; an entrypoint of `[""]` counts as none.
pub(crate) fn command_line(config: &Config) -> Vec<String> {
    let entrypoint = config.entrypoint.iter().flatten();
    let reset = config.entrypoint.as_deref() == Some(&[String::new()]);
    entrypoint.filter(|_| !reset).chain(config.cmd.iter().flatten()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageDefaults {
        ImageDefaults {
            env: vec!["PATH=/bin".into(), "A=image".into()],
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["serve".into()]),
            working_dir: "/srv".into(),
            labels: [("a".into(), "image".into()), ("b".into(), "image".into())].into(),
            ..ImageDefaults::default()
        }
    }

    #[test]
    fn entrypoint_and_command_combine_as_in_docker() {
        type Words = &'static [&'static str];
        let cases: [(Option<Words>, Option<Words>, Words); 5] = [
            (None, None, &["/entry", "serve"]),
            (None, Some(&["x"]), &["/entry", "x"]),
            (Some(&["cat"]), None, &["cat"]),
            (Some(&["cat"]), Some(&["x"]), &["cat", "x"]),
            (Some(&[""]), Some(&["x"]), &["x"]),
        ];
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (entrypoint, cmd, expected) in cases {
            let mut config = Config { entrypoint: entrypoint.map(words), cmd: cmd.map(words), ..Config::default() };
            merge(&mut config, &image());
            assert_eq!(command_line(&config), expected, "{entrypoint:?} {cmd:?}");
        }
    }

    #[test]
    fn the_user_wins_over_the_image() {
        let mut config = Config {
            env: vec!["A=own".to_owned(), "PATH".to_owned()].into(),
            labels: [("a".to_owned(), "own".to_owned())].into_iter().collect(),
            ..Config::default()
        };
        merge(&mut config, &image());
        assert_eq!(*config.env, ["A=own", "PATH"]);
        assert_eq!(config.labels.get("a").map(String::as_str), Some("own"));
        assert_eq!(config.labels.get("b").map(String::as_str), Some("image"));
        assert_eq!(config.working_dir, "/srv");
    }
}
