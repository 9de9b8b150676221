//! `ARG`s: what the caller gave, what the file declares, and which of it an instruction sees.

use std::collections::{BTreeMap, BTreeSet};

use tare_images::oci::Platform;

/// Arguments that need no declaration.
const BUILT_IN: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

type Values = BTreeMap<String, Option<String>>;

/// Arguments at one point of a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments {
    given: Values,
    /// Declared before the first stage.
    global: Values,
    /// Declared in this stage, or in the one that it goes on from.
    declared: Values,
    /// Those that hide a variable of the environment, which was there before.
    hiding: BTreeSet<String>,
    referenced: BTreeSet<String>,
}

impl Arguments {
    /// `platform` is what is there without a declaration for `FROM`, and with one in a stage.
    pub(crate) fn new(given: Values, platform: impl IntoIterator<Item = (String, String)>) -> Arguments {
        let global = platform.into_iter().map(|(name, value)| (name, Some(value))).collect();
        Arguments { given, global, ..Arguments::default() }
    }

    /// The same at the beginning of a stage.
    pub(crate) fn for_stage(&self) -> Arguments {
        Arguments { declared: Values::new(), hiding: BTreeSet::new(), ..self.clone() }
    }

    /// The same at the beginning of a stage that goes on from another.
    pub(crate) fn for_stage_after(&self, before: &Arguments) -> Arguments {
        Arguments { declared: before.declared.clone(), hiding: before.hiding.clone(), ..self.clone() }
    }

    /// An argument with a value hides a variable from then on.
    pub(crate) fn hide(&mut self, name: &str) {
        if self.value(name, &self.declared).is_some() {
            self.hiding.insert(name.to_owned());
        }
    }

    /// `ENV` is not hidden by what was declared before it.
    pub(crate) fn show(&mut self, name: &str) {
        self.hiding.remove(name);
    }

    /// What is seen of the environment.
    pub(crate) fn left(&self, environment: &[String]) -> Vec<String> {
        let hidden = |variable: &&String| self.hiding.contains(variable.split('=').next().unwrap_or_default());
        environment.iter().filter(|variable| !hidden(variable)).cloned().collect()
    }

    /// `ARG` in a stage.
    pub(crate) fn declare(&mut self, name: &str, default: Option<String>) {
        self.declared.insert(name.to_owned(), default);
        self.referenced.insert(name.to_owned());
    }

    /// `ARG` before the first stage.
    pub(crate) fn declare_global(&mut self, name: &str, default: Option<String>) {
        self.global.insert(name.to_owned(), default.clone());
        self.declare(name, default);
    }

    /// Takes over what a stage has used.
    pub(crate) fn merge(&mut self, stage: &Arguments) {
        self.referenced.extend(stage.referenced.iter().cloned());
    }

    /// What `FROM` sees, as `NAME=value`.
    pub(crate) fn globals(&self) -> Vec<String> {
        self.values(&self.global)
    }

    /// What instructions see that the environment does not have, as `NAME=value`.
    pub(crate) fn visible(&self, environment: &[String]) -> Vec<String> {
        let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
        let set: BTreeSet<String> = environment.iter().map(name).filter(|name| !self.hiding.contains(name)).collect();
        self.values(&self.declared).into_iter().filter(|variable| !set.contains(&name(variable))).collect()
    }

    /// Whether an argument is part of what a command does: those that need no declaration are not, unless declared.
    pub(crate) fn counts(&self, name: &str) -> bool {
        self.declared.contains_key(name) || !BUILT_IN.contains(&name)
    }

    /// What the caller gave and nobody wanted.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let unused = |name: &&String| !self.referenced.contains(*name) && !BUILT_IN.contains(&name.as_str());
        self.given.keys().filter(unused).map(String::as_str).collect()
    }

    fn values(&self, declared: &Values) -> Vec<String> {
        let names: BTreeSet<&str> = declared.keys().map(String::as_str).chain(BUILT_IN).collect();
        names.into_iter().filter_map(|name| Some(format!("{name}={}", self.value(name, declared)?))).collect()
    }

    fn value<'a>(&'a self, name: &str, declared: &'a Values) -> Option<&'a String> {
        let given = self.given.get(name).and_then(Option::as_ref);
        let default = || declared.get(name).and_then(Option::as_ref);
        let global = || self.global.get(name).and_then(Option::as_ref).filter(|_| declared.contains_key(name));
        given.or_else(default).or_else(global)
    }
}

/// `TARGETPLATFORM` and the like.
pub(crate) fn for_platform(target: Option<&Platform>) -> Vec<(String, String)> {
    let build = Platform::host();
    let target = target.unwrap_or(&build);
    let of = |prefix: &str, platform: &Platform| {
        let values = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone()),
        ];
        values.map(|(name, value)| (format!("{prefix}{name}"), value))
    };
    [of("BUILD", &build), of("TARGET", target)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        let text = |text: &str| Some(text.to_owned());
        let given = [("A".to_owned(), text("given")), ("X".to_owned(), text("x")), ("NO_PROXY".to_owned(), text("p"))];
        let mut arguments = Arguments::new(given.into(), [("TARGETOS".to_owned(), "linux".to_owned())]);
        arguments.declare_global("A", text("default"));
        arguments.declare_global("B", text("b"));
        assert_eq!(arguments.globals(), ["A=given", "B=b", "NO_PROXY=p", "TARGETOS=linux"]);
        let mut stage = arguments.for_stage();
        assert_eq!(stage.visible(&[]), ["NO_PROXY=p"]);
        stage.declare("B", None);
        stage.declare("C", text("c"));
        stage.declare("D", None);
        stage.declare("TARGETOS", None);
        assert_eq!(stage.visible(&["C=env".to_owned()]), ["B=b", "NO_PROXY=p", "TARGETOS=linux"]);
        assert!(stage.counts("B") && !stage.counts("NO_PROXY"));
        stage.hide("C");
        assert_eq!(stage.visible(&["C=env".to_owned()]), ["B=b", "C=c", "NO_PROXY=p", "TARGETOS=linux"]);
        assert_eq!(stage.left(&["C=env".to_owned(), "E=e".to_owned()]), ["E=e"]);
        assert_eq!(arguments.for_stage_after(&stage).visible(&[]), stage.visible(&[]));
        stage.show("C");
        assert_eq!(stage.left(&["C=env".to_owned()]), ["C=env"]);
        arguments.merge(&stage);
        assert_eq!(arguments.unused(), ["X"]);
    }
}
