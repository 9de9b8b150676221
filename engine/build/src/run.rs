//! `RUN`: a container of the image so far, whose changes become a layer.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tare_docker_api::container::{Config, CreateRequest, Healthcheck, HostConfig};
use tare_docker_api::stream::{FRAME_HEADER, StreamKind, parse_frame_header};
use tare_dockerfile::Run;
use tare_engine::{AttachOptions, Engine, Error, RemoveOptions, Result, WaitCondition};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use crate::builder::{Builder, short};
use crate::mounts::Held;
use crate::output::{Decoder, Failure};
use crate::stage::State;

/// Bytes of output that become one message.
const PIECE: usize = 32 << 10;

impl Builder {
    pub(crate) async fn run(&mut self, state: &mut State, run: &Run) -> Result<(), Failure> {
        if !matches!(run.security.as_str(), "" | "sandbox") {
            return Err(self.needs_buildkit("security").into());
        }
        if run.network == "host" && !self.options.given.host_network && self.context.caller().is_some() {
            return Err(Error::invalid("failed to load LLB: network.host is not allowed").into());
        }
        let mounts = self.mounts(state, &run.mounts).await?;
        let command = state.command(&run.command);
        let visible = state.arguments.visible(&state.config.env);
        let before = state.arguments.left(&state.config.env);
        let mut words = command.clone();
        if !visible.is_empty() {
            // Proxies that nobody has declared do not change what the command makes.
            let counts = |variable: &&String| state.arguments.counts(variable.split('=').next().unwrap_or_default());
            let mut counting: Vec<String> = visible.iter().filter(counts).cloned().collect();
            counting.sort();
            words = std::iter::once(format!("|{}", counting.len())).chain(counting).chain(words).collect();
        }
        let network = match run.network.as_str() {
            "" | "default" => &[][..],
            given => &[format!("--network={given}")],
        };
        // Images that the caller names as a cache do not tell what was mounted.
        let asked = [network, &mounts.words, &words].concat();
        let key = self.key(state, &asked)?;
        if self.cached(state, &asked, &key).await? {
            return Ok(());
        }
        if state.image.is_none() {
            self.empty_image(state).await?;
        }
        let held = self.hold_mounts(state, &mounts).await?;
        let mut host = self.options.given.host_config();
        if !network.is_empty() {
            host.network_mode.clone_from(&run.network);
        }
        host.mounts = mounts.mounts.iter().chain(&held.grants.mounts).cloned().collect::<Vec<_>>().into();
        let environment = [visible.as_slice(), &held.grants.environment].concat();
        let container = self.container(state, command.clone(), [before, environment].concat(), host).await?;
        self.output.say(format!(" ---> Running in {}\n", short(&container.id))).await;
        let done = self.run_in(state, &container, &held, command, words, key).await;
        if self.options.given.force_remove || (done.is_ok() && self.options.given.remove) {
            let name = short(&container.id).to_owned();
            match container.remove().await {
                Ok(()) => self.output.say(format!(" ---> Removed intermediate container {name}\n")).await,
                Err(error) => self.output.say(format!("Removing intermediate container {name}: {error}\n")).await,
            }
        } else {
            container.keep().await?;
        }
        done
    }

    /// Docker's sentence about what its classic builder does not have; who comes with BuildKit's protocol reads another.
    pub(crate) fn needs_buildkit(&self, flag: &str) -> Error {
        if self.context.caller().is_some() {
            return Error::internal(format!("the --{flag} option is not supported by this engine"));
        }
        Error::internal(format!(
            "the --{flag} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build \
             images with BuildKit enabled"
        ))
    }

    /// A command needs an image to start from; `scratch` becomes one.
    async fn empty_image(&self, state: &mut State) -> Result<()> {
        let words = state.note("FROM scratch", false);
        let key = self.key(state, &words)?;
        self.commit(state, &words, key, None).await
    }

