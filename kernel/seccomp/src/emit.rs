//! Instructions: jumps, returns and search trees over ranges.
//!
//! The program is emitted from its end to its beginning. Jumps only lead forward, so every target is known by the time
//! a jump to it is emitted, and its distance is final.

use tare_sys::seccomp::SockFilter;

use crate::outcome::{KILL_THREAD, Return};
use crate::ranges::Segment;

/// Load 32 bits of `struct seccomp_data`.
pub(crate) const LOAD: u16 = 0x20;
pub(crate) const AND: u16 = 0x54;
pub(crate) const JUMP: u16 = 0x05;
pub(crate) const JUMP_EQ: u16 = 0x15;
pub(crate) const JUMP_GT: u16 = 0x25;
pub(crate) const JUMP_GE: u16 = 0x35;
pub(crate) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data` (little-endian machines).
pub(crate) const NUMBER: u32 = 0;
pub(crate) const ARCH: u32 = 4;
/// Six of 64 bits.
pub(crate) const ARGUMENTS: u32 = 16;

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Leave the filter.
    Return(Return),
    /// An instruction already emitted, counted from the program's end.
    At(usize),
}

/// A program under construction.
#[derive(Default)]
pub(crate) struct Emitter {
    /// Last instruction first.
    reversed: Vec<SockFilter>,
    /// The latest return of each value.
    returns: Vec<(Return, usize)>,
}

impl Emitter {
    /// The program, in the order in which it runs.
    pub(crate) fn finish(mut self) -> Vec<SockFilter> {
        self.reversed.reverse();
        self.reversed
    }

    fn push(&mut self, code: u16, k: u32) -> usize {
        self.reversed.push(SockFilter { code, jt: 0, jf: 0, k });
        self.reversed.len() - 1
    }

    /// How many instructions the next one would have to skip.
    fn distance(&self, at: usize) -> usize {
        self.reversed.len() - 1 - at
    }

    /// An instruction that a conditional jump reaches: the target itself, or a stop on the way.
    fn reachable(&mut self, target: Target) -> usize {
        /// A jump skips at most 255 instructions; two more may come between before it is emitted.
        const REACH: usize = 253;
        match target {
            Target::At(at) if self.distance(at) <= REACH => at,
            Target::At(at) => self.jump(at),
            Target::Return(value) => {
                let known = self.returns.iter().position(|(own, _)| *own == value);
                let known = known.and_then(|known| self.returns.get(known).map(|(_, at)| (known, *at)));
                match known {
                    Some((_, at)) if self.distance(at) <= REACH => return at,
                    Some((known, _)) => drop(self.returns.swap_remove(known)),
                    None => {}
                }
                let at = self.push(RETURN, value);
                self.returns.push((value, at));
                at
            }
        }
    }

    /// An unconditional jump reaches everything.
    fn jump(&mut self, at: usize) -> usize {
        let distance = u32::try_from(self.distance(at)).unwrap_or(u32::MAX);
        self.push(JUMP, distance)
    }

    /// Compares the accumulator with `k` and goes on at one of two places.
    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let yes = self.reachable(yes);
        let no = self.reachable(no);
        let skip = |at| u8::try_from(self.distance(at)).unwrap_or(u8::MAX);
        let branch = SockFilter { code, jt: skip(yes), jf: skip(no), k };
        self.reversed.push(branch);
        Target::At(self.reversed.len() - 1)
    }

    /// Emits an instruction that is no jump and goes on at `then`.
    fn before(&mut self, code: u16, k: u32, then: Target) -> Target {
        match then {
            Target::At(at) if self.distance(at) == 0 => {}
            Target::At(at) => drop(self.jump(at)),
            Target::Return(value) => drop(self.push(RETURN, value)),
        }
        Target::At(self.push(code, k))
    }

    /// Loads 32 bits of the call's description into the accumulator.
    pub(crate) fn load(&mut self, offset: u32, then: Target) -> Target {
        self.before(LOAD, offset, then)
    }

    /// Masks the accumulator.
    pub(crate) fn and(&mut self, mask: u32, then: Target) -> Target {
        if mask == u32::MAX { then } else { self.before(AND, mask, then) }
    }

    /// Goes where the outcome of the segment leads that the accumulator is in.
    pub(crate) fn search<L: Copy>(&mut self, segments: &[Segment<L>], target: &impl Fn(L) -> Target) -> Target {
        match segments {
            [] => Target::Return(KILL_THREAD),
            [segment] => {
                let rest = target(segment.outcome);
                let singles = segment.singles.iter().rev();
                singles.fold(rest, |rest, (value, outcome)| self.branch(JUMP_EQ, *value, target(*outcome), rest))
            }
            _ => {
                let (left, right) = segments.split_at(segments.len() / 2);
                let start = right.first().map_or(0, |segment| segment.start);
                let right = self.search(right, target);
                let left = self.search(left, target);
                self.branch(JUMP_GE, start, right, left)
            }
        }
    }
}
