//! A compiled program decides like a direct reading of the profile, for every interface, number and argument.

use proptest::prelude::*;
use tare_oci_runtime::{Seccomp, SeccompArg, SeccompRule};
use tare_seccomp::{Arch, KernelVersion, SockFilter, compile_for, default_profile};

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
struct Call {
    audit: u32,
    number: u32,
    args: [u64; 6],
}

impl Call {
    /// 32 bits of `struct seccomp_data`.
    fn load(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            8 | 12 => 0,
            _ => {
                let argument = self.args[(offset as usize - 16) / 8];
                let half = if offset.is_multiple_of(8) { argument & 0xffff_ffff } else { argument >> 32 };
                u32::try_from(half).unwrap()
            }
        }
    }
}

/// Classic BPF as the kernel runs it, as far as filters here use it. Also counts the instructions run.
fn run(filter: &[SockFilter], call: Call) -> (u32, usize) {
    let (mut at, mut accumulator) = (0, 0);
    for steps in 1.. {
        let SockFilter { code, jt, jf, k } = filter[at];
        at += 1;
        let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
        match code {
            0x20 => accumulator = call.load(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x06 => return (k, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
    unreachable!()
}

/// What the kernel checks before it takes a filter: jumps stay inside and the end is a return.
fn is_valid(filter: &[SockFilter]) -> bool {
    let inside = |(at, instruction): (usize, &SockFilter)| {
        let reach = match instruction.code {
            0x05 => instruction.k as usize,
            0x15 | 0x25 | 0x35 => usize::from(instruction.jt.max(instruction.jf)),
            _ => 0,
        };
        at + 1 + reach < filter.len() || instruction.code == 0x06
    };
    filter.len() <= 4096 && filter.last().is_some_and(|last| last.code == 0x06) && filter.iter().enumerate().all(inside)
}

const X32_BIT: u32 = 0x4000_0000;
const KILL: u32 = 0;
const NO_SUCH_CALL: u32 = 0x0005_0000 | 38;

fn action(name: &str, errno: Option<u32>) -> u32 {
    match name {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno.unwrap_or(1),
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno.unwrap_or(1),
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        _ => KILL,
    }
}

fn holds(arg: &SeccompArg, args: &[u64; 6], narrow: bool) -> bool {
    let bits = |value: u64| if narrow { value & 0xffff_ffff } else { value };
    let (actual, value) = (bits(args[arg.index as usize]), bits(arg.value));
    match arg.op.as_str() {
        "SCMP_CMP_EQ" => actual == value,
        "SCMP_CMP_NE" => actual != value,
        "SCMP_CMP_LT" => actual < value,
        "SCMP_CMP_LE" => actual <= value,
        "SCMP_CMP_GT" => actual > value,
        "SCMP_CMP_GE" => actual >= value,
        _ => actual & value == bits(arg.value_two),
    }
}

/// The functions of x86's combined calls that profiles here name.
const COMBINED: [(&str, &str, u64); 3] =
    [("socket", "socketcall", 1), ("send", "socketcall", 9), ("shmget", "ipc", 23)];

/// A rule, a name in it, and the name's number.
type Named<'p> = (&'p SeccompRule, &'p str, Option<u32>);

/// A profile read rule by rule.
struct Reader<'p> {
    profile: &'p Seccomp,
    arches: Vec<Arch>,
    /// Rule, name and number, by interface.
    numbers: Vec<(Arch, Vec<Named<'p>>)>,
}

impl<'p> Reader<'p> {
    fn new(profile: &'p Seccomp, native: Arch) -> Self {
        let mut arches = vec![native];
        arches.extend(Arch::ALL.into_iter().filter(|a| profile.architectures.contains(&a.scmp_name().to_owned())));
        let numbers = |arch: Arch| {
            let names =
                |rule: &'p SeccompRule| rule.names.iter().map(move |name| (rule, name.as_str(), arch.number(name)));
            (arch, profile.syscalls.iter().flat_map(names).collect())
        };
        Self { profile, numbers: arches.iter().copied().map(numbers).collect(), arches }
    }

    fn decide(&self, call: Call) -> u32 {
        let is_x32 = call.number >= X32_BIT && call.audit == Arch::X32.audit();
        let matches = |arch: &Arch| arch.audit() == call.audit && (*arch == Arch::X32) == is_x32;
        let Some((arch, rules)) = self.numbers.iter().find(|(arch, _)| matches(arch)) else {
            let cancelled = call.number == u32::MAX && self.arches.iter().any(|arch| arch.audit() == call.audit);
            return if cancelled { NO_SUCH_CALL } else { KILL };
        };
        let arch = *arch;
        let narrow = matches!(arch, Arch::X32 | Arch::X86 | Arch::Arm);
        let default = action(&self.profile.default_action, self.profile.default_errno_ret);
        let mut newest = None;
        let (mut unconditional, mut conditional) = (None, None);
        for (rule, name, number) in rules {
            let outcome = action(&rule.action, rule.errno_ret);
            newest = newest.max(number.filter(|number| arch != Arch::Arm || *number < 0xf_0000));
            if *number == Some(call.number) && outcome != default && applies(rule, &call.args, narrow) {
                let kind = if rule.args.is_empty() { &mut unconditional } else { &mut conditional };
                kind.get_or_insert(outcome);
            }
            let combined = COMBINED.iter().find(|(own, ..)| own == name && arch == Arch::X86 && rule.args.is_empty());
            if let Some((_, combined, function)) = combined {
                newest = newest.max(arch.number(combined));
                let same = arch.number(combined) == Some(call.number) && call.args[0] & 0xffff_ffff == *function;
                if same && outcome != default {
                    conditional.get_or_insert(outcome);
                }
            }
        }
        let permissive = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"];
        let permissive = permissive.contains(&self.profile.default_action.as_str());
        let is_new = newest.is_some_and(|newest| call.number > newest) && (arch != Arch::Arm || call.number < 0xf_0000);
        let otherwise = if is_new && !permissive { NO_SUCH_CALL } else { default };
        unconditional.or(conditional).unwrap_or(otherwise)
    }
}

fn applies(rule: &SeccompRule, args: &[u64; 6], narrow: bool) -> bool {
    let repeated = (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
    let fits = |arg: &SeccompArg| holds(arg, args, narrow);
    if repeated { rule.args.iter().any(fits) } else { rule.args.iter().all(fits) }
}

fn check(profile: &Seccomp, native: Arch, calls: impl IntoIterator<Item = Call>) {
    let program = compile_for(profile, native).unwrap();
    assert!(is_valid(&program.filter), "{:?}", program.filter);
    let reader = Reader::new(profile, native);
    for call in calls {
        assert_eq!(run(&program.filter, call).0, reader.decide(call), "{call:x?} {native:?} {profile:?}");
    }
}

/// Values at which the tests of the default profile and of those below change their mind.
const ARGUMENTS: [u64; 28] = [
    0,
    1,
    7,
    8,
    9,
    22,
    23,
    37,
    38,
    39,
    40,
    41,
    44,
    47,
    48,
    63,
    0x2_0000,
    0x2_0008,
    0x0200_0000,
    0x7e02_0000,
    0x7fff_ffff,
    0xffff_fffe,
    0xffff_ffff,
    1 << 32,
    (1 << 32) + 38,
    (1 << 32) + 39,
    u64::MAX - 1,
    u64::MAX,
];

fn every_number() -> impl Iterator<Item = u32> {
    let low = 0..600;
    let edges = [X32_BIT - 1, 0xe_ffff, u32::MAX - 1, u32::MAX];
    low.clone().chain(low.map(|number| number | X32_BIT)).chain(0xf_0000..0xf_0010).chain(edges)
}

/// Every number, and all the arguments for those whose rules look at them.
fn every_call() -> impl Iterator<Item = Call> {
    let tested = |number| {
        let by_name = |name| Arch::ALL.iter().any(|arch| arch.number(name) == Some(number));
        ["clone", "personality", "socket", "socketcall", "ipc"].into_iter().any(by_name)
    };
    let audits = [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm].map(Arch::audit);
    let audits = audits.into_iter().chain([0, 0x8000_0016]);
    audits.flat_map(move |audit| {
        every_number().flat_map(move |number| {
            let count = if tested(number) { ARGUMENTS.len() } else { 1 };
            ARGUMENTS.into_iter().take(count).map(move |argument| Call { audit, number, args: [argument; 6] })
        })
    })
}

#[test]
fn the_default_profile_everywhere() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        for capabilities in [&[][..], &["CAP_SYS_ADMIN"], &["CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_SYSLOG"]] {
            let profile = default_profile(capabilities, native, KernelVersion(6, 1));
            check(&profile, native, every_call());
        }
    }
}

#[test]
fn the_default_profile_is_small_and_short() {
    let profile = default_profile::<&str>(&[], Arch::X86_64, KernelVersion(6, 1));
    let program = compile_for(&profile, Arch::X86_64).unwrap();
    let longest = every_call().map(|call| run(&program.filter, call).1).max().unwrap();
    let read = Call { audit: Arch::X86_64.audit(), number: 0, args: [0; 6] };
    insta::assert_snapshot!(
        format!("{} instructions, at most {longest} run, {} for read", program.filter.len(), run(&program.filter, read).1),
        @"225 instructions, at most 19 run, 13 for read"
    );
}

#[test]
fn a_small_program_instruction_by_instruction() {
    let profile = Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        syscalls: vec![
            rule(&["read", "write", "close"], "SCMP_ACT_ALLOW", None, vec![]),
            rule(&["fstat"], "SCMP_ACT_ERRNO", Some(38), vec![]),
            rule(&["socket"], "SCMP_ACT_ALLOW", None, vec![arg(0, "SCMP_CMP_EQ", 2, 0), arg(2, "SCMP_CMP_LT", 7, 0)]),
            rule(&["personality"], "SCMP_ACT_ALLOW", None, vec![arg(0, "SCMP_CMP_EQ", 8, 0)]),
        ],
        ..Seccomp::default()
    };
    let program = compile_for(&profile, Arch::X86_64).unwrap();
    let lines: Vec<String> = program.filter.iter().enumerate().map(|(at, one)| disassemble(at, one)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
     0 a = data[4]
     1 if a == 0xc000003e goto 2 else 11
     2 a = data[0]
     3 if a >= 0x88 goto 9 else 4
     4 if a >= 0x4 goto 6 else 5
     5 if a == 0x2 goto 27 else 26
     6 if a >= 0x87 goto 13 else 7
     7 if a == 0x5 goto 12 else 8
     8 if a == 0x29 goto 17 else 27
     9 if a >= 0x40000000 goto 10 else 12
    10 if a >= 0xffffffff goto 12 else 11
    11 return 0x0
    12 return 0x50026
    13 a = data[20]
    14 if a == 0x0 goto 15 else 27
    15 a = data[16]
    16 if a == 0x8 goto 26 else 27
    17 a = data[20]
    18 if a == 0x0 goto 19 else 27
    19 a = data[16]
    20 if a == 0x2 goto 21 else 27
    21 a = data[36]
    22 if a > 0x0 goto 27 else 23
    23 if a == 0x0 goto 24 else 26
    24 a = data[32]
    25 if a >= 0x7 goto 27 else 26
    26 return 0x7fff0000
    27 return 0x50001
    ");
}

fn disassemble(at: usize, SockFilter { code, jt, jf, k }: &SockFilter) -> String {
    let to = |skip: usize| at + 1 + skip;
    let branch = |op| format!("{at:3} if a {op} {k:#x} goto {} else {}", to((*jt).into()), to((*jf).into()));
    match code {
        0x20 => format!("{at:3} a = data[{k}]"),
        0x54 => format!("{at:3} a &= {k:#x}"),
        0x05 => format!("{at:3} goto {}", to(*k as usize)),
        0x15 => branch("=="),
        0x25 => branch(">"),
        0x35 => branch(">="),
        _ => format!("{at:3} return {k:#x}"),
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_kernel_takes_the_default_profile() {
    use rustix::net::{AddressFamily, SocketType, socket};
    let thread = std::thread::spawn(|| {
        let program =
            tare_seccomp::compile(&default_profile(&["CAP_CHOWN"], Arch::X86_64, KernelVersion(6, 1))).unwrap();
        let host = rustix::system::uname();
        tare_sys::seccomp::attach(&program.filter, program.flags).unwrap();
        let stream = |family| socket(family, SocketType::STREAM, None).map(drop);
        assert_eq!(stream(AddressFamily::UNIX), Ok(()));
        assert_eq!(stream(AddressFamily::from_raw(38)), Err(rustix::io::Errno::PERM));
        // Root or not: the capability is not among the profile's.
        assert_eq!(rustix::system::sethostname(host.nodename().to_bytes()), Err(rustix::io::Errno::PERM));
        std::fs::read("/proc/self/status").unwrap()
    });
    let status = String::from_utf8(thread.join().unwrap()).unwrap();
    assert!(status.contains("Seccomp:\t0"), "only the thread is filtered: {status}");
}

fn rule(names: &[&str], action: &str, errno_ret: Option<u32>, args: Vec<SeccompArg>) -> SeccompRule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    SeccompRule { names, action: action.to_owned(), errno_ret, args }
}

fn arg(index: u32, op: &str, value: u64, value_two: u64) -> SeccompArg {
    SeccompArg { index, value, value_two, op: op.to_owned() }
}

#[test]
fn large_programs_jump_far() {
    let names = ["read", "write", "open", "close", "stat", "mmap", "ioctl", "socket", "sendfile", "ppoll"];
    let syscalls = names.iter().enumerate().flat_map(|(place, name)| {
        (0_u32..25).map(move |errno| {
            let value = u64::from(errno);
            let two = vec![arg(0, "SCMP_CMP_GE", value * 100 + place as u64, 0), arg(1, "SCMP_CMP_NE", value << 31, 0)];
            rule(&[name], "SCMP_ACT_ERRNO", Some(errno + 10), two)
        })
    });
    let profile =
        Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), syscalls: syscalls.collect(), ..Seccomp::default() };
    let calls = (0..500).flat_map(|number| {
        let call = move |a, b| Call { audit: Arch::X86_64.audit(), number, args: [a, b, 0, 0, 0, 0] };
        [call(0, 0), call(505, 1 << 31), call(2409, 0), call(u64::MAX, 24 << 31)]
    });
    check(&profile, Arch::X86_64, calls);
}

#[test]
fn what_cannot_be_honoured() {
    let error = |profile: Seccomp| compile_for(&profile, Arch::X86_64).unwrap_err().to_string();
    let with = |rule: SeccompRule| Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        syscalls: vec![rule],
        ..Seccomp::default()
    };
    let default = |action: &str| Seccomp { default_action: action.to_owned(), ..Seccomp::default() };
    insta::assert_snapshot!(error(default("")), @"unknown seccomp action ``");
    insta::assert_snapshot!(error(with(rule(&["read", "write"], "SCMP_ACT_NOTIFY", None, vec![]))), @"SCMP_ACT_NOTIFY cannot be used for the write syscall");
    insta::assert_snapshot!(error(default("SCMP_ACT_NOTIFY")), @"SCMP_ACT_NOTIFY cannot be used as default action");
    insta::assert_snapshot!(error(with(rule(&["read"], "SCMP_ACT_ERRNO", Some(1 << 16), vec![]))), @"seccomp error number 65536 is too large");
    insta::assert_snapshot!(error(with(rule(&["read"], "SCMP_ACT_ALLOW", None, vec![arg(6, "SCMP_CMP_EQ", 0, 0)]))), @"seccomp argument index 6 is not between 0 and 5");
    insta::assert_snapshot!(error(with(rule(&["read"], "SCMP_ACT_ALLOW", None, vec![arg(0, "EQ", 0, 0)]))), @"unknown seccomp operator `EQ`");
    let arch = Seccomp { architectures: vec!["SCMP_ARCH_VAX".to_owned()], ..default("SCMP_ACT_ALLOW") };
    insta::assert_snapshot!(error(arch), @"unknown seccomp architecture `SCMP_ARCH_VAX`");
    let flag = Seccomp { flags: Some(vec!["X".to_owned()]), ..default("SCMP_ACT_ALLOW") };
    insta::assert_snapshot!(error(flag), @"unknown seccomp flag `X`");
    let many =
        (0..2000).map(|value| rule(&["read"], "SCMP_ACT_ALLOW", None, vec![arg(0, "SCMP_CMP_EQ", value << 32, 0)]));
    let large = Seccomp { syscalls: many.collect(), ..default("SCMP_ACT_ERRNO") };
    insta::assert_snapshot!(error(large), @"seccomp profile is too large: 8041 instructions, the kernel takes 4096");
}

#[test]
fn flags() {
    let flags = |flags: Option<&[&str]>, action: &str| {
        let flags = flags.map(|all| all.iter().map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}")).collect());
        let syscalls = vec![rule(&["mkdir"], action, None, vec![])];
        let profile = Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), flags, syscalls, ..Seccomp::default() };
        compile_for(&profile, Arch::X86_64).unwrap().flags
    };
    // The runtime's choice is to leave speculation alone; an empty list is a choice too.
    assert_eq!((flags(None, "SCMP_ACT_ERRNO"), flags(Some(&[]), "SCMP_ACT_ERRNO")), (4, 0));
    assert_eq!(flags(Some(&["TSYNC", "LOG", "SPEC_ALLOW"]), "SCMP_ACT_ERRNO"), 6);
    // 8 is a listener, which the last one is about.
    assert_eq!((flags(None, "SCMP_ACT_NOTIFY"), flags(Some(&[]), "SCMP_ACT_NOTIFY")), (12, 8));
    assert_eq!(flags(Some(&["WAIT_KILLABLE_RECV"]), "SCMP_ACT_NOTIFY"), 40);
    assert_eq!(flags(Some(&["WAIT_KILLABLE_RECV"]), "SCMP_ACT_ERRNO"), 0);
}

