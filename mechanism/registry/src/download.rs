//! Files by HTTP that are no registry's: `ADD https://…`, contexts of builds, archives to import.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use reqwest::Response;
use reqwest::header::{CONTENT_DISPOSITION, LAST_MODIFIED};

use crate::http::{self, read};
use crate::patience::Patience;
use crate::{Error, Registry, Result};

/// Largest error document read, in bytes.
const MAX_ERROR: u64 = 4 << 10;

/// A file on its way.
#[derive(Debug)]
pub struct Download {
    /// Path of the URL that was asked for.
    asked: String,
    response: Response,
    patience: Patience,
}

impl Registry {
    /// Begins to fetch a file. Redirects are followed; the engine's proxies and certificates count, credentials are not
    /// sent. Errors: as Docker words them; what is no HTTP URL is [`Error::Config`].
    pub async fn download(&self, url: &str) -> Result<Download> {
        let parsed = url::Url::parse(url).map_err(|error| Error::Config(format!("parse {url:?}: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(Error::Config(format!("unsupported protocol scheme {:?}", parsed.scheme())));
        }
        let asked = parsed.path().to_owned();
        // Any host's certificate is checked: insecure registries are insecure as registries only.
        let client = self.inner.http.client(parsed.host_str().unwrap_or_default(), true)?;
        let response = http::send(self.config(), client.get(parsed)).await.map_err(Error::without_task)?;
        let status = response.status();
        if !status.is_success() {
            let body = read(self.config(), response, "error", MAX_ERROR).await.unwrap_or_default();
            let reason = status.canonical_reason().unwrap_or_default();
            let said = String::from_utf8_lossy(&body);
            let status = format!("{} {reason}", status.as_u16());
            return Err(Error::Config(format!("failed to GET {url} with status {}: {}", status.trim(), said.trim())));
        }
        Ok(Download { asked, response, patience: Patience::new(self.config()) })
    }
}

impl Download {
    /// Bytes that are announced.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// `Last-Modified`.
    pub fn modified(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.header(&LAST_MODIFIED)?).ok()
    }

    /// The file's name: the last part of the URL that was asked for, of the one that it led to, or what
    /// `Content-Disposition` says.
    pub fn name(&self) -> Option<String> {
        let last = |path: &str| path.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned);
        let named = last(&self.asked).or_else(|| last(self.response.url().path()));
        let named = named.or_else(|| {
            let (_, name) = self.header(&CONTENT_DISPOSITION)?.split_once("filename=")?;
            let name = name.split(';').next().unwrap_or_default().trim().trim_matches('"');
            name.rsplit(['/', '\\']).next().map(str::to_owned)
        });
        named.filter(|name| !matches!(name.as_str(), "" | "." | ".."))
    }

    /// The content.
    pub fn stream(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
        unfold(self, |mut file| async move {
            let chunk = file.patience.chunk(&mut file.response).await.map_err(|error| match error {
                Error::Transfer(reason) => std::io::Error::other(reason),
                other => std::io::Error::other(other),
            });
            chunk.transpose().map(|chunk| (chunk, file))
        })
    }

    fn header(&self, name: &reqwest::header::HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}
