//! What benchmarks measured: lines that they print, a file that keeps them, and the tables that pages show of it.
//!
//! A benchmark prints a line for each figure, among whatever else it says:
//!
//! ```text
//! figure | TABLE | ROW | COLUMN | NUMBER UNIT | median NUMBER | to DENOMINATOR | target NUMBER
//! ```
//!
//! The last three are there where they apply. A figure without a unit is a ratio or a count; of a ratio, `to` says what
//! it is divided by. The file has the same lines without their first word, below a heading for each table with what is
//! to be known about the run:
//!
//! ```text
//! [TABLE]
//! date: 2026-11-28
//! commit: 0123456789
//! machine: AMD EPYC, 2 processors
//! load: 1.5
//! ROW | COLUMN | NUMBER UNIT | to DENOMINATOR
//! ```

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::mem;

/// How the line of a figure starts.
const MARK: &str = "figure | ";

/// Where a page shows figures: the names of tables follow, with commas between them.
const START: &str = "<!-- figures: ";

/// Where that ends.
const END: &str = "<!-- end of figures -->";

/// A number that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figure {
    row: String,
    column: String,
    /// With the digits that count.
    number: String,
    unit: String,
    median: Option<String>,
    to: Option<String>,
    target: Option<String>,
}

impl Figure {
    /// Reads a line of the file.
    fn read(line: &str) -> Result<Self, String> {
        let mut parts = line.split('|').map(str::trim);
        let mut next = |what: &str| parts.next().ok_or_else(|| format!("`{line}` has no {what}"));
        let (row, column, value) = (next("row")?, next("column")?, next("number")?);
        let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
        let mut figure = Self {
            row: row.into(),
            column: column.into(),
            number: number.into(),
            unit: unit.into(),
            ..Self::default()
        };
        for part in parts {
            let (what, value) = part.split_once(' ').unwrap_or((part, ""));
            let place = match what {
                "median" => &mut figure.median,
                "to" => &mut figure.to,
                "target" => &mut figure.target,
                _ => return Err(format!("`{line}`: expected median, to or target, found `{what}`")),
            };
            *place = Some(value.into());
        }
        for number in [Some(&figure.number), figure.median.as_ref(), figure.target.as_ref()].into_iter().flatten() {
            number.parse::<f64>().map_err(|_| format!("`{line}`: `{number}` is not a number"))?;
        }
        Ok(figure)
    }

    fn value(&self) -> f64 {
        self.number.parse().unwrap_or(f64::NAN)
    }

    /// `None` without a target.
    fn is_met(&self) -> Option<bool> {
        let target: f64 = self.target.as_ref()?.parse().ok()?;
        Some(self.value() <= target)
    }

    /// What its column is called, together with what it is divided by.
    fn heading(&self) -> String {
        self.to.as_ref().map_or_else(|| self.column.clone(), |to| format!("{}, to {to}", self.column))
    }
}

/// As in the file.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} | {}", self.row, self.column, self.number)?;
        if !self.unit.is_empty() {
            write!(f, " {}", self.unit)?;
        }
        for (what, value) in [("median", &self.median), ("to", &self.to), ("target", &self.target)] {
            if let Some(value) = value {
                write!(f, " | {what} {value}")?;
            }
        }
        Ok(())
    }
}

/// The figures of one table, and of which run they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    name: String,
    /// What is known of the run, as the file has it: `machine`, and so on.
    about: Vec<(String, String)>,
    figures: Vec<Figure>,
}

impl Table {
    fn about(&self, what: &str) -> Option<&str> {
        self.about.iter().find(|(name, _)| name == what).map(|(_, value)| value.as_str())
    }

    /// The line below a table on a page.
    fn caption(&self) -> String {
        let parts = self.about.iter().map(|(name, value)| match name.as_str() {
            "commit" | "load" => format!("{name} {value}"),
            _ => value.clone(),
        });
        parts.collect::<Vec<_>>().join("; ")
    }
}

/// All figures of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures(Vec<Table>);