fn any_arg() -> impl Strategy<Value = SeccompArg> {
    const OPS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
    let value =
        || prop_oneof![proptest::sample::select(&ARGUMENTS[..]), any::<u64>(), any::<u32>().prop_map(u64::from)];
    (0_u32..3, proptest::sample::select(&OPS[..]), value(), value(), any::<bool>()).prop_map(
        |(index, op, value, value_two, fitting)| {
            // A masked comparison outside its mask never holds; mostly test the others.
            let value_two = if fitting { value & value_two } else { value_two };
            arg(index, &format!("SCMP_CMP_{op}"), value, value_two)
        },
    )
}

fn any_action() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_LOG",
            "SCMP_ACT_TRAP",
            "SCMP_ACT_TRACE",
            "SCMP_ACT_KILL",
            "SCMP_ACT_KILL_PROCESS",
        ][..],
    )
}

const NAMES: [&str; 16] = [
    "read",
    "write",
    "socket",
    "send",
    "shmget",
    "ipc",
    "socketcall",
    "clone",
    "personality",
    "cacheflush",
    "set_tls",
    "statx",
    "mseal",
    "execve",
    "no_such_call",
    "arm_sync_file_range",
];

fn any_rule() -> impl Strategy<Value = SeccompRule> {
    let names = proptest::collection::vec(proptest::sample::select(&NAMES[..]), 0..4);
    let args = prop_oneof![Just(Vec::new()), proptest::collection::vec(any_arg(), 1..4)];
    (names, any_action(), proptest::option::of(0_u32..100), args)
        .prop_map(|(names, action, errno, args)| rule(&names, action, errno, args))
}

