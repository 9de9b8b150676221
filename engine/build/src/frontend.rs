//! Frontends: images with a program that reads Dockerfiles. This engine reads them itself, and runs none.

use tare_engine::{Error, Result};

/// Those whose language is the one that is read here.
const OWN: [&str; 4] = [
    "docker/dockerfile",
    "docker.io/docker/dockerfile",
    "docker/dockerfile-upstream",
    "docker.io/docker/dockerfile-upstream",
];

/// Whether a frontend's image stands for what this engine does by itself.
pub fn is_own_frontend(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    OWN.contains(&name)
}

/// Refuses a Dockerfile that asks for another (`# syntax=image`).
pub(crate) fn check(text: &str) -> Result<()> {
    match directive(text, "syntax").filter(|image| !is_own_frontend(image)) {
        Some(image) => {
            Err(Error::invalid(format!("the Dockerfile frontend {image:?} is not supported by this engine")))
        }
        None => Ok(()),
    }
}

/// What a Dockerfile says at its beginning (`# name=value`).
pub(crate) fn directive<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines() {
        // Directives stand before everything else.
        let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.trim());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_come_first() {
        for (text, found) in [
            ("# syntax=docker/dockerfile:1\nFROM x\n", Some("docker/dockerfile:1")),
            ("#escape=`\n#SYNTAX = a/b@sha256:00\n", Some("a/b@sha256:00")),
            ("# a comment\n# syntax=x\n", None),
            ("FROM x\n# syntax=x\n", None),
            ("\n# syntax=x\n", None),
        ] {
            assert_eq!(directive(text, "syntax"), found, "{text}");
        }
        assert!(
            is_own_frontend("docker.io/docker/dockerfile:1.7-labs@sha256:00") && is_own_frontend("docker/dockerfile")
        );
        assert!(!is_own_frontend("host:5000/docker/dockerfile") && !is_own_frontend("other/dockerfile:1"));
    }
}
