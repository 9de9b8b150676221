//! Pushing: blobs that are not there yet, mounted from elsewhere or uploaded; then manifests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, StatusCode};
use tare_reference::{Digest, Reference};

use crate::config::Endpoint;
use crate::http;
use crate::repository::Repository;
use crate::{Error, Result};

/// How many times [`crate::Config::stall`] a registry has to answer once it has a whole blob: it may copy and hash it.
const STALLS_OF_ANSWER: u32 = 10;

/// How a push of a blob starts.
pub enum Upload {
    /// The registry has it already.
    Exists,
    /// The registry took it from another repository.
    Mounted,
    /// The registry waits for it, see [`Repository::upload`].
    Wanted(Place),
}

/// Where a blob is to be sent.
pub struct Place(url::Url);

impl Repository {
    /// Asks whether a blob is needed. With `from`, a repository of the same registry that has it, it may be mounted.
    pub async fn begin_upload(&self, digest: &Digest, from: Option<&Reference>) -> Result<Upload> {
        let endpoint = self.endpoint()?;
        let path = format!("blobs/{digest}");
        let response = self.request(endpoint, Method::HEAD, &path, &HeaderMap::new()).await?;
        match response.status() {
            status if status.is_success() => return Ok(Upload::Exists),
            StatusCode::NOT_FOUND => {}
            _ => return Err(self.refused("HEAD", response, digest.as_str()).await),
        }
        let mut path = "blobs/uploads/".to_owned();
        if let Some(from) = from.filter(|f| f.domain() == self.name.domain() && f.path() != self.name.path()) {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("mount", digest.as_str()).append_pair("from", from.path());
            path.push('?');
            path.push_str(&query.finish());
        }
        let response = self.request(endpoint, Method::POST, &path, &no_body()).await?;
        match response.status() {
            StatusCode::CREATED => Ok(Upload::Mounted),
            StatusCode::ACCEPTED => {
                let place = location(&response)?;
                Ok(Upload::Wanted(Place(place)))
            }
            _ => Err(self.refused("POST", response, &self.name.to_string()).await),
        }
    }

    /// Sends a blob of `size` bytes to where [`Self::begin_upload`] said, in one request.
    pub async fn upload<S>(&self, place: Place, digest: &Digest, size: u64, content: S) -> Result<()>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let config = self.registry.config();
        let endpoint = self.endpoint()?;
        let mut url = place.0;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let base = url::Url::parse(self.registry.base(endpoint)).ok();
        let at_home = base.is_some_and(|base| base.origin() == url.origin());
        let http = &self.registry.inner.http;
        let client = if at_home { http.client(&endpoint.host, endpoint.verify)? } else { http.client_for_url(&url)? };
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let content = content.inspect(move |chunk| {
            counter.fetch_add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64), Ordering::Relaxed);
        });
        let mut request = client
            .put(url.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, size)
            .body(Body::wrap_stream(content));
        // where a registry sends uploads is no place for its credentials
        if let Some(header) = self.authorization(endpoint).filter(|_| at_home) {
            request = request.header(AUTHORIZATION, header);
        }
        let mut sending = std::pin::pin!(http::send_patiently(request));
        let (mut seen, mut idle) = (0, 0);
        let response = loop {
            if let Ok(response) = tokio::time::timeout(config.stall, &mut sending).await {
                break response?;
            }
            let now = taken.load(Ordering::Relaxed);
            idle = if now == seen { idle + 1 } else { 0 };
            seen = now;
            if idle >= if seen == size { STALLS_OF_ANSWER } else { 1 } {
                return Err(http::silence("PUT", &url));
            }
        };
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.refused("PUT", response, digest.as_str()).await)
    }

    /// Stores a manifest or index under a tag or its digest.
    pub async fn put_manifest(&self, tag: &str, media_type: &str, bytes: Bytes) -> Result<()> {
        let endpoint = self.endpoint()?;
        let base = self.registry.base(endpoint);
        let text = format!("{base}/v2/{}/manifests/{tag}", self.name.path());
        let url = url::Url::parse(&text).map_err(|e| Error::Config(format!("invalid address {text:?}: {e}")))?;
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(media_type);
        headers.insert(CONTENT_TYPE, value.map_err(|e| Error::Config(format!("media type {media_type:?}: {e}")))?);
        let response = self.send(endpoint, Method::PUT, &url, &headers, Some(&bytes)).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.refused("PUT", response, &self.full(tag)).await)
    }

    /// The registry itself; nothing is pushed to mirrors.
    fn endpoint(&self) -> Result<&Endpoint> {
        self.endpoints.last().ok_or_else(|| Error::Config(format!("no registry for {}", self.name)))
    }
}

fn no_body() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers
}

/// `Location`, which may be relative to the request.
fn location(response: &reqwest::Response) -> Result<url::Url> {
    let malformed =
        |reason: String| Error::Malformed { what: "upload location", url: response.url().to_string(), reason };
    let text = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
    let text = text.ok_or_else(|| malformed("no Location header".to_owned()))?;
    response.url().join(text).map_err(|e| malformed(e.to_string()))
}
