//! Authorization: challenges of `WWW-Authenticate`, tokens and how long they last.
//!
//! Sources: RFC 9110 §11, distribution's token and OAuth2 specifications.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::config::Credentials;
use crate::http::{self, Http};
use crate::{Error, Result};

/// What a token lasts when the server does not say, by the specification.
const DEFAULT_LIFETIME: u64 = 60;
/// Tokens are renewed this much before they end, so that they last for the request they are put on.
const MARGIN: Duration = Duration::from_secs(5);
/// Largest answer of a token server, in bytes; tokens themselves stay below 16 KiB.
const MAX_TOKEN_ANSWER: u64 = 1 << 20;
/// Name of this client at token servers: the one that Docker's daemon uses.
const CLIENT_ID: &str = "containerd-client";

/// A scheme that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token from elsewhere.
    Bearer {
        realm: String,
        service: String,
        scope: String,
        /// Why the token sent was not enough.
        error: String,
    },
}

/// Parses all `WWW-Authenticate` headers; the order is the server's preference. Unknown schemes are left out.
pub(crate) fn parse_challenges<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers.filter_map(parse_challenge).collect()
}

fn parse_challenge(header: &str) -> Option<Challenge> {
    let header = header.trim();
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parse_parameters(rest);
    let mut take = |name: &str| parameters.remove(name).unwrap_or_default();
    let realm = take("realm");
    (!realm.is_empty()).then(|| Challenge::Bearer {
        realm,
        service: take("service"),
        scope: take("scope"),
        error: take("error"),
    })
}

/// `name="value", name=value`; quotes may hide commas and are escaped by backslashes.
fn parse_parameters(text: &str) -> HashMap<String, String> {
    let mut parameters = HashMap::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| matches!(c, ' ' | ',' | '\t')).is_some() {}
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| !matches!(c, '=' | ',' | ' ')) {
            name.push(c.to_ascii_lowercase());
        }
        if name.is_empty() || rest.next_if_eq(&'=').is_none() {
            return parameters;
        }
        let mut value = String::new();
        if rest.next_if_eq(&'"').is_some() {
            while let Some(c) = rest.next().filter(|c| *c != '"') {
                value.push(if c == '\\' { rest.next().unwrap_or(c) } else { c });
            }
        } else {
            while let Some(c) = rest.next_if(|c| !matches!(c, ',' | ' ')) {
                value.push(c);
            }
        }
        parameters.insert(name, value);
    }
}

/// What a request is authorized for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    pub(crate) host: String,
    pub(crate) scope: String,
    pub(crate) credentials: Credentials,
}

struct Cached {
    header: String,
    until: Option<Instant>,
}

/// Header values by what they are good for.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Grant, Cached>>);

impl Tokens {
    /// The header for a request, if one is known and still good.
    pub(crate) fn get(&self, grant: &Grant) -> Option<String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = tokens.get(grant)?;
        let good = cached.until.is_none_or(|until| Instant::now() + MARGIN < until);
        good.then(|| cached.header.clone())
    }

    /// Answers a 401: finds a scheme, gets a token. `secure` is whether the 401 came over verified TLS; `refused` is the
    /// header that was sent, if any.
    pub(crate) async fn answer(
        &self,
        http: &Http,
        grant: &Grant,
        challenges: &[Challenge],
        secure: bool,
        refused: Option<&str>,
    ) -> Result<String> {
        let cached = match choose(challenges, &grant.credentials)? {
            Challenge::Basic => basic(&grant.credentials)?,
            Challenge::Bearer { realm, service, scope, error } => {
                // a fresh token would be the same one, with as little scope
                if refused.is_some() && error == "insufficient_scope" {
                    return Err(Error::Unauthorized("insufficient_scope: authorization failed".to_owned()));
                }
                let scopes = merge_scopes(&grant.scope, scope);
                if secure {
                    keep_secret(http, realm, &grant.credentials)?;
                }
                bearer(http, realm, service, &scopes, &grant.credentials).await?
            }
        };
        if refused == Some(cached.header.as_str()) {
            return Err(Error::Unauthorized("authorization failed".to_owned()));
        }
        let header = cached.header.clone();
        // pulling anonymously from a thousand repositories must not fill the memory
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, t| t.until.is_none_or(|until| Instant::now() < until));
        tokens.insert(grant.clone(), cached);
        Ok(header)
    }
}

