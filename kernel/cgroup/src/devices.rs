//! Which devices a group may use: rules brought to one normal form, written to v1's files or compiled to the program
//! that v2 runs (eBPF, `BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! The normal form is what v1's kernel code keeps (`security/device_cgroup.c`): allow or deny by default, and a list of
//! exceptions. So both versions decide alike.

use tare_oci_runtime::DeviceRule;

use crate::Error;
use crate::plan::Plan;

/// Access bits, as in `BPF_DEVCG_ACC_*`.
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// Whether a device is block or character oriented; the values are `BPF_DEVCG_DEV_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block = 1,
    Char = 2,
}

/// Devices that deviate from the default.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    kind: Kind,
    /// `None` is any.
    major: Option<u32>,
    /// `None` is any.
    minor: Option<u32>,
    access: u8,
}

/// The normal form of a list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFilter {
    allow_by_default: bool,
    exceptions: Vec<Exception>,
}

/// What every container may do besides its own rules (OCI runtime specification, "Default Devices"): make any device
/// node, use null, zero, full, tty, random, urandom, its terminals and their multiplexer.
const DEFAULTS: [(Kind, Option<u32>, Option<u32>, u8); 10] = [
    (Kind::Char, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Char, Some(1), Some(3), ALL),
    (Kind::Char, Some(1), Some(5), ALL),
    (Kind::Char, Some(1), Some(7), ALL),
    (Kind::Char, Some(1), Some(8), ALL),
    (Kind::Char, Some(1), Some(9), ALL),
    (Kind::Char, Some(5), Some(0), ALL),
    (Kind::Char, Some(5), Some(2), ALL),
    (Kind::Char, Some(136), None, ALL),
];

impl DeviceFilter {
    /// Takes the rules in order, beginning with nothing allowed, then adds the devices every container has.
    pub fn new(rules: &[DeviceRule]) -> Result<Self, Error> {
        let mut filter = Self { allow_by_default: false, exceptions: Vec::new() };
        for rule in rules {
            filter.take(rule)?;
        }
        for (kind, major, minor, access) in DEFAULTS {
            filter.set(true, Exception { kind, major, minor, access });
        }
        Ok(filter)
    }

    fn take(&mut self, rule: &DeviceRule) -> Result<(), Error> {
        let access = access(&rule.access)?;
        let (major, minor) = (number(rule.major)?, number(rule.minor)?);
        let kinds: &[Kind] = match rule.kind.as_str() {
            "" | "a" if access == ALL => {
                self.allow_by_default = rule.allow;
                self.exceptions.clear();
                return Ok(());
            }
            "" | "a" => &[Kind::Char, Kind::Block],
            "c" | "u" => &[Kind::Char],
            "b" => &[Kind::Block],
            // FIFOs are no devices to the kernel's filter.
            "p" => &[],
            other => return Err(Error::Invalid(format!("invalid device type `{other}`"))),
        };
        for kind in kinds {
            self.set(rule.allow, Exception { kind: *kind, major, minor, access });
        }
        Ok(())
    }

    /// Like the kernel: a rule against the default adds to the exceptions, one with it takes back those for the very
    /// same numbers.
    fn set(&mut self, allow: bool, rule: Exception) {
        let same = |own: &Exception| (own.kind, own.major, own.minor) == (rule.kind, rule.major, rule.minor);
        let known = self.exceptions.iter_mut().find(|own| same(own));
        if allow == self.allow_by_default {
            if let Some(known) = known {
                known.access &= !rule.access;
            }
            self.exceptions.retain(|own| own.access != 0);
        } else {
            match known {
                Some(known) => known.access |= rule.access,
                None => self.exceptions.push(rule),
            }
        }
    }

