//! A registry in memory that can be told to misbehave.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tare_reference::Digest;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How the registry protects itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Protection {
    #[default]
    None,
    /// user:password
    Basic(String),
    /// Tokens, to anyone or to user:password only; scopes that are never granted.
    Token { login: Option<String>, refused: HashSet<String> },
}

/// What goes wrong with blobs.
#[derive(Clone, Default)]
pub struct Faults {
    /// The first so many answers end after so many bytes, by closing the connection.
    pub cut: Option<(usize, usize)>,
    /// The first so many answers stop after so many bytes, and stay open.
    pub stall: Option<(usize, usize)>,
    /// The first so many answers are 500.
    pub errors: usize,
    /// Ranges are ignored.
    pub no_ranges: bool,
    /// Blobs have a byte more than announced, or less.
    pub length: i64,
    /// Blobs are elsewhere.
    pub redirect: Option<String>,
    /// No `Docker-Content-Digest`.
    pub no_digest: bool,
    /// Manifests have another content type.
    pub manifest_type: Option<String>,
    /// Pauses after each byte of the body.
    pub drip: Option<Duration>,
    /// Pauses before the body.
    pub delay: Duration,
}

#[derive(Default)]
pub struct State {
    pub blobs: HashMap<String, Bytes>,
    pub manifests: HashMap<String, (String, Bytes)>,
    pub tags: BTreeMap<String, String>,
    pub faults: Faults,
    pub protection: Protection,
    /// `METHOD path?query`, and whether it had an Authorization header.
    pub log: Vec<(String, bool)>,
    uploads: HashMap<String, Vec<u8>>,
    /// Blobs that other repositories have.
    pub mountable: HashSet<String>,
}

