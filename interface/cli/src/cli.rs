//! What a command works with: the client, the configuration, the output streams.

use std::cell::OnceCell;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use tare_docker_api::versions::ApiVersion;
use tare_docker_client::tls::{Material, Tls};
use tare_docker_client::{Client, Connection, Host};

use crate::config::ConfigFile;
use crate::error::CliError;
use crate::help::DEFAULT_WIDTH;
use crate::opts::csv;
use crate::streams::input::Input;
use crate::tls::TlsFiles;

/// Docker's address of a daemon that is only known to speak TLS.
const DEFAULT_TLS_HOST: &str = "tcp://localhost:2376";

/// Options before the command, with the environment's share.
#[derive(Debug, Clone, Default)]
pub struct Globals {
    /// `--config`, `DOCKER_CONFIG` or `~/.docker`.
    pub config_dir: PathBuf,
    /// `--context` or `DOCKER_CONTEXT`; empty: none asked for.
    pub context: String,
    /// `-H`, `TARE_HOST` or `DOCKER_HOST`; `None`: our own daemon, started when it does not run.
    pub host: Option<String>,
    /// The variable that names a daemon, if one does, whatever the options say.
    pub host_variable: Option<&'static str>,
    /// What is said, on stderr, about the way help was asked for.
    pub notice: &'static str,
    /// `--tls` and the like; `None`: in the clear.
    pub tls: Option<TlsFiles>,
    /// `--debug`
    pub debug: bool,
    /// This program's file, to start the daemon with.
    pub executable: Option<PathBuf>,
    /// Commands that the program has besides ours, with one line of help each.
    pub local: &'static [(&'static str, &'static str)],
}

/// An output stream; clones write to the same place.
#[derive(Clone)]
pub struct Output {
    sink: Arc<Mutex<Box<dyn Write + Send>>>,
    terminal: bool,
    size: fn() -> Option<(u16, u16)>,
    ready: fn() -> bool,
}

impl Output {
    /// The process' standard output.
    pub fn stdout() -> Output {
        let terminal = std::io::stdout().is_terminal();
        Output {
            sink: Arc::new(Mutex::new(Box::new(Raw(rustix::stdio::stdout)))),
            terminal,
            size: || terminal_size(rustix::stdio::stdout()),
            ready: || is_ready(rustix::stdio::stdout(), Some(&AT_ONCE)),
        }
    }

    /// The process' standard error.
    pub fn stderr() -> Output {
        let terminal = std::io::stderr().is_terminal();
        Output {
            sink: Arc::new(Mutex::new(Box::new(Raw(rustix::stdio::stderr)))),
            terminal,
            size: || terminal_size(rustix::stdio::stderr()),
            ready: || is_ready(rustix::stdio::stderr(), Some(&AT_ONCE)),
        }
    }

    /// Any writer, not a terminal.
    pub fn to(sink: impl Write + Send + 'static) -> Output {
        Output { sink: Arc::new(Mutex::new(Box::new(sink))), terminal: false, size: || None, ready: || true }
    }

    /// Writes everything, at once.
    pub fn write(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.write_all(bytes)?;
        sink.flush()?;
        Ok(())
    }

    /// Writes a text.
    pub fn print(&self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.write(text.as_ref().as_bytes())
    }

    /// Writes a text and a newline, in one piece.
    pub fn println(&self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.write(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// Whether somebody looks at it.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether a write of so many bytes will return at once. A pipe has room for [`PIPE_BUF`] when it has room at all.
    pub fn takes(&self, bytes: usize) -> bool {
        bytes <= PIPE_BUF && (self.ready)()
    }

    /// Rows and columns, when it is a terminal.
    pub fn size(&self) -> Option<(u16, u16)> {
        if self.terminal { (self.size)() } else { None }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.size().map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns))
    }
}

/// Bytes that a pipe takes in one piece (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Whether a descriptor can be written to within a time; no time: whenever that is.
fn is_ready(fd: BorrowedFd<'_>, within: Option<&Timespec>) -> bool {
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], within).is_ok_and(|ready| ready > 0)
}