    /// The program for v2, each instruction a `struct bpf_insn` (little-endian machines).
    pub fn program(&self) -> Vec<u64> {
        let mut program = vec![
            load(TYPE, 0),
            mov(ACCESS, TYPE),
            alu_imm(RIGHT_SHIFT, ACCESS, 16),
            alu_imm(AND, TYPE, 0xffff),
            load(MAJOR, 4),
            load(MINOR, 8),
        ];
        for exception in &self.exceptions {
            exception.compile(!self.allow_by_default, &mut program);
        }
        program.push(mov_imm(RESULT, u32::from(self.allow_by_default)));
        program.push(EXIT);
        program
    }
}

impl Exception {
    /// Returns `allow` when the exception matches, otherwise falls through.
    fn compile(&self, allow: bool, program: &mut Vec<u64>) {
        // Each test jumps over the rest of the block; how far is known once the block is complete.
        let mut block = vec![jump(NOT_EQUAL, TYPE, self.kind as u32)];
        if self.access != ALL {
            block.push(mov(SCRATCH, ACCESS));
            if allow {
                // Everything that is asked for must be allowed.
                block.push(alu_imm(AND, SCRATCH, u32::from(ALL & !self.access)));
                block.push(jump(NOT_EQUAL, SCRATCH, 0));
            } else {
                // Anything that is asked for being denied is enough.
                block.push(alu_imm(AND, SCRATCH, u32::from(self.access)));
                block.push(jump(EQUAL, SCRATCH, 0));
            }
        }
        block.extend(self.major.map(|major| jump(NOT_EQUAL, MAJOR, major)));
        block.extend(self.minor.map(|minor| jump(NOT_EQUAL, MINOR, minor)));
        block.push(mov_imm(RESULT, u32::from(allow)));
        block.push(EXIT);
        let length = block.len() as u64;
        let resolved = (1..).zip(&block).map(|(place, instruction)| match instruction & 0xff {
            NOT_EQUAL | EQUAL => instruction | (length - place) << 16,
            _ => *instruction,
        });
        program.extend(resolved);
    }

    /// A line for `devices.allow` and `devices.deny`.
    fn line(&self) -> String {
        let kind = match self.kind {
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access = letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter);
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), access.collect::<String>())
    }
}

/// v1: the default, then one write per exception.
pub(crate) fn plan_v1(filter: &DeviceFilter, plan: &mut Plan) {
    let (default, exception) = match filter.allow_by_default {
        true => ("devices.allow", "devices.deny"),
        false => ("devices.deny", "devices.allow"),
    };
    plan.write("devices", default, "a");
    for line in filter.exceptions.iter().map(Exception::line) {
        plan.write("devices", exception, line);
    }
}

fn access(letters: &str) -> Result<u8, Error> {
    let mut access = 0;
    for letter in letters.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            // As other runtimes read it: beside the others it says nothing.
            'a' => 0,
            _ => return Err(Error::Invalid(format!("invalid device access `{letters}`"))),
        };
    }
    Ok(if access == 0 { ALL } else { access })
}

/// Device numbers are at most 32 bits; a jump compares with a signed 32-bit value.
fn number(number: Option<i64>) -> Result<Option<u32>, Error> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => match i32::try_from(number) {
            Ok(number) if number >= 0 => Ok(Some(number.cast_unsigned())),
            _ => Err(Error::Invalid(format!("invalid device number {number}"))),
        },
    }
}

// eBPF, from linux/bpf.h and Documentation/bpf/standardization/instruction-set.rst. The context arrives in r1
// (`struct bpf_cgroup_dev_ctx`: access << 16 | type, major, minor), the result leaves in r0.
const RESULT: u64 = 0;
const SCRATCH: u64 = 1;
const CONTEXT: u64 = 1;
const TYPE: u64 = 2;
const ACCESS: u64 = 3;
const MAJOR: u64 = 4;
const MINOR: u64 = 5;
/// `BPF_ALU | BPF_AND | BPF_K`, `BPF_ALU | BPF_RSH | BPF_K`: 32-bit arithmetic.
const AND: u64 = 0x54;
const RIGHT_SHIFT: u64 = 0x74;
/// `BPF_JMP | BPF_JNE | BPF_K`, `BPF_JMP | BPF_JEQ | BPF_K`.
const NOT_EQUAL: u64 = 0x55;
const EQUAL: u64 = 0x15;
/// `BPF_JMP | BPF_EXIT`.
const EXIT: u64 = 0x95;

