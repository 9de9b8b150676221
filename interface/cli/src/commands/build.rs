//! `build`: sends a context to the engine's builder and shows what it does. An engine without a builder says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tare_docker_api::auth::{AuthConfigs, encode_header};
use tare_docker_api::stream::media;
use tare_docker_client::{Body, Query, Request};
use tare_reference::Reference;

use super::build_stdin;
use super::pull::{NO_TRUST, platform_flag};
use crate::cli::{Cli, Output};
use crate::command::{Arity, Command};
use crate::copy::pack::{PackError, in_background, pack_context, pack_context_compressed};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::surroundings::{absolute, path_error};
use crate::opts::{env, platform, text, ulimit};
use crate::progress;
use crate::streams::transfer;
use tare_dockerfile::ignore::{self, Ignore};

/// `build`
pub static COMMAND: Command = Command {
    names: &["image build", "build", "builder build"],
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile",
    common: 4,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::list("add-host", "Add a custom host-to-IP mapping (\"host:ip\")")
            .check(|v| text::extra_host(v).map(drop).map_err(String::from)),
        Flag::list("build-arg", "Set build-time variables").check(|v| env::check(v).map_err(String::from)),
        Flag::commas("cache-from", "Images to consider as cache sources"),
        Flag::text("cgroup-parent", "Set the parent cgroup for the \"RUN\" instructions during build"),
        Flag::bool("compress", "Compress the build context using gzip"),
        Flag::int("cpu-period", "Limit the CPU CFS (Completely Fair Scheduler) period"),
        Flag::int("cpu-quota", "Limit the CPU CFS (Completely Fair Scheduler) quota"),
        Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
        Flag::text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
        Flag::text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
        Flag::bool("disable-content-trust", "Skip image verification (deprecated)")
            .default("true")
            .deprecated(NO_TRUST),
        Flag::text("file", "Name of the Dockerfile (Default is \"PATH/Dockerfile\")").short('f'),
        Flag::bool("force-rm", "Always remove intermediate containers"),
        Flag::text("iidfile", "Write the image ID to the file"),
        Flag::text("isolation", "Container isolation technology"),
        Flag::list("label", "Set metadata for an image").check(|v| text::label(v).map_err(String::from)),
        Flag::bytes("memory", "Memory limit").short('m'),
        Flag::bytes_or_minus_one("memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap"),
        Flag::text("network", "Set the networking mode for the RUN instructions during build").default("default"),
        Flag::bool("no-cache", "Do not use cache when building the image"),
        Flag::text("platform", "Set platform if server is multi-platform capable"),
        Flag::bool("pull", "Always attempt to pull a newer version of the image"),
        Flag::bool("quiet", "Suppress the build output and print image ID on success").short('q'),
        Flag::bool("rm", "Remove intermediate containers after a successful build").default("true"),
        Flag::commas("security-opt", "Security options"),
        Flag::bytes("shm-size", "Size of \"/dev/shm\""),
        Flag::bool("squash", "Squash newly built layers into a single new layer").hidden(),
        Flag::list("tag", "Name and optionally a tag in the \"name:tag\" format")
            .short('t')
            .check(|v| Reference::parse_normalized(v).map(drop).map_err(|e| e.to_string())),
        Flag::text("target", "Set the target build stage to build."),
        Flag::list("ulimit", "Ulimit options")
            .type_name("ulimit")
            .default("[]")
            .check(|v| ulimit::parse(v).map(drop).map_err(String::from)),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Flags that only the client of BuildKit has, docker's plugin buildx; short ones beside them.
const BUILDKIT_FLAGS: &[(&str, Option<char>)] = &[
    ("allow", None),
    ("annotation", None),
    ("attest", None),
    ("build-context", None),
    ("builder", None),
    ("cache-to", None),
    ("call", None),
    ("check", None),
    ("load", None),
    ("metadata-file", None),
    ("no-cache-filter", None),
    ("output", Some('o')),
    ("progress", None),
    ("provenance", None),
    ("push", None),
    ("sbom", None),
    ("secret", None),
    ("ssh", None),
];

/// The flag of BuildKit's client that the parser does not know, by what it says.
pub fn buildkit_flag(why: &str) -> Option<&'static str> {
    let long = why.strip_prefix("unknown flag: --");
    let short = why.strip_prefix("unknown shorthand flag: '").and_then(|rest| rest.chars().next());
    let found =
        BUILDKIT_FLAGS.iter().find(|(name, letter)| long == Some(name) || (short.is_some() && short == *letter));
    found.map(|(name, _)| *name)
}