impl Figures {
    /// Reads a file.
    ///
    /// # Errors
    /// A line of it is not as it should be: which, and why.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut tables: Vec<Table> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                if tables.iter().any(|table| table.name == name) {
                    return Err(format!("`{name}` is there twice"));
                }
                tables.push(Table { name: name.into(), ..Table::default() });
                continue;
            }
            let table = tables.last_mut().ok_or_else(|| format!("`{line}` stands before the first table"))?;
            if line.contains(" | ") {
                table.figures.push(Figure::read(line)?);
            } else if let Some((name, value)) = line.split_once(": ") {
                table.about.push((name.into(), value.into()));
            } else {
                return Err(format!("`{line}` is neither a figure nor about the run"));
            }
        }
        Ok(Self(tables))
    }

    /// What a benchmark printed, with what is known `about` the run.
    ///
    /// # Errors
    /// A figure is not as it should be: which, and why.
    pub(crate) fn of_output(output: &str, about: &[(String, String)]) -> Result<Self, String> {
        let mut tables: Vec<Table> = Vec::new();
        for line in output.lines().filter_map(|line| line.strip_prefix(MARK)) {
            let (name, rest) = line.split_once(" | ").ok_or_else(|| format!("`{line}` has no table"))?;
            let figure = Figure::read(rest)?;
            match tables.iter_mut().find(|table| table.name == name) {
                Some(table) => table.figures.push(figure),
                None => tables.push(Table { name: name.into(), about: about.to_vec(), figures: vec![figure] }),
            }
        }
        Ok(Self(tables))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over the tables of `newer`, in place of those with the same names.
    pub(crate) fn replace(&mut self, newer: Self) {
        for newer in newer.0 {
            match self.0.iter_mut().find(|table| table.name == newer.name) {
                Some(table) => *table = newer,
                None => self.0.push(newer),
            }
        }
    }

    /// All tables as pages show them, each below its name.
    pub(crate) fn shown(&self) -> String {
        let shown = self.0.iter().map(|table| format!("{}\n\n{}", table.name, show(&[table])));
        shown.collect::<Vec<_>>().join("\n")
    }

    /// `page` with what these figures say where it shows figures.
    ///
    /// # Errors
    /// A mark names a table that is not there, or has no end.
    pub(crate) fn fill(&self, page: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = page;
        while let Some(start) = rest.find(START) {
            let line = rest[start..].lines().next().unwrap_or_default();
            let names = line[START.len()..].strip_suffix(" -->").ok_or_else(|| format!("`{line}` has no end"))?;
            let end = rest[start..].find(END).ok_or_else(|| format!("`{END}` is missing behind `{line}`"))?;
            let tables = names.split(", ").map(|name| {
                self.0
                    .iter()
                    .find(|table| table.name == name)
                    .ok_or_else(|| format!("there are no figures of `{name}`"))
            });
            let tables: Vec<&Table> = tables.collect::<Result<_, _>>()?;
            write!(filled, "{}{line}\n\n{}\n", &rest[..start], show(&tables)).map_err(|error| error.to_string())?;
            rest = &rest[start + end..];
            filled.push_str(END);
            rest = &rest[END.len()..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// What became of each figure: of those in both, the quotient; and which are in one alone.
    pub(crate) fn compare(&self, newer: &Self) -> String {
        let mut text = String::new();
        let mut say = |line: String| text.push_str(&format!("{line}\n"));
        for table in &newer.0 {
            let Some(older) = self.0.iter().find(|older| older.name == table.name) else {
                say(format!("[{}] is in the second file alone", table.name));
                continue;
            };
            say(format!("[{}]", table.name));
            say(format!("  first:  {}", older.caption()));
            say(format!("  second: {}", table.caption()));
            if older.about("machine") != table.about("machine") {
                say("  not the same machine: only ratios can be compared".into());
            }
            for figure in &table.figures {
                let is_same = |other: &&Figure| other.row == figure.row && other.heading() == figure.heading();
                let name = format!("{}, {}", figure.row, figure.heading());
                let value = |figure: &Figure| format!("{} {}", figure.number, figure.unit).trim_end().to_owned();
                say(match older.figures.iter().find(is_same) {
                    Some(other) if other.unit != figure.unit => {
                        format!("  {name}: {} and {} are of different units", value(other), value(figure))
                    }
                    Some(other) => {
                        let quotient = figure.value() / other.value();
                        format!("  {quotient:6.2}  {name}: {} -> {}", value(other), value(figure))
                    }
                    None => format!("       +  {name}: {}", value(figure)),
                });
            }
            let is_gone = |other: &&Figure| {
                !table.figures.iter().any(|figure| other.row == figure.row && other.heading() == figure.heading())
            };
            for figure in older.figures.iter().filter(is_gone) {
                say(format!("       -  {}, {}: {}", figure.row, figure.heading(), figure.number));
            }
        }
        for table in self.0.iter().filter(|table| newer.0.iter().all(|newer| newer.name != table.name)) {
            say(format!("[{}] is in the first file alone", table.name));
        }
        text
    }
}

/// As in the file.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, table) in self.0.iter().enumerate() {
            if index != 0 {
                writeln!(f)?;
            }
            writeln!(f, "[{}]", table.name)?;
            table.about.iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))?;
            table.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))?;
        }
        Ok(())
    }
}

