//! The system call interfaces: their names, how the kernel announces them to a filter, their numbers.

use crate::numbers::{COLUMNS, NONE, SYSCALLS};

/// A system call interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit PC.
    X86_64,
    /// 64-bit PC with 32-bit pointers: x86_64's entry, told apart by a bit in the number.
    X32,
    /// 32-bit PC.
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM (EABI).
    Arm,
}

/// What x32 adds to its numbers (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;
/// ARM's own calls, outside the common numbering (`__ARM_NR_BASE`).
pub(crate) const ARM_PRIVATE: u32 = 0xf_0000;

impl Arch {
    /// All of them, in the order of the columns of the table of numbers.
    pub const ALL: [Self; COLUMNS] = [Self::X86_64, Self::X32, Self::X86, Self::Aarch64, Self::Arm];

    /// The interface this program itself uses.
    pub const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// Its name in profiles.
    pub const fn scmp_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X32 => "SCMP_ARCH_X32",
            Self::X86 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// Its name in the conditions of Docker's profiles.
    pub const fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X32 => "x32",
            Self::X86 => "x86",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// The interfaces a machine of this kind serves besides its own.
    pub const fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            _ => &[],
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`, what a filter sees.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether an argument has 32 bits that count. (x32 passes them in 64-bit registers, but its calls take 32.)
    pub(crate) const fn narrow(self) -> bool {
        matches!(self, Self::X32 | Self::X86 | Self::Arm)
    }

    const fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X32 => 1,
            Self::X86 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }

    /// The number of a system call, with x32's bit.
    pub fn number(self, name: &str) -> Option<u32> {
        Row::find(name)?.number(self)
    }
}

/// The numbers of one system call.
#[derive(Clone, Copy)]
pub(crate) struct Row(&'static [i32; COLUMNS]);

impl Row {
    pub(crate) fn find(name: &str) -> Option<Self> {
        let mut slot = hash(name.as_bytes());
        loop {
            let (own, numbers) = SYSCALLS.get(usize::from(*INDEX.get(slot)?))?;
            if *own == name {
                return Some(Self(numbers));
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    pub(crate) fn number(self, arch: Arch) -> Option<u32> {
        let number = self.0.get(arch.column()).copied().filter(|number| *number != NONE)?;
        let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
        u32::try_from(number).ok().map(|number| number | bit)
    }
}

/// A hash table of the names, made by the compiler: a profile has hundreds, and looking them up is most of the work of
/// compiling it. An empty slot points beyond the names.
static INDEX: [u16; SLOTS] = index();
/// A power of two, about half of it empty.
const SLOTS: usize = 1024;

const fn index() -> [u16; SLOTS] {
    assert!(SYSCALLS.len() * 3 < SLOTS * 2);
    let mut slots = [u16::MAX; SLOTS];
    let mut place = 0;
    while place < SYSCALLS.len() {
        let mut slot = hash(SYSCALLS[place].0.as_bytes());
        while slots[slot] != u16::MAX {
            slot = (slot + 1) % SLOTS;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 1024, see above")]
        let number = place as u16;
        slots[slot] = number;
        place += 1;
    }
    slots
}

/// FNV-1a, folded to a slot.
const fn hash(mut name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    while let Some((byte, rest)) = name.split_first() {
        hash = (hash ^ *byte as u32).wrapping_mul(0x0100_0193);
        name = rest;
    }
    (hash ^ hash >> 16) as usize % SLOTS
}

/// x86's older way of making socket and System V IPC calls: one system call with the function as its first argument.
/// Name, the call it goes through, the function; sorted by name. Sources: `linux/net.h`, `linux/ipc.h`.
const X86_MULTIPLEXED: [(&str, &str, u32); 32] = [
    ("accept", "socketcall", 5),
    ("accept4", "socketcall", 18),
    ("bind", "socketcall", 2),
    ("connect", "socketcall", 3),
    ("getpeername", "socketcall", 7),
    ("getsockname", "socketcall", 6),
    ("getsockopt", "socketcall", 15),
    ("listen", "socketcall", 4),
    ("msgctl", "ipc", 14),
    ("msgget", "ipc", 13),
    ("msgrcv", "ipc", 12),
    ("msgsnd", "ipc", 11),
    ("recv", "socketcall", 10),
    ("recvfrom", "socketcall", 12),
    ("recvmmsg", "socketcall", 19),
    ("recvmsg", "socketcall", 17),
    ("semctl", "ipc", 3),
    ("semget", "ipc", 2),
    ("semop", "ipc", 1),
    ("semtimedop", "ipc", 4),
    ("send", "socketcall", 9),
    ("sendmmsg", "socketcall", 20),
    ("sendmsg", "socketcall", 16),
    ("sendto", "socketcall", 11),
    ("setsockopt", "socketcall", 14),
    ("shmat", "ipc", 21),
    ("shmctl", "ipc", 24),
    ("shmdt", "ipc", 22),
    ("shmget", "ipc", 23),
    ("shutdown", "socketcall", 13),
    ("socket", "socketcall", 1),
    ("socketpair", "socketcall", 8),
];

/// The call and function a name goes through on x86.
pub(crate) fn x86_multiplexed(name: &str) -> Option<(&'static str, u32)> {
    let place = X86_MULTIPLEXED.binary_search_by(|(own, ..)| (*own).cmp(name)).ok()?;
    X86_MULTIPLEXED.get(place).map(|(_, call, function)| (*call, *function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_numbers_are_unique() {
        assert!(SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(X86_MULTIPLEXED.is_sorted_by(|a, b| a.0 < b.0));
        for arch in Arch::ALL {
            let mut numbers: Vec<_> = SYSCALLS.iter().filter_map(|(name, _)| arch.number(name)).collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            // ARM has two names for 341.
            assert_eq!(numbers.len(), count - usize::from(arch == Arch::Arm), "{arch:?}");
            assert!(count > 300, "{arch:?}");
        }
        for (name, numbers) in SYSCALLS {
            assert_eq!(Row::find(name).map(|row| row.0), Some(numbers), "{name}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_are_those_of_the_c_library() {
        let table = [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("socket", libc::SYS_socket),
            ("pkey_free", libc::SYS_pkey_free),
            ("statx", libc::SYS_statx),
            ("fchmodat2", libc::SYS_fchmodat2),
            ("mseal", libc::SYS_mseal),
        ];
        for (name, number) in table {
            assert_eq!(Arch::X86_64.number(name).map(i64::from), Some(number), "{name}");
        }
    }

    #[test]
    fn some_numbers_differ() {
        assert_eq!(Arch::X86.number("read"), Some(3));
        assert_eq!(Arch::X32.number("execve"), Some(X32_BIT | 520));
        assert_eq!(Arch::Aarch64.number("open"), None);
        assert_eq!(Arch::Arm.number("cacheflush"), Some(0xf_0002));
        assert_eq!(Arch::X86_64.number("nonsense"), None);
        assert_eq!(x86_multiplexed("shmctl"), Some(("ipc", 24)));
        assert_eq!(x86_multiplexed("sendmmsg"), Some(("socketcall", 20)));
        assert_eq!(x86_multiplexed("read"), None);
    }
}
