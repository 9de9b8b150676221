//! From a profile to a program: names to numbers, numbers to outcomes, outcomes to ranges, ranges to a search.

use tare_oci_runtime::Seccomp;
use tare_sys::seccomp::FLAG_NEW_LISTENER;

use crate::arch::{ARM_PRIVATE, Row, X32_BIT, x86_multiplexed};
use crate::decide::{Decision, Decisions};
use crate::emit::{ARCH, Emitter, JUMP_EQ, NUMBER, Target};
use crate::outcome::{
    Alternative, Condition, KILL_THREAD, NO_SUCH_CALL, NOTIFY, Op, Return, action, alternatives, is_permissive,
};
use crate::ranges::Ranges;
use crate::{Arch, Error, Program};

/// Compiles a profile for this machine.
///
/// As with runc: names nobody knows are skipped; a rule that repeats the default action is skipped; calls numbered
/// above every call the profile names get ENOSYS instead of a restrictive default action, so that programs fall back
/// as on an older kernel; interfaces the profile does not list kill the calling thread. An unconditional rule wins over
/// conditional ones, among equals the first.
pub fn compile(profile: &Seccomp) -> Result<Program, Error> {
    compile_for(profile, Arch::native().ok_or(Error::Architecture)?)
}

/// Compiles a profile for a machine whose own interface is `native`, which is always served.
pub fn compile_for(profile: &Seccomp, native: Arch) -> Result<Program, Error> {
    /// `BPF_MAXINSNS`.
    const LIMIT: usize = 4096;
    let arches = arches(&profile.architectures, native)?;
    let rules = Rules::new(profile)?;
    let flags = flags(profile.flags.as_deref(), rules.notify())?;
    let mut emitter = Emitter::default();
    let mut decisions = Decisions::default();
    // x32 comes through the entry of x86_64, so both are one search.
    let mut entries: Vec<(u32, Target)> = Vec::with_capacity(arches.len());
    for arch in &arches {
        let audit = arch.audit();
        if entries.iter().any(|(own, _)| *own == audit) {
            continue;
        }
        let ranges = rules.ranges(&arches, *arch, &mut decisions, &mut emitter);
        let search = emitter.search(&ranges.segments(), &|target| target);
        entries.push((audit, emitter.load(NUMBER, search)));
    }
    // The first to be tested comes last: the machine's own interface.
    let foreign = Target::Return(KILL_THREAD);
    let tests =
        entries.into_iter().rev().fold(foreign, |next, (audit, entry)| emitter.branch(JUMP_EQ, audit, entry, next));
    emitter.load(ARCH, tests);
    let filter = emitter.finish();
    if filter.len() > LIMIT {
        return Err(Error::TooLarge(filter.len()));
    }
    Ok(Program { filter, flags })
}

/// The interfaces of a profile, the machine's own first.
fn arches(names: &[String], native: Arch) -> Result<Vec<Arch>, Error> {
    /// Those of machines this engine does not run on; a profile may list them all.
    const ELSEWHERE: [&str; 21] = [
        "SCMP_ARCH_NATIVE",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_RISCV32",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
        "SCMP_ARCH_LOONGARCH32",
    ];
    let mut arches = vec![native];
    for name in names {
        match Arch::ALL.into_iter().find(|arch| arch.scmp_name() == name) {
            Some(arch) if arches.contains(&arch) => {}
            Some(arch) => arches.push(arch),
            None if ELSEWHERE.contains(&name.as_str()) => {}
            None => return Err(Error::UnknownArchitecture(name.clone())),
        }
    }
    Ok(arches)
}

fn flags(names: Option<&[String]>, notify: bool) -> Result<u32, Error> {
    /// Without it, kernels before 5.16 slow every filtered process down against speculation attacks.
    const SPEC_ALLOW: u32 = 1 << 2;
    /// The kernel takes it with a listener only.
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    let listener = if notify { FLAG_NEW_LISTENER } else { 0 };
    let Some(names) = names else { return Ok(SPEC_ALLOW | listener) };
    names.iter().try_fold(listener, |flags, name| {
        Ok(flags
            | match name.as_str() {
                "SECCOMP_FILTER_FLAG_LOG" => 1 << 1,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => SPEC_ALLOW,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" if notify => WAIT_KILLABLE_RECV,
                // About other threads, of which a starting container has none.
                "SECCOMP_FILTER_FLAG_TSYNC" | "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => 0,
                other => return Err(Error::UnknownFlag(other.to_owned())),
            })
    })
}

/// The rules of a profile with everything read that can be wrong.
struct Rules<'p> {
    default: Return,
    rules: Vec<Rule<'p>>,
    /// Every name that exists, with the rule it stands in.
    names: Vec<Name<'p>>,
}

struct Rule<'p> {
    action: Return,
    /// Any of them is enough; an empty one always holds.
    alternatives: Vec<Vec<Condition>>,
    names: &'p [String],
}

impl Rule<'_> {
    fn is_unconditional(&self) -> bool {
        self.alternatives.iter().any(Vec::is_empty)
    }
}

#[derive(Clone, Copy)]
struct Name<'p> {
    name: &'p str,
    row: Option<Row>,
    rule: u32,
}

/// A system call of one interface, with a rule that may apply to it. Orders by number, then by rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    number: u32,
    rule: u32,
    /// The function of x86's `socketcall` and `ipc` that the rule is about.
    function: Option<u32>,
}

