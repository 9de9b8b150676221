//! Clients by how a host's certificate is checked, requests with errors that tell what failed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Certificate, Client, Identity, NoProxy, Proxy, RequestBuilder, Response};
use serde::Deserialize;

use crate::config::Config;
use crate::error::{SILENCE, describe};
use crate::patience::Patience;
use crate::{Error, Result};

/// For a connection with its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an idle connection is kept: a pull's requests follow each other.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Redirects followed, as in Go's HTTP client.
const MAX_REDIRECTS: usize = 10;
/// Largest error document read, in bytes.
const MAX_ERROR: u64 = 64 << 10;
/// Most characters of an error message passed on.
pub(crate) const MAX_MESSAGE: usize = 500;

/// Clients, made when first needed: reading the system's certificates takes milliseconds.
pub(crate) struct Http {
    pub(crate) config: Config,
    clients: Mutex<HashMap<ClientKey, Client>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    verify: bool,
    /// Whether redirects are followed.
    follow: bool,
    certificates: Vec<PathBuf>,
}

impl Http {
    pub(crate) fn new(config: Config) -> Http {
        static PROVIDER: Once = Once::new();
        // fails only if the process has chosen a provider already
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        Http { config, clients: Mutex::default() }
    }

    /// A client for a registry's host.
    pub(crate) fn client(&self, host: &str, verify: bool) -> Result<Client> {
        self.client_that(host, verify, true)
    }

    fn client_that(&self, host: &str, verify: bool, follow: bool) -> Result<Client> {
        let directories = self.config.certificates.iter().map(|d| d.join(host)).filter(|d| d.is_dir());
        let key = ClientKey { verify, follow, certificates: directories.collect() };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// A client for a URL that a registry named (a token server, an upload).
    pub(crate) fn client_for_url(&self, url: &url::Url) -> Result<Client> {
        let host = host_of(url);
        self.client(&host, !self.config.is_insecure(&host))
    }

    /// The same for what must not be sent to anyone else: credentials in a body, which a redirect would hand on.
    pub(crate) fn client_for_secrets(&self, url: &url::Url) -> Result<Client> {
        let host = host_of(url);
        self.client_that(&host, !self.config.is_insecure(&host), false)
    }

    fn build(&self, key: &ClientKey) -> Result<Client> {
        let mut builder = Client::builder()
            .user_agent(&self.config.user_agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(match (key.follow, key.verify) {
                (false, _) => Policy::none(),
                (true, true) => Policy::custom(|attempt| redirect(attempt, true)),
                (true, false) => Policy::custom(|attempt| redirect(attempt, false)),
            })
            .tls_danger_accept_invalid_certs(!key.verify);
        let proxies = &self.config.proxies;
        let none = NoProxy::from_string(&proxies.none);
        let bad = |url: &str, e: &reqwest::Error| Error::Config(format!("invalid proxy {url:?}: {e}"));
        if !proxies.http.is_empty() {
            let proxy = Proxy::http(&proxies.http).map_err(|e| bad(&proxies.http, &e))?;
            builder = builder.proxy(proxy.no_proxy(none.clone()));
        }
        if !proxies.https.is_empty() {
            let proxy = Proxy::https(&proxies.https).map_err(|e| bad(&proxies.https, &e))?;
            builder = builder.proxy(proxy.no_proxy(none));
        }
        for directory in &key.certificates {
            for certificate in authorities(directory)? {
                builder = builder.tls_certs_merge([certificate]);
            }
            if let Some(identity) = identity(directory)? {
                builder = builder.identity(identity);
            }
        }
        builder.build().map_err(|e| Error::Config(format!("cannot set up TLS: {e}")))
    }
}

/// `host`, or `host:port`
pub(crate) fn host_of(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Follows so many redirects, but not out of TLS where that is insisted on. The Authorization header is left behind with
/// host, port and scheme.
fn redirect(attempt: Attempt<'_>, verify: bool) -> Action {
    let from = attempt.previous().last().map(|url| url.scheme().to_owned());
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("stopped after {MAX_REDIRECTS} redirects"));
    }
    if verify && from.as_deref() == Some("https") && attempt.url().scheme() != "https" {
        let message = format!("redirect from https to {}", attempt.url());
        return attempt.error(message);
    }
    attempt.follow()
}

/// The authorities in `*.crt`.
fn authorities(directory: &Path) -> Result<Vec<Certificate>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "crt") {
            let pem = read_file(&path)?;
            let bad = |reason: String| Error::Config(format!("invalid certificate {}: {reason}", path.display()));
            let bundle = Certificate::from_pem_bundle(&pem).map_err(|e| bad(e.to_string()))?;
            if bundle.is_empty() {
                return Err(bad("no certificate in it".to_owned()));
            }
            found.extend(bundle);
        }
    }
    Ok(found)
}

