//! A repository: where it is, who asks, and its tags and manifests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LINK, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tare_reference::{Digest, Reference};

use crate::auth::{Grant, Tokens, parse_challenges};
use crate::config::{Config, Credentials, Endpoint};
use crate::http::{self, Http};
use crate::patience::Attempts;
use crate::{Error, Result};

/// What a manifest may be. The last entry lets registries answer with something of which we can tell what it is.
const ACCEPT_MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, */*";
/// Largest manifest read, in bytes. The specification asks clients for 4 MiB.
const MAX_MANIFEST: u64 = 8 << 20;
/// Largest page of tags read, in bytes, and most pages: a page may name itself as the next.
const MAX_TAGS: u64 = 4 << 20;
const MAX_TAG_PAGES: usize = 1000;
/// Most bytes of all pages of tags together: some 500,000 tags.
const MAX_ALL_TAGS: u64 = 16 << 20;

/// The client. Clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) http: Http,
    pub(crate) tokens: Tokens,
    /// Hosts that speak plain HTTP only, found out.
    plain: Mutex<HashMap<String, bool>>,
}

/// What is going to be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// A repository, as someone sees it. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) registry: Registry,
    pub(crate) name: Reference,
    credentials: Credentials,
    pub(crate) access: Access,
    pub(crate) endpoints: Arc<Vec<Endpoint>>,
}

/// What a tag points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Of the manifest or index.
    pub digest: Digest,
    /// Of the manifest or index.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
}

/// A manifest or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Verified.
    pub digest: Digest,
    /// As the registry says, or as the document itself.
    pub media_type: String,
    /// As it came.
    pub bytes: Bytes,
}

impl Registry {
    /// A client with these settings.
    pub fn new(config: Config) -> Registry {
        Registry {
            inner: Arc::new(Inner { http: Http::new(config), tokens: Tokens::default(), plain: Mutex::default() }),
        }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.http.config
    }

    /// The repository of `reference` (whose tag and digest do not matter) for someone.
    pub fn repository(&self, reference: &Reference, credentials: Option<Credentials>, access: Access) -> Repository {
        let mut endpoints = self.config().endpoints(reference.domain());
        if access == Access::Push {
            endpoints.retain(|e| e.namespace.is_none());
        }
        Repository {
            registry: self.clone(),
            name: reference.name_only(),
            credentials: credentials.unwrap_or_default(),
            access,
            endpoints: Arc::new(endpoints),
        }
    }
}

/// What the places that were tried in turn have said. The last one counts, as the ones before are mirrors.
#[derive(Default)]
struct Failures(Option<Error>);

impl Failures {
    fn add(&mut self, endpoint: &Endpoint, error: Error) {
        if endpoint.namespace.is_some() {
            tracing::info!(mirror = endpoint.base, %error, "mirror passed over");
        }
        self.0 = Some(error);
    }

    fn last(self, name: &Reference) -> Error {
        self.0.unwrap_or_else(|| Error::Config(format!("no registry for {name}")))
    }
}

impl Repository {
    /// Finds out what a tag (or digest) points at, without fetching it.
    pub async fn resolve(&self, tag: &str) -> Result<Resolved> {
        self.somewhere(|endpoint| self.resolve_at(endpoint, tag).boxed()).await
    }

    /// Fetches a manifest or index by tag or digest; a digest is verified.
    pub async fn manifest(&self, tag: &str) -> Result<Document> {
        self.somewhere(|endpoint| self.manifest_at(endpoint, tag).boxed()).await
    }

    /// All tags.
    pub async fn tags(&self) -> Result<Vec<String>> {
        self.somewhere(|endpoint| self.tags_at(endpoint).boxed()).await
    }

    /// Asks in turn; the registry itself, which comes last, more than once when its trouble may pass.
    async fn somewhere<'a, T>(&'a self, ask: impl Fn(&'a Endpoint) -> BoxFuture<'a, Result<T>>) -> Result<T> {
        let mut failures = Failures::default();
        for endpoint in self.endpoints.iter() {
            let mut attempts = self.attempts();
            loop {
                let error = match ask(endpoint).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if endpoint.namespace.is_some() => error,
                    Err(error) => match attempts.pause_after(error).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    },
                };
                failures.add(endpoint, error);
                break;
            }
        }
        Err(failures.last(&self.name))
    }

    /// As many attempts as the settings allow.
    pub fn attempts(&self) -> Attempts {
        Attempts::new(self.registry.config())
    }

    async fn resolve_at(&self, endpoint: &Endpoint, tag: &str) -> Result<Resolved> {
        let path = format!("manifests/{tag}");
        let response = self.request(endpoint, Method::HEAD, &path, &accept()).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(Error::NotFound(self.full(tag)));
        }
        // 403, 405 and the like are asked again for a body that explains them
        if response.status().is_success()
            && let Some(resolved) = self.resolved_from(response.headers(), tag)?
        {
            return Ok(resolved);
        }
        let document = self.manifest_at(endpoint, tag).await?;
        let size = document.bytes.len() as u64;
        Ok(Resolved { digest: document.digest, media_type: document.media_type, size })
    }

    fn resolved_from(&self, headers: &HeaderMap, tag: &str) -> Result<Option<Resolved>> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let digest = text("docker-content-digest").and_then(|d| Digest::parse(d).ok());
        // reqwest's own idea of the length is that of the empty body of a HEAD
        let size = text(CONTENT_LENGTH.as_str()).and_then(|s| s.parse().ok());
        let media_type = text(CONTENT_TYPE.as_str()).map(essence);
        let (Some(digest), Some(media_type), Some(size)) = (digest, media_type, size) else { return Ok(None) };
        self.refuse_schema1(&media_type, tag)?;
        if !is_specific(&media_type) || Digest::parse(tag).is_ok_and(|asked| asked != digest) {
            return Ok(None);
        }
        Ok(Some(Resolved { digest, media_type, size }))
    }

    async fn manifest_at(&self, endpoint: &Endpoint, tag: &str) -> Result<Document> {
        let path = format!("manifests/{tag}");
        let response = self.request(endpoint, Method::GET, &path, &accept()).await?;
        if !response.status().is_success() {
            return Err(self.refused("GET", response, &self.full(tag)).await);
        }
        let url = response.url().to_string();
        let declared = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(essence);
        let bytes = http::read(self.registry.config(), response, "manifest", MAX_MANIFEST).await?;
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let digest = Digest::from_sha256(&hash);
        if let Ok(expected) = Digest::parse(tag)
            && expected != digest
        {
            return Err(Error::Digest { what: "manifest", expected, actual: digest });
        }
        let shape: Shape = serde_json::from_slice(&bytes).map_err(|e| Error::Malformed {
            what: "manifest",
            url,
            reason: e.to_string(),
        })?;
        let media_type = match declared.filter(|d| is_specific(d)) {
            Some(declared) => declared,
            None => shape.media_type(),
        };
        self.refuse_schema1(&media_type, tag)?;
        if shape.schema_version == 1 {
            return Err(Error::Schema1(self.full(tag)));
        }
        Ok(Document { digest, media_type, bytes })
    }

    async fn tags_at(&self, endpoint: &Endpoint) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut path = "tags/list".to_owned();
        let mut read = 0;
        for _ in 0..MAX_TAG_PAGES {
            let response = self.request(endpoint, Method::GET, &path, &HeaderMap::new()).await?;
            if !response.status().is_success() {
                return Err(self.refused("GET", response, &self.name.to_string()).await);
            }
            let url = response.url().to_string();
            let next = response.headers().get(LINK).and_then(|v| v.to_str().ok()).and_then(next_page);
            let body = http::read(self.registry.config(), response, "list of tags", MAX_TAGS).await?;
            read += body.len() as u64;
            let page: Page = serde_json::from_slice(&body).map_err(|e| Error::Malformed {
                what: "list of tags",
                url,
                reason: e.to_string(),
            })?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(_) if read > MAX_ALL_TAGS => break,
                Some(query) => path = format!("tags/list?{query}"),
                None => return Ok(tags),
            }
        }
        Err(Error::TooLarge { what: "list of tags", limit: MAX_ALL_TAGS })
    }

    fn refuse_schema1(&self, media_type: &str, tag: &str) -> Result<()> {
        if media_type.starts_with("application/vnd.docker.distribution.manifest.v1+") {
            return Err(Error::Schema1(self.full(tag)));
        }
        Ok(())
    }

    /// `docker.io/library/x:tag`, `docker.io/library/x@sha256:…`
    pub(crate) fn full(&self, tag: &str) -> String {
        let separator = if tag.contains(':') { '@' } else { ':' };
        format!("{}{separator}{tag}", self.name)
    }

    /// Sends a request below `/v2/<name>/`, answering challenges. Any status but a final 401 is the caller's.
    pub(crate) async fn request(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response> {
        let plain = self.registry.is_plain(endpoint);
        let Some(fallback) = endpoint.fallback.as_deref().filter(|_| plain != Some(false)) else {
            return self.request_at(endpoint, &endpoint.base, method, path, headers).await;
        };
        if plain == Some(true) {
            return self.request_at(endpoint, fallback, method, path, headers).await;
        }
        match self.request_at(endpoint, &endpoint.base, method.clone(), path, headers).await {
            Err(first) if first.is_plain_http() => {
                self.registry.learn(endpoint, true);
                self.request_at(endpoint, fallback, method, path, headers).await
            }
            Err(first) if first.is_transport() => {
                match self.request_at(endpoint, fallback, method, path, headers).await {
                    // nothing there either: the first error is what Docker shows
                    Err(second) if second.is_transport() => Err(first),
                    other => {
                        self.registry.learn(endpoint, true);
                        other
                    }
                }
            }
            other => {
                self.registry.learn(endpoint, false);
                other
            }
        }
    }

    async fn request_at(
        &self,
        endpoint: &Endpoint,
        base: &str,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response> {
        let mut url = format!("{base}/v2/{}/{path}", self.name.path());
        if let Some(namespace) = &endpoint.namespace {
            url.push(if path.contains('?') { '&' } else { '?' });
            url.push_str("ns=");
            url.push_str(namespace);
        }
        let url = url::Url::parse(&url).map_err(|e| Error::Config(format!("invalid address {url:?}: {e}")))?;
        self.send(endpoint, method, &url, headers, None).await
    }

    /// Sends a request anywhere (uploads name their own places), answering challenges.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        method: Method,
        url: &url::Url,
        headers: &HeaderMap,
        body: Option<&Bytes>,
    ) -> Result<Response> {
        let inner = &self.registry.inner;
        let client = inner.http.client(&endpoint.host, endpoint.verify)?;
        let grant = self.grant(endpoint);
        let mut sent = inner.tokens.get(&grant);
        // a cached token may be stale, and the one after it must do
        for attempt in 0..3 {
            let mut request = client.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(header) = &sent {
                request = request.header(AUTHORIZATION, header);
            }
            if let Some(body) = body {
                request = request.body(body.clone());
            }
            let response = http::send(&inner.http.config, request).await?;
            // whoever the registry has sent us to is not to be told who asks
            let elsewhere = response.url().host_str() != url.host_str();
            if response.status() != StatusCode::UNAUTHORIZED || attempt == 2 || elsewhere {
                return Ok(response);
            }
            let secure = endpoint.verify && response.url().scheme() == "https";
            let challenges = response.headers().get_all(WWW_AUTHENTICATE);
            let challenges = parse_challenges(challenges.iter().filter_map(|v| v.to_str().ok()));
            if challenges.is_empty() {
                return Ok(response);
            }
            match inner.tokens.answer(&inner.http, &grant, &challenges, secure, sent.as_deref()).await {
                Ok(header) => sent = Some(header),
                Err(e) => return Err(self.unauthorized(e)),
            }
        }
        Err(Error::Unauthorized("authorization failed".to_owned()))
    }

    /// The header for a request whose body cannot be sent twice; what came before has got the token.
    pub(crate) fn authorization(&self, endpoint: &Endpoint) -> Option<String> {
        self.registry.inner.tokens.get(&self.grant(endpoint))
    }

    fn grant(&self, endpoint: &Endpoint) -> Grant {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        // credentials are for the registry itself, not for whoever mirrors it
        let credentials = if endpoint.namespace.is_some() { Credentials::default() } else { self.credentials.clone() };
        Grant { host: endpoint.host.clone(), scope: format!("repository:{}:{actions}", self.name.path()), credentials }
    }

    /// Refusals to hand out a token mean that the repository is not for this user.
    fn unauthorized(&self, error: Error) -> Error {
        match error {
            Error::Unauthorized(reason) => self.denied(&reason),
            Error::Status { status, message, .. } if status.starts_with("401") || status.starts_with("403") => {
                self.denied(&message)
            }
            other => other,
        }
    }

    fn denied(&self, reason: &str) -> Error {
        match self.access {
            Access::Pull => Error::PullDenied(self.name.familiar_name()),
            Access::Push if reason.is_empty() => {
                Error::PushDenied("insufficient_scope: authorization failed".to_owned())
            }
            Access::Push => Error::PushDenied(reason.to_owned()),
        }
    }

    /// The error behind an answer that is no success.
    pub(crate) async fn refused(&self, method: &str, response: Response, what: &str) -> Error {
        match (response.status(), http::failure(self.registry.config(), method, response).await) {
            (StatusCode::NOT_FOUND, _) => Error::NotFound(what.to_owned()),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Error::Status { message, .. }) => self.denied(&message),
            (_, error) => error,
        }
    }
}

impl Registry {
    /// Whether the endpoint's fallback is what works, if that is known.
    pub(crate) fn is_plain(&self, endpoint: &Endpoint) -> Option<bool> {
        self.inner.plain.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint.host).copied()
    }

    fn learn(&self, endpoint: &Endpoint, plain: bool) {
        self.inner.plain.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.host.clone(), plain);
    }

    /// The address that works for an endpoint.
    pub(crate) fn base<'e>(&self, endpoint: &'e Endpoint) -> &'e str {
        match (&endpoint.fallback, self.is_plain(endpoint)) {
            (Some(plain), Some(true)) => plain,
            _ => &endpoint.base,
        }
    }
}

/// As much of a manifest as tells what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Shape {
    fn media_type(&self) -> String {
        match (&self.manifests, self.media_type.as_str()) {
            (Some(_), "") => "application/vnd.oci.image.index.v1+json".to_owned(),
            (None, "") => "application/vnd.oci.image.manifest.v1+json".to_owned(),
            (_, own) => own.to_owned(),
        }
    }
}

/// Whether a media type says anything.
fn is_specific(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.")
}

/// A media type without parameters.
fn essence(value: &str) -> String {
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, reqwest::header::HeaderValue::from_static(ACCEPT_MANIFESTS));
    headers
}

/// The query of `Link: </v2/x/tags/list?last=y&n=100>; rel="next"`.
pub(crate) fn next_page(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(())?;
    target.split_once('?').map(|(_, query)| query.to_owned())
}
