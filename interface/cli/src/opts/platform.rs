//! `--platform os[/architecture[/variant]]`, normalised as the API expects it.

use tare_docker_api::oci::Platform;

use super::{Parsed, invalid};
use crate::values::quote;

/// Reads a platform. An operating system or an architecture alone is completed from this machine.
pub fn parse(spec: &str) -> Parsed<Platform> {
    // What is more than docker knows of is one more part, which is not good.
    let parts: Vec<&str> = spec.splitn(4, '/').collect();
    for part in &parts {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if part.is_empty() || !part.bytes().all(good) {
            return invalid(format_args!(
                "{} is an invalid component of {}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": \
                 invalid argument",
                quote(part),
                quote(spec)
            ));
        }
    }
    // The default variant of arm is not spelled out.
    let short = |architecture: String, variant: String| match (architecture.as_str(), variant.as_str()) {
        ("arm", "v7") => (architecture, String::new()),
        _ => (architecture, variant),
    };
    let (os, architecture, variant) = match parts[..] {
        [one] if is_known_os(&normal_os(one)) => (normal_os(one), native().0.to_owned(), native().1.to_owned()),
        [one] => {
            let (architecture, variant) = normal_architecture(one, "");
            if !is_known_architecture(&architecture) {
                return invalid(format_args!(
                    "{}: unknown operating system or architecture: invalid argument",
                    quote(spec)
                ));
            }
            let (architecture, variant) = short(architecture, variant);
            ("linux".to_owned(), architecture, variant)
        }
        [os, architecture] => {
            let (architecture, variant) = normal_architecture(architecture, "");
            let (architecture, variant) = short(architecture, variant);
            (normal_os(os), architecture, variant)
        }
        [os, architecture, variant] => {
            let (architecture, variant) = normal_architecture(architecture, variant);
            let variant = if architecture == "arm64" && variant.is_empty() { "v8".to_owned() } else { variant };
            (normal_os(os), architecture, variant)
        }
        _ => return invalid(format_args!("{}: cannot parse platform specifier: invalid argument", quote(spec))),
    };
    Ok(Platform { os, architecture, variant, ..Platform::default() })
}

/// `linux/arm64/v8`, without what is empty: as the query parameter `platform` of the older endpoints takes it.
pub fn format(platform: &Platform) -> String {
    let parts = [platform.os.as_str(), &platform.architecture, &platform.variant];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn normal_os(os: &str) -> String {
    match os.to_lowercase().as_str() {
        "macos" => "darwin".into(),
        other => other.to_owned(),
    }
}

fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", if variant == "v1" { "" } else { variant }),
        ("aarch64" | "arm64", variant) => ("arm64", if matches!(variant, "8" | "v8") { "" } else { variant }),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

fn is_known_os(os: &str) -> bool {
    const KNOWN: [&str; 13] = [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "netbsd",
        "openbsd",
        "solaris",
        "windows",
    ];
    KNOWN.contains(&os)
}

fn is_known_architecture(architecture: &str) -> bool {
    const KNOWN: [&str; 14] = [
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
        "riscv64", "s390x", "wasm",
    ];
    KNOWN.contains(&architecture)
}

/// This machine's architecture and variant in Go's names.
fn native() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "aarch64" => ("arm64", ""),
        "x86" => ("386", ""),
        "powerpc64" => ("ppc64le", ""),
        other => (other, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        parse(spec).map_or_else(|e| format!("! {e}"), |p| format(&p))
    }

    #[test]
    fn platforms() {
        assert_eq!(show("linux/amd64"), "linux/amd64");
        assert_eq!(show("Linux/x86_64"), "linux/amd64");
        assert_eq!(show("linux/arm64/v8"), "linux/arm64/v8");
        assert_eq!(show("linux/aarch64"), "linux/arm64");
        assert_eq!(show("linux/arm"), "linux/arm");
        assert_eq!(show("linux/arm/6"), "linux/arm/v6");
        assert_eq!(show("armhf"), "linux/arm");
        assert_eq!(show("linux"), format!("linux/{}", native().0));
        insta::assert_snapshot!(show("linux/"), @r#"! "" is an invalid component of "linux/": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument"#);
        insta::assert_snapshot!(show("a/b/c/d"), @r#"! "a/b/c/d": cannot parse platform specifier: invalid argument"#);
        insta::assert_snapshot!(show("foo"), @r#"! "foo": unknown operating system or architecture: invalid argument"#);
    }

    proptest::proptest! {
        #[test]
        fn parsing_is_stable(spec in "(linux|windows|amd64|arm64|arm|v7|v8|/|x){1,5}") {
            if let Ok(platform) = parse(&spec) {
                let shown = format(&platform);
                proptest::prop_assert_eq!(parse(&shown).map(|p| format(&p)), Ok(shown.clone()));
            }
        }
    }
}
