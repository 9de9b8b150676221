//! System call filters, as they stand in `config.json`.

objects! {
    /// `linux.seccomp`.
    pub struct Seccomp {
        /// `SCMP_ACT_ERRNO`, … for what no rule names.
        pub default_action: String,
        /// Error number of the default action; `None` is EPERM.
        pub default_errno_ret: Option<u32>,
        /// `SCMP_ARCH_X86_64`, …; empty is the machine's own.
        pub architectures: Vec<String>,
        /// `SECCOMP_FILTER_FLAG_LOG`, …; an empty list is none, `None` is the runtime's choice.
        pub flags: Option<Vec<String>>,
        /// Unix socket that gets the notification descriptor of `SCMP_ACT_NOTIFY`.
        pub listener_path: String,
        /// Sent along with it.
        pub listener_metadata: String,
        /// Rules.
        pub syscalls: Vec<SeccompRule>,
    }

    /// What happens to some system calls.
    pub struct SeccompRule {
        /// Their names; unknown ones are ignored.
        pub names: Vec<String>,
        /// `SCMP_ACT_ALLOW`, …
        pub action: String,
        /// Error number; `None` is EPERM.
        pub errno_ret: Option<u32>,
        /// Conditions, all of which must hold.
        pub args: Vec<SeccompArg>,
    }

    /// A condition on an argument.
    pub struct SeccompArg {
        /// 0 to 5.
        pub index: u32,
        /// Compared with, or the mask of `SCMP_CMP_MASKED_EQ`.
        pub value: u64,
        /// Compared with after masking.
        pub value_two: u64,
        /// `SCMP_CMP_EQ`, …
        pub op: String,
    }
}
