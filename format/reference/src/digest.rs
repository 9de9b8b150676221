//! Content digests: `algorithm:hex` (OCI image-spec, descriptor.md, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A parsed, valid digest such as `sha256:<64 hex digits>`.
///
/// sha256, sha384 and sha512 are accepted; only sha256 can be verified by Tare ([`Digest::is_sha256`]).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Box<str>);

/// Why a string is no digest. The texts are those clients of Docker know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `algorithm:hex` in lower case.
    #[error("invalid checksum digest format")]
    Format,
    /// Well formed, but not as long as the algorithm's output.
    #[error("invalid checksum digest length")]
    Length,
    /// Well formed, but of an algorithm other than sha256, sha384 and sha512.
    #[error("unsupported digest algorithm")]
    Unsupported,
}

impl Digest {
    /// Parses `algorithm:hex`.
    pub fn parse(s: &str) -> Result<Digest, DigestError> {
        let (algorithm, hex) = s.split_once(':').ok_or(DigestError::Format)?;
        if algorithm.is_empty() || hex.is_empty() {
            return Err(DigestError::Format);
        }
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ if is_algorithm(algorithm) && hex.bytes().all(is_encoded) => return Err(DigestError::Unsupported),
            _ => return Err(DigestError::Format),
        };
        if hex.len() != length {
            return Err(DigestError::Length);
        }
        if !hex.bytes().all(is_lower_hex) {
            return Err(DigestError::Format);
        }
        Ok(Digest(s.into()))
    }

    /// The digest of 32 bytes that SHA-256 gave.
    pub fn from_sha256(hash: &[u8; 32]) -> Digest {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut s = String::with_capacity(71);
        s.push_str("sha256:");
        for byte in hash {
            s.push(char::from(HEX[usize::from(byte >> 4)]));
            s.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Digest(s.into_boxed_str())
    }

    /// The digest `sha256:<hex>` for 64 lower-case hexadecimal digits, as in a full image ID.
    pub fn from_sha256_hex(hex: &str) -> Option<Digest> {
        is_identifier(hex).then(|| Digest(format!("sha256:{hex}").into_boxed_str()))
    }

    /// The algorithm, `sha256`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(a, _)| a)
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, h)| h)
    }

    /// The first 12 hexadecimal digits, Docker's short form of an ID.
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or("")
    }

    /// Whether Tare can verify content against it.
    pub fn is_sha256(&self) -> bool {
        self.algorithm() == "sha256"
    }

    /// The whole, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `s` is 64 lower-case hexadecimal digits: an ID, never a repository name.
pub fn is_identifier(s: &str) -> bool {
    s.len() == 64 && s.bytes().all(is_lower_hex)
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

fn is_encoded(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-')
}

/// `[a-z0-9]+([.+_-][a-z0-9]+)*`
fn is_algorithm(s: &str) -> bool {
    s.split(['.', '+', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(s: &str) -> Result<Digest, DigestError> {
        Digest::parse(s)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let s = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Digest::parse(&s).map_err(|e| serde::de::Error::custom(format_args!("{e}: {s:?}")))
    }
}
