//! A container's environment variables.

use tare_docker_api::container::Config;

/// `PATH` of a container whose image sets none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's order: `PATH`, `HOSTNAME`, `TERM` with a terminal, links, then the configuration, which replaces those
/// before it and, with a name alone, removes them.
pub(crate) fn of(config: &Config, hostname: &str, links: &[String]) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(links.iter().cloned());
    override_with(&mut env, &config.env);
    env
}

/// Applies `changes` to `env`: replaces in place, appends, removes.
pub(crate) fn override_with(env: &mut Vec<String>, changes: &[String]) {
    for change in changes {
        let (name, value) = change.split_once('=').map_or((change.as_str(), None), |(name, value)| (name, Some(value)));
        let position = env.iter().position(|old| old.split('=').next() == Some(name));
        match (value, position.and_then(|position| env.get_mut(position))) {
            (Some(_), Some(old)) => change.clone_into(old),
            (Some(_), None) => env.push(change.clone()),
            (None, _) => env.retain(|old| old.split('=').next() != Some(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_overrides() {
        let config = Config {
            tty: true,
            env: ["PATH=/bin", "A=1", "A=2", "TERM", "E="].map(str::to_owned).to_vec().into(),
            ..Config::default()
        };
        let env = of(&config, "web", &["DB_NAME=/web/db".to_owned()]);
        assert_eq!(env, ["PATH=/bin", "HOSTNAME=web", "DB_NAME=/web/db", "A=2", "E="]);
    }
}
