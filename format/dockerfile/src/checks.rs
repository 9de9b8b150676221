//! Docker's build checks: what a Dockerfile says that works, and is rarely meant. Rules that need the images below
//! (`UndefinedVar`, `InvalidBaseImagePlatform`), and the experimental one, are not among them.

mod lines;
mod stages;

use crate::Expander;
use crate::ignore::Ignore;
use crate::instruction::Dockerfile;

/// One thing that is rarely meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Against which rule it is.
    pub rule: &'static Rule,
    /// What is said there.
    pub detail: String,
    /// Where, counted from 1.
    pub line: usize,
}

/// A rule of Docker's.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `StageNameCasing`
    pub name: &'static str,
    /// For people.
    pub description: &'static str,
    /// The last part of its page's address; its name with hyphens.
    page: &'static str,
}

impl Rule {
    const fn new(name: &'static str, page: &'static str, description: &'static str) -> Rule {
        Rule { name, description, page }
    }

    /// Where more is said about it.
    pub fn url(&self) -> String {
        format!("https://docs.docker.com/go/dockerfile/rule/{}/", self.page)
    }
}

/// Which checks are made, and what follows from them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// None at all.
    pub skip_all: bool,
    /// Not these.
    pub skip: Vec<String>,
    /// A build fails for them.
    pub is_error: bool,
}

impl Settings {
    /// Reads `skip=A,B;error=true`, as a directive (`# check=`) or an argument of a build has it.
    pub fn parse(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for part in text.trim().splitn(3, ';').filter(|_| !text.trim().is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("invalid check option {part:?}"))?;
            match (key.trim(), value.trim()) {
                ("skip", "all") => settings.skip_all = true,
                ("skip", names) => settings.skip = names.split(',').map(|name| name.trim().to_owned()).collect(),
                ("error", "1" | "t" | "T" | "true" | "TRUE" | "True") => settings.is_error = true,
                ("error", "0" | "f" | "F" | "false" | "FALSE" | "False") => settings.is_error = false,
                ("error", _) => return Err(format!("failed to parse check option {part:?}")),
                // The one experimental rule is about comments.
                ("experimental", _) => {}
                (key, _) => return Err(format!("invalid check option {key:?}")),
            }
        }
        Ok(settings)
    }

    /// Whether a rule counts.
    fn counts(&self, rule: &Rule) -> bool {
        !self.skip_all && !self.skip.iter().any(|name| name == rule.name)
    }
}

/// Checks a file, in the order of its lines. `ignored` has the patterns of a `.dockerignore`.
pub fn check(file: &Dockerfile, ignored: &[String], settings: &Settings) -> Vec<Finding> {
    let mut found = Found(Vec::new());
    stages::check(file, &mut found);
    lines::check(file, &patterns(ignored), &mut found);
    let mut all = found.0;
    all.retain(|finding| settings.counts(finding.rule));
    all.sort_by_key(|finding| finding.line);
    all
}

/// Patterns by which a path can be said to be left out for sure: there are no exceptions among them.
fn patterns(ignored: &[String]) -> Ignore {
    let mut patterns = Ignore::default();
    for pattern in ignored.iter().filter(|_| !ignored.iter().any(|pattern| pattern.starts_with('!'))) {
        // They were looked at when they were read.
        let _ = patterns.add(pattern);
    }
    patterns
}

struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, rule: &'static Rule, line: usize, detail: String) {
        self.0.push(Finding { rule, detail, line });
    }
}

/// What is declared before the first stage, by its defaults, with what is always there.
fn globals(file: &Dockerfile) -> Vec<String> {
    let platform = ["PLATFORM", "OS", "ARCH", "OSVERSION", "VARIANT"];
    let mut known: Vec<String> = ["BUILD", "TARGET"]
        .iter()
        .flat_map(|prefix| platform.iter().map(move |name| format!("{prefix}{name}=linux")))
        .collect();
    for argument in &file.arguments {
        let crate::Kind::Arg(declared) = &argument.kind else { continue };
        for (name, default) in declared {
            let value = default.as_ref().and_then(|text| Expander::new(file.escape, &known).word(text).ok());
            known.push(format!("{name}={}", value.unwrap_or_default()));
        }
    }
    known
}

/// The names of the variables in a text, and whether each has a value of its own there (`${name:-value}`).
fn variables(text: &str) -> Vec<(String, bool)> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        let inner = after.strip_prefix('{').unwrap_or(after);
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, following) = inner.split_at(end);
        if !name.is_empty() {
            let has_value = inner.len() != after.len() && !following.starts_with('}');
            names.push((name.to_owned(), has_value));
        }
        rest = following;
    }
    names
}
