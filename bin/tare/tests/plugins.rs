//! Plugins of the command line: how they are found, called and shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A plugin that says how it was called.
const GREETER: &str = r#"#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then
    echo '{"SchemaVersion":"0.1.0","Vendor":"Somebody","Version":"v1","ShortDescription":"Greets"}'
    exit
fi
echo "args:$*"
echo "host:$DOCKER_HOST context:$DOCKER_CONTEXT"
echo "caller:$DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
read line && echo "read:$line"
exit 7
"#;

struct Setup {
    directory: tempfile::TempDir,
}

impl Setup {
    fn new(plugins: &[(&str, &str)]) -> Setup {
        let setup = Setup { directory: tempfile::tempdir().unwrap() };
        for (path, text) in plugins {
            setup.write(path, text);
        }
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// With standard input from the file `input`.
    fn tare(&self, args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
        fs::write(self.path("input"), "a line\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare"));
        command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.directory.path());
        command.envs(variables.iter().copied()).stdin(fs::File::open(self.path("input")).unwrap());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

#[test]
fn a_plugin_takes_the_place_of_the_program() {
    let setup = Setup::new(&[(".docker/cli-plugins/docker-greet", GREETER)]);
    let (code, out, err) = setup.tare(&["-H", "unix:///nowhere", "greet", "-f", "x y"], &[]);
    let caller = env!("CARGO_BIN_EXE_tare");
    let expected =
        format!("args:-H unix:///nowhere greet -f x y\nhost:unix:///nowhere context:\ncaller:{caller}\nread:a line\n");
    assert_eq!((code, out, err), (7, expected, String::new()));
    let (code, out, _) = setup.tare(&["help", "greet"], &[("TARE_HOST", "unix:///else")]);
    assert_eq!(code, 7);
    assert!(out.starts_with("args:help greet\nhost:unix:///else context:\n"), "{out}");
}

#[test]
fn who_calls_it_docker_is_answered_by_that_name() {
    let setup = Setup::new(&[]);
    let link = setup.path("docker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tare"), &link).unwrap();
    let run = |line: &[&str]| {
        let output = Command::new(&link).args(line).env("HOME", setup.directory.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let version = Command::new(&link).arg("--version").output().unwrap().stdout;
    assert!(version.starts_with(b"Docker version "), "{}", String::from_utf8_lossy(&version));
    let unknown = "docker: unknown command: docker nosuch\n\nRun 'docker --help' for more information\n";
    assert_eq!(run(&["nosuch"]), (Some(1), unknown.to_owned()));
    let usage = "docker: 'docker rm' requires at least 1 argument\n\nUsage:  docker rm [OPTIONS] CONTAINER [CONTAINER...]\n\n\
                 See 'docker rm --help' for more information\n";
    assert_eq!(run(&["rm"]), (Some(1), usage.to_owned()));
}

/// Files of TLS that are not there are told even where TLS is of no use, whatever the value of `--tlsverify`.
#[test]
fn tls_is_asked_for_by_any_value() {
    let setup = Setup::new(&[]);
    for flag in ["--tlsverify=false", "--tlsverify", "--tls"] {
        let (code, _, err) = setup.tare(&["-H", "unix:///nowhere", flag, "ps"], &[]);
        let file = setup.path(".docker/ca.pem");
        let expected = format!(
            "Failed to initialize: unable to resolve docker endpoint: open {}: no such file or directory\n",
            file.display()
        );
        assert_eq!((code, err), (1, expected), "{flag}");
    }
}

#[test]
fn it_completes_its_own() {
    let setup = Setup::new(&[(".docker/cli-plugins/docker-greet", GREETER)]);
    let (code, out, _) = setup.tare(&["__complete", "-H", "unix:///nowhere", "greet", "--na"], &[]);
    assert_eq!(code, 7);
    assert!(out.starts_with("args:__complete -H unix:///nowhere greet --na\nhost:unix:///nowhere "), "{out}");
    let (code, out, _) = setup.tare(&["__complete", "gr"], &[]);
    assert_eq!((code, out.as_str()), (0, "greet\tGreets\n:4\n"));
    for line in [&["nosuch", ""][..], &["nosuch", "--flag", "x", ""]] {
        let (code, out, _) = setup.tare(&[&["__complete"], line].concat(), &[]);
        assert_eq!((code, out.as_str()), (0, ":4\n"), "{line:?}");
    }
}

#[test]
fn it_learns_of_the_context_in_use() {
    let setup = Setup::new(&[(".docker/cli-plugins/docker-greet", GREETER)]);
    let (code, _, err) = setup.tare(&["context", "create", "far", "--docker", "host=tcp://h:1"], &[]);
    assert_eq!((code, err.as_str()), (0, "Successfully created context \"far\"\n"));
    setup.tare(&["context", "use", "far"], &[]);
    let (_, out, _) = setup.tare(&["greet"], &[]);
    assert!(out.contains("\nhost: context:far\n"), "{out}");
}

#[test]
fn what_is_no_plugin_is_an_unknown_command() {
    let metadata = "#!/bin/sh\necho '{\"SchemaVersion\":\"2.0.0\",\"Vendor\":\"x\"}'\n";
    let setup = Setup::new(&[
        (".docker/cli-plugins/docker-new", metadata),
        (".docker/cli-plugins/docker-broken", "#!/bin/sh\nexit 3\n"),
        (".docker/cli-plugins/docker-ps", GREETER),
    ]);
    for name in ["new", "broken", "missing", "../x"] {
        let (code, out, err) = setup.tare(&[name], &[]);
        let expected = format!("tare: unknown command: tare {name}\n\nRun 'tare --help' for more information\n");
        assert_eq!((code, out.as_str(), err), (1, "", expected));
    }
    let (code, _, err) = setup.tare(&["help", "missing"], &[]);
    assert_eq!((code, err.as_str()), (1, "unknown help topic: missing\n"));
    let (code, out, _) = setup.tare(&["-H", "unix:///nowhere", "ps"], &[]);
    assert_eq!((code, out.as_str()), (1, ""));
}

#[test]
fn builds_with_flags_of_buildkit_are_buildx() {
    let setup = Setup::new(&[(".docker/cli-plugins/docker-buildx", GREETER)]);
    for words in [&["build"][..], &["image", "build"], &["builder", "build"]] {
        let line = [&["-H", "unix:///nowhere"], words, &["--tag", "build", "--secret", "id=x", "."]].concat();
        let (code, out, _) = setup.tare(&line, &[]);
        assert_eq!(code, 7);
        let args = "args:-H unix:///nowhere buildx build --tag build --secret id=x .\n";
        assert!(out.starts_with(args), "{out}");
        let (code, out, err) = setup.tare(&line, &[("DOCKER_BUILDKIT", "0")]);
        assert_eq!((code, out.as_str()), (125, ""));
        assert!(err.starts_with("unknown flag: --secret\n"), "{err}");
    }
    // What is wrong by any client is our own to say.
    let (code, _, err) = setup.tare(&["-H", "unix:///nowhere", "build", "--tag", "x", "/nowhere"], &[]);
    assert_eq!((code, err.as_str()), (1, "unable to prepare context: path \"/nowhere\" not found\n"));
}

#[test]
fn lists_have_them() {
    let setup = Setup::new(&[
        ("extra/docker-greet", GREETER),
        (".docker/cli-plugins/docker-greet", "#!/bin/sh\nexit 1\n"),
        (".docker/cli-plugins/docker-broken", "#!/bin/sh\nexit 3\n"),
        (".docker/cli-plugins/other", GREETER),
        (".docker/cli-plugins/docker-words", "#!/bin/sh\necho '{i am no json}'\n"),
    ]);
    let extra = setup.path("extra");
    fs::write(setup.path(".docker/config.json"), format!("{{\"cliPluginsExtraDirs\":[{extra:?}]}}")).unwrap();
    let (code, out, _) = setup.tare(&["--help"], &[]);
    assert_eq!(code, 0);
    assert!(out.contains("\n  greet*      Greets\n"), "{out}");
    assert!(
        out.contains(
            "\n\nInvalid Plugins:\n  broken      failed to fetch metadata: exit status: 3\n  words       invalid metadata: invalid \
             character 'i' looking for beginning of object key string\n\nGlobal Options:\n"
        ),
        "{out}"
    );
    let (_, out, _) = setup.tare(&["-H", "unix:///nowhere", "info"], &[]);
    let path = setup.path("extra/docker-greet");
    let lines = format!(" Plugins:\n  greet: Greets (Somebody)\n    Version:  v1\n    Path:     {}\n", path.display());
    assert!(out.contains(&lines), "{out}");
    let format = "{{range .ClientInfo.Plugins}}{{.Name}} {{.Version}};{{end}}";
    let (_, out, _) = setup.tare(&["-H", "unix:///nowhere", "info", "--format", format], &[]);
    assert!(out.contains("greet v1;"), "{out}");
}