/// A running registry; stops when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
    pub blob_requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::listen(None).await
    }

    /// Behind TLS with a certificate that nobody vouches for.
    pub async fn start_tls() -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = CertificateDer::from_pem_slice(include_bytes!("localhost.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("localhost.key")).unwrap();
        let config =
            rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        Server::listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<tokio_rustls::TlsAcceptor>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let blob_requests = Arc::new(AtomicUsize::new(0));
        let (shared, counter) = (state.clone(), blob_requests.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, counter, tls) = (shared.clone(), counter.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let (state, counter) = (state.clone(), counter.clone());
                        async move { Ok::<_, std::io::Error>(answer(&state, &counter, address, request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(http.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Server { address, state, blob_requests, task }
    }

    /// `127.0.0.1:port/path`
    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub fn add_blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        self.with(|s| s.blobs.insert(digest.to_string(), bytes));
        digest
    }

    pub fn add_manifest(&self, tag: Option<&str>, media_type: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        self.with(|s| {
            s.manifests.insert(digest.to_string(), (media_type.to_owned(), bytes));
            if let Some(tag) = tag {
                s.tags.insert(tag.to_owned(), digest.to_string());
            }
        });
        digest
    }

    /// Requests so far, without their Authorization.
    pub fn log(&self) -> Vec<String> {
        self.with(|s| s.log.iter().map(|(line, _)| line.clone()).collect())
    }
}

pub fn digest_of(bytes: &[u8]) -> Digest {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    Digest::from_sha256(&hash)
}

fn full(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

fn empty(status: StatusCode) -> Response<Body> {
    full(status, Bytes::new())
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    full(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
}

async fn answer(
    state: &Mutex<State>,
    counter: &AtomicUsize,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let authorization = parts.headers.get(header::AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned());
    let target = parts.uri.path_and_query().unwrap().to_string();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    state.lock().unwrap().log.push((format!("{} {target}", parts.method), authorization.is_some()));
    let path = parts.uri.path().to_owned();
    if path == "/token" {
        return token(state, &parts.method, &target, authorization.as_deref(), &body);
    }
    if let Some(refusal) = refuse(state, address, authorization.as_deref()) {
        return refusal;
    }
    if path == "/v1/search" {
        return full(StatusCode::OK, r#"{"results":[{"name":"library/thing","star_count":7,"is_official":true}]}"#);
    }
    if path == "/v2/" {
        return empty(StatusCode::OK);
    }
    let Some((_, rest)) = ["/manifests/", "/blobs/", "/tags/"].iter().find_map(|kind| {
        let at = path.rfind(kind)?;
        Some((path[..at].to_owned(), path[at + 1..].to_owned()))
    }) else {
        return error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path");
    };
    if rest == "tags/list" {
        return tags(state, parts.uri.query().unwrap_or_default());
    }
    if let Some(tag) = rest.strip_prefix("manifests/") {
        return manifest(state, &parts.method, tag, &parts.headers, body);
    }
    if let Some(place) = rest.strip_prefix("blobs/uploads/") {
        return upload(state, &parts.method, place, parts.uri.query().unwrap_or_default(), &body);
    }
    blob(state, counter, &parts.method, rest.trim_start_matches("blobs/"), &parts.headers).await
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn refuse(state: &Mutex<State>, address: SocketAddr, authorization: Option<&str>) -> Option<Response<Body>> {
    let (challenge, good) = match &state.lock().unwrap().protection {
        Protection::None => return None,
        Protection::Basic(login) => {
            ("Basic realm=\"x\"".to_owned(), authorization == Some(format!("Basic {}", base64(login)).as_str()))
        }
        Protection::Token { refused, .. } => {
            let error = if authorization.is_some() { ",error=\"insufficient_scope\"" } else { "" };
            let challenge = format!(
                "Bearer realm=\"http://{address}/token\",service=\"test\",scope=\"repository:any:pull\"{error}"
            );
            let token = authorization.and_then(|a| a.strip_prefix("Bearer ")).unwrap_or_default();
            (challenge, !token.is_empty() && !refused.iter().any(|r| token.contains(r.as_str())))
        }
    };
    if good {
        return None;
    }
    let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    Some(response)
}

/// Tokens are the scopes they grant.
fn token(
    state: &Mutex<State>,
    method: &Method,
    target: &str,
    authorization: Option<&str>,
    body: &[u8],
) -> Response<Body> {
    let Protection::Token { login, .. } = state.lock().unwrap().protection.clone() else {
        return empty(StatusCode::NOT_FOUND);
    };
    let query = if method == Method::POST { String::from_utf8_lossy(body).into_owned() } else { target.to_owned() };
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.rsplit('?').next().unwrap().as_bytes())
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let value = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default();
    if let Some(login) = login {
        let post = method == Method::POST;
        let given = match value("grant_type").as_str() {
            "refresh_token" if post => format!("refresh:{}", value("refresh_token")),
            _ if post => format!("{}:{}", value("username"), value("password")),
            _ => authorization.map(str::to_owned).unwrap_or_default(),
        };
        let accepted = [login.clone(), format!("Basic {}", base64(&login)), "refresh:good".to_owned()];
        if !given.is_empty() && !accepted.contains(&given) {
            return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password");
        }
        if given.is_empty() {
            return full(StatusCode::OK, r#"{"token":"anonymous"}"#);
        }
    }
    let scopes: Vec<String> = pairs.iter().filter(|(k, _)| k == "scope").map(|(_, v)| v.clone()).collect();
    let refresh = if value("access_type") == "offline" { r#","refresh_token":"good""# } else { "" };
    full(
        StatusCode::OK,
        format!(r#"{{"access_token":"t-{}","expires_in":300{refresh}}}"#, scopes.join("+").replace(' ', "+")),
    )
}

fn tags(state: &Mutex<State>, query: &str) -> Response<Body> {
    let state = state.lock().unwrap();
    // two a page
    let last = query.split('&').find_map(|p| p.strip_prefix("last=")).unwrap_or_default();
    let names: Vec<&String> = state.tags.keys().filter(|t| t.as_str() > last).collect();
    let page: Vec<&&String> = names.iter().take(2).collect();
    let mut response = full(StatusCode::OK, serde_json::json!({ "name": "x", "tags": page }).to_string());
    if names.len() > 2 {
        let link = format!("</v2/x/tags/list?last={}&n=2>; rel=\"next\"", page[1]);
        response.headers_mut().insert(header::LINK, link.parse().unwrap());
    }
    response
}

fn manifest(state: &Mutex<State>, method: &Method, tag: &str, headers: &HeaderMap, body: Bytes) -> Response<Body> {
    let mut state = state.lock().unwrap();
    if method == Method::PUT {
        let digest = digest_of(&body).to_string();
        let media_type = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        state.manifests.insert(digest.clone(), (media_type, body));
        if !tag.contains(':') {
            state.tags.insert(tag.to_owned(), digest);
        }
        return empty(StatusCode::CREATED);
    }
    let digest = if tag.contains(':') { Some(tag.to_owned()) } else { state.tags.get(tag).cloned() };
    let Some((digest, (media_type, bytes))) = digest.and_then(|d| state.manifests.get(&d).map(|m| (d, m.clone())))
    else {
        return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let length = bytes.len();
    let mut response = if method == Method::HEAD { empty(StatusCode::OK) } else { full(StatusCode::OK, bytes) };
    let media_type = state.faults.manifest_type.clone().unwrap_or(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().unwrap());
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if !state.faults.no_digest {
        response.headers_mut().insert("docker-content-digest", digest.parse().unwrap());
    }
    response
}

fn upload(state: &Mutex<State>, method: &Method, place: &str, query: &str, body: &[u8]) -> Response<Body> {
    let mut state = state.lock().unwrap();
    let value = |key: &str| {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.filter(|(k, _)| k == key).map(|(_, v)| v.into_owned()).next()
    };
    if method == Method::POST {
        if value("mount").is_some_and(|digest| state.mountable.contains(&digest)) {
            return empty(StatusCode::CREATED);
        }
        let id = format!("u{}", state.log.len());
        state.uploads.insert(id.clone(), Vec::new());
        let mut response = empty(StatusCode::ACCEPTED);
        response.headers_mut().insert(header::LOCATION, format!("/v2/x/blobs/uploads/{id}?state=s").parse().unwrap());
        return response;
    }
    let Some(mut data) = state.uploads.remove(place) else { return empty(StatusCode::NOT_FOUND) };
    data.extend_from_slice(body);
    let digest = digest_of(&data).to_string();
    if value("digest").as_deref() != Some(&digest) {
        return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    state.blobs.insert(digest, data.into());
    empty(StatusCode::CREATED)
}

async fn blob(
    state: &Mutex<State>,
    counter: &AtomicUsize,
    method: &Method,
    digest: &str,
    headers: &HeaderMap,
) -> Response<Body> {
    let (bytes, faults) = {
        let state = state.lock().unwrap();
        (state.blobs.get(digest).cloned(), state.faults.clone())
    };
    let Some(bytes) = bytes else { return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown") };
    if method == Method::HEAD {
        return empty(StatusCode::OK);
    }
    let count = counter.fetch_add(1, Ordering::SeqCst);
    if let Some(elsewhere) = faults.redirect {
        let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
        response.headers_mut().insert(header::LOCATION, format!("{elsewhere}{digest}").parse().unwrap());
        return response;
    }
    if count < faults.errors {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "try again");
    }
    tokio::time::sleep(faults.delay).await;
    let total = bytes.len();
    let range = headers.get(header::RANGE).filter(|_| !faults.no_ranges).map(|r| {
        let (from, to) = r.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (from.parse::<usize>().unwrap(), to.parse::<usize>().map_or(total, |to| (to + 1).min(total)))
    });
    let (from, to) = range.unwrap_or((0, total));
    let data = bytes.slice(from..to);
    let announced = i64::try_from(data.len()).unwrap() + faults.length;
    let mut response = match (faults.cut, faults.stall) {
        (Some((times, after)), _) if count < times => partial(data.slice(..after.min(data.len())), false),
        (_, Some((times, after))) if count < times => partial(data.slice(..after.min(data.len())), true),
        _ if faults.length != 0 => partial(data, false),
        _ if faults.drip.is_some() => drip(data, faults.drip.unwrap_or_default()),
        _ => full(StatusCode::OK, data),
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, announced.into());
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {from}-{}/{total}", to.saturating_sub(1));
        response.headers_mut().insert(header::CONTENT_RANGE, value.parse().unwrap());
    }
    response
}

/// A byte, a pause, a byte…
fn drip(data: Bytes, pause: Duration) -> Response<Body> {
    let pieces = futures_util::stream::unfold(data, move |mut data| async move {
        tokio::time::sleep(pause).await;
        let first = data.split_to(1.min(data.len()));
        (!first.is_empty()).then_some((Ok(Frame::data(first)), data))
    });
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

/// Some bytes, and then nothing or an abrupt end.
fn partial(data: Bytes, stall: bool) -> Response<Body> {
    let pieces = futures_util::stream::unfold(0, move |step| {
        let data = data.clone();
        async move {
            match step {
                0 => Some((Ok(Frame::data(data)), 1)),
                _ if stall => std::future::pending().await,
                1 => {
                    // hyper sends what it has when the body makes it wait
                    tokio::task::yield_now().await;
                    Some((Err(std::io::Error::other("cut")), 2))
                }
                _ => None,
            }
        }
    });
    Response::new(StreamBody::new(pieces).boxed_unsync())
}
