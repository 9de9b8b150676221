//! Checks of what follows `FROM`.

use super::{Found, Rule};
use crate::ignore::Ignore;
use crate::instruction::{Copy, Dockerfile, Instruction, Kind, Stage};

static NO_EMPTY_CONTINUATION: Rule = Rule::new(
    "NoEmptyContinuation",
    "no-empty-continuation",
    "Empty continuation lines will become errors in a future release",
);
static INSTRUCTION_CASING: Rule = Rule::new(
    "ConsistentInstructionCasing",
    "consistent-instruction-casing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
);
static JSON_ARGS: Rule = Rule::new(
    "JSONArgsRecommended",
    "json-args-recommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
);
static MAINTAINER: Rule = Rule::new(
    "MaintainerDeprecated",
    "maintainer-deprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
);
static RELATIVE_WORKDIR: Rule = Rule::new(
    "WorkdirRelativePath",
    "workdir-relative-path",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base \
     image changes",
);
static MULTIPLE: Rule = Rule::new(
    "MultipleInstructionsDisallowed",
    "multiple-instructions-disallowed",
    "Multiple instructions of the same type should not be used in the same stage",
);
static LEGACY_PAIR: Rule = Rule::new(
    "LegacyKeyValueFormat",
    "legacy-key-value-format",
    "Legacy key/value format with whitespace separator should not be used",
);
static SECRETS: Rule = Rule::new(
    "SecretsUsedInArgOrEnv",
    "secrets-used-in-arg-or-env",
    "Sensitive data should not be used in the ARG or ENV commands",
);
static COPY_IGNORED: Rule =
    Rule::new("CopyIgnoredFile", "copy-ignored-file", "Attempting to Copy file that is excluded by .dockerignore");
static EXPOSE_CASING: Rule =
    Rule::new("ExposeProtoCasing", "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase");
static EXPOSE_FORMAT: Rule = Rule::new(
    "ExposeInvalidFormat",
    "expose-invalid-format",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future \
     release",
);

/// Words that make a variable's name one of a secret, and words that take it back.
const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

pub(super) fn check(file: &Dockerfile, ignored: &Ignore, found: &mut Found) {
    for warning in &file.warnings {
        // They end with the instruction.
        let is_it = |each: &&Instruction| warning.ends_with(each.source.trim_end());
        let line = file.stages.iter().flat_map(|stage| &stage.instructions).find(is_it).map_or(1, |each| each.line);
        found.add(&NO_EMPTY_CONTINUATION, line, "Empty continuation line".to_owned());
    }
    casing(file, found);
    for argument in &file.arguments {
        instruction(argument, ignored, found);
    }
    let mut directories: Vec<(String, bool)> = Vec::new();
    for stage in &file.stages {
        let below = directories.iter().rev().find(|(name, _)| !name.is_empty() && *name == stage.base.to_lowercase());
        let mut has_directory = below.is_some_and(|(_, has)| *has);
        let mut has_shell = false;
        for each in &stage.instructions {
            instruction(each, ignored, found);
            match &each.kind {
                Kind::Workdir(path) => {
                    if !has_directory && !path.starts_with('/') && !path.starts_with('$') {
                        let detail =
                            format!("Relative workdir {path:?} can have unexpected results if the base image changes");
                        found.add(&RELATIVE_WORKDIR, each.line, detail);
                    }
                    has_directory = true;
                }
                Kind::Shell(_) => has_shell = true,
                Kind::Cmd(command) | Kind::Entrypoint(command) if command.shell && !has_shell => {
                    let name = word(each);
                    let detail = format!(
                        "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
                    );
                    found.add(&JSON_ARGS, each.line, detail);
                }
                _ => {}
            }
        }
        once(stage, found);
        directories.push((stage.name.clone(), has_directory));
    }
}

/// The first word, as written.
fn word(instruction: &Instruction) -> &str {
    instruction.source.split_whitespace().next().unwrap_or_default()
}

