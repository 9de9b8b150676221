//! The handlers: read the request, call the engine, write the answer. One file per resource.
//!
//! [`routes`] is the table of all of them.

pub mod alerts;
pub mod build;
mod build_steps;
pub mod buildkit;
pub mod containers;
pub mod exec;
pub mod images;
pub mod networks;
pub mod routes;
pub mod streams;
pub mod system;
pub mod unsupported;
pub mod volumes;
mod websocket;

use std::sync::Arc;

use http::StatusCode;
use tare_alerts::Alerts;
use tare_buildkit::Front;
use tare_docker_api::auth::{AuthConfig, decode_header};
use tare_docker_api::oci::Platform;
use tare_engine::{Credentials, Engine, ErrorKind};

use crate::error::{Failure, Result};
use crate::json;
use crate::request::Request;
use crate::server::{Config, Server};

/// What all handlers share.
#[derive(Clone)]
pub struct Context {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The alerts.
    pub alerts: Arc<Alerts>,
    /// The builder's front for BuildKit's clients.
    pub front: Front,
    /// What the server says about itself.
    pub config: Arc<Config>,
}

/// A server of Docker's API for an engine.
pub fn server(engine: Arc<Engine>, alerts: Arc<Alerts>, config: Config) -> Arc<Server<Context>> {
    let front = Front::new(Arc::clone(&engine));
    let context = Context { engine, alerts, front, config: Arc::new(config.clone()) };
    Server::new(context, routes::ROUTES, config)
}

impl From<tare_engine::Error> for Failure {
    fn from(error: tare_engine::Error) -> Self {
        let status = match error.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure { status, message: error.message }
    }
}

/// The credentials of `X-Registry-Auth`. A header that is no credentials counts as none, as in Docker.
fn registry_credentials(request: &Request) -> Option<Credentials> {
    let auth: AuthConfig = decode_header(request.header("x-registry-auth")).ok()?;
    (auth != AuthConfig::default()).then_some(Credentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
        server_address: auth.server_address,
    })
}

/// The parameter `platform` where it is JSON, as `os/architecture[/variant]`; `None` below API 1.`since`.
fn json_platform(request: &Request, since: u32) -> Result<Option<String>> {
    match request.query.text("platform").filter(|_| !request.below(since)) {
        Some(text) => decode_platform(text).map(Some),
        None => Ok(None),
    }
}

/// Reads a platform written as JSON. The sentences are Docker's.
fn decode_platform(text: &str) -> Result<String> {
    let platform: Platform = serde_json::from_str(text)
        .map_err(|error| Failure::bad_request(format!("failed to parse platform: {}", json::why(text, &error))))?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        let more = !platform.variant.is_empty() || !platform.os_version.is_empty() || !platform.os_features.is_empty();
        let message = if platform.os.is_empty() && platform.architecture.is_empty() && more {
            "optional platform fields provided, but OS and Architecture are missing"
        } else {
            "both OS and Architecture must be provided"
        };
        return Err(Failure::bad_request(message));
    }
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if !platform.variant.is_empty() {
        text = format!("{text}/{}", platform.variant);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        assert_eq!(
            decode_platform(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#).unwrap(),
            "linux/arm64/v8"
        );
        let message = |text| decode_platform(text).unwrap_err().message;
        assert_eq!(message("{}"), "both OS and Architecture must be provided");
        assert_eq!(
            message(r#"{"variant":"v8"}"#),
            "optional platform fields provided, but OS and Architecture are missing"
        );
        assert!(message("linux/arm64").starts_with("failed to parse platform: "));
    }
}
