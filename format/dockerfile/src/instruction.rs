//! What a Dockerfile says.

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What takes the next character literally, and at the end of a line joins the next: `\` or a backquote.
    pub escape: char,
    /// `ARG`s before the first stage.
    pub arguments: Vec<Instruction>,
    /// At least one, unless there are only arguments.
    pub stages: Vec<Stage>,
    /// Sentences for whoever wrote it.
    pub warnings: Vec<String>,
}

/// `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// `AS name`, in lower case; may be empty.
    pub name: String,
    /// An image, a stage before this one, or `scratch`; not expanded.
    pub base: String,
    /// `--platform`, not expanded; may be empty.
    pub platform: String,
    /// The line as written.
    pub source: String,
    /// Counted from 1.
    pub line: usize,
    /// In order.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Counted from 1.
    pub line: usize,
    /// As written, continuations joined.
    pub source: String,
    /// What it says.
    pub kind: Kind,
}

/// `key=value`, not expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Before the sign.
    pub key: String,
    /// After it.
    pub value: String,
}

/// The instructions. Words are as written unless an instruction says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `ENV`
    Env(Vec<Pair>),
    /// `LABEL`
    Label(Vec<Pair>),
    /// A label that is taken literally (`--label`).
    Labelled(Pair),
    /// `ARG`; without a value it must come from outside.
    Arg(Vec<(String, Option<String>)>),
    /// `COPY`
    Copy(Copy),
    /// `ADD`
    Add(Copy),
    /// `RUN`
    Run(Run),
    /// `CMD`
    Cmd(CommandLine),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `EXPOSE`, sorted.
    Expose(Vec<String>),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `SHELL`
    Shell(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(Probe),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`, an instruction as text.
    OnBuild(String),
}

/// What `COPY` and `ADD` are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// Paths in the context or stage, or URLs.
    pub sources: Vec<String>,
    /// Here-documents.
    pub contents: Vec<Content>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage or an image.
    pub from: String,
    /// `--chown`
    pub chown: String,
    /// `--chmod`
    pub chmod: String,
    /// `--checksum`
    pub checksum: String,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// `--parents`
    pub parents: bool,
    /// `--keep-git-dir`
    pub keep_git: bool,
    /// `--unpack`, where it is said.
    pub unpack: Option<bool>,
    /// Flags that were given, by name.
    pub flags: Vec<&'static str>,
}

/// A file that is written in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Variables in it are replaced.
    pub expand: bool,
}

/// A command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// In shell form one line, without the shell.
    pub words: Vec<String>,
    /// Shell form.
    pub shell: bool,
}

/// What `RUN` is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The command, with here-documents in it.
    pub command: CommandLine,
    /// `--mount`
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: String,
    /// `--security`
    pub security: String,
}

/// What is mounted for one `RUN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Its kind.
    pub kind: MountType,
    /// Where in the container.
    pub target: String,
    /// Path in the context, stage or cache.
    pub source: String,
    /// Stage or image instead of the context.
    pub from: String,
    /// Which cache; the target if none is named.
    pub id: String,
    /// Not writable.
    pub read_only: bool,
    /// Bytes of a tmpfs; 0 has no limit.
    pub size: i64,
    /// Mode of a cache that is new.
    pub mode: Option<u32>,
    /// User and group of a cache that is new.
    pub owner: (u32, u32),
    /// Without it, a secret that nobody has given is left out.
    pub required: bool,
    /// Variable that holds a secret, instead of a file where no target is named.
    pub env: String,
}

/// The agent that is meant where none is named.
const AGENT: &str = "default";

impl Mount {
    /// Which secret, agent or cache is meant: the one that is named; else the secret of the file's name, the default agent,
    /// the target's cache. Empty for other kinds.
    pub fn key(&self) -> &str {
        let (id, target) = (self.id.as_str(), self.target.as_str());
        match self.kind {
            MountType::Secret if !self.source.is_empty() => &self.source,
            MountType::Secret if id.is_empty() => target.rsplit('/').next().unwrap_or(target),
            MountType::Ssh if id.is_empty() => AGENT,
            MountType::Cache if id.is_empty() => target,
            MountType::Secret | MountType::Ssh | MountType::Cache => id,
            MountType::Bind | MountType::Tmpfs => "",
        }
    }
}

/// Kinds of mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MountType {
    /// Files of the context, of a stage or an image.
    #[default]
    Bind,
    /// A directory that builds share.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file that the caller gives and no layer shows.
    Secret,
    /// The caller's SSH agent.
    Ssh,
}

/// A health check; durations in nanoseconds, 0 for the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// `NONE`, or `CMD` or `CMD-SHELL` and a command.
    pub test: Vec<String>,
    /// Between two probes.
    pub interval: i64,
    /// For one probe.
    pub timeout: i64,
    /// In which failures do not count.
    pub start_period: i64,
    /// Between two probes in the start period.
    pub start_interval: i64,
    /// Failures until it counts as unhealthy.
    pub retries: i64,
}

impl Dockerfile {
    /// One that says nothing.
    pub fn empty() -> Dockerfile {
        Dockerfile { escape: '\\', arguments: Vec::new(), stages: Vec::new(), warnings: Vec::new() }
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mount_means() {
        for (kind, source, id, target, key) in [
            (MountType::Secret, "s", "i", "/a/t", "s"),
            (MountType::Secret, "", "i", "/a/t", "i"),
            (MountType::Secret, "", "", "/a/t", "t"),
            (MountType::Ssh, "", "i", "/a/t", "i"),
            (MountType::Ssh, "", "", "/a/t", "default"),
            (MountType::Cache, "s", "", "/a/t", "/a/t"),
            (MountType::Bind, "s", "i", "/a/t", ""),
        ] {
            let (source, id, target) = (source.to_owned(), id.to_owned(), target.to_owned());
            let mount = Mount { kind, source, id, target, ..Mount::default() };
            assert_eq!(mount.key(), key, "{mount:?}");
        }
    }
}
