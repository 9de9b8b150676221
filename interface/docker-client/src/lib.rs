//! Client of the engine's HTTP API, over a unix or TCP socket, encrypted or not, or through ssh.
//!
//! [`Client`] sends [`Request`]s and gives [`Response`]s, whose bodies may be read whole, in chunks or as a stream of JSON
//! values ([`JsonStream`]); [`Client::hijack`] turns a connection into a raw one ([`Hijacked`]) for attach and exec.
//! The API version is negotiated with the first request, by `HEAD /_ping`.
//!
//! * here: [`Client`]
//! * [`host`]: where the daemon is; [`connect`]: getting there; [`tls`]; [`ssh`]; [`start`]: starting our own daemon
//! * [`request`], [`response`], [`hijack`]: what is sent and what comes back; [`error`]
#![forbid(unsafe_code)]

pub mod connect;
pub mod error;
pub mod hijack;
pub mod host;
pub mod request;
pub mod response;
pub mod ssh;
pub mod start;
pub mod tls;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tare_docker_api::system::Ping;
use tare_docker_api::versions::{self, ApiVersion};

pub use connect::Connection;
pub use error::Error;
pub use hijack::Hijacked;
pub use host::Host;
pub use request::{Body, Query, Request};
pub use response::{JsonStream, Response};

/// Connections kept for the next request. A command has one or two requests in flight besides its streams.
const IDLE_CONNECTIONS: usize = 4;

/// The variable that fixes the API version.
const VERSION_VARIABLE: &str = "DOCKER_API_VERSION";

type Sender = SendRequest<request::HttpBody>;

/// A client; clones share connections and the negotiated version.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    connection: Connection,
    idle: Mutex<Vec<Sender>>,
    ping: OnceLock<Ping>,
    version: OnceLock<ApiVersion>,
    /// Headers that go with every request.
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

impl Client {
    /// A client that connects with its first request.
    pub fn new(connection: Connection) -> Client {
        Client::with_headers(connection, &[])
    }

    /// The same, sending `headers` with each request; names and values that HTTP does not allow are left out.
    pub fn with_headers(connection: Connection, headers: &[(String, String)]) -> Client {
        let headers = headers.iter().filter_map(|(n, v)| Some((n.parse().ok()?, v.parse().ok()?))).collect();
        let version = OnceLock::new();
        if let Some(fixed) = std::env::var(VERSION_VARIABLE).ok().and_then(|v| v.trim_start_matches('v').parse().ok()) {
            let _ = version.set(fixed);
        }
        let inner = Inner { connection, idle: Mutex::new(Vec::new()), ping: OnceLock::new(), version, headers };
        Client { inner: Arc::new(inner) }
    }

    /// Where it connects to, as `unix:///path` or `tcp://host:port`.
    pub fn host(&self) -> String {
        self.inner.connection.host().to_string()
    }

    /// What the daemon says about itself in `/_ping`; asked once.
    pub async fn ping(&self) -> Result<Ping, Error> {
        if let Some(ping) = self.inner.ping.get() {
            return Ok(ping.clone());
        }
        let response = self.exchange(Request::head("/_ping"), "/_ping".to_owned()).await?;
        let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
        let ping = Ping {
            api_version: header("api-version"),
            os_type: header("ostype"),
            experimental: header("docker-experimental") == "true",
            builder_version: header("builder-version"),
            swarm: header("swarm"),
        };
        if response.status() >= 500 && ping.api_version.is_empty() {
            return Err(response.into_error().await);
        }
        response.discard().await;
        Ok(self.inner.ping.get_or_init(|| ping).clone())
    }

    /// The version spoken: the newest that both sides know, unless `DOCKER_API_VERSION` says another.
    pub async fn version(&self) -> Result<ApiVersion, Error> {
        if let Some(version) = self.inner.version.get() {
            return Ok(*version);
        }
        let ping = self.ping().await?;
        // A daemon that does not say is one from before versions were announced.
        let theirs = ping.api_version.parse().unwrap_or(versions::FLOOR);
        Ok(*self.inner.version.get_or_init(|| theirs.min(versions::MAX)))
    }

    /// Sends a request. An answer below 200 or from 400 on is an [`Error::Api`].
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let prefix = self.prefix().await?;
        let target = request.target(&prefix);
        let response = self.exchange(request, target).await?;
        if (200..400).contains(&response.status()) { Ok(response) } else { Err(response.into_error().await) }
    }

    /// A connection to the daemon, for whoever speaks on it.
    pub async fn dial(&self) -> Result<connect::Stream, Error> {
        self.inner.connection.open_raw().await
    }

    /// Sends a request that takes the connection over: `POST /containers/ID/attach`, `POST /exec/ID/start`.
    pub async fn hijack(&self, request: Request) -> Result<Hijacked, Error> {
        let prefix = self.prefix().await?;
        let target = request.target(&prefix);
        let stream = self.inner.connection.open().await?;
        let request = request.header("connection", "Upgrade").header("upgrade", "tcp");
        hijack::upgrade(stream, request.into_http(&target, &self.inner)?, &self.inner).await
    }

    /// `GET`, decoded.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str, query: Query) -> Result<T, Error> {
        self.send(Request::get(path).query(query)).await?.json().await
    }

    /// `POST` without a body; the answer's body is dropped.
    pub async fn post(&self, path: &str, query: Query) -> Result<(), Error> {
        self.send(Request::post(path).query(query)).await?.discard().await;
        Ok(())
    }

    /// `POST` of JSON, answer decoded.
    pub async fn post_json<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query,
        body: &B,
    ) -> Result<T, Error> {
        self.send(Request::post(path).query(query).json(body)).await?.json().await
    }

    /// `DELETE`; the answer's body is dropped.
    pub async fn delete(&self, path: &str, query: Query) -> Result<(), Error> {
        self.send(Request::delete(path).query(query)).await?.discard().await;
        Ok(())
    }

    /// What comes before each path.
    async fn prefix(&self) -> Result<String, Error> {
        Ok(format!("/v{}", self.version().await?))
    }

    async fn exchange(&self, request: Request, target: String) -> Result<Response, Error> {
        let mut sender = self.sender().await.map_err(|error| error.during(request.method(), &target))?;
        let request = request.into_http(&target, &self.inner)?;
        let host = self.inner.connection.host();
        let method = request.method().clone();
        let failed = |error| Error::exchange(host, &error).during(&method, &target);
        let response = sender.send_request(request).await.map_err(failed)?;
        Ok(Response::new(response, target, sender, Arc::clone(&self.inner)))
    }

    /// A connection that is ready: an idle one, or a new one.
    async fn sender(&self) -> Result<Sender, Error> {
        loop {
            let idle = self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut sender) = idle else { break };
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = self.inner.connection.open().await?;
        let host = self.inner.connection.host();
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| Error::exchange(host, &e))?;
        // Ends with the connection; its errors reach whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Inner {
    /// Keeps a connection whose answer has been read to its end.
    pub(crate) fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(sender);
        }
    }
}