impl<'p> Rules<'p> {
    fn new(profile: &'p Seccomp) -> Result<Self, Error> {
        let default = action(&profile.default_action, profile.default_errno_ret)?;
        if default == NOTIFY {
            return Err(Error::NotifyByDefault);
        }
        let mut rules = Vec::with_capacity(profile.syscalls.len());
        for rule in &profile.syscalls {
            let (action, alternatives) = (action(&rule.action, rule.errno_ret)?, alternatives(rule)?);
            if let Some(call) = rule.names.iter().find(|name| action == NOTIFY && *name == "write") {
                return Err(Error::NotifyCall(call.clone()));
            }
            rules.push(Rule { action, alternatives, names: &rule.names });
        }
        let mut names = Vec::with_capacity(profile.syscalls.iter().map(|rule| rule.names.len()).sum());
        for (place, rule) in (0..).zip(&rules) {
            for name in rule.names {
                names.push(Name { name, row: Row::find(name), rule: place });
            }
        }
        Ok(Self { default, rules, names })
    }

    /// Whether a listener is needed.
    fn notify(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == NOTIFY)
    }

    /// The outcomes of all numbers behind one entry into the kernel.
    fn ranges(&self, arches: &[Arch], arch: Arch, decisions: &mut Decisions, emitter: &mut Emitter) -> Ranges<Target> {
        let mut ranges = Ranges::all(Target::Return(KILL_THREAD));
        if !matches!(arch, Arch::X86_64 | Arch::X32) {
            self.add(arch, &mut ranges, decisions, emitter);
            return ranges;
        }
        if arches.contains(&Arch::X86_64) {
            self.add(Arch::X86_64, &mut ranges, decisions, emitter);
            ranges.set_from(X32_BIT, Target::Return(KILL_THREAD));
        }
        if arches.contains(&Arch::X32) {
            self.add(Arch::X32, &mut ranges, decisions, emitter);
        } else {
            // What is left of a call that a tracer has cancelled.
            ranges.set_from(u32::MAX, Target::Return(NO_SUCH_CALL));
        }
        ranges
    }

    fn add(&self, arch: Arch, ranges: &mut Ranges<Target>, decisions: &mut Decisions, emitter: &mut Emitter) {
        let default = Target::Return(self.default);
        let entries = self.entries(arch);
        let numbered = entries.partition_point(|entry| arch != Arch::Arm || entry.number < ARM_PRIVATE);
        let (numbered, private) = entries.split_at(numbered);
        let mut set = |entries: &[Entry], ranges: &mut Ranges<Target>| {
            for group in entries.chunk_by(|a, b| a.number == b.number) {
                if let (Some(first), Some(target)) = (group.first(), self.target(group, arch, decisions, emitter)) {
                    ranges.set_from(first.number, target);
                    ranges.set_from(first.number + 1, default);
                }
            }
        };
        ranges.set_from(if arch == Arch::X32 { X32_BIT } else { 0 }, default);
        set(numbered, ranges);
        if let Some(newest) = numbered.last().filter(|_| !is_permissive(self.default)) {
            ranges.set_from(newest.number + 1, Target::Return(NO_SUCH_CALL));
        }
        if arch == Arch::Arm {
            ranges.set_from(ARM_PRIVATE, default);
            set(private, ranges);
        }
    }

    fn rule(&self, place: u32) -> Option<&Rule<'p>> {
        self.rules.get(usize::try_from(place).ok()?)
    }

    /// Everything the profile says about one interface, by number.
    fn entries(&self, arch: Arch) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.names.len());
        for Name { name, row, rule } in &self.names {
            let entry = |number, function| Entry { number, rule: *rule, function };
            entries.extend(row.and_then(|row| row.number(arch)).map(|number| entry(number, None)));
            // What the older way passes beyond the function lies in memory, out of a filter's sight: a rule about
            // arguments cannot apply to it.
            if arch == Arch::X86
                && let Some((call, function)) = x86_multiplexed(name)
                && self.rule(*rule).is_some_and(Rule::is_unconditional)
            {
                entries.extend(arch.number(call).map(|number| entry(number, Some(function))));
            }
        }
        entries.sort_unstable();
        entries
    }

    /// The outcome of one system call, given the entries about it; `None` is the default.
    fn target(
        &self,
        entries: &[Entry],
        arch: Arch,
        decisions: &mut Decisions,
        emitter: &mut Emitter,
    ) -> Option<Target> {
        let rules = || {
            let rule = |entry: &Entry| Some((entry.function, self.rule(entry.rule)?));
            entries.iter().filter_map(rule).filter(|(_, rule)| rule.action != self.default)
        };
        let always = rules().find(|(function, rule)| function.is_none() && rule.is_unconditional());
        if let Some((_, rule)) = always {
            return Some(Target::Return(rule.action));
        }
        let mut alternatives = Vec::new();
        for (function, rule) in rules() {
            for conditions in &rule.alternatives {
                let mut conditions = conditions.clone();
                conditions.extend(function.map(|function| Condition { arg: 0, op: Op::Eq, value: function.into() }));
                if arch.narrow() {
                    conditions = conditions.into_iter().map(Condition::narrowed).collect();
                }
                alternatives.push(Alternative { conditions, action: rule.action });
            }
        }
        if alternatives.is_empty() {
            return None;
        }
        let decision = Decision { alternatives, otherwise: self.default, narrow: arch.narrow() };
        Some(decisions.emit(decision, emitter))
    }
}
