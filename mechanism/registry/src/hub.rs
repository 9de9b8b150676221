//! Docker Hub's search, and login at any registry.

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde::Deserialize;
use tare_reference::DEFAULT_DOMAIN;

use crate::auth::{Login, basic_header, login, parse_challenges};
use crate::config::{Credentials, HUB_SEARCH};
use crate::http;
use crate::repository::Registry;
use crate::{Error, Result};

/// Largest search result read, in bytes: 100 results of a few hundred bytes.
const MAX_SEARCH: u64 = 4 << 20;

/// A repository that a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SearchResult {
    /// Stars.
    #[serde(default)]
    pub star_count: i64,
    /// Whether Docker maintains it.
    #[serde(default)]
    pub is_official: bool,
    /// Familiar name.
    #[serde(default)]
    pub name: String,
    /// Always false nowadays.
    #[serde(default)]
    pub is_automated: bool,
    /// First line of what it says about itself.
    #[serde(default)]
    pub description: String,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<SearchResult>,
}

impl Registry {
    /// Searches Docker Hub, or the registry that the term starts with (`registry.example/term`), for at most
    /// `limit` results.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<SearchResult>> {
        let (host, term) = match term.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
            _ => (None, term),
        };
        let base = match host {
            None | Some("docker.io" | "index.docker.io") => HUB_SEARCH.to_owned(),
            Some(host) if self.config().is_insecure(host) => format!("http://{host}"),
            Some(host) => format!("https://{host}"),
        };
        let mut url = url::Url::parse(&format!("{base}/v1/search"))
            .map_err(|e| Error::Config(format!("invalid registry {base:?}: {e}")))?;
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let mut request = self.inner.http.client_for_url(&url)?.get(url.clone());
        if let Some(credentials) = credentials.filter(|c| !c.username.is_empty()) {
            request = request.header(AUTHORIZATION, basic_header(credentials));
        }
        let response = http::send(self.config(), request).await.map_err(Error::without_task)?;
        if !response.status().is_success() {
            return Err(http::failure(self.config(), "GET", response).await);
        }
        let body = http::read(self.config(), response, "search results", MAX_SEARCH).await?;
        let results: Results = serde_json::from_slice(&body).map_err(|e| Error::Malformed {
            what: "search results",
            url: url.to_string(),
            reason: e.to_string(),
        })?;
        Ok(results.results)
    }

    /// Checks credentials at a registry (`POST /auth`): a server address as the client sends it, empty for Docker Hub.
    /// Returns an identity token where the registry gives one, else an empty string.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<String> {
        let server = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = server.split('/').next().unwrap_or_default();
        let domain = match host {
            "" | "index.docker.io" | "registry-1.docker.io" => DEFAULT_DOMAIN,
            host => host,
        };
        let mut last = None;
        for endpoint in self.config().endpoints(domain).iter().filter(|e| e.namespace.is_none()) {
            let bases = std::iter::once(&endpoint.base).chain(&endpoint.fallback);
            for base in bases {
                match self.login_at(base, &endpoint.host, endpoint.verify, credentials).await {
                    Err(e) if e.is_transport() => last = last.or(Some(e)),
                    other => return other,
                }
            }
        }
        Err(last.map(Error::without_task).unwrap_or_else(|| Error::Config(format!("no registry at {server:?}"))))
    }

    async fn login_at(&self, base: &str, host: &str, verify: bool, credentials: &Credentials) -> Result<String> {
        let url = format!("{base}/v2/");
        let client = self.inner.http.client(host, verify)?;
        let response = http::send(self.config(), client.get(&url)).await?;
        if response.status().is_success() {
            return Ok(String::new());
        }
        if response.status() != StatusCode::UNAUTHORIZED {
            return Err(http::failure(self.config(), "GET", response).await);
        }
        let secure = verify && response.url().scheme() == "https";
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = parse_challenges(challenges.iter().filter_map(|v| v.to_str().ok()));
        let refused = |reason: &str| Error::Unauthorized(format!("Get \"{url}\": {reason}"));
        let (header, identity) = match login(&self.inner.http, &challenges, secure, credentials).await {
            Ok(Login::Basic(header)) => (header, String::new()),
            Ok(Login::Token { header, identity }) => (header, identity),
            Err(Error::Unauthorized(reason)) => return Err(refused(&reason)),
            Err(e) => return Err(e),
        };
        let response = http::send(self.config(), client.get(&url).header(AUTHORIZATION, header)).await?;
        match response.status() {
            status if status.is_success() => Ok(identity),
            StatusCode::UNAUTHORIZED => match http::failure(self.config(), "GET", response).await {
                Error::Status { message, .. } if !message.is_empty() => Err(refused(&message)),
                _ => Err(refused("unauthorized: incorrect username or password")),
            },
            _ => Err(http::failure(self.config(), "GET", response).await),
        }
    }
}
