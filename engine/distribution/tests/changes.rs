//! Dockerfile instructions applied to a configuration.

use tare_distribution::changes::apply;
use tare_images::oci::Config;

fn applied(changes: &[&str]) -> Result<Config, String> {
    let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
    let mut config = Config { env: vec!["PATH=/bin".to_owned()], ..Config::default() };
    apply(&changes, &mut config).map(|()| config).map_err(|e| e.to_string())
}

#[test]
fn instructions_set_what_they_name() {
    let config = applied(&[
        "CMD echo hi",
        "entrypoint [\"/x\", \"y\"]",
        "ENV PATH=$PATH:/usr/bin OLD=${NONE:-default} ONE='$PATH'",
        "ENV KEY the rest",
        "EXPOSE 80 53/udp 100-200/TCP",
        "LABEL a=\"b c\" d=e\\ f",
        "USER me:us",
        "VOLUME [\"/data\", \"/more\"]",
        "VOLUME /x /y",
        "WORKDIR /a",
        "WORKDIR b/../c",
        "STOPSIGNAL SIGINT",
        "ONBUILD RUN make",
        "HEALTHCHECK --interval=1m30s --retries=2 --start-interval=100ms CMD curl -f x",
    ])
    .unwrap();
    assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "echo hi"]);
    assert_eq!(config.entrypoint.unwrap(), ["/x", "y"]);
    assert_eq!(config.env, ["PATH=/bin:/usr/bin", "OLD=default", "ONE=$PATH", "KEY=the rest"]);
    assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["100-200/tcp", "53/udp", "80/tcp"]);
    assert_eq!((config.labels["a"].as_str(), config.labels["d"].as_str()), ("b c", "e f"));
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/data", "/more", "/x", "/y"]);
    assert_eq!(
        (config.user.as_str(), config.working_dir.as_str(), config.stop_signal.as_str()),
        ("me:us", "/a/c", "SIGINT")
    );
    assert_eq!(config.on_build.unwrap(), ["RUN make"]);
    let check = config.healthcheck.unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "curl -f x"]);
    assert_eq!((check.interval, check.retries, check.start_interval), (90_000_000_000, 2, 100_000_000));
}

#[test]
fn one_change_may_hold_several_lines() {
    let config = applied(&["ENV A=1 \\\n    B=2\n# comment\nUSER x"]).unwrap();
    assert_eq!(config.env[1..], ["A=1", "B=2"]);
    assert_eq!(config.user, "x");
}

#[test]
fn other_instructions_are_refused() {
    for (change, reason) in [
        ("RUN x", "RUN is not a valid change command"),
        ("FROM x", "FROM is not a valid change command"),
        ("run x", "run is not a valid change command"),
        ("WHAT x", "WHAT is not a valid change command"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV =x", "ENV names can not be blank"),
        ("EXPOSE x", "Invalid containerPort: x"),
        ("EXPOSE 70000", "Invalid containerPort: 70000"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK --interval=1 CMD x", "time: missing unit in duration \"1\""),
        ("HEALTHCHECK --interval=x CMD x", "time: invalid duration \"x\""),
        ("HEALTHCHECK --interval=1us CMD x", "--interval must be at least 1ms (not 1us)"),
        ("HEALTHCHECK MAYBE", "unknown type \"MAYBE\" in HEALTHCHECK (try CMD)"),
    ] {
        assert_eq!(applied(&[change]).unwrap_err(), reason, "{change}");
    }
}
