//! System call filters: profiles in OCI form compiled to classic BPF, and the default profile.
//!
//! A profile lists names per action; the kernel runs a program on every system call. [`compile`] resolves the names to
//! numbers for every interface of the machine, turns them into ranges of numbers with the same outcome, and emits a
//! binary search over these: a tenth of the instructions of a comparison per name, and attaching a filter costs by the
//! instruction.
//!
//! Read in this order: [`compile`] (names to outcomes), `outcome` (what a rule decides), `ranges`, `decide`
//! (conditions as instructions), `emit` (the assembler and its search trees), `arch` and `numbers` (facts about the interfaces), [`default_profile`] (and `default_names`),
//! [`from_docker_json`].
#![forbid(unsafe_code)]

mod arch;
mod compile;
mod decide;
#[rustfmt::skip]
mod default_names;
mod default_profile;
mod docker;
mod emit;
mod numbers;
mod outcome;
mod ranges;

pub use arch::Arch;
pub use compile::{compile, compile_for};
pub use default_profile::default_profile;
pub use docker::{KernelVersion, from_docker_json};
pub use tare_sys::seccomp::SockFilter;

/// A compiled profile, ready for [`tare_sys::seccomp::attach`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions.
    pub filter: Vec<SockFilter>,
    /// `SECCOMP_FILTER_FLAG_*`; with [`tare_sys::seccomp::FLAG_NEW_LISTENER`] if some calls are for a listener to answer.
    pub flags: u32,
}

/// A profile that cannot be honoured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine's architecture has no table of system calls here.
    #[error("seccomp is not supported on this architecture")]
    Architecture,
    /// A name that no architecture has.
    #[error("unknown seccomp architecture `{0}`")]
    UnknownArchitecture(String),
    /// An action that does not exist.
    #[error("unknown seccomp action `{0}`")]
    UnknownAction(String),
    /// Everything would wait for an answer, the runtime's own last steps too.
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyByDefault,
    /// The runtime hands the listener over by means of this call, when the filter is in force already.
    #[error("SCMP_ACT_NOTIFY cannot be used for the {0} syscall")]
    NotifyCall(String),
    /// An operator that does not exist.
    #[error("unknown seccomp operator `{0}`")]
    UnknownOperator(String),
    /// A flag that does not exist.
    #[error("unknown seccomp flag `{0}`")]
    UnknownFlag(String),
    /// System calls have six arguments.
    #[error("seccomp argument index {0} is not between 0 and 5")]
    ArgumentIndex(u32),
    /// The number does not fit the 16 bits of a filter's return value.
    #[error("seccomp error number {0} is too large")]
    ErrorNumber(u32),
    /// Linux takes 4096 instructions.
    #[error("seccomp profile is too large: {0} instructions, the kernel takes 4096")]
    TooLarge(usize),
    /// The profile is not what Docker's format says.
    #[error("{0}")]
    Profile(String),
    /// The profile is not JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}
