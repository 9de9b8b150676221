//! TLS on TCP sockets: the daemon's certificate, clients' certificates, handshakes that are bounded in time and number, and
//! the relay for sessions that another process talks on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{RootCertStore, crypto::ring};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Time a client has to agree on keys and to show its certificate; it takes a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once: who has shown no certificate yet costs a descriptor and memory. More wait in the kernel.
const HANDSHAKES: usize = 128;
/// What is read of a request that is not encrypted, bytes, before it is told so.
const PLAIN_MAX: usize = 4 << 10;
/// Go's server's answer to it, which clients show.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// Bytes moved at once by a relay, in each direction.
const PIECE: usize = 16 << 10;
/// How long a relay waits for the client to close after the session has ended: closing before it has read everything
/// could lose the end of the output.
const LINGER: Duration = Duration::from_secs(2);

/// Files, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The daemon's certificate, with what is between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whoever connects has to have a certificate of this authority; `None` lets everybody in.
    pub client_authority: Option<PathBuf>,
}

/// TLS with one identity.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files. Versions below 1.2 are not spoken. The errors are Docker's.
    pub fn new(identity: &Identity) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &identity.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authority(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| format!("failed to append certificates from PEM file: {path:?}: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let files = format!("(cert: {:?}, key: {:?})", identity.certificate, identity.key);
        let wrong = |error: &dyn fmt::Display| {
            format!("error reading X509 key pair - make sure the key is not encrypted {files}: {error}")
        };
        let text = |path: &Path| match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("could not load X509 key pair {files}: open {}: no such file or directory", path.display()))
            }
            text => text.map_err(|error| wrong(&error)),
        };
        let (certificate, key) = (text(&identity.certificate)?, text(&identity.key)?);
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| wrong(&error))?;
        let config = builder.with_single_cert(chain, key).map_err(|error| wrong(&error))?;
        Ok(Self { acceptor: Arc::new(config).into(), turns: Arc::new(Semaphore::new(HANDSHAKES)) })
    }

    /// Waits until one more handshake may be made.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// A handshake on a connection.
    pub(crate) fn handshake(&self, stream: TcpStream, turn: Option<OwnedSemaphorePermit>) -> Handshake {
        Handshake { acceptor: self.acceptor.clone(), stream, turn }
    }
}

fn authority(path: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read(path).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => format!("open {}: no such file or directory", path.display()),
            _ => error.to_string(),
        };
        format!("could not read CA certificate {path:?}: {why}")
    })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(format!("failed to append certificates from PEM file: {path:?}")),
        _ => Ok(roots),
    }
}

/// A handshake that was not made yet.
pub struct Handshake {
    acceptor: TlsAcceptor,
    stream: TcpStream,
    turn: Option<OwnedSemaphorePermit>,
}

impl Handshake {
    /// Makes it, in time. `None`: it failed, which is the client's affair; it has been told.
    pub(crate) async fn finish(self) -> Option<TlsStream<TcpStream>> {
        let Handshake { acceptor, stream, turn } = self;
        let made = tokio::time::timeout(HANDSHAKE_TIMEOUT, async {
            if is_plain(&stream).await? {
                return refuse_plain(stream).await.map(|()| None);
            }
            acceptor.accept(stream).await.map(Some)
        });
        let made = made.await;
        drop(turn);
        match made {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::info!("TLS handshake: {error}");
                None
            }
            Err(_) => {
                tracing::info!("TLS handshake: not finished after {HANDSHAKE_TIMEOUT:?}");
                None
            }
        }
    }
}

/// Whether a client starts with a method of HTTP instead of a record of TLS.
async fn is_plain(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0].is_ascii_uppercase())
}

async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    // Unread bytes would make the kernel reset the connection instead of delivering the answer.
    let mut request = vec![0; PLAIN_MAX];
    let _ = stream.read(&mut request).await?;
    stream.write_all(PLAIN_ANSWER).await?;
    stream.shutdown().await
}

/// Carries a session between its client and the other end of `session`. An end of the client's input (`close_notify`) is
/// passed on as such, and output goes on; a client that goes without one has gone altogether.
pub(crate) async fn relay(client: TlsStream<TcpStream>, session: UnixStream) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_session, to_session) = session.into_split();
    let mut input = std::pin::pin!(input(from_client, to_session));
    let mut output = std::pin::pin!(output(from_session, to_client));
    let mut has_input = true;
    let sent = loop {
        tokio::select! {
            end = &mut input, if has_input => match end {
                Input::Over => has_input = false,
                // The session sees it when this returns.
                Input::Gone => return,
            },
            sent = &mut output => break sent,
        }
    };
    if sent.is_ok() && has_input {
        // What is left of the input is read, and thrown away.
        let _ = tokio::time::timeout(LINGER, input).await;
    }
}

/// How a client's input ended.
enum Input {
    /// It has no more, and still listens.
    Over,
    /// It is not there any more.
    Gone,
}

async fn input(mut client: impl AsyncRead + Unpin, mut session: impl AsyncWrite + Unpin) -> Input {
    let mut piece = vec![0; PIECE];
    let mut wanted = true;
    loop {
        match client.read(&mut piece).await {
            Err(_) => return Input::Gone,
            Ok(0) => break,
            // A session that reads no more may still have output.
            Ok(read) if wanted => wanted = session.write_all(&piece[..read]).await.is_ok(),
            Ok(_) => {}
        }
    }
    // The other side may have gone first.
    let _ = session.shutdown().await;
    Input::Over
}

/// Sends the session's output, and that it has ended.
async fn output(mut session: impl AsyncRead + Unpin, mut client: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = session.read(&mut piece).await?;
        if read == 0 {
            return client.shutdown().await;
        }
        client.write_all(&piece[..read]).await?;
        client.flush().await?;
    }
}