/// A table of Markdown with the figures of all these, rows and columns in the order in which they first occur, and a
/// line on the run of each.
fn show(tables: &[&Table]) -> String {
    let figures: Vec<&Figure> = tables.iter().flat_map(|table| &table.figures).collect();
    let (rows, columns) =
        (distinct(&figures, |figure| figure.row.clone()), distinct(&figures, |figure| figure.heading()));
    let common = |of_column: &[&&Figure], part: fn(&Figure) -> Option<String>| {
        let parts: BTreeSet<Option<String>> = of_column.iter().map(|figure| part(figure)).collect();
        if let [Some(part)] = &parts.into_iter().collect::<Vec<_>>()[..] { Some(part.clone()) } else { None }
    };
    let mut text = String::from("| |");
    let mut in_headings = Vec::new();
    for column in &columns {
        let of_column: Vec<&&Figure> = figures.iter().filter(|figure| figure.heading() == *column).collect();
        let unit = common(&of_column, |figure| Some(figure.unit.clone()));
        let target = common(&of_column, |figure| figure.target.clone());
        let notes = [unit.clone(), target.as_ref().map(|target| format!("target {}", grouped(target)))];
        let notes: Vec<String> = notes.into_iter().flatten().filter(|note| !note.is_empty()).collect();
        text += &if notes.is_empty() { format!(" {column} |") } else { format!(" {column} ({}) |", notes.join("; ")) };
        in_headings.push((unit.is_some(), target.is_some()));
    }
    text += &format!("\n|{}\n", " --- |".repeat(columns.len() + 1));
    for row in rows {
        text += &format!("| {row} |");
        for (column, (has_unit, has_target)) in columns.iter().zip(&in_headings) {
            let cell = figures.iter().find(|figure| figure.row == *row && figure.heading() == *column);
            text +=
                &cell.map_or_else(|| " |".into(), |figure| format!(" {} |", cell_of(figure, *has_unit, *has_target)));
        }
        text += "\n";
    }
    let captions = distinct(tables, |table| table.caption());
    let which = |caption: &str| {
        let names = tables.iter().filter(|table| table.caption() == caption).map(|table| table.name.as_str());
        if captions.len() == 1 { String::new() } else { format!("{}: ", names.collect::<Vec<_>>().join(", ")) }
    };
    for caption in captions.iter().filter(|caption| !caption.is_empty()) {
        text += "\n";
        text += &wrapped(&format!("{}{caption}.", which(caption)));
    }
    text
}

/// One figure, with what the heading of its column does not say. In bold: the target is met.
fn cell_of(figure: &Figure, has_unit: bool, has_target: bool) -> String {
    let number = grouped(&figure.number);
    let mut cell = if figure.is_met() == Some(true) { format!("**{number}**") } else { number };
    if let Some(median) = &figure.median {
        cell += &format!(" [{}]", grouped(median));
    }
    if !has_unit && !figure.unit.is_empty() {
        cell += &format!(" {}", figure.unit);
    }
    if let Some(target) = figure.target.as_ref().filter(|_| !has_target) {
        cell += &format!(" (target {})", grouped(target));
    }
    cell
}