    async fn container(
        &self,
        state: &State,
        command: Vec<String>,
        environment: Vec<String>,
        host_config: HostConfig,
    ) -> Result<StepContainer> {
        let config = Config {
            image: state.id.clone(),
            // `RUN []` runs what the image runs by itself.
            entrypoint: (!command.is_empty()).then(|| vec![String::new()]),
            cmd: Some(command),
            env: environment.into(),
            user: state.config.user.clone(),
            working_dir: state.config.working_dir.clone(),
            hostname: self.options.given.hostname.clone(),
            shell: state.config.shell.clone().unwrap_or_default().into(),
            healthcheck: Some(Healthcheck { test: vec!["NONE".to_owned()].into(), ..Healthcheck::default() }),
            ..Config::default()
        };
        let request = CreateRequest { config, host_config, ..CreateRequest::default() };
        let created = self.engine.create_for_build(request).await?;
        for warning in &created.warnings {
            self.output.say(format!(" ---> [Warning] {warning}\n")).await;
        }
        Ok(StepContainer { engine: Arc::clone(&self.engine), id: created.id, armed: true })
    }

    async fn run_in(
        &self,
        state: &mut State,
        container: &StepContainer,
        held: &Held,
        command: Vec<String>,
        words: Vec<String>,
        key: String,
    ) -> Result<(), Failure> {
        let code = self.execute(&container.id).await?;
        if code != 0 {
            return Err(Failure::Command { command, code });
        }
        let upper = self.engine.image_store().rw_layer(&container.id).upper;
        held.clean(&upper)?;
        Ok(self.commit(state, &words, key, Some(upper)).await?)
    }

    /// Runs the container, shows what it says, and gives its exit code.
    async fn execute(&self, id: &str) -> Result<i64> {
        let failed = |error: std::io::Error| Error::io("socketpair", "output of a build", error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let theirs: OwnedFd = theirs.into_std().map_err(failed)?.into();
        let options = AttachOptions { stdout: true, stderr: true, stream: true, ..AttachOptions::default() };
        self.engine.attach(id, options)?.connect(theirs, Vec::new()).await?;
        let exit = self.engine.wait(id, WaitCondition::NextExit)?;
        self.engine.start(id).await?;
        self.show(ours).await.map_err(|error| Error::io("read", "output of a build", error))?;
        Ok(exit.await.status_code)
    }

    /// Passes output on until its end.
    async fn show(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut decoders = [Decoder::default(), Decoder::default()];
        let mut header = [0; FRAME_HEADER];
        let mut piece = vec![0; PIECE];
        loop {
            match stream.read_exact(&mut header).await {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                other => other.map(drop)?,
            }
            let Some((kind, length)) = parse_frame_header(header) else {
                return Err(std::io::Error::other("unknown stream"));
            };
            let mut left = length as usize;
            while left > 0 {
                let most = left.min(PIECE);
                let Some(room) = piece.get_mut(..most) else { break };
                let read = stream.read(room).await?;
                if read == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                left -= read;
                let [out, err] = &mut decoders;
                let decoder = if kind == StreamKind::Stderr { err } else { out };
                let text = decoder.push(piece.get(..read).unwrap_or_default());
                self.output.log(kind, text).await;
            }
        }
        let [out, err] = &mut decoders;
        self.output.log(StreamKind::Stdout, out.rest()).await;
        self.output.log(StreamKind::Stderr, err.rest()).await;
        Ok(())
    }
}

/// A step's container; removed when it is dropped, unless it is kept.
struct StepContainer {
    engine: Arc<Engine>,
    id: String,
    armed: bool,
}

impl StepContainer {
    async fn remove(mut self) -> Result<()> {
        self.armed = false;
        remove(&self.engine, &self.id).await
    }

    async fn keep(mut self) -> Result<()> {
        self.armed = false;
        self.engine.keep_after_build(&self.id).await
    }
}

impl Drop for StepContainer {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.armed {
            let (engine, id) = (Arc::clone(&self.engine), self.id.clone());
            runtime.spawn(async move {
                if let Err(error) = remove(&engine, &id).await {
                    tracing::warn!("removing container {id} of a cancelled build: {error}");
                }
            });
        }
    }
}

async fn remove(engine: &Arc<Engine>, id: &str) -> Result<()> {
    engine.remove(id, RemoveOptions { force: true, volumes: true, ..RemoveOptions::default() }).await
}