fn casing(file: &Dockerfile, found: &mut Found) {
    let mut words = Vec::new();
    for stage in &file.stages {
        words.push((stage.source.split_whitespace().next().unwrap_or_default(), stage.line));
        words.extend(stage.instructions.iter().map(|each| (word(each), each.line)));
    }
    let is_lower = |word: &str| word == word.to_ascii_lowercase();
    let is_upper = |word: &str| word == word.to_ascii_uppercase();
    let lower = words.iter().filter(|(word, _)| is_lower(word)).count();
    let upper = words.iter().filter(|(word, _)| is_upper(word)).count();
    let (fits, casing): (&dyn Fn(&str) -> bool, _) =
        if lower > upper { (&is_lower, "lowercase") } else { (&is_upper, "uppercase") };
    for (word, line) in words.iter().filter(|(word, _)| !fits(word)) {
        let detail = format!("Command '{word}' should match the case of the command majority ({casing})");
        found.add(&INSTRUCTION_CASING, *line, detail);
    }
}

/// Of some instructions only the last counts.
fn once(stage: &Stage, found: &mut Found) {
    let mut last: Vec<(&str, &Instruction)> = Vec::new();
    for each in &stage.instructions {
        let kind = match &each.kind {
            Kind::Cmd(_) => "CMD",
            Kind::Entrypoint(_) => "ENTRYPOINT",
            Kind::Healthcheck(_) => "HEALTHCHECK",
            _ => continue,
        };
        match last.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, before)) => {
                let detail = format!(
                    "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                    word(each)
                );
                found.add(&MULTIPLE, before.line, detail);
                *before = each;
            }
            None => last.push((kind, each)),
        }
    }
}

fn instruction(each: &Instruction, ignored: &Ignore, found: &mut Found) {
    let line = each.line;
    match &each.kind {
        Kind::Maintainer(_) => {
            let detail = "Maintainer instruction is deprecated in favor of using label";
            found.add(&MAINTAINER, line, detail.to_owned());
        }
        Kind::Env(pairs) | Kind::Label(pairs) => {
            let is_legacy = each.source.split_whitespace().nth(1).is_some_and(|first| !first.contains('='));
            if is_legacy {
                let name = word(each);
                let detail =
                    format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
                found.add(&LEGACY_PAIR, line, detail);
            }
            if matches!(each.kind, Kind::Env(_)) {
                pairs.iter().for_each(|pair| secret("ENV", &pair.key, line, found));
            }
        }
        Kind::Arg(declared) => declared.iter().for_each(|(name, _)| secret("ARG", name, line, found)),
        Kind::Copy(copy) => copied("Copy", copy, line, ignored, found),
        Kind::Add(copy) => copied("Add", copy, line, ignored, found),
        Kind::Expose(ports) => ports.iter().for_each(|port| exposed(port, line, found)),
        _ => {}
    }
}

fn secret(instruction: &str, name: &str, line: usize, found: &mut Found) {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if has(&SECRET_WORDS) && !has(&HARMLESS_WORDS) {
        let detail = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
        found.add(&SECRETS, line, detail);
    }
}

fn copied(what: &str, copy: &Copy, line: usize, ignored: &Ignore, found: &mut Found) {
    for source in copy.sources.iter().filter(|source| copy.from.is_empty() && !source.contains("://")) {
        let path = source.trim_start_matches("./").trim_matches('/');
        if !path.is_empty() && path != "." && ignored.ignores(path) {
            let detail = format!("Attempting to {what} file {path:?} that is excluded by .dockerignore");
            found.add(&COPY_IGNORED, line, detail);
        }
    }
}

fn exposed(port: &str, line: usize, found: &mut Found) {
    let (numbers, protocol) = port.split_once('/').unwrap_or((port, ""));
    if protocol != protocol.to_lowercase() {
        found.add(&EXPOSE_CASING, line, format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase"));
    }
    if numbers.contains(':') && !numbers.contains('$') {
        let detail = format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'");
        found.add(&EXPOSE_FORMAT, line, detail);
    }
}
