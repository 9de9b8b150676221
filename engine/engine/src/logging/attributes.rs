//! What is said about a container with each of its lines: labels, variables, a tag.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex_lite::Regex;
use tare_gotemplate::{Json, Object, Template, Value};

use crate::container::record::Record;
use crate::error::{Error, Result};

/// The options that every driver with attributes takes.
pub(crate) const OPTIONS: &[&str] = &["env", "env-regex", "labels", "labels-regex", "tag"];
/// The tag of drivers that always have one.
pub(crate) const TAG: &str = "{{.ID}}";
/// Characters of a short ID.
const SHORT: usize = 12;

/// Labels and variables that the options `labels`, `labels-regex`, `env` and `env-regex` name.
pub(crate) fn of(record: &Record) -> Result<BTreeMap<String, String>> {
    let options = &record.host_config.log_config.config;
    let variables = record.config.env.iter().filter_map(|variable| variable.split_once('='));
    let mut attributes = BTreeMap::new();
    let labels = record.config.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let sources: [(_, _, Vec<(&str, &str)>); 2] =
        [("labels", "labels-regex", labels.collect()), ("env", "env-regex", variables.collect())];
    for (list, pattern, pairs) in sources {
        let named: Vec<&str> = options.get(list).map(|list| list.split(',').collect()).unwrap_or_default();
        let pattern = options.get(pattern).filter(|pattern| !pattern.is_empty()).map(|pattern| {
            Regex::new(pattern).map_err(|error| Error::invalid(format!("error parsing regexp: {error}: `{pattern}`")))
        });
        let pattern = pattern.transpose()?;
        for (key, value) in pairs {
            if named.contains(&key) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(key)) {
                attributes.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    Ok(attributes)
}

/// The option `tag`, a template, or else `default`.
pub(crate) fn tag(record: &Record, default: &str) -> Result<String> {
    let text = record.host_config.log_config.config.get("tag").filter(|tag| !tag.is_empty());
    let failed = |error: tare_gotemplate::Error| Error::invalid(error.to_string());
    let template = Template::parse(text.map_or(default, String::as_str)).map_err(failed)?;
    template.execute(&Value::Object(Arc::new(Info::of(record)))).map_err(failed)
}

/// The first characters of an ID, without the name of its algorithm.
pub(crate) fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(SHORT).collect()
}

/// The whole command line.
pub(crate) fn command(record: &Record) -> String {
    std::iter::once(&record.path).chain(&record.args).cloned().collect::<Vec<_>>().join(" ")
}

/// What templates of tags see: Docker's `logger.Info`.
struct Info(BTreeMap<&'static str, String>);

impl Info {
    fn of(record: &Record) -> Self {
        Self(BTreeMap::from([
            ("Command", command(record)),
            ("ContainerEntrypoint", record.path.clone()),
            ("ContainerID", record.id.clone()),
            ("ContainerImageID", record.image_id.clone()),
            ("ContainerImageName", record.config.image.clone()),
            ("ContainerName", format!("/{}", record.name)),
            ("DaemonName", "docker".to_owned()),
            ("FullID", record.id.clone()),
            ("Hostname", crate::host::hostname()),
            ("ID", short(&record.id)),
            ("ImageFullID", record.image_id.clone()),
            ("ImageID", short(&record.image_id)),
            ("ImageName", record.config.image.clone()),
            ("Name", record.name.clone()),
        ]))
    }
}

impl Object for Info {
    fn type_name(&self) -> &str {
        "*logger.Info"
    }

    fn arity(&self, method: &str) -> Option<usize> {
        self.0.contains_key(method).then_some(0)
    }

    fn call(&self, method: &str, _: &[Value]) -> std::result::Result<Value, String> {
        Ok(Value::Str(self.0.get(method).cloned().unwrap_or_default().into()))
    }

    fn json(&self) -> Json {
        Json::Null
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::tests::record;

    #[test]
    fn lists_and_patterns_name_attributes() {
        let labels = [("app", "a"), ("tier.one", "b"), ("other", "c")];
        let env = ["PATH=/bin", "APP_A=1", "APP_B=2=3", "bare"];
        let record = |options: &[(&str, &str)]| of(&record("json-file", options, &labels, &env));
        assert!(record(&[]).unwrap().is_empty());
        let all =
            record(&[("labels", "app,nosuch"), ("labels-regex", "^tier"), ("env-regex", "^APP_"), ("env", "PATH")]);
        let all: Vec<_> = all.unwrap().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(all, ["APP_A=1", "APP_B=2=3", "PATH=/bin", "app=a", "tier.one=b"]);
        assert!(record(&[("env-regex", "(")]).unwrap_err().message.starts_with("error parsing regexp: "));
    }

    #[test]
    fn tags_are_templates() {
        let tag = |text: &str| tag(&record("syslog", &[("tag", text)], &[], &[]), TAG);
        assert_eq!(tag("").unwrap(), "0123456789ab");
        assert_eq!(
            tag("{{.ImageName}}/{{.Name}}/{{upper .ImageID}} {{.Command}}").unwrap(),
            "busybox/box/FEDCBA987654 sh -c true"
        );
        assert!(tag("{{.Nope}}").unwrap_err().message.contains("can't evaluate field Nope in type *logger.Info"));
        assert!(tag("{{").is_err());
    }
}