/// Refuses to send credentials for a registry that speaks TLS to a token server that does not.
fn keep_secret(http: &Http, realm: &str, credentials: &Credentials) -> Result<()> {
    let url = url::Url::parse(realm).map_err(|e| malformed(realm, &e.to_string()))?;
    if url.scheme() == "https" || credentials.is_anonymous() || http.config.is_insecure(&http::host_of(&url)) {
        return Ok(());
    }
    Err(Error::Config(format!("credentials are not sent to {realm}: the registry uses TLS, its token server does not")))
}

/// The server's first choice; someone without credentials can do nothing with basic authentication.
fn choose<'c>(challenges: &'c [Challenge], credentials: &Credentials) -> Result<&'c Challenge> {
    let bearer = challenges.iter().find(|c| credentials.is_anonymous() && **c != Challenge::Basic);
    let chosen = bearer.or(challenges.first());
    chosen.ok_or_else(|| Error::Unauthorized("no supported authentication scheme".to_owned()))
}

fn basic(credentials: &Credentials) -> Result<Cached> {
    if credentials.username.is_empty() || credentials.password.is_empty() {
        return Err(Error::NoBasicCredentials);
    }
    Ok(Cached { header: basic_header(credentials), until: None })
}

pub(crate) fn basic_header(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.username, credentials.password)))
}

/// The scope we need first, then what else the server asks for.
fn merge_scopes(own: &str, asked: &str) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in own.split(' ').chain(asked.split(' ')).filter(|s| !s.is_empty()) {
        if !scopes.iter().any(|s| s == scope) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

async fn bearer(
    http: &Http,
    realm: &str,
    service: &str,
    scopes: &[String],
    credentials: &Credentials,
) -> Result<Cached> {
    if !credentials.registry_token.is_empty() {
        return Ok(Cached { header: format!("Bearer {}", credentials.registry_token), until: None });
    }
    let answer = if credentials.is_anonymous() {
        get_token(http, realm, service, scopes, None, false).await?
    } else {
        match post_token(http, realm, service, scopes, credentials, false).await {
            Err(e) if lacks_oauth2(&e) && credentials.identity_token.is_empty() => {
                get_token(http, realm, service, scopes, Some(credentials), false).await?
            }
            other => other?,
        }
    };
    let lifetime = answer.expires_in.filter(|&s| s > 0).unwrap_or(DEFAULT_LIFETIME);
    let token = answer.token.or(answer.access_token).filter(|t| !t.is_empty());
    let token =
        token.ok_or_else(|| malformed(realm, "authorization server did not include a token in the response"))?;
    let header = format!("Bearer {token}");
    // one that cannot be sent must not be remembered
    HeaderValue::from_str(&header).map_err(|e| malformed(realm, &format!("token: {e}")))?;
    let until = Instant::now().checked_add(Duration::from_secs(lifetime));
    Ok(Cached { header, until })
}

async fn get_token(
    http: &Http,
    realm: &str,
    service: &str,
    scopes: &[String],
    credentials: Option<&Credentials>,
    offline: bool,
) -> Result<TokenAnswer> {
    let mut url = url::Url::parse(realm).map_err(|e| malformed(realm, &e.to_string()))?;
    {
        let mut query = url.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
        if let Some(credentials) = credentials {
            query.append_pair("account", &credentials.username);
        }
        if offline {
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
        }
    }
    let client = http.client_for_url(&url)?;
    let mut request = client.get(url.clone());
    if let Some(credentials) = credentials {
        request = request.header(reqwest::header::AUTHORIZATION, basic_header(credentials));
    }
    token_answer(http, "GET", request, url.as_str()).await
}

async fn post_token(
    http: &Http,
    realm: &str,
    service: &str,
    scopes: &[String],
    credentials: &Credentials,
    offline: bool,
) -> Result<TokenAnswer> {
    let url = url::Url::parse(realm).map_err(|e| malformed(realm, &e.to_string()))?;
    let body = token_form(service, scopes, credentials, offline);
    let request = http
        .client_for_secrets(&url)?
        .post(url.clone())
        .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
        .body(body);
    token_answer(http, "POST", request, url.as_str()).await
}

fn token_form(service: &str, scopes: &[String], credentials: &Credentials, offline: bool) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("client_id", CLIENT_ID).append_pair("service", service);
    if !scopes.is_empty() {
        form.append_pair("scope", &scopes.join(" "));
    }
    if credentials.identity_token.is_empty() {
        form.append_pair("grant_type", "password")
            .append_pair("username", &credentials.username)
            .append_pair("password", &credentials.password);
    } else {
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", &credentials.identity_token);
    }
    if offline {
        form.append_pair("access_type", "offline");
    }
    form.finish()
}

