//! `--security-opt`: profiles are read here and sent with the request; `systempaths=unconfined` becomes empty lists.

use std::fs::File;
use std::io::Read;

use serde::de::IgnoredAny;

use super::surroundings::path_error;
use super::{Invalid, Parsed, invalid};
use crate::values::quote;

/// Largest seccomp profile that is read, in bytes; Docker's own has 14 kB.
const MAX_PROFILE: u64 = 4 << 20;

/// What the options come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Options for the engine.
    pub options: Vec<String>,
    /// Whether the masked and the read-only paths of `/proc` and `/sys` are lifted.
    pub system_paths_unconfined: bool,
}

/// Reads all options.
pub fn parse(values: &[String]) -> Parsed<Security> {
    let mut out = Security::default();
    for value in values {
        let key_only = value.split_once('=').is_none() && value == "no-new-privileges";
        let pair = value.split_once('=').or_else(|| value.split_once(':'));
        let option = match pair {
            _ if key_only => value.clone(),
            Some(("seccomp", profile)) if !profile.is_empty() => seccomp(value, profile)?,
            Some((key, text)) if !text.is_empty() || key == "no-new-privileges" => value.clone(),
            _ => return invalid(format_args!("invalid --security-opt: {}", quote(value))),
        };
        if option == "systempaths=unconfined" {
            out.system_paths_unconfined = true;
        } else {
            out.options.push(option);
        }
    }
    Ok(out)
}

/// A profile of the user's is replaced by its content, without the space between the tokens.
fn seccomp(value: &str, profile: &str) -> Parsed<String> {
    if matches!(profile, "builtin" | "unconfined") {
        return Ok(value.to_owned());
    }
    let open = |step: &str, error: &std::io::Error| {
        Invalid(format!("opening seccomp profile ({profile}) failed: {}", path_error(step, profile, error)))
    };
    let mut text = String::new();
    let file = File::open(profile).map_err(|e| open("open", &e))?;
    file.take(MAX_PROFILE + 1).read_to_string(&mut text).map_err(|e| open("read", &e))?;
    let bad = |why: &str| Invalid(format!("compacting json for seccomp profile ({profile}) failed: {why}"));
    if text.len() as u64 > MAX_PROFILE {
        return Err(bad("file is too large"));
    }
    serde_json::from_str::<IgnoredAny>(&text).map_err(|e| bad(&e.to_string()))?;
    Ok(format!("seccomp={}", compact(&text)))
}

/// Valid JSON without space outside of strings.
fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        if inside {
            inside = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        inside = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Parsed<Security> {
        parse(&values.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        let all = [
            "no-new-privileges",
            "no-new-privileges=true",
            "label:disable",
            "label=user:x",
            "apparmor=unconfined",
            "seccomp=unconfined",
            "seccomp=builtin",
        ];
        let got = of(&[&all[..], &["systempaths=unconfined"]].concat()).unwrap();
        assert_eq!(got.options, all);
        assert!(got.system_paths_unconfined);
        assert_eq!(of(&["foo"]).unwrap_err().0, "invalid --security-opt: \"foo\"");
        assert_eq!(of(&["label="]).unwrap_err().0, "invalid --security-opt: \"label=\"");
        insta::assert_snapshot!(of(&["seccomp=/does/not/exist"]).unwrap_err(),
            @"opening seccomp profile (/does/not/exist) failed: open /does/not/exist: no such file or directory");
    }

    #[test]
    fn profiles_are_sent_compact() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profile.json");
        std::fs::write(&path, "{\n  \"a\": [1, 2.50],\n  \"b c\": \"x \\\" y\\\\\" , \"d\" : 1e9 }\n").unwrap();
        let option = format!("seccomp={}", path.display());
        assert_eq!(of(&[&option]).unwrap().options, [r#"seccomp={"a":[1,2.50],"b c":"x \" y\\","d":1e9}"#]);
        std::fs::write(&path, "{").unwrap();
        let error = of(&[&option]).unwrap_err().0;
        assert!(error.starts_with("compacting json for seccomp profile (") && error.contains("EOF"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn compact_keeps_the_value(texts in proptest::collection::vec("[a-z \"\\\\\n]{0,6}", 0..4)) {
            let value = serde_json::json!({"k k": texts, "n": 1.5});
            let compacted = compact(&serde_json::to_string_pretty(&value).unwrap());
            proptest::prop_assert_eq!(compacted, serde_json::to_string(&value).unwrap());
        }
    }
}
