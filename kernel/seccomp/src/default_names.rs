//! The names of the default profile, by topic and by what they depend on. Each list is sorted.

use crate::{Arch, KernelVersion};

/// Names, and the older, wider or narrower variants that some interfaces have of them.
pub(crate) type Names = &'static [&'static str];

const PATHS: Names = &[
    "access", "chdir", "chmod", "chown", "chown32", "creat", "faccessat", "faccessat2", "fchdir", "fchmod", "fchmodat",
    "fchmodat2", "fchown", "fchown32", "fchownat", "getcwd", "lchown", "lchown32", "link", "linkat", "mkdir", "mkdirat",
    "mknod", "mknodat", "name_to_handle_at", "open", "openat", "openat2", "readlink", "readlinkat", "rename",
    "renameat", "renameat2", "rmdir", "symlink", "symlinkat", "umask", "unlink", "unlinkat",
];

const FILE_STATUS: Names = &[
    "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "futimesat", "listmount", "lstat", "lstat64", "newfstatat",
    "stat", "stat64", "statfs", "statfs64", "statmount", "statx", "utime", "utimensat", "utimensat_time64", "utimes",
];

const EXTENDED_ATTRIBUTES: Names = &[
    "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr",
    "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat",
];

const READING_AND_WRITING: Names = &[
    "_llseek", "copy_file_range", "fadvise64", "fadvise64_64", "fallocate", "fdatasync", "fsync", "ftruncate",
    "ftruncate64", "getdents", "getdents64", "lseek", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2",
    "read", "readahead", "readv", "sendfile", "sendfile64", "splice", "sync", "sync_file_range", "syncfs", "tee",
    "truncate", "truncate64", "vmsplice", "write", "writev",
];

pub(crate) const DESCRIPTORS: Names =
    &["close", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64", "flock", "ioctl", "pipe", "pipe2"];

const ASYNCHRONOUS_IO: Names = &[
    "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit",
    "ioprio_get", "ioprio_set",
];

const WAITING_FOR_DESCRIPTORS: Names = &[
    "_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64", "select",
    "signalfd", "signalfd4",
];

const MEMORY: Names = &[
    "brk", "cachestat", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret", "mincore", "mlock",
    "mlock2", "mlockall", "mmap", "mmap2", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages",
];

const PROCESSES: Names = &[
    "execve", "execveat", "exit", "exit_group", "fork", "get_robust_list", "get_thread_area", "getpgid", "getpgrp",
    "getpid", "getppid", "getsid", "gettid", "pidfd_open", "pidfd_send_signal", "prctl", "process_mrelease",
    "restart_syscall", "rseq", "set_robust_list", "set_thread_area", "set_tid_address", "setpgid", "setsid",
    "uretprobe", "vfork", "wait4", "waitid", "waitpid",
];

const FUTEXES: Names = &[
    "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv", "futex_wake",
];

const SIGNALS: Names = &[
    "kill", "pause", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sigaltstack", "sigprocmask",
    "sigreturn", "tgkill", "tkill",
];

/// The capability to set the clock is what `adjtimex` and its like check themselves.
const TIME: Names = &[
    "adjtimex", "alarm", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
    "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer", "gettimeofday", "nanosleep",
    "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64",
    "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
    "timerfd_settime64", "times",
];

const SCHEDULING_AND_LIMITS: Names = &[
    "getcpu", "getpriority", "getrlimit", "getrusage", "prlimit64", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
    "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
    "sched_yield", "setpriority", "setrlimit", "ugetrlimit",
];

const IDENTITY: Names = &[
    "capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32", "setfsgid",
    "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setregid", "setregid32",
    "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
];

/// `socket` itself depends on the family. x86's `socketcall` cannot be looked into and is what its C libraries use.
const SOCKETS: Names = &[
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv", "recvfrom",
    "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    "socketcall", "socketpair",
];

const INTERPROCESS_COMMUNICATION: Names = &[
    "ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop",
    "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
];

/// Asking about the system, and giving up rights.
const SYSTEM: Names = &[
    "getrandom", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp", "sysinfo",
    "uname",
];

pub(crate) const ALWAYS: [Names; 17] = [
    PATHS,
    FILE_STATUS,
    EXTENDED_ATTRIBUTES,
    READING_AND_WRITING,
    DESCRIPTORS,
    ASYNCHRONOUS_IO,
    WAITING_FOR_DESCRIPTORS,
    MEMORY,
    PROCESSES,
    FUTEXES,
    SIGNALS,
    TIME,
    SCHEDULING_AND_LIMITS,
    IDENTITY,
    SOCKETS,
    INTERPROCESS_COMMUNICATION,
    SYSTEM,
];

/// Until Linux 4.8 a traced process could change the number after the filter had seen it.
pub(crate) const TRACING: (KernelVersion, Names) = (KernelVersion(4, 8), &[
    "process_vm_readv", "process_vm_writev", "ptrace",
]);

pub(crate) const BY_ARCH: [(&[Arch], Names); 3] = [
    (
        &[Arch::Aarch64, Arch::Arm],
        &[
            "arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2",
        ],
    ),
    (&[Arch::X86_64, Arch::X32], &["arch_prctl"]),
    (&[Arch::X86_64, Arch::X32, Arch::X86], &["modify_ldt"]),
];

pub(crate) const BY_CAPABILITY: [(&str, Names); 14] = [
    ("CAP_BPF", &["bpf"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_PERFMON", &["perf_event_open"]),
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie",
            "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount", "mount_setattr", "move_mount",
            "open_tree", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns",
            "syslog", "umount", "umount2", "unshare",
        ],
    ),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_CHROOT", &["chroot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &[
        "kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
    ]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_SYS_TIME", &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_SYSLOG", &["syslog"]),
];
