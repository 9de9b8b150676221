//! Choosing a manifest of an index for a platform (image-spec, image-index.md; variants as containerd orders them).

use std::fmt;

use crate::oci::{Descriptor, Platform};

/// A platform specifier that names no platform. The texts are containerd's, which Docker passes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlatform {
    /// A single word that is neither.
    #[error("\"{0}\": unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// Characters or a number of components that no platform has.
    #[error("\"{0}\": cannot parse platform specifier: invalid argument")]
    Specifier(String),
}

impl Platform {
    /// What this machine runs.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), ..Platform::default() }.normalised()
    }

    /// Parses `os/arch[/variant]`, `arch` or `os`, as `--platform` takes it; what is missing comes from the host.
    pub fn parse(s: &str) -> Result<Platform, BadPlatform> {
        let valid = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let parts: Vec<&str> = s.split('/').collect();
        if !parts.iter().all(|p| valid(p)) {
            return Err(BadPlatform::Specifier(s.to_owned()));
        }
        let host = Platform::host();
        let lower: Vec<String> = parts.iter().map(|p| p.to_ascii_lowercase()).collect();
        let (os, architecture, variant) = match lower.as_slice() {
            [os] if matches!(os.as_str(), "linux" | "windows" | "darwin" | "freebsd") => {
                (os.clone(), host.architecture, String::new())
            }
            [architecture] if is_architecture(architecture) => {
                ("linux".to_owned(), architecture.clone(), String::new())
            }
            [os, architecture] => (os.clone(), architecture.clone(), String::new()),
            [os, architecture, variant] => (os.clone(), architecture.clone(), variant.clone()),
            [_] => return Err(BadPlatform::Unknown(s.to_owned())),
            _ => return Err(BadPlatform::Specifier(s.to_owned())),
        };
        Ok(Platform { architecture, os, os_version: String::new(), variant }.normalised())
    }

    /// Common other names replaced, default variants dropped for amd64 and filled in for arm.
    #[must_use]
    pub fn normalised(mut self) -> Platform {
        let (architecture, variant) = match (self.architecture.as_str(), self.variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("i386" | "i686" | "386", _) => ("386", ""),
            ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (a, v) => (a, v),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.to_owned());
        (self.architecture, self.variant) = (architecture, variant);
        self
    }

    /// How well an image for `other` suits this platform: lower is better, `None` is not at all.
    fn rank(&self, other: &Platform) -> Option<u32> {
        let other = other.clone().normalised();
        if self.os != other.os {
            return None;
        }
        match (self.architecture.as_str(), other.architecture.as_str()) {
            ("arm64", "arm64") | ("amd64", "amd64") | ("arm", "arm") => {
                let own = version(&self.architecture, &self.variant);
                let theirs = version(&other.architecture, &other.variant);
                own.checked_sub(theirs)
            }
            ("arm64", "arm") => 8u32.checked_sub(version("arm", &other.variant)).map(|d| 100 + d),
            (a, b) if a == b && self.variant == other.variant => Some(0),
            _ => None,
        }
    }

    /// Whether an image for `other` runs on this platform.
    pub fn accepts(&self, other: &Platform) -> bool {
        self.rank(other).is_some()
    }

    /// Whether an image is for exactly this platform.
    pub fn is(&self, other: &Platform) -> bool {
        let (own, other) = (self.clone().normalised(), other.clone().normalised());
        (own.os, own.architecture, own.variant) == (other.os, other.architecture, other.variant)
    }

    /// The manifest that suits best, attestations left out; one without a platform suits if nothing else does.
    pub fn select<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        manifests
            .iter()
            .filter(|m| !m.is_attestation())
            .filter_map(|m| match &m.platform {
                Some(platform) => self.rank(platform).map(|rank| (rank, m)),
                None => Some((u32::MAX, m)),
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, m)| m)
    }
}

/// `v8` → 8, with the architecture's baseline for an empty variant.
fn version(architecture: &str, variant: &str) -> u32 {
    let number = variant.trim_start_matches('v').split('.').next().unwrap_or("");
    number.parse().unwrap_or(match architecture {
        "arm64" => 8,
        "arm" => 7,
        _ => 1,
    })
}

fn is_architecture(s: &str) -> bool {
    matches!(
        s,
        "386"
            | "amd64"
            | "arm"
            | "arm64"
            | "armhf"
            | "armel"
            | "aarch64"
            | "x86_64"
            | "x86-64"
            | "i386"
            | "i686"
            | "ppc64"
            | "ppc64le"
            | "s390x"
            | "riscv64"
            | "mips64"
            | "mips64le"
            | "loong64"
    )
}

/// `linux/arm64/v9`
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}
