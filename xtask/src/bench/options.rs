//! The command line of `cargo xtask bench`.

use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Only these items; all when empty.
    pub names: Vec<String>,
    /// Few rounds: a look, not a result.
    pub quick: bool,
    /// Socket of a running Docker engine.
    pub docker: Option<PathBuf>,
    /// The docker client that drives it, and us.
    pub client: Option<PathBuf>,
    /// How podman is called.
    pub podman: Option<Vec<String>>,
    /// How crun is called.
    pub crun: Option<Vec<String>>,
    /// How runc is called.
    pub runc: Option<Vec<String>>,
    /// A bundle that the peers see at the same path; by default one is made.
    pub bundle: Option<PathBuf>,
    /// URL of the mirror that has the images; by default `images/registry`.
    pub mirror: Option<String>,
}

impl Options {
    /// Reads the arguments. An option's value follows it or an equals sign.
    pub fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(option) = argument.strip_prefix("--") else {
                options.names.push((*argument).to_owned());
                continue;
            };
            if option == "quick" {
                options.quick = true;
                continue;
            }
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, rest.next().copied()),
            };
            let value = value.filter(|value| !value.trim().is_empty());
            let value = value.ok_or_else(|| format!("--{name}: no value"))?;
            let words = || Some(value.split_whitespace().map(str::to_owned).collect());
            match name {
                "docker" => options.docker = Some(value.trim_start_matches("unix://").into()),
                "client" => options.client = Some(value.into()),
                "podman" => options.podman = words(),
                "crun" => options.crun = words(),
                "runc" => options.runc = words(),
                "bundle" => options.bundle = Some(value.into()),
                "mirror" => options.mirror = Some(value.to_owned()),
                _ => return Err(format!("--{name}: no such option")),
            }
        }
        Ok(options)
    }

    /// `many`, or a tenth of it when in a hurry, but at least three.
    pub fn rounds(&self, many: usize) -> usize {
        if self.quick { (many / 10).max(3) } else { many }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_options_in_any_order() {
        let options = Options::parse(&["run", "--crun", "enter crun", "--docker=unix:///x.sock", "--quick", "oci"]);
        let expected = Options {
            names: vec!["run".to_owned(), "oci".to_owned()],
            quick: true,
            docker: Some("/x.sock".into()),
            crun: Some(vec!["enter".to_owned(), "crun".to_owned()]),
            ..Options::default()
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn mistakes() {
        assert_eq!(Options::parse(&["--crun"]), Err("--crun: no value".to_owned()));
        assert_eq!(Options::parse(&["--crun="]), Err("--crun: no value".to_owned()));
        assert_eq!(Options::parse(&["--fast", "x"]), Err("--fast: no such option".to_owned()));
    }

    #[test]
    fn a_hurry_has_a_bottom() {
        let quick = Options { quick: true, ..Options::default() };
        assert_eq!([quick.rounds(100), quick.rounds(10), Options::default().rounds(10)], [10, 3, 10]);
    }
}
