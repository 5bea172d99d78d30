//! The differences as one page without scripts, for an artifact of a CI job.

use std::io::{self, Write};

use super::groups::{Found, Group};
use crate::text::count;

/// Follows the reader's choice of light or dark, and narrow windows scroll a table.
const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
td:first-child, th:first-child { text-align: right; font-variant-numeric: tabular-nums; }
td { font-family: ui-monospace, monospace; font-size: .875rem; overflow-wrap: anywhere; }
.example { opacity: .75; }
";

pub(super) fn write(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    let title = escaped(&format!("{} → {}", found.old, found.new));
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{}.</p>\n<p><strong>{}</strong></p>",
        escaped(&found.total()),
        escaped(&found.verdict())
    )?;
    for (name, section) in found.sections() {
        if section.groups.is_empty() {
            continue;
        }
        writeln!(
            out,
            "<h2>{name}: {} with a difference</h2>\n<div class=\"table\"><table>\n<thead><tr><th scope=\"col\">exchanges\
             </th><th scope=\"col\">route</th><th scope=\"col\">field</th><th scope=\"col\">from → \
             to</th><th scope=\"col\">example</th></tr></thead>\n<tbody>",
            count(section.exchanges, "exchange")
        )?;
        for Group { route, field, change, exchanges, example } in &section.groups {
            let place = format!("{}:{} {}", example.trace, example.line, example.request);
            let values = format!("{} → {}", example.from, example.to);
            let [route, field, change, place] =
                [route, field, change, &place].map(|text| escaped(text));
            let values = match values == *change {
                true => String::new(),
                false => format!("<br>{}", escaped(&values)),
            };
            writeln!(
                out,
                "<tr><td>{exchanges}</td><td>{route}</td><td>{field}</td><td>{change}</td>\
                 <td class=\"example\">{place}{values}</td></tr>"
            )?;
        }
        writeln!(out, "</tbody></table></div>")?;
    }
    for (name, problems) in [&found.old, &found.new].into_iter().zip(&found.problems) {
        if !problems.is_empty() {
            writeln!(out, "<h2>problems of {}</h2>\n<ul>", escaped(name))?;
            for problem in problems {
                writeln!(out, "<li>{}</li>", escaped(problem))?;
            }
            writeln!(out, "</ul>")?;
        }
    }
    writeln!(out, "</html>")
}

/// Text of traces and filters, which must not become markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escaped("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
