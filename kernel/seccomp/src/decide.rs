//! Conditions on arguments as instructions.
//!
//! An argument has 64 bits, the machine of the filter 32: each comparison loads the two halves. Most profiles test one
//! argument against small numbers, which is a search among ranges of the low half; the rest is tested one by one.

use crate::emit::{ARGUMENTS, Emitter, JUMP_EQ, JUMP_GE, JUMP_GT, Target};
use crate::outcome::{Alternative, Condition, Op, Return};
use crate::ranges::Ranges;

/// What the arguments of a call decide: the first alternative whose conditions hold, or else the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) alternatives: Vec<Alternative>,
    pub(crate) otherwise: Return,
    /// Only the low halves count.
    pub(crate) narrow: bool,
}

/// Decisions already emitted: the interfaces of a machine mostly need the same ones.
#[derive(Default)]
pub(crate) struct Decisions {
    searches: Vec<(u8, Ranges<Return>, Target)>,
    chains: Vec<(Decision, Target)>,
}

impl Decision {
    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.alternatives.iter().flat_map(|alternative| &alternative.conditions)
    }

    /// What it comes to when the only argument tested has this value.
    fn outcome(&self, value: u64) -> Return {
        let holds = |one: &&Alternative| one.conditions.iter().all(|condition| condition.holds(value));
        self.alternatives.iter().find(holds).map_or(self.otherwise, |one| one.action)
    }

    /// The argument tested, if it is only one.
    fn argument(&self) -> Option<u8> {
        let first = self.conditions().next()?.arg;
        self.conditions().all(|condition| condition.arg == first).then_some(first)
    }

    /// The outcomes by the low half, the high half being zero. `None` if a condition holds for too many separate ranges.
    fn by_low_half(&self) -> Option<Ranges<Return>> {
        let mut starts = vec![0_u64];
        for condition in self.conditions() {
            let end = match condition.op {
                // A mask of leading ones selects one range.
                Op::Masked(mask) => {
                    let free = !mask & 0xffff_ffff;
                    if free & (free + 1) != 0 {
                        return None;
                    }
                    condition.value.checked_add(free)?
                }
                _ => condition.value,
            };
            starts.extend([condition.value, end.saturating_add(1)]);
        }
        starts.sort_unstable();
        let mut ranges = Ranges::all(self.outcome(0));
        for start in starts {
            if let Ok(low) = u32::try_from(start) {
                ranges.set_from(low, self.outcome(start));
            }
        }
        Some(ranges)
    }
}

impl Decisions {
    /// Emits a decision, or finds it.
    pub(crate) fn emit(&mut self, mut decision: Decision, emitter: &mut Emitter) -> Target {
        let ignores_high = |condition: &Condition| {
            condition.value >> 32 == 0 && matches!(condition.op, Op::Masked(mask) if mask >> 32 == 0)
        };
        let low_decides = decision.conditions().all(ignores_high);
        decision.narrow |= low_decides;
        // With a high half other than zero, comparisons with small numbers end alike whatever the low half is.
        let is_small = |condition: &Condition| condition.value >> 32 == 0 && !matches!(condition.op, Op::Masked(_));
        let searchable = decision.narrow || decision.conditions().all(is_small);
        let argument = decision.argument().filter(|_| searchable);
        let Some((argument, ranges)) = argument.zip(decision.by_low_half()) else {
            return self.chain(decision, emitter);
        };
        let low = self.search(argument, ranges, emitter);
        if decision.narrow {
            return low;
        }
        let large = decision.outcome(1 << 32);
        let test = emitter.branch(JUMP_EQ, 0, low, Target::Return(large));
        emitter.load(high_half(argument), test)
    }

    fn search(&mut self, argument: u8, ranges: Ranges<Return>, emitter: &mut Emitter) -> Target {
        let known = self.searches.iter().find(|(own, known, _)| *own == argument && *known == ranges);
        if let Some((_, _, target)) = known {
            return *target;
        }
        let tree = emitter.search(&ranges.segments(), &Target::Return);
        let target = emitter.load(low_half(argument), tree);
        self.searches.push((argument, ranges, target));
        target
    }

    fn chain(&mut self, decision: Decision, emitter: &mut Emitter) -> Target {
        if let Some((_, target)) = self.chains.iter().find(|(own, _)| *own == decision) {
            return *target;
        }
        let mut next = Target::Return(decision.otherwise);
        for alternative in decision.alternatives.iter().rev() {
            let no = next;
            let conditions = alternative.conditions.iter().rev();
            next = conditions.fold(Target::Return(alternative.action), |yes, condition| {
                test(*condition, decision.narrow, yes, no, emitter)
            });
        }
        self.chains.push((decision, next));
        next
    }
}

/// One comparison: the high halves decide unless they are equal.
fn test(condition: Condition, narrow: bool, yes: Target, no: Target, emitter: &mut Emitter) -> Target {
    let Condition { arg, op, value } = condition;
    let (low, high) = (half(value), half(value >> 32));
    match op {
        Op::Ne => return test(Condition { op: Op::Eq, ..condition }, narrow, no, yes, emitter),
        Op::Lt => return test(Condition { op: Op::Ge, ..condition }, narrow, no, yes, emitter),
        Op::Le => return test(Condition { op: Op::Gt, ..condition }, narrow, no, yes, emitter),
        Op::Masked(mask) => {
            let compare = emitter.branch(JUMP_EQ, low, yes, no);
            let masked = emitter.and(half(mask), compare);
            let lower = emitter.load(low_half(arg), masked);
            if narrow {
                return lower;
            }
            let compare = emitter.branch(JUMP_EQ, high, lower, no);
            let masked = emitter.and(half(mask >> 32), compare);
            return emitter.load(high_half(arg), masked);
        }
        Op::Eq | Op::Gt | Op::Ge => {}
    }
    let code = match op {
        Op::Gt => JUMP_GT,
        Op::Ge => JUMP_GE,
        _ => JUMP_EQ,
    };
    let compare = emitter.branch(code, low, yes, no);
    let lower = emitter.load(low_half(arg), compare);
    if narrow {
        return lower;
    }
    let equal = emitter.branch(JUMP_EQ, high, lower, no);
    let compare = if op == Op::Eq { equal } else { emitter.branch(JUMP_GT, high, yes, equal) };
    emitter.load(high_half(arg), compare)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn half(value: u64) -> u32 {
    value as u32
}

fn low_half(arg: u8) -> u32 {
    ARGUMENTS + 8 * u32::from(arg)
}

fn high_half(arg: u8) -> u32 {
    low_half(arg) + 4
}
