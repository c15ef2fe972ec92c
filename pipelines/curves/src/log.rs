//! The log of a run: `log.jsonl`, one JSON object a line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::CurvesError;
use crate::options::X;

/// What a run has logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The run's name: that of its folder.
    pub name: String,
    /// The numbers of each line by name, in the order in which they were logged. Each line has a `step`.
    pub lines: Vec<BTreeMap<String, f64>>,
    /// Lines left out: a last line that was cut off while it was written (0 or 1).
    pub skipped_lines: usize,
    /// Values left out since they were not finite (NaN, infinities and `null`, which stands for them).
    pub skipped_values: usize,
}

impl Log {
    /// Reads `log.jsonl` in the folder of a run. A last line that is no JSON is left out, as a kill may cut it off.
    ///
    /// # Errors
    /// There is no such file or it cannot be read, it has no line yet, or a line is no object with a step.
    pub fn read(run: &Path) -> Result<Self, CurvesError> {
        let path = run.join("log.jsonl");
        let read_error = |reason| CurvesError::Read {
            path: path.clone(),
            reason,
        };
        let bytes = fs::read(&path).map_err(read_error)?;
        let name = fs::canonicalize(run).map_err(read_error)?;
        let name = name.file_name().unwrap_or(name.as_os_str());
        let mut log = Self {
            name: name.to_string_lossy().into_owned(),
            lines: Vec::new(),
            skipped_lines: 0,
            skipped_values: 0,
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text
            .lines()
            .zip(1..)
            .filter(|(line, _)| !line.trim().is_empty())
            .peekable();
        while let Some((line, number)) = lines.next() {
            let is_last = lines.peek().is_none();
            log.add(line, is_last)
                .map_err(|message| CurvesError::Line {
                    path: path.clone(),
                    line: number,
                    message,
                })?;
        }
        if log.lines.is_empty() {
            return Err(CurvesError::Empty { path });
        }
        Ok(log)
    }

    /// Adds a line of the file.
    fn add(&mut self, line: &str, is_last: bool) -> Result<(), String> {
        let value = match parse(line) {
            Ok(value) => value,
            Err(_) if is_last => {
                self.skipped_lines += 1;
                return Ok(());
            }
            Err(reason) => return Err(format!("is no JSON ({reason})")),
        };
        let Value::Object(object) = value else {
            return Err("is no JSON object".to_owned());
        };
        let mut numbers = BTreeMap::new();
        for (name, value) in object {
            if let Some(number) = value.as_f64() {
                numbers.insert(name, number);
            } else if value.is_null() {
                self.skipped_values += 1;
            }
        }
        if !numbers.contains_key("step") {
            return Err("has no step".to_owned());
        }
        self.lines.push(numbers);
        Ok(())
    }

    /// The steps and values of all lines that have a finite number of this name, such as `loss`.
    pub fn series(&self, name: &str) -> Vec<(f64, f64)> {
        self.points(name, X::Steps)
    }

    /// As [`Self::series`], against what the horizontal axis counts.
    pub(crate) fn points(&self, name: &str, x: X) -> Vec<(f64, f64)> {
        let positions = self.positions(x);
        let lines = self.lines.iter().zip(positions);
        lines
            .filter_map(|(line, at)| Some((at?, *line.get(name)?)))
            .filter(|(at, value)| at.is_finite() && value.is_finite())
            .collect()
    }

    /// Where each line is on the horizontal axis, if it says so.
    pub(crate) fn positions(&self, x: X) -> Vec<Option<f64>> {
        let get = |line: &BTreeMap<String, f64>, name: &str| line.get(name).copied();
        match x {
            X::Steps => self.lines.iter().map(|line| get(line, "step")).collect(),
            X::Seconds => self.lines.iter().map(|line| get(line, "seconds")).collect(),
            X::Examples => {
                let (mut examples, mut before) = (0.0, 0.0);
                let count = |line| {
                    // A line's rate is that of the time since the line before.
                    let seconds = get(line, "seconds")?;
                    examples += get(line, "examples_per_second")? * (seconds - before);
                    before = seconds;
                    Some(examples)
                };
                self.lines.iter().map(count).collect()
            }
        }
    }
}

/// A line as JSON. The bare words that some writers use for numbers that are not finite count as `null`.
fn parse(line: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(line).or_else(|reason| {
        let words = ["-Infinity", "Infinity", "NaN", "-inf", "inf", "nan"];
        let tidy = words.iter().fold(line.to_owned(), |line, word| {
            [":", ": "].iter().fold(line, |line, colon| {
                [",", "}", " "].iter().fold(line, |line, end| {
                    line.replace(&format!("{colon}{word}{end}"), &format!(":null{end}"))
                })
            })
        });
        serde_json::from_str(&tidy).map_err(|_| reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Log, CurvesError> {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("my-run");
        fs::create_dir(&run).unwrap();
        fs::write(run.join("log.jsonl"), text).unwrap();
        Log::read(&run)
    }

    #[test]
    fn numbers_are_found_by_name() {
        let log = read("{\"step\":5,\"loss\":2.5,\"right.0\":0.5}\n\n{\"step\":10,\"loss\":2}\n")
            .unwrap();
        assert_eq!(log.name, "my-run");
        assert_eq!(log.series("loss"), [(5.0, 2.5), (10.0, 2.0)]);
        assert_eq!(log.series("right.0"), [(5.0, 0.5)]);
        assert!(log.series("right").is_empty());
        assert_eq!((log.skipped_lines, log.skipped_values), (0, 0));
    }

    #[test]
    fn only_a_broken_last_line_is_left_out() {
        let log = read("{\"step\":5,\"loss\":2.5}\n{\"step\":10,\"lo").unwrap();
        assert_eq!((log.lines.len(), log.skipped_lines), (1, 1));
        let error = read("{\"step\":5}\n\n{\"step\":10,\"lo\n{\"step\":15}\n").unwrap_err();
        assert!(
            matches!(error, CurvesError::Line { line: 3, .. }),
            "{error}"
        );
        assert!(error.to_string().starts_with("line 3 of "), "{error}");
        let error = read("{\"loss\":1}\n").unwrap_err();
        assert!(error.to_string().contains("has no step"), "{error}");
        let error = read("[1]\n{\"step\":1}\n").unwrap_err();
        assert!(error.to_string().contains("no JSON object"), "{error}");
    }

    #[test]
    fn values_that_are_not_finite_are_counted() {
        let text = "{\"step\":1,\"loss\":null,\"right\":0.5}\n{\"step\":2,\"loss\":NaN,\"mse\": -Infinity}\n{\"step\":3,\"loss\":1}";
        let log = read(text).unwrap();
        assert_eq!(log.series("loss"), [(3.0, 1.0)]);
        assert_eq!(log.series("right"), [(1.0, 0.5)]);
        assert_eq!((log.skipped_lines, log.skipped_values), (0, 3));
    }

    #[test]
    fn a_log_without_a_line_and_none_at_all_are_errors() {
        for text in ["", "\n", "{\"st"] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains("no line yet"), "{error}");
        }
        let error = Log::read(Path::new("/no/such/run")).unwrap_err();
        assert!(
            error.to_string().contains("/no/such/run/log.jsonl"),
            "{error}"
        );
    }

    #[test]
    fn examples_add_up_over_the_lines() {
        let log = read(
            "{\"step\":1,\"loss\":4,\"examples_per_second\":10,\"seconds\":2}\n{\"step\":2,\"loss\":3}\n\
             {\"step\":3,\"loss\":2,\"examples_per_second\":5,\"seconds\":4}\n",
        )
        .unwrap();
        assert_eq!(log.points("loss", X::Examples), [(20.0, 4.0), (30.0, 2.0)]);
        assert_eq!(log.points("loss", X::Seconds), [(2.0, 4.0), (4.0, 2.0)]);
    }
}
