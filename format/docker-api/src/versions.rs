//! API versions.

use std::fmt;
use std::str::FromStr;

/// An API version `major.minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u32,
    /// Compared as a number: 1.9 is below 1.40.
    pub minor: u32,
}

impl ApiVersion {
    /// `1.minor`.
    pub const fn v1(minor: u32) -> Self {
        ApiVersion { major: 1, minor }
    }
}

/// The newest version spoken; what a request without a version gets.
pub const MAX: ApiVersion = ApiVersion::v1(55);
/// The oldest version accepted by default.
pub const MIN: ApiVersion = ApiVersion::v1(40);
/// The oldest version a setting can allow. Below it errors are plain text.
pub const FLOOR: ApiVersion = ApiVersion::v1(24);

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = InvalidVersion;
    /// Reads `1.55`; a missing minor number is zero.
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let number = |s: &str| {
            let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| s.parse().unwrap_or(u32::MAX)).ok_or_else(|| InvalidVersion(text.to_owned()))
        };
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(ApiVersion { major: number(major)?, minor: number(minor)? })
    }
}

/// A text that is not `major.minor`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid API version {0:?}: must be formatted <major version>.<minor version>")]
pub struct InvalidVersion(pub String);
