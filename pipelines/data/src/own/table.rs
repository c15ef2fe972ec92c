//! A file of JSON lines, or a table in CSV, that names images and says what they show.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use nextscale_files::atomic_file::folder_of;
use nextscale_files::path_text;
use serde_json::{Map, Value};

use crate::error::{DataError, Invalid, ensure};
use crate::own::media::extension;
use crate::own::recipe::OwnRecipe;
use crate::own::samples::{Place, Sample, Samples, merge};
use crate::own::text;
use crate::recipe::DataKind;

type Row = Map<String, Value>;

/// Reads a table. Images are relative to its folder; one that several rows name has the captions of all of them.
///
/// # Errors
/// It cannot be read, or lacks a column that the recipe names or that names the images.
pub(crate) fn read(path: &Path, recipe: &OwnRecipe) -> Result<Samples, DataError> {
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    let mut table = Table::new(path, recipe);
    let rows = match extension(path).as_str() {
        "csv" => table.read_csv(file, b','),
        "tsv" => table.read_csv(file, b'\t'),
        "jsonl" => table.read_json_lines(file),
        _ if recipe.kind == DataKind::Csv => table.read_csv(file, b','),
        _ => table.read_json_lines(file),
    };
    rows.map_err(|e| DataError::read(path, e))?;
    table.finish().map_err(|e| DataError::content(path, e))
}

/// Names of one column, the best first.
struct Column {
    /// The key of the recipe.
    key: &'static str,
    names: Vec<String>,
    /// Whether the recipe names it.
    is_chosen: bool,
    /// Whether a row has it.
    is_there: bool,
}

impl Column {
    fn new(key: &'static str, chosen: Option<&String>, usual: &[&str]) -> Self {
        Self {
            key,
            names: match chosen {
                Some(name) => vec![name.clone()],
                None => usual.iter().map(|&name| name.into()).collect(),
            },
            is_chosen: chosen.is_some(),
            is_there: false,
        }
    }

    /// The first value of this column in a row that is not empty.
    fn of<'a>(&mut self, row: &'a Row) -> Option<&'a Value> {
        let mut values = self.names.iter().filter_map(|name| row.get(name));
        let mut first = None;
        for value in values.by_ref() {
            self.is_there = true;
            let is_empty = value.is_null() || value.as_str().is_some_and(|t| t.trim().is_empty());
            if !is_empty {
                first = Some(value);
                break;
            }
        }
        first
    }

    fn check(&self, keys: &[String]) -> Result<(), Invalid> {
        let is_needed = self.is_chosen || self.key == "image_column";
        if self.is_there || !is_needed {
            return Ok(());
        }
        ensure!(!keys.is_empty(), "it has no line that could be read");
        let (key, names, known) = (self.key, self.names.join(", "), keys.join(", "));
        ensure!(
            !self.is_chosen,
            "there is no column `{names}`, which {key} names: the columns are {known}"
        );
        let message =
            format!("no column is named {names}: say with {key} which of {known} names the files");
        Err(Invalid(message))
    }
}

struct Table {
    path: PathBuf,
    image: Column,
    caption: Column,
    class: Column,
    /// The columns of the first row.
    keys: Vec<String>,
    found: Samples,
    /// Where the sample of a path is.
    known: HashMap<PathBuf, usize>,
}

impl Table {
    fn new(path: &Path, recipe: &OwnRecipe) -> Self {
        Self {
            path: path.into(),
            image: Column::new(
                "image_column",
                recipe.image_column.as_ref(),
                &["file_name", "path", "image", "file"],
            ),
            caption: Column::new(
                "caption_column",
                recipe.caption_column.as_ref(),
                &["text", "caption", "prompt"],
            ),
            class: Column::new(
                "class_column",
                recipe.class_column.as_ref(),
                &["label", "class"],
            ),
            keys: Vec::new(),
            found: Samples::default(),
            known: HashMap::new(),
        }
    }

    fn read_json_lines(&mut self, file: File) -> std::io::Result<()> {
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            let row = text::decode(&bytes).and_then(|line| match line.trim() {
                "" => Ok(None),
                line => serde_json::from_str::<Row>(line)
                    .map(Some)
                    .map_err(|e| Invalid(format!("it is not a JSON object: {e}"))),
            });
            match row {
                Ok(Some(row)) => self.add(number, &row),
                Ok(None) => {}
                Err(reason) => self.skip(number, reason),
            }
        }
        Ok(())
    }

    fn read_csv(&mut self, file: File, delimiter: u8) -> std::io::Result<()> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .trim(csv::Trim::Headers)
            .from_reader(file);
        let names = reader.headers().map_err(io_error)?.clone();
        self.keys = names.iter().map(str::to_owned).collect();
        for column in [&mut self.image, &mut self.caption, &mut self.class] {
            column.is_there = names
                .iter()
                .any(|name| column.names.iter().any(|n| n == name));
        }
        for record in reader.records() {
            match record {
                Ok(record) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    let values = record.iter().map(Value::from);
                    let row = names.iter().map(str::to_owned).zip(values).collect();
                    self.add(line, &row);
                }
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    if error.is_io_error() {
                        return Err(io_error(error));
                    }
                    self.skip(line, csv_reason(&error));
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, line: u64, reason: impl ToString) {
        let name = self.path.file_name().unwrap_or_default();
        let name = format!("{} line {line}", path_text::to_text(name));
        self.found.skip(name, reason);
    }

    fn add(&mut self, line: u64, row: &Row) {
        if self.keys.is_empty() {
            self.keys = row.keys().cloned().collect();
        }
        let captions = self.caption.of(row).map_or_else(Vec::new, text::captions);
        let class = self.class.of(row).and_then(text::class);
        let Some(file) = self.image.of(row).and_then(Value::as_str) else {
            return self.skip(line, "it names no file");
        };
        if file.contains("://") {
            return self.skip(
                line,
                "addresses are not downloaded: download the file and name it",
            );
        }
        let path = folder_of(&self.path).join(&*path_text::to_path(file));
        if let Some(&at) = self.known.get(&path) {
            let sample = &mut self.found.samples[at];
            merge(&mut sample.captions, captions);
            sample.class = sample.class.take().or(class);
            return;
        }
        self.known.insert(path.clone(), self.found.samples.len());
        self.found.samples.push(Sample {
            file: file.to_owned(),
            place: Place::File(path),
            captions,
            class,
        });
    }

    fn finish(self) -> Result<Samples, Invalid> {
        for column in [&self.image, &self.caption, &self.class] {
            column.check(&self.keys)?;
        }
        Ok(self.found)
    }
}

fn io_error(error: csv::Error) -> std::io::Error {
    error.into()
}

fn csv_reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!(
            "it has {len} values, but there are {expected_len} columns: put values with commas in double quotes"
        ),
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8 text".into(),
        _ => error.to_string(),
    }
}