/// Not waiting at all.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn terminal_size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// A standard stream without the standard library's buffer and lock: commands write whole texts.
struct Raw(fn() -> BorrowedFd<'static>);

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let fd = (self.0)();
        loop {
            match rustix::io::write(fd, bytes) {
                Err(Errno::INTR) => {}
                // Whoever gave us the stream made it non-blocking for everybody.
                Err(Errno::AGAIN) => {
                    is_ready(fd, None);
                }
                written => return Ok(written?),
            }
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn connect(host: &str, tls: Option<&Material>) -> Result<Connection, CliError> {
    let connection = Connection::to(host.parse()?);
    Ok(match tls {
        None => connection,
        Some(material) => connection.with_tls(Tls::new(material)?),
    })
}

/// What begins an error from before a command's own work.
const INITIALIZE: &str = "Failed to initialize: ";
/// What begins an error about the daemon's address.
const UNRESOLVED: &str = "unable to resolve docker endpoint";
/// The variable that fixes the version of the API.
const VERSION_VARIABLE: &str = "DOCKER_API_VERSION";
/// The variable with headers for each request, `name=value,…`; it comes instead of the configuration's.
const HEADERS_VARIABLE: &str = "DOCKER_CUSTOM_HEADERS";

/// Refuses a version of the API that is none.
fn check_version() -> Result<(), CliError> {
    let version = std::env::var(VERSION_VARIABLE).unwrap_or_default();
    let bare = version.strip_prefix('v').unwrap_or(&version);
    if bare.is_empty() || bare.parse::<ApiVersion>().is_ok() {
        return Ok(());
    }
    Err(CliError::new(format!("{INITIALIZE}invalid API version ({version}): must be formatted <major>.<minor>")))
}

/// Headers that go with each request.
fn headers(config: &ConfigFile) -> Result<Vec<(String, String)>, CliError> {
    let Some(text) = std::env::var(HEADERS_VARIABLE).ok().filter(|text| !text.is_empty()) else {
        return Ok(config.headers());
    };
    let bad = |why: String| {
        CliError::new(format!(
            "{INITIALIZE}failed to parse custom headers from {HEADERS_VARIABLE} environment variable: {why}"
        ))
    };
    let fields =
        csv::record(&text).map_err(|_| bad("value must be formatted as comma-separated key=value pairs".into()))?;
    let pair = |field: String| match field.split_once('=') {
        Some((name, _)) if name.trim().is_empty() => {
            Err(bad(format!("value contains a key=value pair with an empty key: '{field}'")))
        }
        Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
        None => Err(bad(format!("missing \"=\" in key=value pair: '{field}'"))),
    };
    fields.into_iter().map(pair).collect()
}

/// What every command gets.
pub struct Cli {
    /// Options before the command.
    pub globals: Globals,
    /// Where results go.
    pub out: Output,
    /// Where everything else goes.
    pub err: Output,
    /// Where data comes from.
    pub input: Input,
    client: OnceCell<Client>,
    config: OnceCell<ConfigFile>,
}

impl Cli {
    /// Nothing is opened before it is used.
    pub fn new(globals: Globals, out: Output, err: Output) -> Cli {
        Cli { globals, out, err, input: Input::stdin(), client: OnceCell::new(), config: OnceCell::new() }
    }

    /// The same with another input.
    #[must_use]
    pub fn with_input(self, input: Input) -> Cli {
        Cli { input, ..self }
    }

    /// The client of the daemon that the options name. It connects with the first request.
    pub fn client(&self) -> Result<&Client, CliError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        check_version()?;
        // What is wrong with the daemon's address is found before anything is done.
        let connection = self.connection().map_err(|error| match error.message.starts_with(UNRESOLVED) {
            true => CliError { message: format!("{INITIALIZE}{}", error.message), ..error },
            false => error,
        })?;
        let headers = headers(self.config()?)?;
        Ok(self.client.get_or_init(|| Client::with_headers(connection, &headers)))
    }

    fn connection(&self) -> Result<Connection, CliError> {
        if let Some(endpoint) = crate::context::endpoint(self)? {
            return connect(&endpoint.host, endpoint.tls.as_ref());
        }
        let host = match (&self.globals.host, &self.globals.tls) {
            (Some(host), _) => host,
            (None, Some(_)) => DEFAULT_TLS_HOST,
            (None, None) => return Ok(Connection::own_daemon(self.globals.executable.clone())),
        };
        // The files have to be there even where they are of no use: who asks for TLS is told.
        let material = self.globals.tls.as_ref().map(TlsFiles::read).transpose()?;
        let material = material.filter(|_| host.parse().is_ok_and(|host: Host| matches!(host, Host::Tcp(_))));
        connect(host, material.as_ref())
    }

    /// The address that the default context stands for: asked for, or our own daemon's.
    pub fn host(&self) -> String {
        let own = || format!("unix://{}", tare_docker_client::host::OWN_SOCKET);
        let tls = self.globals.tls.as_ref().map(|_| DEFAULT_TLS_HOST.to_owned());
        self.globals.host.clone().or(tls).unwrap_or_else(own)
    }

    /// `config.json`; empty when there is none, or, with a warning, when it is not what it should be.
    pub fn config(&self) -> Result<&ConfigFile, CliError> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = match ConfigFile::load(&self.globals.config_dir) {
            Ok(config) => config,
            Err(error) => {
                self.warn(&error.message)?;
                ConfigFile { unreadable: true, ..ConfigFile::default() }
            }
        };
        Ok(self.config.get_or_init(|| config))
    }

    /// Prints `WARNING: …` on stderr.
    pub fn warn(&self, text: &str) -> Result<(), CliError> {
        self.err.println(format!("WARNING: {text}"))
    }
}
