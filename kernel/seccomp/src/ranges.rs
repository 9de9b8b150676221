//! Ranges of 32-bit values with the same outcome, from zero to the largest, and how to find the one a value is in with
//! few comparisons.

/// The outcome from `start` up to the start of the next range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range<L> {
    pub(crate) start: u32,
    pub(crate) outcome: L,
}

/// A list of ranges that covers everything: the first starts at zero, neighbours differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges<L>(Vec<Range<L>>);

impl<L: Copy + PartialEq> Ranges<L> {
    /// One outcome for everything.
    pub(crate) fn all(outcome: L) -> Self {
        Self(vec![Range { start: 0, outcome }])
    }

    /// From `start` on, which must not be below what was set last, the outcome changes.
    pub(crate) fn set_from(&mut self, start: u32, outcome: L) {
        match self.0.last_mut() {
            Some(last) if last.start == start => {
                last.outcome = outcome;
                // It may now be the same as the one before.
                if let [.., before, last] = self.0.as_slice()
                    && before.outcome == last.outcome
                {
                    self.0.pop();
                }
            }
            Some(last) if last.outcome == outcome => {}
            _ => self.0.push(Range { start, outcome }),
        }
    }

    /// Searching costs one comparison per range, but a single value within a range of another outcome needs one for
    /// equality instead of two for order: such neighbours are gathered.
    pub(crate) fn segments(&self) -> Vec<Segment<L>> {
        /// Each adds a comparison to the path of every value of its segment.
        const SINGLES: usize = 3;
        let mut segments = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_slice();
        while let Some((first, mut tail)) = rest.split_first() {
            let mut segment = Segment { start: first.start, outcome: first.outcome, singles: Vec::new() };
            while let [single, next, ..] = tail
                && segment.singles.len() < SINGLES
                && next.start - single.start == 1
                && next.outcome == segment.outcome
            {
                segment.singles.push((single.start, single.outcome));
                tail = tail.get(2..).unwrap_or_default();
                // `next` continues the segment, so what follows it comes next.
                let _ = next;
            }
            rest = tail;
            segments.push(segment);
        }
        segments
    }
}

/// A range with a few single values that have another outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment<L> {
    pub(crate) start: u32,
    pub(crate) outcome: L,
    pub(crate) singles: Vec<(u32, L)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_merge() {
        let mut ranges = Ranges::all('a');
        for (start, outcome) in [(0, 'b'), (5, 'b'), (7, 'a'), (7, 'b'), (9, 'c')] {
            ranges.set_from(start, outcome);
        }
        let show: Vec<_> = ranges.0.iter().map(|range| (range.start, range.outcome)).collect();
        assert_eq!(show, [(0, 'b'), (9, 'c')]);
    }

    #[test]
    fn single_values_are_gathered() {
        let mut ranges = Ranges::all('a');
        for (start, outcome) in [(5, 'b'), (6, 'a'), (8, 'c'), (9, 'a'), (20, 'b'), (22, 'a')] {
            ranges.set_from(start, outcome);
        }
        let segments = ranges.segments();
        assert_eq!(segments.len(), 3);
        assert_eq!(segments[0], Segment { start: 0, outcome: 'a', singles: vec![(5, 'b'), (8, 'c')] });
        assert_eq!(segments[1], Segment { start: 20, outcome: 'b', singles: vec![] });
        assert_eq!(segments[2], Segment { start: 22, outcome: 'a', singles: vec![] });
    }
}
