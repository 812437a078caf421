//! Tables for people: aligned columns without lines, in colour.

use std::net::IpAddr;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Row, Table, Width, presets};

use crate::record::Record;
use crate::terms::protocol_name;

/// An empty table with these column names.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|name| styled(name, Style::new().bold())));
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table
}

/// Aligns the columns of numbers to the right.
pub(crate) fn align_right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The lines of a table, with ANSI colours, which anstream strips where they are not wanted.
pub(crate) fn lines(table: &Table) -> Vec<String> {
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// A cell in a style, which its padding does not get: that is trimmed at the end of a line.
///
/// The escape sequences are written here. comfy-table's own styles are crossterm's, which on Windows are calls of the
/// console: for a process that has none, as one of a remote shell, a service or a scheduled task, the text is lost.
fn styled(text: &str, style: Style) -> Cell {
    if text.is_empty() { Cell::new("") } else { Cell::new(format!("{style}{text}{style:#}")) }
}

/// A cell in a colour.
pub(crate) fn colored(text: &str, color: AnsiColor) -> Cell {
    styled(text, color.on_default())
}

/// Permit is green, block is red.
pub(crate) fn action(name: &str) -> Cell {
    let color = match name {
        "permit" => AnsiColor::Green,
        "block" => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    colored(name, color)
}

/// The value, or a hyphen.
pub(crate) fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Packets as rows. Each batch is a table of its own, whose columns are at least as wide as those of the batch before.
#[derive(Default)]
pub(crate) struct PacketTable {
    widths: Vec<u16>,
}

impl PacketTable {
    /// The lines of the next batch; the first batch has the header.
    pub(crate) fn lines(&mut self, records: &[Record]) -> Vec<String> {
        let first = self.widths.is_empty();
        let mut table =
            table(&["No.", "Action", "Rule", "Protocol", "Source", "Destination", "VLAN", "Name", "Remarks"]);
        records.iter().for_each(|record| {
            table.add_row(row(record));
        });
        align_right(&mut table, &[0, 2, 6]);
        for (column, width) in table.column_iter_mut().zip(&self.widths) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
        }
        let padding = table.column_iter().map(comfy_table::Column::padding_width).collect::<Vec<_>>();
        let widths = table.column_max_content_widths();
        let widths = widths.iter().zip(padding).map(|(content, padding)| content + padding);
        let before = self.widths.iter().copied().chain(std::iter::repeat(0));
        self.widths = widths.zip(before).map(|(now, before)| now.max(before)).collect();
        let header_lines = if first { 0 } else { 1 };
        lines(&table).split_off(header_lines)
    }
}

fn row(record: &Record) -> Row {
    let Record { number, action: verdict, rule, ref contents, .. } = *record;
    let mut remarks = Vec::new();
    for (is_so, remark) in [
        (contents.name_missing, "name missing"),
        (contents.name_pending, "name pending"),
        (contents.answer == Some("unread"), "answer unread"),
        (contents.ech, "ech"),
        (contents.fragment.is_some(), "fragment"),
        (contents.header == "inner", "inner"),
        (contents.tunnel == Some("read"), "tunnel"),
        (contents.tunnel == Some("unread"), "tunnel unread"),
        (contents.truncated, "truncated"),
        (contents.malformed, "malformed"),
    ] {
        if is_so {
            remarks.push(remark);
        }
    }
    Row::from(vec![
        Cell::new(number),
        action(verdict),
        Cell::new(rule.map_or_else(|| "default".to_owned(), |id| id.to_string())),
        Cell::new(optional(contents.protocol.map(protocol_name))),
        Cell::new(endpoint(contents.source, contents.source_port)),
        Cell::new(endpoint(contents.destination, contents.destination_port)),
        Cell::new(optional(contents.vlan)),
        Cell::new(optional(contents.name.as_ref())),
        colored(&remarks.join(", "), AnsiColor::Yellow),
    ])
}

pub(crate) fn endpoint(address: Option<IpAddr>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        (Some(address), None) => address.to_string(),
        (None, _) => "-".to_owned(),
    }
}
