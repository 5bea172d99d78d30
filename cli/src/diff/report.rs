//! The differences as text for a terminal, as Markdown, and as JSON.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::groups::{Found, Group, Section};
use crate::style::Palette;
use crate::text::{count, shortened};

/// The groups of each section without `--all`, so that the summary fits a terminal of 24 lines.
const MAX_GROUPS: usize = 5;

/// The width of a terminal.
const WIDTH: usize = 80;

/// The widest cells: route, field and change. The example has the rest of the line.
const MAX_WIDTHS: [usize; 3] = [12, 18, 22];

/// The room that an example has in every line.
const MIN_EXAMPLE: usize = 11;

impl Found {
    /// The sections with their titles.
    pub(super) fn sections(&self) -> [(&'static str, &Section); 3] {
        [
            ("clients", &self.client),
            ("upstreams", &self.upstream),
            ("decisions only", &self.decision),
        ]
    }

    /// The number of exchanges that were compared.
    pub(super) fn total(&self) -> String {
        let traces = match self.traces.len() {
            1 => String::new(),
            traces => format!(" in {traces} traces"),
        };
        format!("{}{traces} compared", count(self.exchanges, "exchange"))
    }

    /// Whether clients see a difference, in words.
    pub(super) fn verdict(&self) -> String {
        let [old, new] = self.problem_counts;
        match (self.client.exchanges, old + new == 0) {
            (0, true) => "clients see no difference".to_owned(),
            (0, false) => format!("clients see no difference, but problems: {old} → {new}"),
            (different, _) => {
                format!("clients see a difference in {different} of {} exchanges", self.exchanges)
            }
        }
    }
}

/// Writes the largest groups of each section.
pub(super) fn write_text(
    found: &Found,
    all: bool,
    palette: Palette,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "{}", palette.strong(format!("{} → {}", found.old, found.new)))?;
    writeln!(out, "{}", found.total())?;
    for (title, section) in found.sections() {
        if section.groups.is_empty() {
            continue;
        }
        let differ = count(section.exchanges, "exchange");
        writeln!(out, "{}", palette.strong(format!("{title}: {differ} with a difference")))?;
        let shown = &section.groups[..shown(section, all)];
        let several = found.traces.len() > 1;
        write_rows(shown, several, palette, out)?;
        if shown.len() < section.groups.len() {
            let more = count((section.groups.len() - shown.len()) as u64, "more group");
            writeln!(out, "{}", palette.dim(format!("… {more}; --all prints them")))?;
        }
    }
    for (name, problems) in [&found.old, &found.new].into_iter().zip(&found.problems) {
        for problem in problems.iter().take(if all { usize::MAX } else { 1 }) {
            writeln!(out, "{} {name}: {problem}", palette.bad("problem:"))?;
        }
    }
    for place in &found.pushes {
        let text = format!("{place} pushes a configuration, which replaces both from there on");
        writeln!(out, "{}", palette.dim(text))?;
    }
    let verdict = found.verdict();
    match found.has_failed() {
        true => writeln!(out, "{}", palette.bad(verdict)),
        false => writeln!(out, "{}", palette.good(verdict)),
    }
}

fn shown(section: &Section, all: bool) -> usize {
    if all { section.groups.len() } else { section.groups.len().min(MAX_GROUPS) }
}

fn write_rows(
    groups: &[Group],
    several: bool,
    palette: Palette,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows: Vec<[String; 3]> = groups
        .iter()
        .map(|group| {
            let field = group.field.strip_prefix("headers.").unwrap_or(&group.field);
            let cells = [&group.route, field, &group.change];
            std::array::from_fn(|column| shortened(cells[column], MAX_WIDTHS[column]))
        })
        .collect();
    let numbers = groups.iter().map(|group| group.exchanges.to_string().len()).max().unwrap_or(0);
    let widths: [usize; 3] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0));
    let used = 2 + numbers + widths.iter().map(|width| width + 2).sum::<usize>() + 2;
    for (group, row) in groups.iter().zip(&rows) {
        write!(out, "  {:>numbers$}", group.exchanges)?;
        for (cell, width) in row.iter().zip(widths) {
            write!(out, "  {cell}{}", " ".repeat(width - cell.width()))?;
        }
        let example = &group.example;
        let trace = if several { format!("{}:", example.trace) } else { "line ".to_owned() };
        let text = format!("{trace}{} {}", example.line, example.request);
        let text = shortened(&text, WIDTH.saturating_sub(used).max(MIN_EXAMPLE));
        writeln!(out, "  {}", palette.dim(text))?;
    }
    Ok(())
}

/// Writes a table for each section.
pub(super) fn write_markdown(found: &Found, all: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "### {} → {}\n", cell_text(&found.old), cell_text(&found.new))?;
    writeln!(out, "**{}**: {}.\n", found.verdict(), found.total())?;
    for (title, section) in found.sections() {
        if section.groups.is_empty() {
            continue;
        }
        let differ = count(section.exchanges, "exchange");
        writeln!(out, "#### {title}: {differ} with a difference\n")?;
        writeln!(
            out,
            "| exchanges | route | field | from → to | example |\n|--:|---|---|---|---|"
        )?;
        let shown = &section.groups[..shown(section, all)];
        for Group { route, field, change, exchanges, example } in shown {
            let place = format!("{}:{} {}", example.trace, example.line, example.request);
            let cells = [route, field, change, &place].map(|cell| cell_text(cell));
            writeln!(out, "| {exchanges} | {} |", cells.join(" | "))?;
        }
        if shown.len() < section.groups.len() {
            writeln!(out, "| … | | {} more | | |", section.groups.len() - shown.len())?;
        }
        writeln!(out)?;
    }
    for (name, problems) in [&found.old, &found.new].into_iter().zip(&found.problems) {
        for problem in problems {
            writeln!(out, "- {}: {}", cell_text(name), cell_text(problem))?;
        }
    }
    Ok(())
}

/// Text of traces and filters as code in a cell. Markdown has no escape for these two characters in
/// code.
fn cell_text(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "¦"))
}

pub(super) fn write_json(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, found)?;
    writeln!(out)
}
