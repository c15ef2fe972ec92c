//! Tables.

use serde::Serialize;

/// A table of a report.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// The name of its CSV file, without the end.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows, with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// A word.
    Text(String),
    /// A number, which the page rounds to three digits.
    Number(f64),
    /// Nothing.
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Empty, Self::Number)
    }
}

impl Cell {
    /// What a page shows.
    pub fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Empty => String::new(),
            Self::Number(number) => rounded(*number),
        }
    }
}

/// Three digits that count: `1234`, `12.3`, `0.00123`, `1.23e9`.
fn rounded(number: f64) -> String {
    let size = number.abs();
    if number == number.trunc() && size < 1e6 {
        return format!("{number:.0}");
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{number:.2e}");
    }
    let digits = (2 - size.log10().floor() as i32).max(0) as usize;
    format!("{number:.digits$}")
}

impl Table {
    /// The table as CSV, with all digits.
    pub(super) fn csv(&self) -> Result<Vec<u8>, String> {
        let mut writer = csv::Writer::from_writer(vec![]);
        let problem = |error: csv::Error| error.to_string();
        writer.write_record(&self.columns).map_err(problem)?;
        for row in &self.rows {
            let cells = row.iter().map(|cell| match cell {
                Cell::Number(number) => number.to_string(),
                other => other.shown(),
            });
            writer.write_record(cells).map_err(problem)?;
        }
        writer.into_inner().map_err(|error| error.to_string())
    }

    /// The table as lines of text, in columns.
    pub fn text(&self) -> String {
        let head = self.columns.clone();
        let rows = self
            .rows
            .iter()
            .map(|row| row.iter().map(Cell::shown).collect());
        let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| {
            let cells = all.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, &width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [1234.0, 1234.5, 12.345, 0.001_234_5, 1.234e9, 0.0, -2.5].map(rounded);
        assert_eq!(
            shown,
            ["1234", "1234", "12.3", "0.00123", "1.23e9", "0", "-2.50"]
        );
    }
}
