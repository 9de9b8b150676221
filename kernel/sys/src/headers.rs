//! Compares the structures and constants of this crate with the kernel's headers, by compiling assertions about them
//! (needs gcc and linux-libc-dev).

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{offset_of, size_of};
use std::process::{Command, Stdio};

use crate::mount::{MountAttr, attr, propagation};
use crate::process::{CloneArgs, namespace};
use crate::seccomp::{SockFilter, SockFprog};
use crate::thread::SchedAttr;

macro_rules! fields {
    ($source:ident, $rust:ty, $c:literal, $($own:ident = $theirs:literal),*) => {$(
        let own = offset_of!($rust, $own);
        writeln!($source, "_Static_assert(offsetof({}, {}) == {own}, \"{}\");", $c, $theirs, $theirs).unwrap();
    )*};
}

macro_rules! constants {
    ($source:ident, $($own:expr => $theirs:literal),* $(,)?) => {$(
        writeln!($source, "_Static_assert({} == {}u, \"{}\");", $theirs, $own, $theirs).unwrap();
    )*};
}

#[test]
fn structures_and_constants_are_the_kernels() {
    let mut source = String::from(
        "#include <stddef.h>\n#include <linux/types.h>\n#include <linux/sched.h>\n#include <linux/sched/types.h>\n\
         #include <linux/mount.h>\n#include <linux/seccomp.h>\n#include <linux/filter.h>\n#include <linux/fcntl.h>\n\
         #include <linux/ioprio.h>\n#include <linux/keyctl.h>\n#include <linux/bpf.h>\n",
    );
    for (own, c) in [
        (size_of::<CloneArgs>(), "struct clone_args"),
        (size_of::<MountAttr>(), "struct mount_attr"),
        (size_of::<SockFilter>(), "struct sock_filter"),
        (size_of::<SockFprog>(), "struct sock_fprog"),
    ] {
        writeln!(source, "_Static_assert(sizeof({c}) == {own}, \"{c}\");").unwrap();
    }
    fields!(source, MountAttr, "struct mount_attr", set = "attr_set", clear = "attr_clr", propagation = "propagation");
    fields!(source, MountAttr, "struct mount_attr", userns_fd = "userns_fd");
    fields!(source, SockFilter, "struct sock_filter", code = "code", jt = "jt", jf = "jf", k = "k");
    fields!(source, SockFprog, "struct sock_fprog", len = "len", filter = "filter");
    fields!(source, SchedAttr, "struct sched_attr", policy = "sched_policy", flags = "sched_flags");
    fields!(source, SchedAttr, "struct sched_attr", nice = "sched_nice", priority = "sched_priority");
    fields!(source, SchedAttr, "struct sched_attr", runtime = "sched_runtime", deadline = "sched_deadline");
    fields!(source, SchedAttr, "struct sched_attr", period = "sched_period");
    constants!(source,
        namespace::TIME => "CLONE_NEWTIME", namespace::MOUNT => "CLONE_NEWNS", namespace::CGROUP => "CLONE_NEWCGROUP",
        namespace::UTS => "CLONE_NEWUTS", namespace::IPC => "CLONE_NEWIPC", namespace::USER => "CLONE_NEWUSER",
        namespace::PID => "CLONE_NEWPID", namespace::NETWORK => "CLONE_NEWNET",
        attr::RDONLY => "MOUNT_ATTR_RDONLY", attr::NOSUID => "MOUNT_ATTR_NOSUID", attr::NODEV => "MOUNT_ATTR_NODEV",
        attr::NOEXEC => "MOUNT_ATTR_NOEXEC", attr::ATIME => "MOUNT_ATTR__ATIME", attr::NOATIME => "MOUNT_ATTR_NOATIME",
        attr::STRICTATIME => "MOUNT_ATTR_STRICTATIME", attr::NODIRATIME => "MOUNT_ATTR_NODIRATIME",
        attr::IDMAP => "MOUNT_ATTR_IDMAP", attr::NOSYMFOLLOW => "MOUNT_ATTR_NOSYMFOLLOW",
        propagation::UNBINDABLE => "MS_UNBINDABLE", propagation::PRIVATE => "MS_PRIVATE",
        propagation::SLAVE => "MS_SLAVE", propagation::SHARED => "MS_SHARED",
        crate::seccomp::FLAG_NEW_LISTENER => "SECCOMP_FILTER_FLAG_NEW_LISTENER",
    );
    let mut compiler = Command::new("gcc")
        .args(["-fsyntax-only", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("gcc is needed for this test");
    compiler.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert!(compiler.wait().unwrap().success(), "{source}");
}