fn any_profile() -> impl Strategy<Value = Seccomp> {
    let arches = proptest::collection::vec(proptest::sample::select(&Arch::ALL[..]), 0..4);
    let rules = proptest::collection::vec(any_rule(), 0..8);
    (any_action(), proptest::option::of(0_u32..100), arches, rules).prop_map(|(action, errno, arches, syscalls)| {
        Seccomp {
            default_action: action.to_owned(),
            default_errno_ret: errno,
            architectures: arches.into_iter().map(|arch| arch.scmp_name().to_owned()).collect(),
            syscalls,
            ..Seccomp::default()
        }
    })
}

/// A call that some rule may be about, its arguments near or on those the rules compare with.
fn any_call() -> impl Strategy<Value = Call> {
    let number = prop_oneof![
        4 => (proptest::sample::select(&NAMES[..]), proptest::sample::select(&Arch::ALL[..]))
            .prop_map(|(name, arch)| arch.number(name).unwrap_or(7)),
        1 => 0_u32..600,
        1 => any::<u32>(),
    ];
    let argument = || prop_oneof![proptest::sample::select(&ARGUMENTS[..]), any::<u64>()];
    let audit = proptest::sample::select(&Arch::ALL[..]).prop_map(Arch::audit);
    (audit, number, [argument(), argument(), argument()]).prop_map(|(audit, number, [a, b, c])| Call {
        audit,
        number,
        args: [a, b, c, 0, 0, 0],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_profile_decides_as_it_reads(
        profile in any_profile(),
        native in proptest::sample::select(&[Arch::X86_64, Arch::Aarch64][..]),
        calls in proptest::collection::vec(any_call(), 60),
    ) {
        // The values the profile itself compares with, and their neighbours.
        let values: Vec<u64> = profile.syscalls.iter().flat_map(|rule| &rule.args)
            .flat_map(|arg| [arg.value, arg.value_two]).flat_map(|v| [v, v.wrapping_add(1), v.wrapping_sub(1)]).collect();
        let near = calls.iter().zip(values.iter().cycle()).map(|(call, value)| {
            let mut args = call.args;
            args[call.number as usize % 3] = *value;
            Call { args, ..*call }
        });
        check(&profile, native, calls.iter().copied().chain(near));
    }
}
