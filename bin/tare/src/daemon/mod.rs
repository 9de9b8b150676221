//! `tare daemon`: reads its settings ([`settings`] of [`flags`] and [`file`], [`directives`], [`reloadable`], [`unchangeable`], [`hosts`], [`tls`], [`proxies`]), logs ([`level`], [`lines`]), opens its
//! sockets ([`listen`], [`activation`]), runs the engine until it is told to stop, and reads its
//! file again ([`mod@reload`]) when it is told so. Stopping the daemon leaves containers
//! running, unless the [`machine`] ends.

mod activation;
mod directives;
mod file;
mod flags;
mod hosts;
mod level;
mod lines;
mod listen;
mod machine;
mod proxies;
mod reload;
mod reloadable;
mod settings;
mod tls;
mod unchangeable;

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tare_docker_http::Config;
use tare_docker_http::handlers::server;
use tare_engine::{Engine, Reloadable};
use tokio::signal::unix::{Signal, SignalKind, signal};

use activation::Inherited;
use reload::Reloader;
use settings::Settings;

/// Threads that run the daemon's tasks: they never block, so a few serve any machine.
const WORKERS: usize = 2;
/// Time an idle thread for blocking work is kept, so that bursts find threads and rest has none.
const IDLE_THREAD: std::time::Duration = std::time::Duration::from_secs(5);

/// Time that the service manager is asked for beyond what containers have to stop.
const FAREWELL_MARGIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Its flags.
pub fn command() -> clap::Command {
    flags::command()
}

/// Runs the daemon with the arguments after `daemon`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => return failed(&error),
    };
    let settings = match Settings::read(args) {
        Ok(settings) => settings,
        Err(settings::ReadError::Help(error)) => {
            // Help and version go to stdout with status 0, mistakes to stderr with 2: clap's own rule.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
        Err(settings::ReadError::Invalid(error)) => return failed(&error),
    };
    if settings.validate_only() {
        if let Err(error) = settings.engine() {
            return failed(&error);
        }
        eprintln!("configuration OK");
        return ExitCode::SUCCESS;
    }
    let log = match (settings.log_level(), settings.log_format()) {
        (Ok(level), Ok(format)) => level::Level::start(level, format),
        (Err(error), _) | (_, Err(error)) => return failed(&error),
    };
    // Before the runtime's threads.
    if let Err(error) = proxies::set(&settings.flags, &settings.file) {
        return failed(&error);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_keep_alive(IDLE_THREAD)
        // What a burst (a pull, a build) has needed is free by then, but the allocator would keep it.
        .on_thread_stop(tare_sys::memory::trim_heap)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(settings, log, inherited));
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

async fn run(settings: Settings, log: level::Level, inherited: Inherited) -> Result<()> {
    let mut signals = Signals::new()?;
    let mut reloader = Reloader::new(settings, log)?;
    let settings = reloader.settings();
    let listeners = listen::open(settings, inherited).await.context("failed to load listeners")?;
    let pidfile = settings.pidfile().map(write_pidfile).transpose()?;
    let engine = settings.engine().context("failed to start daemon")?;
    let engine = Engine::open(engine).await.context("failed to start daemon")?;
    engine.reserve_ports(&listen::ports(&listeners));
    for line in transfers(&engine.settings()) {
        tracing::debug!("{line}");
    }
    let alerts = tare_alerts::Alerts::start(&engine).await.context("reading the alerts")?;
    engine.go_on();
    let config = Config {
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        min_version: settings.min_api_version()?,
        ..Config::default()
    };
    let server = server(std::sync::Arc::clone(&engine), alerts, config);
    // The service manager may not be there, or not want to know.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    for address in settings.hosts() {
        tracing::info!("API listen on {address}");
    }
    let serving = tokio::spawn({
        let server = std::sync::Arc::clone(&server);
        async move { server.serve(listeners).await }
    });
    while !signals.tell_to_end().await {
        reloader.reload(&engine);
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let timeout = engine.settings().shutdown_timeout_s;
    tracing::debug!("daemon configured with a {timeout} seconds minimum shutdown timeout");
    server.stop().await;
    serving.await?;
    if machine::ends().await {
        tracing::info!("The machine is shutting down: stopping all containers");
        let longest =
            engine.farewell_timeout().and_then(|time| u32::try_from((time + FAREWELL_MARGIN).as_micros()).ok());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(longest.unwrap_or(u32::MAX))]);
        engine.stop_all().await;
    }
    engine.shut_down().await;
    listen::close(reloader.settings());
    if let Some(path) = pidfile {
        // Left behind, it would name a process that is gone.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// The limits of transfers, in dockerd's words.
fn transfers(settings: &Reloadable) -> [String; 3] {
    [
        format!("Max Concurrent Downloads: {}", settings.max_concurrent_downloads),
        format!("Max Concurrent Uploads: {}", settings.max_concurrent_uploads),
        format!("Max Download Attempts: {}", settings.max_download_attempts),
    ]
}

/// The signals that end the daemon or have it read its file again. They count from the moment this exists: one that
/// comes while the engine still opens ends it in order afterwards, not in the middle of making a bridge.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one: whether it ends the daemon.
    async fn tell_to_end(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            _ = self.hangup.recv() => false,
        }
    }
}

fn write_pidfile(path: &Path) -> Result<std::path::PathBuf> {
    if let Ok(text) = std::fs::read_to_string(path)
        && let Ok(pid) = text.trim().parse::<u32>()
        && Path::new("/proc").join(pid.to_string()).exists()
        && pid != std::process::id()
    {
        anyhow::bail!("process with PID {pid} is still running (pid file {})", path.display());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("mkdir {}", parent.display()))?;
    }
    let mut file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    match writeln!(file, "{}", std::process::id()) {
        // Containers need their daemon all the more then, to be stopped and removed.
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            tracing::error!("pid file {}: {error}; going on without", path.display());
        }
        written => written.with_context(|| format!("write {}", path.display()))?,
    }
    Ok(path.to_owned())
}
