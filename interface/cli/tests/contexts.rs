//! Contexts: made, changed, removed, carried elsewhere; with docker's texts.

use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tare_cli::app::{self, Request};
use tare_cli::cli::{Cli, Globals, Output};
use tare_cli::flags::Matches;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a line prints on both streams, and its status where it is not 0.
fn typed(config: &Path, line: &str) -> String {
    let mut args = vec!["--config".to_owned(), config.display().to_string()];
    args.extend(line.split(' ').map(str::to_owned));
    let mut globals = Globals::default();
    match app::read(args, &mut globals, 80) {
        Request::Run(matches) => run(globals, &matches),
        Request::Fail(error) => format!("{error}\nexit {}\n", error.code),
        _ => panic!("{line}: does not run"),
    }
}

/// What a command prints on both streams, and its status where it is not 0.
fn run(globals: Globals, matches: &Matches) -> String {
    let seen = Shared::default();
    let cli = Cli::new(globals, Output::to(seen.clone()), Output::to(seen.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(app::run(&cli, matches));
    let text = String::from_utf8(seen.0.lock().unwrap().clone()).unwrap();
    if code == 0 { text } else { format!("{text}exit {code}\n") }
}

#[test]
fn a_context_from_its_making_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let type_line = |line: &str| typed(directory.path(), line);
    let mut said = String::new();
    for line in [
        "context create far --docker host=tcp://h:2376 --description there",
        "context create far",
        "context create copy --from far",
        "context ls --format {{.Name}}|{{.Description}}|{{.DockerEndpoint}}",
        "context update copy --docker host=tcp://i:1,skip-tls-verify=1",
        "context inspect copy --format {{.Endpoints.docker.Host}}|{{.Endpoints.docker.SkipTLSVerify}}",
        "context use far",
        "context create like-far",
        "context inspect like-far --format {{.Endpoints.docker.Host}}|{{.Metadata.Description}}",
        "context rm far copy nope default",
        "context rm -f far",
        "context show",
    ] {
        said.push_str(&format!("$ {line}\n{}", type_line(line)));
    }
    insta::assert_snapshot!(said, @r#"
    $ context create far --docker host=tcp://h:2376 --description there
    far
    Successfully created context "far"
    $ context create far
    context "far" already exists
    exit 1
    $ context create copy --from far
    copy
    Successfully created context "copy"
    $ context ls --format {{.Name}}|{{.Description}}|{{.DockerEndpoint}}
    copy|there|tcp://h:2376
    default|Tare's own daemon|unix:///run/tare.sock
    far|there|tcp://h:2376
    $ context update copy --docker host=tcp://i:1,skip-tls-verify=1
    copy
    Successfully updated context "copy"
    $ context inspect copy --format {{.Endpoints.docker.Host}}|{{.Endpoints.docker.SkipTLSVerify}}
    tcp://i:1|true
    $ context use far
    far
    Current context is now "far"
    $ context create like-far
    like-far
    Successfully created context "like-far"
    $ context inspect like-far --format {{.Endpoints.docker.Host}}|{{.Metadata.Description}}
    tcp://h:2376|there
    $ context rm far copy nope default
    copy
    context "far" is in use, set -f flag to force remove
    context "nope" does not exist
    context "default" cannot be removed
    exit 1
    $ context rm -f far
    far
    $ context show
    default
    "#);
}

#[test]
fn mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let type_line = |line: &str| typed(directory.path(), line);
    for (line, text) in [
        ("context create default", "\"default\" is a reserved context name"),
        ("context update default", "\"default\" is a reserved context name"),
        (
            "context create ../x",
            "context name \"../x\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"",
        ),
        ("context create xx --docker bla=1", "unable to create docker endpoint config: unrecognized config key: bla"),
        (
            "context create xx --docker host=x",
            "unable to create docker endpoint config: unable to apply docker endpoint options: unable to parse docker host `x`",
        ),
        (
            "context create xx --docker ca=/nowhere",
            "unable to create docker endpoint config: open /nowhere: no such file or directory",
        ),
        ("context create xx --from default --docker host=tcp://x", "cannot use --docker flag when --from is set"),
        ("context import xx /nowhere", "open /nowhere: no such file or directory"),
    ] {
        assert_eq!(type_line(line), format!("{text}\nexit 1\n"), "{line}");
    }
    assert!(
        type_line("context create xx --docker x")
            .starts_with("invalid argument \"x\" for \"--docker\" flag: x must be formatted as key=value\n")
    );
    assert!(!directory.path().join("contexts").exists());
}

#[test]
fn contexts_travel_with_their_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(file("ca"), "authority").unwrap();
    std::fs::write(file("cert"), "certificate").unwrap();
    std::fs::write(file("key"), "secret").unwrap();
    let type_line = |line: &str| typed(directory.path(), line);
    let endpoint = format!("host=tcp://h:1,ca={},cert={},key={}", file("ca"), file("cert"), file("key"));
    type_line(&format!("context create one --docker {endpoint}"));
    let archive = file("archive");
    assert_eq!(type_line(&format!("context export one {archive}")), format!("Written file \"{archive}\"\n"));
    assert_eq!(std::fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(type_line(&format!("context export one {archive}")), format!("open {archive}: file exists\nexit 1\n"));
    assert_eq!(type_line(&format!("context import two {archive}")), "two\nSuccessfully imported context \"two\"\n");
    let shown = type_line("context inspect two --format {{.Name}}|{{.TLSMaterial}}|{{.Storage.TLSPath}}");
    let (shown, path) = shown.trim().rsplit_once('|').unwrap();
    assert_eq!(shown, "two|map[docker:[ca.pem cert.pem key.pem]]");
    for (name, content) in [("ca.pem", "authority"), ("cert.pem", "certificate"), ("key.pem", "secret")] {
        let path = Path::new(path).join("docker").join(name);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    type_line("context rm two");
    assert!(!Path::new(path).exists());
}

#[test]
fn lists_and_their_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let type_line = |line: &str| typed(directory.path(), line);
    for name in ["c10", "c9", "zz"] {
        type_line(&format!("context create {name} --docker host=tcp://{name}:1"));
    }
    assert_eq!(type_line("context ls -q"), "c9\nc10\ndefault\nzz\n");
    insta::assert_snapshot!(type_line("--context zz context ls"), @r"
    NAME      DESCRIPTION         DOCKER ENDPOINT         ERROR
    c9                            tcp://c9:1              
    c10                           tcp://c10:1             
    default   Tare's own daemon   unix:///run/tare.sock   
    zz *                          tcp://zz:1              
    ");
    // As many columns as there are of the reason; where it ends depends on the directory.
    let shown = type_line("--context nope context ls");
    let row = shown.lines().find(|line| line.starts_with("nope * ")).unwrap().trim_end();
    let error = row["nope *".len()..].trim_start();
    assert!(error.starts_with("context \"nope\": context not found: open /") && error.ends_with('…'), "{error}");
    assert_eq!(error.chars().count(), 45);
    let line = "-H tcp://h:1 context ls --format {{.Name}}|{{.Description}}|{{.DockerEndpoint}}|{{.Current}}";
    assert!(type_line(line).contains("\ndefault|Current DOCKER_HOST based configuration|tcp://h:1|true\n"));
    let missing = |name: &str| {
        let file = tare_cli::context::store::directory(name);
        let file = directory.path().join("contexts/meta").join(file).join("meta.json");
        format!("context \"{name}\": context not found: open {}: no such file or directory\nexit 1\n", file.display())
    };
    assert_eq!(type_line("context use nope"), missing("nope"));
    assert_eq!(type_line("context export nope"), missing("nope"));
    assert_eq!(type_line("context inspect nope"), format!("[]\n{}", missing("nope")));
    assert_eq!(
        type_line("--context nope ps"),
        format!("Failed to initialize: unable to resolve docker endpoint: {}", missing("nope"))
    );
}

#[test]
fn variables_that_override_the_context_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let typed = |line: &str| {
        let mut globals = Globals::default();
        let args = ["--config", &directory.path().display().to_string(), "--context", "default"];
        let args = args.into_iter().chain(line.split(' ')).map(str::to_owned).collect();
        let Request::Run(matches) = app::read(args, &mut globals, 80) else { panic!("{line}: does not run") };
        globals.host_variable = Some("DOCKER_HOST");
        run(globals, &matches)
    };
    typed("context create far --docker host=tcp://h:2376");
    let warning = "Warning: DOCKER_HOST environment variable overrides the active context. To use";
    let end = "either set the global --context flag, or unset DOCKER_HOST environment variable.\n";
    assert!(typed("context ls").ends_with(&format!("\n{warning} a context, {end}")));
    assert!(typed("context use far").ends_with(&format!("\n{warning} \"far\", {end}")));
    assert!(!typed("context use default").contains("Warning"));
}

#[test]
fn what_is_not_ours_in_a_context_survives() {
    let directory = tempfile::tempdir().unwrap();
    let type_line = |line: &str| typed(directory.path(), line);
    let store = directory.path().join("contexts");
    let place = |kind: &str, name: &str| store.join(kind).join(tare_cli::context::store::directory(name));
    let document = r#"{"Name":"one","Metadata":{"Description":"d","Mine":"m"},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false},"other":{"x":1}}}"#;
    std::fs::create_dir_all(place("meta", "one")).unwrap();
    std::fs::write(place("meta", "one").join("meta.json"), document).unwrap();
    for path in ["docker/ca.pem", "docker/extra", "other/token"] {
        let path = place("tls", "one").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "secret").unwrap();
    }
    let archive = directory.path().join("archive").display().to_string();
    type_line(&format!("context export one {archive}"));
    type_line(&format!("context import two {archive}"));
    type_line("context create three --from two --description new");
    type_line("context update two --description new");
    for (name, description) in [("one", "d"), ("two", "new"), ("three", "new")] {
        let format = "{{.Metadata.Description}}|{{.Metadata.Mine}}|{{.Endpoints.other.x}}|{{.TLSMaterial}}";
        let shown = type_line(&format!("context inspect {name} --format {format}"));
        let files = "map[docker:[ca.pem extra] other:[token]]";
        assert_eq!(shown, format!("{description}|m|1|{files}\n"), "{name}");
    }
    type_line("context update two --docker host=tcp://i:1");
    let shown = type_line("context inspect two --format {{.Endpoints.docker.Host}}|{{.TLSMaterial}}");
    assert_eq!(shown, "tcp://i:1|map[other:[token]]\n");
}
