//! Credentials for registries, where docker keeps them: `config.json`, or a helper program that it names.
//!
//! [`lookup`] finds them, [`registry_auth`] makes the header that carries them; [`key`] is a registry's name in all of this.

use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tare_docker_api::auth::{AuthConfig, encode_header};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::cli::Cli;
use crate::config::ConfigFile;
use crate::error::CliError;

/// Docker Hub's key.
pub const HUB: &str = "https://index.docker.io/v1/";
/// The variable that holds credentials as `{"auths":{…}}`; they come before all others.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";
/// The user name that says that the secret is a token.
const TOKEN_USER: &str = "<token>";
/// What helpers say when they know nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A registry's key by its domain, as image names have it.
pub fn key(domain: &str) -> &str {
    if matches!(domain, "docker.io" | "index.docker.io") { HUB } else { domain }
}

/// The header `X-Registry-Auth` for a registry's domain; of an empty document when nothing is known.
pub async fn registry_auth(cli: &Cli, domain: &str) -> Result<String, CliError> {
    let found = lookup(cli.config()?, key(domain)).await?;
    Ok(encode_header(&found.unwrap_or_default()))
}

/// The credentials for a registry.
pub async fn lookup(config: &ConfigFile, key: &str) -> Result<Option<AuthConfig>, CliError> {
    if let Ok(text) = std::env::var(VARIABLE)
        && !text.is_empty()
    {
        let document: Value = serde_json::from_str(&text)
            .map_err(|e| CliError::new(format!("failed to create credential store from {VARIABLE}: {e}")))?;
        if let Some(found) = document.get("auths").and_then(Value::as_object).and_then(|auths| in_file(auths, key)) {
            return Ok(Some(found));
        }
    }
    match helper(config, key) {
        Some(helper) => ask(helper, key).await,
        None => Ok(config.values.get("auths").and_then(Value::as_object).and_then(|auths| in_file(auths, key))),
    }
}

/// The helper program that keeps a registry's credentials, if any: `docker-credential-HELPER`.
pub fn helper<'a>(config: &'a ConfigFile, key: &str) -> Option<&'a str> {
    let own = config.values.get("credHelpers").and_then(|helpers| helpers.get(host_of(key))).and_then(Value::as_str);
    own.or_else(|| Some(config.text("credsStore"))).filter(|helper| !helper.is_empty())
}

/// The host of a key that may be an address.
fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

/// Credentials in `auths`, by the key or by another spelling of the same host.
fn in_file(auths: &Map<String, Value>, key: &str) -> Option<AuthConfig> {
    let entry =
        auths.get(key).or_else(|| auths.iter().find(|(name, _)| host_of(name) == host_of(key)).map(|(_, v)| v))?;
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut out = AuthConfig {
        username: text("username"),
        password: text("password"),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        server_address: key.to_owned(),
        ..AuthConfig::default()
    };
    if let Some((user, password)) = decode(&text("auth")) {
        out.username = user;
        out.password = password;
    }
    Some(out)
}

/// `user:password` from base64.
fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_matches('\0').to_owned()))
}

/// `user:password` in base64, as `auths` holds it.
pub fn encode(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

async fn ask(helper: &str, key: &str) -> Result<Option<AuthConfig>, CliError> {
    let output = run_helper(helper, "get", key.as_bytes()).await?;
    let Some(output) = output else { return Ok(None) };
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|e| CliError::new(format!("error getting credentials - docker-credential-{helper}: {e}")))?;
    let mut out = AuthConfig { server_address: key.to_owned(), ..AuthConfig::default() };
    if answer.username == TOKEN_USER {
        out.identity_token = answer.secret;
    } else {
        out.username = answer.username;
        out.password = answer.secret;
    }
    Ok(Some(out))
}

/// Runs `docker-credential-HELPER ACTION` with some input; gives its output, `None` when it knows nothing.
pub async fn run_helper(helper: &str, action: &str, input: &[u8]) -> Result<Option<Vec<u8>>, CliError> {
    let program = format!("docker-credential-{helper}");
    let what = if action == "get" { "getting" } else { "storing" };
    let fail = |why: String| CliError::new(format!("error {what} credentials - err: {why}"));
    if helper.contains('/') {
        return Err(fail(format!("`{helper}` is not the name of a credential helper")));
    }
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| fail(format!("exec: \"{program}\": {}, out: ``", tare_sys::errno::words(&e))))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why below.
        let _ = stdin.write_all(input).await;
    }
    let output = child.wait_with_output().await.map_err(|e| fail(e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    if said.trim() == NOT_FOUND {
        return Ok(None);
    }
    Err(fail(format!("{}, out: `{}`", output.status, said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ConfigFile {
        ConfigFile { values: serde_json::from_str(text).unwrap(), ..ConfigFile::default() }
    }

    #[test]
    fn from_the_file() {
        let config = config(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="},"https://r.example/v2/":{"identitytoken":"t"}},
                "credHelpers":{"h.example":"x"}}"#,
        );
        let auths = config.values["auths"].as_object().unwrap();
        let hub = in_file(auths, key("docker.io")).unwrap();
        assert_eq!((hub.username.as_str(), hub.password.as_str()), ("u", "p:w"));
        assert_eq!(hub.server_address, HUB);
        assert_eq!(in_file(auths, "r.example").unwrap().identity_token, "t");
        assert_eq!(in_file(auths, "other.example"), None);
        assert_eq!(helper(&config, "h.example"), Some("x"));
        assert_eq!(helper(&config, HUB), None);
        assert_eq!(decode(&encode("u", "p:w")), Some(("u".into(), "p:w".into())));
    }

    #[test]
    fn nothing_known_is_an_empty_document() {
        assert_eq!(encode_header(&AuthConfig::default()), "e30=");
    }
}
