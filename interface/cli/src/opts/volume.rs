//! `-v [source:]target[:options]`: which values are binds, and how they are sent.

use std::path::Path;

use super::{Parsed, invalid};

/// What one `-v` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// An anonymous volume at this path: goes to `Config.Volumes`.
    Anonymous(String),
    /// A named volume or a host path: goes to `HostConfig.Binds` as it stands here.
    Bind(String),
}

/// Reads a specification. A source that starts with `.` is made absolute below `cwd`; the rest is the engine's to check.
pub fn parse(spec: &str, cwd: &Path) -> Parsed<Volume> {
    if spec.is_empty() {
        return invalid("invalid empty volume spec");
    }
    if spec.len() <= 2 {
        return Ok(Volume::Anonymous(spec.to_owned()));
    }
    let sections = sections(spec);
    let fail = |why: &str| invalid(format_args!("invalid spec: {spec}: {why}"));
    // Sections are judged in order, as Docker's client does, so that the first mistake is the one named.
    for (at, section) in sections.iter().enumerate() {
        if section.is_empty() {
            return fail("empty section between colons");
        }
        if at == 2 && sections.len() > 3 {
            return fail("too many colons");
        }
    }
    if sections.len() < 2 {
        return Ok(Volume::Anonymous(spec.to_owned()));
    }
    match spec.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => {
            Ok(Volume::Bind(format!("{}:{rest}", super::surroundings::absolute(cwd, source))))
        }
        _ => Ok(Volume::Bind(spec.to_owned())),
    }
}

/// Splits at colons, except after a single letter that may be a Windows drive.
fn sections(spec: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    for (at, _) in spec.match_indices(':') {
        let section = &spec[start..at];
        let mut chars = section.chars();
        let drive = chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none();
        if !drive {
            out.push(section);
            start = at + 1;
        }
    }
    out.push(&spec[start..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        match parse(spec, Path::new("/work/dir")) {
            Ok(Volume::Anonymous(path)) => format!("anonymous {path}"),
            Ok(Volume::Bind(bind)) => format!("bind {bind}"),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn specifications() {
        insta::assert_snapshot!(show("/data"), @"anonymous /data");
        insta::assert_snapshot!(show("/run/apache2/"), @"anonymous /run/apache2/");
        insta::assert_snapshot!(show("/a"), @"anonymous /a");
        insta::assert_snapshot!(show("/a:/b"), @"bind /a:/b");
        insta::assert_snapshot!(show("vol:/b:ro,z"), @"bind vol:/b:ro,z");
        insta::assert_snapshot!(show("./x:/b:ro"), @"bind /work/dir/x:/b:ro");
        insta::assert_snapshot!(show("../x/.:/b"), @"bind /work/x:/b");
        insta::assert_snapshot!(show(".:/b"), @"bind /work/dir:/b");
        insta::assert_snapshot!(show("~/x:/b"), @"bind ~/x:/b");
        insta::assert_snapshot!(show("c:/x"), @"anonymous c:/x");
    }

    #[test]
    fn mistakes() {
        insta::assert_snapshot!(show(""), @"! invalid empty volume spec");
        insta::assert_snapshot!(show("/a::ro"), @"! invalid spec: /a::ro: empty section between colons");
        insta::assert_snapshot!(show("/a:/b:ro:x"), @"! invalid spec: /a:/b:ro:x: too many colons");
        insta::assert_snapshot!(show("/aa:"), @"! invalid spec: /aa:: empty section between colons");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(spec in "[a-zé:./,]{0,20}") {
            let _ = show(&spec);
        }
    }
}
