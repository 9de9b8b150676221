//! Docker's build checks: of every build that follows steps, or by themselves.

use std::collections::BTreeSet;

use tare_dockerfile::Dockerfile;
use tare_dockerfile::checks::{Finding, Settings, check};
use tare_engine::{Error, Result};

use crate::context::Context;
use crate::frontend::directive;
use crate::options::Options;
use crate::output::Output;

/// A Dockerfile that is read, and not followed.
#[derive(Debug)]
pub struct Read {
    /// What it says.
    pub file: Dockerfile,
    /// As it is written.
    pub text: String,
    /// What is rarely meant.
    pub findings: Vec<Finding>,
}

impl Read {
    pub(crate) fn of(context: Context, options: &Options) -> Result<Read> {
        let findings = check(&context.dockerfile, &context.ignored, &settings(&context.text, options)?);
        Ok(Read { file: context.dockerfile, text: context.text, findings })
    }
}

/// Which checks count: as the caller says, or the file itself.
fn settings(text: &str, options: &Options) -> Result<Settings> {
    let said = match options.checks.as_str() {
        "" => directive(text, "check").unwrap_or_default(),
        said => said,
    };
    Settings::parse(said).map_err(|why| Error::invalid(format!("failed to parse check options: {why}")))
}

/// Says what is rarely meant in a file that is about to be followed; fails if the build is to.
pub(crate) async fn warn(context: &Context, file: &Dockerfile, options: &Options, output: &Output) -> Result<()> {
    let settings = settings(&context.text, options)?;
    let findings = check(file, &context.ignored, &settings);
    for Finding { rule, detail, line } in &findings {
        output.warn(format!("{}: {detail} (line {line})", rule.name)).await;
    }
    if settings.is_error && !findings.is_empty() {
        let names: BTreeSet<&str> = findings.iter().map(|finding| finding.rule.name).collect();
        let names: Vec<&str> = names.into_iter().collect();
        return Err(Error::invalid(format!("lint violation found for rules: {}", names.join(", "))));
    }
    Ok(())
}