/// What is said about such a flag when there is no plugin.
pub fn refuse_without_plugin(flag: &str) -> String {
    format!(
        "unknown flag: --{flag}\n\n\"--{flag}\" needs docker's plugin buildx, which is not installed. It is in the packages \
         docker-buildx-plugin (from docker.com)\nand docker-buildx (of Debian and Ubuntu), or is the program from \
         https://github.com/docker/buildx/releases at\n~/.docker/cli-plugins/docker-buildx."
    )
}

/// What is said about such a flag with `DOCKER_BUILDKIT=0`.
pub fn refuse_classic(flag: &str) -> String {
    format!("unknown flag: --{flag}\n\n\"--{flag}\" is BuildKit's, and DOCKER_BUILDKIT=0 asks for the classic builder.")
}

/// The name of the Dockerfile when none is given.
const DOCKERFILE: &str = "Dockerfile";
/// The file that says what stays behind.
const IGNORE_FILE: &str = ".dockerignore";
/// The name of a Dockerfile from elsewhere, in the context; a dot keeps it out of the way of globs.
const FOREIGN: &str = ".dockerfile.tare";
/// Largest Dockerfile from elsewhere, in bytes.
const MAX_DOCKERFILE: u64 = 16 << 20;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let id_file = m.text("iidfile");
    if !id_file.is_empty()
        && let Err(e) = std::fs::remove_file(id_file)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(CliError::new(format!("removing image ID file: {}", path_error("remove", id_file, &e))));
    }
    let context = Context::of(cli, m)?;
    let query = parameters(m)?.some("dockerfile", &context.dockerfile).some("remote", &context.remote);
    let mut request = Request::post("/build").query(query);
    request = request.header("x-registry-config", encode_header(&AuthConfigs::empty()));
    if let Some(body) = context.body {
        request = request.body(media::TAR, body);
    }
    let response = cli.client()?.send(request).await;
    let failure = match context.packing {
        Some(packing) => packing.await.map_err(|e| CliError::new(e.to_string()))?.err(),
        None => None,
    };
    if let Some(PackError::Failed(why)) = failure {
        return Err(CliError::new(why));
    }
    let response = response?;
    let mut id = String::new();
    let quiet = m.bool("quiet");
    let said = Said::default();
    let silent = Output::to(said.clone());
    let out = if quiet { &silent } else { &cli.out };
    let shown = progress::show(response, Some(out), |aux: Value| {
        aux.get("ID").and_then(Value::as_str).unwrap_or_default().clone_into(&mut id);
    });
    if let Err(error) = shown.await {
        if quiet {
            cli.err.write(&said.take())?;
        }
        return Err(error);
    }
    if quiet {
        let text = said.take();
        cli.out.write(&text)?;
        String::from_utf8_lossy(&text).trim().clone_into(&mut id);
    }
    if !id_file.is_empty() {
        if id.is_empty() {
            return Err(CliError::new(format!("server did not provide an image ID. Cannot write {id_file}")));
        }
        std::fs::write(id_file, &id).map_err(|e| CliError::new(path_error("open", id_file, &e)))?;
    }
    Ok(0)
}