/// `BPF_LDX | BPF_MEM | BPF_W` from the context.
fn load(register: u64, offset: u64) -> u64 {
    0x61 | (register | CONTEXT << 4) << 8 | offset << 16
}

/// `BPF_ALU | BPF_MOV | BPF_X`.
fn mov(to: u64, from: u64) -> u64 {
    0xbc | (to | from << 4) << 8
}

/// `BPF_ALU64 | BPF_MOV | BPF_K`.
fn mov_imm(register: u64, value: u32) -> u64 {
    0xb7 | register << 8 | u64::from(value) << 32
}

fn alu_imm(operation: u64, register: u64, value: u32) -> u64 {
    operation | register << 8 | u64::from(value) << 32
}

/// The distance is filled in later.
fn jump(condition: u64, register: u64, value: u32) -> u64 {
    alu_imm(condition, register, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |text: &str| text.parse().ok();
        let (major, minor) = words.get(2).map_or((None, None), |w| {
            let (major, minor) = w.split_once(':').unwrap();
            (number(major), number(minor))
        });
        DeviceRule {
            allow: words[0] == "allow",
            kind: words[1].to_owned(),
            major,
            minor,
            access: (*words.get(3).unwrap_or(&"rwm")).to_owned(),
        }
    }

    fn filter(rules: &[&str]) -> DeviceFilter {
        DeviceFilter::new(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>()).unwrap()
    }

    fn lines(filter: &DeviceFilter) -> String {
        let mut plan = Plan::default();
        plan_v1(filter, &mut plan);
        plan.to_string()
    }

    /// Runs a program the way the kernel does.
    fn run(program: &[u64], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
        let context = [u32::from(access) << 16 | kind as u32, major, minor];
        let mut registers = [0_u64; 6];
        let mut at = 0;
        loop {
            let instruction = program[at];
            let (to, from) = ((instruction >> 8 & 15) as usize, (instruction >> 12 & 15) as usize);
            let (offset, value) = ((instruction >> 16 & 0xffff) as usize, instruction >> 32);
            at += 1;
            match instruction & 0xff {
                0x61 => registers[to] = u64::from(context[offset / 4]),
                0xbc => registers[to] = registers[from] & 0xffff_ffff,
                0xb7 => registers[to] = value,
                0x54 => registers[to] &= value,
                0x74 => registers[to] = (registers[to] & 0xffff_ffff) >> value,
                0x55 if registers[to] != value => at += offset,
                0x15 if registers[to] == value => at += offset,
                0x55 | 0x15 => {}
                0x95 => return registers[0] == 1,
                other => panic!("unknown instruction {other:x}"),
            }
        }
    }

    /// What the kernel's v1 code decides.
    fn decide(filter: &DeviceFilter, kind: Kind, major: u32, minor: u32, access: u8) -> bool {
        let matches =
            |e: &&Exception| e.kind == kind && e.major.is_none_or(|m| m == major) && e.minor.is_none_or(|m| m == minor);
        let mut exceptions = filter.exceptions.iter().filter(matches);
        match filter.allow_by_default {
            true => !exceptions.any(|e| e.access & access != 0),
            false => exceptions.any(|e| access & !e.access == 0),
        }
    }

    const DOCKER: [&str; 9] = [
        "deny a",
        "allow c 1:5 rwm",
        "allow c 1:3 rwm",
        "allow c 1:9 rwm",
        "allow c 1:8 rwm",
        "allow c 5:0 rwm",
        "allow c 5:1 rwm",
        "deny c 10:229 rwm",
        "allow b 8:16 r",
    ];

    #[test]
    fn the_usual_rules() {
        insta::assert_snapshot!(lines(&filter(&DOCKER)), @r"
        devices.deny = a
        devices.allow = c 1:5 rwm
        devices.allow = c 1:3 rwm
        devices.allow = c 1:9 rwm
        devices.allow = c 1:8 rwm
        devices.allow = c 5:0 rwm
        devices.allow = c 5:1 rwm
        devices.allow = b 8:16 r
        devices.allow = c *:* m
        devices.allow = b *:* m
        devices.allow = c 1:7 rwm
        devices.allow = c 5:2 rwm
        devices.allow = c 136:* rwm
        ");
    }

    #[test]
    fn everything_allowed_with_exceptions() {
        insta::assert_snapshot!(lines(&filter(&["allow a"])), @"devices.allow = a");
        insta::assert_snapshot!(lines(&filter(&["allow a", "deny c 1:1 rw", "allow c 1:1 r", "deny b *:* w"])), @r"
        devices.allow = a
        devices.deny = c 1:1 w
        devices.deny = b *:* w
        ");
    }

    #[test]
    fn a_letter_that_says_nothing() {
        insta::assert_snapshot!(lines(&filter(&["allow a", "deny c 1:11 rwa"])), @r"
        devices.allow = a
        devices.deny = c 1:11 rw
        ");
    }

    #[test]
    fn nonsense_is_refused() {
        let error = |text| DeviceFilter::new(&[rule(text)]).unwrap_err().to_string();
        insta::assert_snapshot!(error("allow x 1:1 r"), @"invalid device type `x`");
        insta::assert_snapshot!(error("allow c 1:1 q"), @"invalid device access `q`");
        insta::assert_snapshot!(error("allow c 1:-2 r"), @"invalid device number -2");
        insta::assert_snapshot!(error("allow c 4294967296:1 r"), @"invalid device number 4294967296");
    }

    #[test]
    fn the_program_instruction_by_instruction() {
        let filter = DeviceFilter {
            allow_by_default: false,
            exceptions: vec![
                Exception { kind: Kind::Char, major: None, minor: None, access: MKNOD },
                Exception { kind: Kind::Block, major: Some(8), minor: Some(1), access: ALL },
            ],
        };
        let hex: Vec<String> = filter.program().iter().map(|instruction| format!("{instruction:016x}")).collect();
        insta::assert_snapshot!(hex.join("\n"), @r"
        0000000000001261
        00000000000023bc
        0000001000000374
        0000ffff00000254
        0000000000041461
        0000000000081561
        0000000200050255
        00000000000031bc
        0000000600000154
        0000000000020155
        00000001000000b7
        0000000000000095
        0000000100040255
        0000000800030455
        0000000100020555
        00000001000000b7
        0000000000000095
        00000000000000b7
        0000000000000095
        ");
    }

    #[test]
    fn the_program_decides_like_v1() {
        let lists: [&[&str]; 6] = [
            &DOCKER,
            &[],
            &["allow a"],
            &["allow a", "deny c 1:3 r", "deny b *:* w", "deny c 10:* rwm"],
            &["deny a", "allow a *:* r", "allow c 1:1 wm"],
            &["deny a", "allow c *:* rw", "deny c *:* w", "allow b 8:* rm"],
        ];
        for rules in lists {
            let filter = filter(rules);
            let program = filter.program();
            for kind in [Kind::Block, Kind::Char] {
                for major in [0, 1, 5, 8, 10, 136, 4095] {
                    for minor in [0, 1, 3, 5, 16, 229, 1 << 20] {
                        for access in 1..=ALL {
                            let expected = decide(&filter, kind, major, minor, access);
                            let got = run(&program, kind, major, minor, access);
                            assert_eq!(got, expected, "{rules:?} {kind:?} {major}:{minor} {access}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_kernel_accepts_the_program() {
        for rules in [&DOCKER[..], &["allow a"], &["allow a", "deny c 1:3 r"]] {
            tare_sys::bpf::load_cgroup_device_program(&filter(rules).program()).unwrap();
        }
    }
}