async fn token_answer(http: &Http, method: &str, request: reqwest::RequestBuilder, url: &str) -> Result<TokenAnswer> {
    let response = http::send(&http.config, request).await?;
    if !response.status().is_success() {
        return Err(http::failure(&http.config, method, response).await);
    }
    let body = http::read(&http.config, response, "token answer", MAX_TOKEN_ANSWER).await?;
    serde_json::from_slice(&body).map_err(|e| malformed(url, &e.to_string()))
}

/// Checks credentials against a registry's challenge; gives a refresh token where the server hands them out.
pub(crate) async fn login(
    http: &Http,
    challenges: &[Challenge],
    secure: bool,
    credentials: &Credentials,
) -> Result<Login> {
    let (realm, service, scope) = match choose(challenges, credentials)? {
        Challenge::Basic => return Ok(Login::Basic(basic(credentials)?.header)),
        Challenge::Bearer { realm, service, scope, .. } => (realm, service, scope),
    };
    if secure {
        keep_secret(http, realm, credentials)?;
    }
    let scopes = merge_scopes("", scope);
    let answer = match post_token(http, realm, service, &scopes, credentials, true).await {
        Err(e) if lacks_oauth2(&e) => get_token(http, realm, service, &scopes, Some(credentials), true).await,
        other => other,
    };
    match answer {
        Ok(answer) => Ok(Login::Token {
            header: format!("Bearer {}", answer.token.or(answer.access_token).unwrap_or_default()),
            identity: answer.refresh_token.unwrap_or_default(),
        }),
        Err(Error::Status { status, message, .. }) if status.starts_with("401") => {
            let reason = if message.is_empty() { "incorrect username or password".to_owned() } else { message };
            let reason = reason.strip_prefix("unauthorized: ").unwrap_or(&reason);
            Err(Error::Unauthorized(format!("unauthorized: {reason}")))
        }
        Err(e) => Err(e),
    }
}

/// Servers that only know the older way to ask for a token answer like this.
fn lacks_oauth2(error: &Error) -> bool {
    match error {
        Error::Status { status, .. } => matches!(status.get(..3), Some("404" | "401" | "400" | "405")),
        _ => false,
    }
}

/// What a login gave.
pub(crate) enum Login {
    /// To be tried on the registry itself.
    Basic(String),
    /// The token server has accepted the credentials.
    Token { header: String, identity: String },
}

fn malformed(url: &str, reason: &str) -> Error {
    Error::Malformed { what: "token answer", url: url.to_owned(), reason: reason.to_owned() }
}
