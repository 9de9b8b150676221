//! How steps are named to those who follow them: as BuildKit names its own.

use tare_dockerfile::{Instruction, Kind, Stage};

use crate::stage::SCRATCH;

/// The steps of one stage, as far as they have begun.
#[derive(Debug)]
pub(crate) struct Steps {
    stage: String,
    done: usize,
    all: usize,
}

impl Steps {
    /// What stages are called; nothing where there is only one without a name.
    pub(crate) fn names(stages: &[Stage]) -> Vec<String> {
        let name = |(at, stage): (usize, &Stage)| match stage.name.as_str() {
            "" if stages.len() > 1 => format!("stage-{at} "),
            "" => String::new(),
            name => format!("{name} "),
        };
        stages.iter().enumerate().map(name).collect()
    }

    pub(crate) fn of(stage: &Stage, name: String) -> Steps {
        let instructions = stage.instructions.iter().filter(|instruction| is_step(instruction)).count();
        let base = usize::from(stage.base != SCRATCH);
        Steps { stage: name, done: 0, all: base + instructions }
    }

    /// The step that gets the image below.
    pub(crate) fn base(&mut self, image: &str) -> String {
        let full = tare_reference::Reference::parse_normalized(image);
        let full = full.map_or_else(|_| image.to_owned(), |reference| reference.with_default_tag().to_string());
        self.next(&format!("FROM {full}"))
    }

    /// The step that takes what another build made.
    pub(crate) fn result(&mut self, name: &str) -> String {
        self.next(&format!("FROM {name}"))
    }

    /// The step that an instruction is; those that only say something are none.
    pub(crate) fn instruction(&mut self, instruction: &Instruction) -> Option<String> {
        is_step(instruction).then(|| {
            let (first, more) = instruction.source.split_once('\n').unwrap_or((&instruction.source, ""));
            let (name, rest) = first.split_once(char::is_whitespace).unwrap_or((first, ""));
            let more = if more.is_empty() { "" } else { " (…)" };
            self.next(&format!("{} {}{more}", name.to_ascii_uppercase(), rest.trim()))
        })
    }

    fn next(&mut self, what: &str) -> String {
        self.done += 1;
        // A trigger of the image below is one more than the file has.
        let all = self.all.max(self.done);
        let width = all.to_string().len();
        format!("[{}{:>width$}/{all}] {what}", self.stage, self.done)
    }
}

fn is_step(instruction: &Instruction) -> bool {
    matches!(instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_buildkits() {
        let file =
            tare_dockerfile::parse("FROM a AS b\nENV x=y\nrun  true\nFROM scratch\nCOPY --from=b x /\n").unwrap();
        let shown = Steps::names(&file.stages);
        assert_eq!(shown, ["b ", "stage-1 "]);
        let mut first = Steps::of(&file.stages[0], shown[0].clone());
        assert_eq!(first.base("a"), "[b 1/2] FROM docker.io/library/a:latest");
        assert_eq!(first.instruction(&file.stages[0].instructions[0]), None);
        assert_eq!(first.instruction(&file.stages[0].instructions[1]).as_deref(), Some("[b 2/2] RUN true"));
        let mut second = Steps::of(&file.stages[1], String::new());
        assert_eq!(second.instruction(&file.stages[1].instructions[0]).as_deref(), Some("[1/1] COPY --from=b x /"));
    }
}