/// What `of` says of each, once, in the order in which it first occurs.
fn distinct<T>(items: &[T], of: impl Fn(&T) -> String) -> Vec<String> {
    let mut found = Vec::new();
    for text in items.iter().map(of) {
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// A number with commas between its thousands.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let digits = whole.len() - usize::from(whole.starts_with('-'));
    let mut text = String::new();
    for (index, character) in whole.chars().enumerate() {
        let behind = whole.len() - index;
        if behind % 3 == 0 && behind < digits {
            text.push(',');
        }
        text.push(character);
    }
    text + fraction
}

/// Lines of 120 columns at most.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + 1 + word.len() > 120 {
            lines += &format!("{}\n", mem::take(&mut line));
        }
        line += &if line.is_empty() { word.to_owned() } else { format!(" {word}") };
    }
    format!("{lines}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
Some words first
figure | names | 1,000 | table | 37 KiB
figure | names | 1,000 | lookup | 112.0 ns | median 115.5 | target 100
figure | names | 1,000,000 | lookup | 58.5 ns | median 61.0 | target 100
figure | names | 1,000,000 | lookup | 0.52 | to a scan | target 1
figure | other | all | count | 1234567.8
";

    fn about(commit: &str, machine: &str) -> Vec<(String, String)> {
        [("commit", commit), ("machine", machine)].map(|(name, value)| (name.into(), value.into())).to_vec()
    }

    fn measured() -> Figures {
        Figures::of_output(OUTPUT, &about("abc", "a machine")).unwrap()
    }

    #[test]
    fn a_file_has_what_was_printed_and_is_read_again() {
        let text = measured().to_string();
        assert_eq!(
            text,
            "[names]\ncommit: abc\nmachine: a machine\n1,000 | table | 37 KiB\n\
             1,000 | lookup | 112.0 ns | median 115.5 | target 100\n\
             1,000,000 | lookup | 58.5 ns | median 61.0 | target 100\n\
             1,000,000 | lookup | 0.52 | to a scan | target 1\n\n\
             [other]\ncommit: abc\nmachine: a machine\nall | count | 1234567.8\n"
        );
        assert_eq!(Figures::read(&text), Ok(measured()));
    }

    #[test]
    fn a_line_that_is_no_figure_is_refused() {
        for (text, why) in [
            ("a | b | 1", "before the first table"),
            ("[t]\na | b", "has no number"),
            ("[t]\na | b | many", "`many` is not a number"),
            ("[t]\na | b | 1 | target soon", "`soon` is not a number"),
            ("[t]\na | b | 1 | about 2", "expected median, to or target, found `about`"),
            ("[t]\nwords", "neither a figure nor"),
            ("[t]\n[t]", "twice"),
        ] {
            let refused = Figures::read(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        assert!(Figures::of_output("figure | a", &[]).is_err());
    }

    #[test]
    fn a_page_shows_the_figures_between_its_marks_and_keeps_the_rest() {
        let page = "before\n<!-- figures: names, other -->\nold\n<!-- end of figures -->\nafter\n";
        let filled = measured().fill(page).unwrap();
        assert_eq!(
            filled,
            "before\n<!-- figures: names, other -->\n\n\
             | | table (KiB) | lookup (ns; target 100) | lookup, to a scan (target 1) | count |\n\
             | --- | --- | --- | --- | --- |\n\
             | 1,000 | 37 | 112.0 [115.5] | | |\n\
             | 1,000,000 | | **58.5** [61.0] | **0.52** | |\n\
             | all | | | | 1,234,567.8 |\n\n\
             commit abc; a machine.\n\n<!-- end of figures -->\nafter\n"
        );
        assert_eq!(measured().fill(&filled), Ok(filled.clone()), "a filled page stays as it is");
        assert!(measured().fill("<!-- figures: nothing -->\n<!-- end of figures -->").is_err());
        assert!(measured().fill("<!-- figures: names -->\n").is_err());
    }

    #[test]
    fn what_a_column_does_not_have_in_common_stands_in_its_cells() {
        let output = "figure | t | a | x | 1 ns | target 2\nfigure | t | b | x | 3 us | target 1\n";
        let shown = Figures::of_output(output, &[]).unwrap().shown();
        assert!(shown.contains("| a | **1** ns (target 2) |\n| b | 3 us (target 1) |\n"), "{shown}");
    }

    #[test]
    fn runs_of_several_tables_are_told_apart() {
        let mut figures = measured();
        figures.replace(Figures::of_output("figure | other | all | count | 9", &about("def", "a machine")).unwrap());
        let filled = figures.fill("<!-- figures: names, other -->\n<!-- end of figures -->").unwrap();
        assert!(filled.contains("\nnames: commit abc; a machine.\n\nother: commit def; a machine.\n"), "{filled}");
        assert!(filled.contains("| all | | | | 9 |"), "{filled}");
    }

    #[test]
    fn two_files_are_compared_figure_by_figure() {
        let newer = "figure | names | 1,000 | table | 74 KiB\nfigure | names | 1,000 | lookup | 56.0 ns\n\
                     figure | names | 5 | table | 1 KiB\nfigure | new | a | b | 1";
        let newer = Figures::of_output(newer, &about("def", "another")).unwrap();
        let compared = measured().compare(&newer);
        for line in [
            "    2.00  1,000, table: 37 KiB -> 74 KiB",
            "    0.50  1,000, lookup: 112.0 ns -> 56.0 ns",
            "       +  5, table: 1 KiB",
            "       -  1,000,000, lookup, to a scan: 0.52",
            "  not the same machine: only ratios can be compared",
            "[new] is in the second file alone",
            "[other] is in the first file alone",
        ] {
            assert!(compared.lines().any(|found| found == line), "{line}:\n{compared}");
        }
        assert!(!measured().compare(&measured()).contains("not the same machine"));
    }
}
