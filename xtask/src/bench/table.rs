//! The table with all figures, in Markdown, so that documents can include it unchanged.

use std::fmt;

use super::grouped;

#[derive(Default)]
pub(super) struct Table(Vec<Row>);

struct Row {
    name: String,
    figure: String,
    goal: String,
    met: Option<bool>,
}

/// The limit that a figure should keep.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Table {
    /// A figure without a goal.
    pub(super) fn add(&mut self, name: impl Into<String>, figure: impl Into<String>) {
        let (name, figure) = (name.into(), figure.into());
        self.0.push(Row { name, figure, goal: String::new(), met: None });
    }

    /// A figure that the caller has compared with its goal.
    pub(super) fn add_compared(
        &mut self,
        name: impl Into<String>,
        figure: impl Into<String>,
        goal: impl Into<String>,
        met: bool,
    ) {
        let (name, figure, goal) = (name.into(), figure.into(), goal.into());
        self.0.push(Row { name, figure, goal, met: Some(met) });
    }

    /// Compares a figure with its goal. Both have the same unit.
    pub(super) fn compare(&mut self, name: impl Into<String>, figure: f64, goal: Goal, unit: &str) {
        let (goal, met) = match goal {
            Goal::AtMost(limit) => (format!("≤ {limit}{unit}"), figure <= limit),
            Goal::AtLeast(limit) => (format!("≥ {limit}{unit}"), figure >= limit),
        };
        let digits = if figure < 10.0 { 2 } else { 0 };
        self.add_compared(name, format!("{figure:.digits$}{unit}"), goal, met);
    }

    /// Compares a rate with its minimum.
    pub(super) fn compare_rate(&mut self, name: &str, rate: f64, minimum: f64) {
        let goal = format!("≥ {}", grouped(minimum));
        self.add_compared(name, grouped(rate), goal, rate >= minimum);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = |row: &Row| match row.met {
            None => "",
            Some(true) => "yes",
            Some(false) => "no",
        };
        let title = ["measurement", "figure", "goal", "met"].map(str::to_owned);
        let rows = self.0.iter();
        let cells = rows.map(|row| {
            [row.name.clone(), row.figure.clone(), row.goal.clone(), met(row).to_owned()]
        });
        let cells: Vec<_> = std::iter::once(title).chain(cells).collect();
        let widths: [usize; 4] = std::array::from_fn(|column| {
            cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        });
        for (index, [name, figure, goal, met]) in cells.iter().enumerate() {
            let [a, b, c, d] = widths;
            writeln!(f, "| {name:a$} | {figure:>b$} | {goal:>c$} | {met:d$} |")?;
            if index == 0 {
                let line = |width: usize| "-".repeat(width);
                writeln!(f, "| {} | {}: | {}: | {} |", line(a), line(b - 1), line(c - 1), line(d))?;
            }
        }
        Ok(())
    }
}