/// The first `name.cert` with its `name.key`.
fn identity(directory: &Path) -> Result<Option<Identity>> {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "cert") {
            continue;
        }
        let key = path.with_extension("key");
        if !key.exists() {
            return Err(Error::Config(format!(
                "missing key {} for client certificate {}. CA certificates must use the extension .crt",
                key.display(),
                path.display()
            )));
        }
        let pem = [read_file(&path)?, b"\n".to_vec(), read_file(&key)?].concat();
        let identity = Identity::from_pem(&pem);
        return identity.map(Some).map_err(|e| Error::Config(format!("invalid key pair {}: {e}", path.display())));
    }
    Ok(None)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::Config(format!("read `{}`: {e}", path.display())))
}

/// Sends a request that has little to say, and waits for the head of the answer as long as [`Config::stall`]. An error
/// tells method, URL and reason as Go's client does.
pub(crate) async fn send(config: &Config, request: RequestBuilder) -> Result<Response> {
    let (client, request) = built(request)?;
    let (method, url) = (request.method().clone(), request.url().clone());
    let answer = tokio::time::timeout(config.stall, execute(client, request)).await;
    answer.unwrap_or_else(|_| Err(silence(method.as_str(), &url)))
}

/// What is said of a server that says nothing.
pub(crate) fn silence(method: &str, url: &url::Url) -> Error {
    Error::Request { method: title(method), url: url.to_string(), reason: SILENCE.to_owned() }
}

/// The same without a limit of time.
pub(crate) async fn send_patiently(request: RequestBuilder) -> Result<Response> {
    let (client, request) = built(request)?;
    execute(client, request).await
}

fn built(request: RequestBuilder) -> Result<(Client, reqwest::Request)> {
    let (client, request) = request.build_split();
    Ok((client, request.map_err(|e| Error::Config(format!("invalid request: {e}")))?))
}

async fn execute(client: Client, request: reqwest::Request) -> Result<Response> {
    let method = request.method().to_string();
    let url = request.url().clone();
    match client.execute(request).await {
        Ok(response) => Ok(response),
        Err(e) => {
            let address = address_of(&url).await;
            let reason = describe(&e, address);
            Err(Error::Request { method: title(&method), url: url.to_string(), reason })
        }
    }
}

/// `HEAD` as Go's client shows it: `Head`.
fn title(method: &str) -> String {
    let mut chars = method.chars();
    chars.next().map(|first| first.to_string() + &chars.as_str().to_ascii_lowercase()).unwrap_or_default()
}

/// For error messages: where a host is.
async fn address_of(url: &url::Url) -> Option<SocketAddr> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default()?;
    tokio::net::lookup_host((host, port)).await.ok()?.next()
}

/// Reads a bounded body.
pub(crate) async fn read(config: &Config, mut response: Response, what: &'static str, limit: u64) -> Result<Bytes> {
    let mut patience = Patience::new(config);
    let mut body = Vec::new();
    while let Some(chunk) = patience.chunk(&mut response).await? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > limit {
            return Err(Error::TooLarge { what, limit });
        }
    }
    Ok(body.into())
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error behind an answer that is no success.
pub(crate) async fn failure(config: &Config, method: &str, response: Response) -> Error {
    let status = response.status();
    let url = response.url().to_string();
    let after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    let body = read(config, response, "error", MAX_ERROR).await.unwrap_or_default();
    let message = message_of(&body);
    if status == reqwest::StatusCode::TOO_MANY_REQUESTS {
        let message = message.strip_prefix("toomanyrequests: ").unwrap_or(&message).to_owned();
        return Error::TooManyRequests { message, after };
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let status = format!("{} {reason}", status.as_u16()).trim_end().to_owned();
    Error::Status { method: method.to_owned(), url, status, message, after }
}

/// `code: message` of a registry's error document, or the start of what it is.
pub(crate) fn message_of(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(errors) if !errors.errors.is_empty() => {
            let one = |e: &OneError| match (e.code.to_ascii_lowercase().replace('_', " "), e.message.as_str()) {
                (code, "") => code,
                (code, message) if code.is_empty() => message.to_owned(),
                (code, message) => format!("{code}: {message}"),
            };
            errors.errors.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Ok(errors) if !errors.details.is_empty() => errors.details,
        _ => String::from_utf8_lossy(body).trim().to_owned(),
    };
    text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}