/// Output kept until it is known whether it is shown.
#[derive(Clone, Default)]
struct Said(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Said {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Flags as parameters of the request, without the context's.
fn parameters(m: &Matches) -> Result<Query, CliError> {
    let mut query = m.list("tag").iter().fold(Query::new(), |query, tag| query.add("t", tag));
    for (name, flag) in
        [("q", "quiet"), ("nocache", "no-cache"), ("forcerm", "force-rm"), ("pull", "pull"), ("squash", "squash")]
    {
        query = query.flag(name, m.bool(flag));
    }
    query = query.add("rm", if m.bool("rm") { "1" } else { "0" });
    for (name, flag) in [("cpushares", "cpu-shares"), ("cpuquota", "cpu-quota"), ("cpuperiod", "cpu-period")] {
        query = query.some(name, if m.int(flag) == 0 { String::new() } else { m.int(flag).to_string() });
    }
    for (name, flag) in [("memory", "memory"), ("memswap", "memory-swap"), ("shmsize", "shm-size")] {
        query = query.some(name, if m.bytes(flag) == 0 { String::new() } else { m.bytes(flag).to_string() });
    }
    for (name, flag) in
        [("cpusetcpus", "cpuset-cpus"), ("cpusetmems", "cpuset-mems"), ("cgroupparent", "cgroup-parent")]
    {
        query = query.some(name, m.text(flag));
    }
    let arguments: BTreeMap<&str, Option<String>> = m.list("build-arg").iter().map(|a| argument(a)).collect();
    let document = |value: Value| value.to_string();
    let limits = ulimit::parse_all(m.list("ulimit")).map_err(|e| CliError::new(e.0))?;
    let platform = match platform_flag(m).as_str() {
        "" => String::new(),
        text => platform::format(&platform::parse(text).map_err(|e| CliError::new(e.0))?),
    };
    for option in m.list("security-opt") {
        query = query.add("securityopt", option);
    }
    for host in m.list("add-host") {
        query = query.add("extrahosts", text::extra_host(host).map_err(|e| CliError::new(e.0))?);
    }
    Ok(query
        .add("buildargs", document(json!(arguments)))
        .add("labels", document(json!(env::to_map(m.list("label")))))
        .add("cachefrom", document(json!(m.list("cache-from"))))
        .add("ulimits", document(json!(limits)))
        .some("isolation", m.text("isolation"))
        .some("networkmode", m.text("network"))
        .some("target", m.text("target"))
        .some("platform", platform)
        .add("version", "1"))
}

/// `NAME=value`, or `NAME` with the client's value if it has one.
fn argument(text: &str) -> (&str, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    }
}

/// What is built from.
struct Context {
    body: Option<Body>,
    /// Packs a local directory while it is sent.
    packing: Option<tokio::task::JoinHandle<Result<(), PackError>>>,
    dockerfile: String,
    remote: String,
}

impl Context {
    fn of(cli: &Cli, m: &Matches) -> Result<Context, CliError> {
        let (place, file) = (m.arg(0), m.text("file"));
        let plain = |body, remote: &str| Context {
            body,
            packing: None,
            dockerfile: file.to_owned(),
            remote: remote.to_owned(),
        };
        if place == "-" {
            if file == "-" {
                return Err(CliError::new("invalid argument: can't use stdin for both build context and dockerfile"));
            }
            return Ok(plain(Some(build_stdin::context(cli.input.reader(), file)?), ""));
        }
        if Path::new(place).is_dir() {
            return Context::local(cli, m);
        }
        if ["http://", "https://", "git://", "git@", "github.com/"].iter().any(|start| place.starts_with(start)) {
            // The engine fetches it.
            return Ok(plain(None, place));
        }
        Err(CliError::new(format!("unable to prepare context: path {} not found", crate::values::quote(place))))
    }

    fn local(cli: &Cli, m: &Matches) -> Result<Context, CliError> {
        let (place, file) = (m.arg(0), m.text("file"));
        let cwd = std::env::current_dir().map_err(|e| CliError::new(path_error("getwd", ".", &e)))?;
        let root = PathBuf::from(absolute(&cwd, place));
        let mut foreign = None;
        let dockerfile = if file == "-" {
            foreign = Some(read_bounded(cli.input.reader(), "-")?);
            FOREIGN.to_owned()
        } else {
            let path = if file.is_empty() { usual(&root) } else { PathBuf::from(absolute(&cwd, file)) };
            let shown = path.display().to_string();
            let open = || {
                File::open(&path).map_err(|e| {
                    let why = path_error("lstat", &path, &e);
                    CliError::new(format!(
                        "unable to prepare context: unable to evaluate symlinks in Dockerfile path: {why}"
                    ))
                })
            };
            match path.strip_prefix(&root) {
                Ok(inside) => {
                    open()?;
                    inside.to_string_lossy().into_owned()
                }
                Err(_) => {
                    foreign = Some(read_bounded(open()?, &shown)?);
                    FOREIGN.to_owned()
                }
            }
        };
        let mut ignore = ignored(&root, &dockerfile)?;
        let more = match foreign {
            // No instruction is to see it: the ignore file says so, and comes along in this form.
            Some(content) => {
                let text = read_ignored(&root.join(IGNORE_FILE))?.unwrap_or_else(|| IGNORE_FILE.to_owned());
                ignore.add(IGNORE_FILE).map_err(CliError::new)?;
                let text = format!("{text}\n{FOREIGN}\n");
                vec![(FOREIGN.to_owned(), content), (IGNORE_FILE.to_owned(), text.into_bytes())]
            }
            None => Vec::new(),
        };
        for needed in [dockerfile.as_str(), IGNORE_FILE].iter().filter(|_| more.is_empty()) {
            // The builder needs these, whatever the patterns say.
            ignore.add(&format!("!{needed}")).map_err(CliError::new)?;
        }
        let compress = m.bool("compress");
        let (receiver, packing) = in_background(move |out| match compress {
            true => pack_context_compressed(&root, ignore, &more, out),
            false => pack_context(&root, ignore, &more, out),
        });
        let body = Some(transfer::channel_body(receiver));
        Ok(Context { body, packing: Some(packing), dockerfile, remote: String::new() })
    }
}

pub(super) fn read_bounded(reader: impl Read, name: &str) -> Result<Vec<u8>, CliError> {
    let mut content = Vec::new();
    let read = reader.take(MAX_DOCKERFILE + 1).read_to_end(&mut content);
    read.map_err(|e| CliError::new(format!("unable to open Dockerfile: {}", path_error("read", name, &e))))?;
    if content.len() as u64 > MAX_DOCKERFILE {
        return Err(CliError::new(format!("unable to open Dockerfile: {name} is too large")));
    }
    Ok(content)
}

/// The Dockerfile that nobody named: `Dockerfile`, or what is there in lower case.
fn usual(root: &Path) -> PathBuf {
    let (path, lower) = (root.join(DOCKERFILE), root.join(DOCKERFILE.to_lowercase()));
    if path.symlink_metadata().is_err() && lower.symlink_metadata().is_ok() { lower } else { path }
}

/// The patterns of the context, those of the Dockerfile's own file before all others; none without a file of them.
fn ignored(root: &Path, dockerfile: &str) -> Result<Ignore, CliError> {
    let own = root.join(format!("{dockerfile}{IGNORE_FILE}"));
    let path = if own.is_file() { own } else { root.join(IGNORE_FILE) };
    let text = read_ignored(&path)?.unwrap_or_default();
    Ignore::parse(&text).map_err(|why| CliError::new(format!("error reading .dockerignore: {why}")))
}

/// The text of a file of patterns, where there is one.
fn read_ignored(path: &Path) -> Result<Option<String>, CliError> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(ignore::MAX_FILE).read_to_string(&mut text).map(|_| Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
    .map_err(|e| CliError::new(format!("error reading .dockerignore: {}", path_error("read", path, &e))))
}
