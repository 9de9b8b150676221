//! What a client may ask about a Dockerfile instead of having it followed: what is rarely meant in it (`--check`), which
//! targets it has, and what one of them takes. The answers are documents that the client shows.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tare_build::checks::Read;
use tare_build::needed_stages;
use tare_dockerfile::{Instruction, Kind, MountType, Stage};
use tonic::Status;

use crate::front::unsupported;

/// The attribute that names a request.
pub(crate) const KEY: &str = "requestid";
/// The version of the answers' forms.
const VERSION: &str = "1.0.0";

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Lint,
    Targets,
    Outline,
}

impl Request {
    pub(crate) fn parse(name: &str) -> Result<Request, Status> {
        match name {
            "frontend.lint" => Ok(Request::Lint),
            "frontend.targets" => Ok(Request::Targets),
            "frontend.outline" => Ok(Request::Outline),
            _ => unsupported(&format!("the request {name:?} to the Dockerfile frontend")),
        }
    }

    /// The answer's parts, by name.
    pub(crate) fn answer(
        self,
        read: &Read,
        given: &BTreeMap<String, Option<String>>,
        target: &str,
    ) -> Result<HashMap<String, Vec<u8>>, Status> {
        let (document, status) = match self {
            Request::Lint => (findings(read), i32::from(!read.findings.is_empty())),
            Request::Targets => (targets(read), 0),
            Request::Outline => (outline(read, given, target)?, 0),
        };
        let text = serde_json::to_vec_pretty(&document).map_err(|error| Status::internal(error.to_string()))?;
        let mut parts = HashMap::from([
            // Who cannot read the document shows it as it is.
            ("result.txt".to_owned(), text.clone()),
            ("result.json".to_owned(), text),
            ("version".to_owned(), VERSION.into()),
        ]);
        if self == Request::Lint {
            parts.insert("result.statuscode".to_owned(), status.to_string().into_bytes());
        }
        Ok(parts)
    }
}

fn location(line: usize) -> Value {
    // The first of all sources has no number.
    json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] })
}

fn findings(read: &Read) -> Value {
    let warnings: Vec<_> = read
        .findings
        .iter()
        .map(|finding| {
            json!({
                "ruleName": finding.rule.name,
                "description": finding.rule.description,
                "url": finding.rule.url(),
                "detail": finding.detail,
                "location": location(finding.line),
            })
        })
        .collect();
    let data = BASE64_STANDARD.encode(&read.text);
    let source = json!({ "filename": "Dockerfile", "language": "Dockerfile", "data": data });
    json!({ "warnings": warnings, "sources": [source] })
}

fn targets(read: &Read) -> Value {
    let last = read.file.stages.len().saturating_sub(1);
    let target = |(at, stage): (usize, &Stage)| {
        let mut target = json!({ "base": stage.base, "location": location(stage.line) });
        let more = [
            ("name", Value::from(stage.name.as_str())),
            ("description", description(read, stage.line, &stage.name).into()),
            ("platform", stage.platform.as_str().into()),
            ("default", (at == last).into()),
        ];
        for (key, value) in more.into_iter().filter(|(_, value)| *value != json!("") && *value != json!(false)) {
            target[key] = value;
        }
        target
    };
    let targets: Vec<_> = read.file.stages.iter().enumerate().map(target).collect();
    json!({ "targets": targets, "sources": [BASE64_STANDARD.encode(&read.text)] })
}

/// What a comment right above says about a name: `# name what it is`.
fn description(read: &Read, line: usize, name: &str) -> String {
    let above = line.checked_sub(2).and_then(|at| read.text.lines().nth(at)).unwrap_or_default();
    let comment = above.trim().strip_prefix('#').unwrap_or_default().trim();
    let rest = comment.strip_prefix(name).filter(|rest| !name.is_empty() && rest.starts_with(char::is_whitespace));
    rest.unwrap_or_default().trim().to_owned()
}

fn outline(read: &Read, given: &BTreeMap<String, Option<String>>, target: &str) -> Result<Value, Status> {
    let stages = needed_stages(&read.file, target).map_err(|error| Status::unknown(error.message))?;
    let Some(last) = stages.last() else { return Ok(json!({})) };
    let (mut arguments, mut secrets, mut agents, mut caches) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let all = read.file.arguments.iter().chain(stages.iter().flat_map(|stage| &stage.instructions));
    for Instruction { line, kind, .. } in all {
        match kind {
            Kind::Arg(declared) => {
                for (name, default) in declared {
                    let value = given.get(name).cloned().flatten().or_else(|| default.clone()).unwrap_or_default();
                    let known = |known: &Value| known["name"] == name.as_str();
                    if !arguments.iter().any(known) {
                        let description = description(read, *line, name);
                        arguments.push(json!({
                            "name": name, "value": value, "description": description, "location": location(*line),
                        }));
                    }
                }
            }
            Kind::Run(run) => {
                for mount in &run.mounts {
                    let key = mount.key();
                    let asked = json!({ "name": key, "required": mount.required, "location": location(*line) });
                    match mount.kind {
                        MountType::Secret => secrets.push(asked),
                        MountType::Ssh => agents.push(asked),
                        MountType::Cache => caches.push(json!({ "ID": key, "location": location(*line) })),
                        MountType::Bind | MountType::Tmpfs => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(json!({
        "name": last.name,
        "description": description(read, last.line, &last.name),
        "args": arguments,
        "secrets": secrets,
        "ssh": agents,
        "cache": caches,
        "sources": [BASE64_STANDARD.encode(&read.text)],
    }))
}
