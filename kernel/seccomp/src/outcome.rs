//! What a rule decides: actions, conditions on arguments, and a direct evaluation of both.

use tare_oci_runtime::{SeccompArg, SeccompRule};

use crate::Error;

/// A filter's return value: `SECCOMP_RET_*` and 16 bits of data.
pub(crate) type Return = u32;

pub(crate) const KILL_THREAD: Return = 0;
const KILL_PROCESS: Return = 0x8000_0000;
const TRAP: Return = 0x0003_0000;
const ERRNO: Return = 0x0005_0000;
/// Whoever holds the listener answers.
pub(crate) const NOTIFY: Return = 0x7fc0_0000;
const TRACE: Return = 0x7ff0_0000;
const LOG: Return = 0x7ffc_0000;
pub(crate) const ALLOW: Return = 0x7fff_0000;
/// What a kernel without the call would answer.
pub(crate) const NO_SUCH_CALL: Return = ERRNO | 38;

/// Reads an action and its error number (EPERM unless given).
pub(crate) fn action(name: &str, errno: Option<u32>) -> Result<Return, Error> {
    const EPERM: u32 = 1;
    let data = errno.unwrap_or(EPERM);
    let with_data = |action| if data > 0xffff { Err(Error::ErrorNumber(data)) } else { Ok(action | data) };
    match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(KILL_THREAD),
        "SCMP_ACT_KILL_PROCESS" => Ok(KILL_PROCESS),
        "SCMP_ACT_TRAP" => Ok(TRAP),
        "SCMP_ACT_ERRNO" => with_data(ERRNO),
        "SCMP_ACT_TRACE" => with_data(TRACE),
        "SCMP_ACT_LOG" => Ok(LOG),
        "SCMP_ACT_ALLOW" => Ok(ALLOW),
        "SCMP_ACT_NOTIFY" => Ok(NOTIFY),
        other => Err(Error::UnknownAction(other.to_owned())),
    }
}

/// Whether calls nobody has thought of yet are let through, or left to a tracer who knows them.
pub(crate) fn is_permissive(action: Return) -> bool {
    matches!(action & 0xffff_0000, ALLOW | LOG | TRACE)
}

/// How an argument is compared (unsigned).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Equal in the bits of a mask.
    Masked(u64),
}

/// One condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) arg: u8,
    pub(crate) op: Op,
    pub(crate) value: u64,
}

impl Condition {
    fn new(arg: &SeccompArg) -> Result<Self, Error> {
        const ARGUMENTS: u8 = 6;
        let index = u8::try_from(arg.index).ok().filter(|index| *index < ARGUMENTS);
        let index = index.ok_or(Error::ArgumentIndex(arg.index))?;
        let (op, value) = match arg.op.as_str() {
            "SCMP_CMP_EQ" => (Op::Eq, arg.value),
            "SCMP_CMP_NE" => (Op::Ne, arg.value),
            "SCMP_CMP_LT" => (Op::Lt, arg.value),
            "SCMP_CMP_LE" => (Op::Le, arg.value),
            "SCMP_CMP_GT" => (Op::Gt, arg.value),
            "SCMP_CMP_GE" => (Op::Ge, arg.value),
            "SCMP_CMP_MASKED_EQ" => (Op::Masked(arg.value), arg.value_two),
            other => return Err(Error::UnknownOperator(other.to_owned())),
        };
        Ok(Self { arg: index, op, value })
    }

    /// The same for an interface whose arguments have 32 bits.
    pub(crate) fn narrowed(self) -> Self {
        let low = |value: u64| value & 0xffff_ffff;
        let op = if let Op::Masked(mask) = self.op { Op::Masked(low(mask)) } else { self.op };
        Self { op, value: low(self.value), ..self }
    }

    /// Whether it holds.
    pub(crate) fn holds(self, value: u64) -> bool {
        match self.op {
            Op::Eq => value == self.value,
            Op::Ne => value != self.value,
            Op::Lt => value < self.value,
            Op::Le => value <= self.value,
            Op::Gt => value > self.value,
            Op::Ge => value >= self.value,
            Op::Masked(mask) => value & mask == self.value,
        }
    }
}

/// One way for a rule to apply: all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alternative {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Return,
}

/// Reads the conditions of a rule; an empty list applies always. By custom (runc's), conditions on different arguments
/// must all hold, but as soon as one argument is named twice any of the conditions is enough.
pub(crate) fn alternatives(rule: &SeccompRule) -> Result<Vec<Vec<Condition>>, Error> {
    let conditions = rule.args.iter().map(Condition::new).collect::<Result<Vec<_>, _>>()?;
    let mut seen = [false; 256];
    let mut twice = false;
    for condition in &conditions {
        if let Some(seen) = seen.get_mut(usize::from(condition.arg)) {
            twice |= std::mem::replace(seen, true);
        }
    }
    Ok(if twice { conditions.into_iter().map(|condition| vec![condition]).collect() } else { vec![conditions] })
}
