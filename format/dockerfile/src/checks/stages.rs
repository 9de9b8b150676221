//! Checks of `FROM`.

use super::{Found, Rule, globals, variables};
use crate::Expander;
use crate::flags::meant;
use crate::instruction::{Dockerfile, Stage};

static STAGE_NAME_CASING: Rule = Rule::new("StageNameCasing", "stage-name-casing", "Stage names should be lowercase");
static FROM_AS_CASING: Rule =
    Rule::new("FromAsCasing", "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword");
static DUPLICATE_STAGE_NAME: Rule =
    Rule::new("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique");
static RESERVED_STAGE_NAME: Rule =
    Rule::new("ReservedStageName", "reserved-stage-name", "Reserved words should not be used as stage names");
static UNDEFINED_ARG_IN_FROM: Rule =
    Rule::new("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs");
static INVALID_DEFAULT: Rule = Rule::new(
    "InvalidDefaultArgInFrom",
    "invalid-default-arg-in-from",
    "Default value for global ARG results in an empty or invalid base image name",
);
static REDUNDANT_PLATFORM: Rule = Rule::new(
    "RedundantTargetPlatform",
    "redundant-target-platform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
);
static CONSTANT_PLATFORM: Rule = Rule::new(
    "FromPlatformFlagConstDisallowed",
    "from-platform-flag-const-disallowed",
    "FROM --platform flag should not use a constant value",
);

pub(super) fn check(file: &Dockerfile, found: &mut Found) {
    let globals = globals(file);
    for (at, stage) in file.stages.iter().enumerate() {
        names(stage, file.stages.get(..at).unwrap_or_default(), found);
        base(file, stage, &globals, found);
        platform(stage, found);
    }
}

fn names(stage: &Stage, before: &[Stage], found: &mut Found) {
    if stage.name.is_empty() {
        return;
    }
    let words: Vec<&str> = stage.source.split_whitespace().collect();
    if let [from, .., word, name] = words.as_slice() {
        if *name != stage.name {
            found.add(&STAGE_NAME_CASING, stage.line, format!("Stage name '{name}' should be lowercase"));
        }
        let is_lower = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
        let is_upper = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
        if !(is_lower(from) && is_lower(word) || is_upper(from) && is_upper(word)) {
            found.add(&FROM_AS_CASING, stage.line, format!("'{word}' and '{from}' keywords' casing do not match"));
        }
    }
    let name = &stage.name;
    if matches!(name.as_str(), "context" | "scratch") {
        let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
        found.add(&RESERVED_STAGE_NAME, stage.line, detail);
    }
    if before.iter().any(|other| other.name == *name) {
        let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
        found.add(&DUPLICATE_STAGE_NAME, stage.line, detail);
    }
}

fn base(file: &Dockerfile, stage: &Stage, globals: &[String], found: &mut Found) {
    let known: Vec<&str> = globals.iter().filter_map(|variable| variable.split('=').next()).collect();
    for (name, has_value) in variables(&stage.base).into_iter().chain(variables(&stage.platform)) {
        if !has_value && !known.contains(&name.as_str()) {
            let hint = meant(&name, known.iter().copied(), true);
            found.add(&UNDEFINED_ARG_IN_FROM, stage.line, format!("FROM argument '{name}' is not declared{hint}"));
        }
    }
    let Ok(image) = Expander::new(file.escape, globals).word(&stage.base) else { return };
    if tare_reference::Reference::parse_normalized(&image).is_err() {
        let detail = format!("Default value for ARG {} results in empty or invalid base image name", stage.base);
        found.add(&INVALID_DEFAULT, stage.line, detail);
    }
}

fn platform(stage: &Stage, found: &mut Found) {
    let platform = stage.platform.as_str();
    if matches!(platform, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let detail =
            format!("Setting platform to predefined {platform} in FROM is redundant as this is the default behavior");
        found.add(&REDUNDANT_PLATFORM, stage.line, detail);
    }
    // A stage that is named after its platform is meant for it.
    let is_named_so = platform.split('/').any(|part| !part.is_empty() && stage.name.contains(part));
    if !platform.is_empty() && !platform.contains('$') && !is_named_so {
        let detail = format!("FROM --platform flag should not use constant value {platform:?}");
        found.add(&CONSTANT_PLATFORM, stage.line, detail);
    }
}
