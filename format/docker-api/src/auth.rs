//! Registry credentials, and how the headers `X-Registry-Auth` and `X-Registry-Config` carry them.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use crate::go::Map;

go_types! {
    /// Credentials for a registry: user and password, or one of the tokens.
    pub struct AuthConfig {
        username: String ["username" omitempty],
        password: String ["password" omitempty],
        /// Base64 of `user:password`.
        auth: String ["auth" omitempty],
        server_address: String ["serveraddress" omitempty],
        /// An OAuth2 refresh token.
        identity_token: String ["identitytoken" omitempty],
        /// A bearer token.
        registry_token: String ["registrytoken" omitempty],
    }

    /// Answer of `POST /auth`.
    pub struct AuthResponse {
        identity_token: String ["IdentityToken" omitempty],
        status: String ["Status"],
    }
}

/// Credentials by registry, as `X-Registry-Config` carries them for a build.
pub type AuthConfigs = Map<AuthConfig>;

/// A header that is not base64url of JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid X-Registry-Auth header: {0}")]
pub struct AuthError(String);

/// Decodes a header made of base64url (padded or not) of JSON. An empty header is the zero value.
pub fn decode_header<T: Default + serde::de::DeserializeOwned>(header: &str) -> Result<T, AuthError> {
    if header.is_empty() {
        return Ok(T::default());
    }
    let engine = if header.ends_with('=') { URL_SAFE } else { URL_SAFE_NO_PAD };
    let json = engine.decode(header).map_err(|_| AuthError("must be a valid base64url-encoded string".into()))?;
    serde_json::from_slice(&json).map_err(|e| AuthError(e.to_string()))
}

/// Encodes a header.
pub fn encode_header<T: serde::Serialize>(value: &T) -> String {
    URL_SAFE.encode(serde_json::to_vec(value).unwrap_or_default())
}
