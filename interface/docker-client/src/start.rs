//! Starting our own daemon when none runs.
//!
//! It gets a session of its own, `/` as directory, no terminal, an environment of a few variables and a log file for
//! what it says on stderr: nothing of the caller's login may end it or leak into it.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::connect::{Stream, dial};
use crate::error::Error;
use crate::host::Host;

/// Where the stderr of a daemon that was started here goes.
pub(crate) const LOG: &str = "/var/log/tare-daemon.log";
/// How long a daemon may take until it listens; it needs milliseconds, recovery after a crash of a full machine seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait on when the started daemon has ended: another one, started at the same time, may be coming up.
const RIVAL: Duration = Duration::from_secs(2);
/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(2);
/// How much of the log is shown when it fails, in bytes.
const TAIL: u64 = 4096;
/// Variables of the caller that the daemon gets: it pulls images through the caller's proxy.
const INHERITED: &[&str] =
    &["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "TZ", "LANG"];

/// How to start a daemon.
#[derive(Debug, Clone)]
pub struct Starter {
    /// Run as `PROGRAM daemon`.
    pub program: PathBuf,
    /// Gets its stderr.
    pub log: PathBuf,
}

impl Starter {
    /// Starts the daemon and waits until `socket` answers.
    pub(crate) async fn start(&self, socket: &Path) -> Result<Stream, Error> {
        let host = Host::Unix(socket.to_owned());
        let mut log = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(|e| Error::Start(format!("open `{}`: {e}", self.log.display())))?;
        let before = log.seek(SeekFrom::End(0)).unwrap_or(0);
        let program = self.program.display();
        let pid = spawn(&self.program, &log).map_err(|e| Error::Start(format!("run `{program}`: {e}")))?;
        let begin = Instant::now();
        let mut ended: Option<Instant> = None;
        loop {
            let error = match dial(&host, None).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if ended.is_none() && matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_)) | Err(_)) {
                ended = Some(Instant::now());
            }
            if ended.is_some_and(|since| since.elapsed() > RIVAL) {
                return Err(Error::Start(said(&mut log, before)));
            }
            if begin.elapsed() > PATIENCE {
                return Err(Error::connect(&host, &error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn spawn(executable: &Path, log: &File) -> io::Result<Pid> {
    let path = CString::new(executable.as_os_str().as_bytes())?;
    let mut environment = vec![c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            let mut pair = name.as_bytes().to_vec();
            pair.push(b'=');
            pair.extend_from_slice(value.as_bytes());
            environment.push(CString::new(pair)?);
        }
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let arguments = [path.clone(), c"daemon".to_owned()];
    let pid = tare_sys::spawn::spawn(&path, &arguments, &environment, &[null.as_fd(), null.as_fd(), log.as_fd()])?;
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What the daemon wrote to its log since `before`.
fn said(log: &mut File, before: u64) -> String {
    let end = log.seek(SeekFrom::End(0)).unwrap_or(before);
    let start = before.max(end.saturating_sub(TAIL));
    let mut text = Vec::new();
    let read = log.seek(SeekFrom::Start(start)).and_then(|_| log.take(TAIL).read_to_end(&mut text));
    match (read, String::from_utf8_lossy(&text).trim()) {
        (Ok(_), said) if !said.is_empty() => said.to_owned(),
        _ => "it ended at once and said nothing".to_owned(),
    }
}
