//! Figures: several measurements of one thing, and how they are told.

use std::time::Duration;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Figures are seconds.
    Seconds,
    /// Figures are bytes.
    Bytes,
}

impl Unit {
    /// A figure with three digits that count.
    pub fn show(self, value: f64) -> String {
        let scales: &[(f64, &str)] = match self {
            Self::Seconds => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
            Self::Bytes => &[(1e6, "MB"), (1e3, "kB")],
        };
        let fits = |(scale, _): &&(f64, &str)| value.abs() >= *scale;
        let last = scales.last().copied().unwrap_or((1.0, ""));
        let (scale, name) = scales.iter().find(fits).copied().unwrap_or(last);
        format!("{} {name}", digits(value / scale))
    }
}

/// Three digits that count.
pub fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Measurements of one thing, in order of size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// One more.
    pub fn add(&mut self, value: f64) {
        let place = self.0.partition_point(|other| *other < value);
        self.0.insert(place, value);
    }

    /// The middle one, or the mean of the two in the middle; 0 when there are none.
    pub fn median(&self) -> f64 {
        let upper = self.0.get(self.0.len() / 2).copied().unwrap_or_default();
        match self.0.len() % 2 {
            0 => self.0.get((self.0.len() / 2).saturating_sub(1)).map_or(0.0, |lower| f64::midpoint(*lower, upper)),
            _ => upper,
        }
    }

    /// The smallest; 0 when there are none.
    pub fn best(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// Each less `amount`, and nothing less than nothing: the time of something that is in it but is not meant.
    pub fn less(&self, amount: f64) -> Self {
        Self(self.0.iter().map(|value| (value - amount).max(0.0)).collect())
    }

    /// Median and best.
    pub fn show(&self, unit: Unit) -> String {
        match self.0.len() {
            0 | 1 => unit.show(self.median()),
            _ => format!("{} ({})", unit.show(self.median()), unit.show(self.best())),
        }
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sample = Self::default();
        values.into_iter().for_each(|value| sample.add(value));
        sample
    }
}

/// One who is measured: makes a measurement each time it is called.
pub type Contender<'a> = Box<dyn FnMut() -> Result<f64, String> + 'a>;

/// Measures everybody in turn, round by round, so that whatever else happens on the machine happens to all. A round
/// before the first does not count: caches are filled then.
pub fn turns(rounds: usize, contenders: &mut [Contender<'_>]) -> Result<Vec<Sample>, String> {
    let mut samples = vec![Sample::default(); contenders.len()];
    for round in 0..=rounds {
        for (contender, sample) in contenders.iter_mut().zip(&mut samples) {
            let value = contender()?;
            if round > 0 {
                sample.add(value);
            }
        }
    }
    Ok(samples)
}

/// How long something takes, in seconds.
pub fn seconds<T>(work: impl FnOnce() -> Result<T, String>) -> Result<f64, String> {
    let start = std::time::Instant::now();
    work()?;
    Ok(Duration::as_secs_f64(&start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Sample::default().median(), 0.0);
        assert_eq!([3.0, 1.0, 100.0].into_iter().collect::<Sample>().median(), 3.0);
        assert_eq!([4.0, 1.0, 100.0, 2.0].into_iter().collect::<Sample>().median(), 3.0);
        let sample: Sample = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!((sample.best(), sample.less(1.5).best(), sample.less(1.5).median()), (1.0, 0.0, 0.5));
    }

    #[test]
    fn figures_with_their_units() {
        let shown = [0.0134, 0.000_005_1, 2.5, 151.0].map(|value| Unit::Seconds.show(value));
        assert_eq!(shown, ["13.4 ms", "5.10 µs", "2.50 s", "151 s"]);
        assert_eq!([16_800_000.0, 310_000.0].map(|value| Unit::Bytes.show(value)), ["16.8 MB", "310 kB"]);
        let sample: Sample = [0.003, 0.001, 0.002].into_iter().collect();
        assert_eq!(sample.show(Unit::Seconds), "2.00 ms (1.00 ms)");
    }

    #[test]
    fn everybody_has_a_turn_and_the_first_does_not_count() {
        let order = std::cell::RefCell::new(Vec::new());
        let contender = |name: char| -> Contender<'_> {
            let mut count = 0.0;
            Box::new({
                let order = &order;
                move || {
                    order.borrow_mut().push(name);
                    count += 1.0;
                    Ok(count)
                }
            })
        };
        let samples = turns(2, &mut [contender('a'), contender('b')]).unwrap();
        assert_eq!(samples, vec![[2.0, 3.0].into_iter().collect::<Sample>(); 2]);
        assert_eq!(order.take(), ['a', 'b', 'a', 'b', 'a', 'b']);
    }
}
