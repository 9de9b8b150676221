//! The result: a table in Markdown.

use super::sample::{Sample, Unit, digits};

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Ours is at most that.
    AtMost(f64),
    /// Ours is at most so many times the peer's.
    Ratio(f64),
    /// The peer's is at least so many times ours.
    Faster(f64),
}

/// One line of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// What the figures are.
    pub unit: Unit,
    /// Ours.
    pub ours: Sample,
    /// Somebody else's, and who that is.
    pub peer: Option<(String, Sample)>,
    /// What was promised.
    pub budget: Option<Budget>,
}

impl Row {
    /// Of times.
    pub fn time(name: impl Into<String>, ours: Sample) -> Self {
        Self { name: name.into(), unit: Unit::Seconds, ours, peer: None, budget: None }
    }

    /// Of memory.
    pub fn memory(name: impl Into<String>, ours: Sample) -> Self {
        Self { unit: Unit::Bytes, ..Self::time(name, ours) }
    }

    /// Beside somebody else, if they were measured.
    pub fn beside(self, peer: &str, sample: Option<Sample>) -> Self {
        Self { peer: sample.map(|sample| (peer.to_owned(), sample)), ..self }
    }

    /// Against a promise.
    pub fn promised(self, budget: Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Ours over the peer's.
    fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        (peer.median() > 0.0).then(|| self.ours.median() / peer.median())
    }

    /// Whether the promise is kept; `None`: there is none, or nobody to compare with.
    pub fn is_met(&self) -> Option<bool> {
        match self.budget? {
            Budget::AtMost(most) => Some(self.ours.median() <= most),
            Budget::Ratio(most) => Some(self.ratio()? <= most),
            Budget::Faster(least) => Some(1.0 / self.ratio()? >= least),
        }
    }

    fn cells(&self) -> [String; 6] {
        let peer = self.peer.as_ref().map(|(name, sample)| format!("{name} {}", sample.show(self.unit)));
        // Below a half it is easier to read the other way round.
        let ratio = self.ratio().map(|ratio| match ratio {
            small if small > 0.0 && small < 0.5 => format!("1/{}", digits(1.0 / small)),
            ratio => digits(ratio),
        });
        let budget = self.budget.map(|budget| match budget {
            Budget::AtMost(most) => format!("≤ {}", self.unit.show(most)),
            Budget::Ratio(most) => format!("≤ {} ×", digits(most)),
            Budget::Faster(least) => format!("≤ 1/{}", digits(least)),
        });
        let met = match (self.budget, self.is_met()) {
            (None, _) => "",
            (Some(_), Some(true)) => "met",
            (Some(_), Some(false)) => "**missed**",
            (Some(_), None) => "no peer",
        };
        let text = |cell: Option<String>| cell.unwrap_or_default();
        [self.name.clone(), self.ours.show(self.unit), text(peer), text(ratio), text(budget), met.to_owned()]
    }
}

/// All rows, with their columns in line.
pub fn markdown(rows: &[Row]) -> String {
    let heads = ["what", "ours: median (best)", "peer", "ours / peer", "budget", ""].map(str::to_owned);
    let cells: Vec<[String; 6]> = std::iter::once(heads).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; 6];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("| {cell:width$} "));
        }
        text.push_str("|\n");
        if number == 0 {
            let rule = widths.map(|width| "-".repeat(width + 2)).join("|");
            text.push_str(&format!("|{rule}|\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, peer: Option<f64>, budget: Budget) -> Row {
        let one = |value: f64| [value].into_iter().collect::<Sample>();
        Row::time("x", one(ours)).beside("docker", peer.map(one)).promised(budget)
    }

    #[test]
    fn promises() {
        let met = |ours, peer, budget| row(ours, peer, budget).is_met();
        assert_eq!(met(1.0, None, Budget::AtMost(1.0)), Some(true));
        assert_eq!(met(1.1, None, Budget::AtMost(1.0)), Some(false));
        assert_eq!(met(1.3, Some(1.0), Budget::Ratio(1.3)), Some(true));
        assert_eq!(met(1.4, Some(1.0), Budget::Ratio(1.3)), Some(false));
        assert_eq!(met(1.0, Some(10.0), Budget::Faster(10.0)), Some(true));
        assert_eq!(met(1.0, Some(9.9), Budget::Faster(10.0)), Some(false));
        assert_eq!(met(1.0, None, Budget::Faster(10.0)), None);
    }

    #[test]
    fn a_table() {
        let rows = [row(0.0134, Some(0.54), Budget::Faster(20.0)), row(0.002, None, Budget::AtMost(0.001))];
        assert_eq!(
            markdown(&rows),
            "| what | ours: median (best) | peer          | ours / peer | budget    |            |\n\
             |------|---------------------|---------------|-------------|-----------|------------|\n\
             | x    | 13.4 ms             | docker 540 ms | 1/40.3      | ≤ 1/20.0  | met        |\n\
             | x    | 2.00 ms             |               |             | ≤ 1.00 ms | **missed** |\n"
        );
    }
}
