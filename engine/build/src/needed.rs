//! What of a Dockerfile a target needs: BuildKit's users expect that the rest is left alone.

use tare_dockerfile::{Dockerfile, Kind, MountType, Stage};
use tare_engine::{Error, Result};

/// The files of the context that instructions name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Files {
    /// None.
    None,
    /// Those, which may be patterns.
    Some(Vec<String>),
    /// Nobody can tell before they are followed.
    All,
}

/// The stages up to a target; all of them where none is named.
pub(crate) fn up_to(file: &Dockerfile, target: &str) -> Result<Vec<Stage>> {
    let mut stages = file.stages.clone();
    if !target.is_empty() {
        let at = stages.iter().position(|stage| stage.name.eq_ignore_ascii_case(target));
        let at = at.ok_or_else(|| Error::invalid(format!("target stage {target:?} could not be found")))?;
        stages.truncate(at + 1);
    }
    Ok(stages)
}

/// The stages that a target stands on, itself the last.
pub fn needed_stages(file: &Dockerfile, target: &str) -> Result<Vec<Stage>> {
    let all = up_to(file, target)?;
    let needed = stages(&all, &|_| false);
    Ok(all.into_iter().zip(needed).filter_map(|(stage, needed)| needed.then_some(stage)).collect())
}

/// Which stages the last one stands on, itself included.
pub(crate) fn stages(stages: &[Stage], is_named: &dyn Fn(&str) -> bool) -> Vec<bool> {
    let mut needed = vec![false; stages.len()];
    if let Some(last) = needed.last_mut() {
        *last = true;
    }
    for (at, stage) in stages.iter().enumerate().rev() {
        if needed.get(at) != Some(&true) {
            continue;
        }
        // What the caller has put something else for is no stage any more.
        for name in sources(stage).into_iter().filter(|name| !is_named(name)) {
            // A variable may stand for any of them.
            let is_open = name.contains('$');
            for (before, flag) in needed.iter_mut().enumerate().take(at) {
                let known = stages.get(before).is_some_and(|s| !s.name.is_empty() && s.name.eq_ignore_ascii_case(name));
                *flag |= is_open || known || name.parse() == Ok(before);
            }
        }
    }
    needed
}

/// What a stage names that may be another.
fn sources(stage: &Stage) -> Vec<&str> {
    let mut names = vec![stage.base.as_str()];
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Copy(copy) | Kind::Add(copy) => names.push(&copy.from),
            Kind::Run(run) => names.extend(run.mounts.iter().map(|mount| mount.from.as_str())),
            _ => {}
        }
    }
    names
}

/// What the needed stages take from a context, by what instructions say it is from: nothing, for the one without a name.
pub(crate) fn files(stages: &[Stage], needed: &[bool], is_from: &dyn Fn(&str) -> bool) -> Files {
    let mut paths = Vec::new();
    for (stage, _) in stages.iter().zip(needed).filter(|(_, needed)| **needed) {
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Copy(copy) | Kind::Add(copy) if is_from(&copy.from) => {
                    let is_add = matches!(instruction.kind, Kind::Add(_));
                    let local = copy.sources.iter().filter(|path| !is_add || !crate::copy::is_remote(path));
                    paths.extend(local.cloned());
                }
                Kind::Run(run) => {
                    let binds = run.mounts.iter().filter(|mount| mount.kind == MountType::Bind && is_from(&mount.from));
                    paths.extend(binds.map(|mount| mount.source.clone()));
                }
                _ => {}
            }
        }
    }
    if paths.is_empty() {
        return Files::None;
    }
    let mut clean = Vec::new();
    for path in paths {
        // A trigger of an image below is not known yet, but it can only be seen to when it comes.
        match crate::context::inside(&path).map(|path| String::from_utf8_lossy(&path).into_owned()) {
            Some(path) if !path.is_empty() && !path.contains('$') && !path.contains("**") => clean.push(path),
            _ => return Files::All,
        }
    }
    clean.sort();
    clean.dedup();
    Files::Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Vec<bool>, Files) {
        let file = tare_dockerfile::parse(text).unwrap();
        let needed = stages(&file.stages, &|_| false);
        let files = files(&file.stages, &needed, &str::is_empty);
        (needed, files)
    }

    #[test]
    fn only_what_the_target_stands_on() {
        let some = |paths: &[&str]| Files::Some(paths.iter().map(|path| (*path).to_owned()).collect());
        let (needed, files) = of("FROM a AS one\nCOPY x /\nFROM b AS two\nCOPY y /\nFROM c\nCOPY --from=ONE /x /z\n");
        assert_eq!((needed, files), (vec![true, false, true], some(&["x"])));
        let (needed, files) =
            of("FROM a\nFROM b AS two\nFROM two\nRUN --mount=from=0,target=/a true\nADD https://x/y /\n");
        assert_eq!((needed, files), (vec![true; 3], Files::None));
        assert_eq!(of("FROM a AS one\nFROM $base\nCOPY ./b//c d* /x/\n"), (vec![true; 2], some(&["b/c", "d*"])));
        for source in [".", "$x", "../x", "/"] {
            assert_eq!(of(&format!("FROM a\nCOPY {source} /\n")).1, Files::All, "{source}");
        }
    }
}
