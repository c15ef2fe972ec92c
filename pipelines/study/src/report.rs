//! The folder of a study: `report.html`, a CSV file for each table, and `report.json`.

mod chart;
mod html;
mod machine;
mod table;

use std::path::Path;

use nextscale_files::atomic_file;
use serde::Serialize;

pub use self::chart::{Axis, Chart, Reference, Series, Style};
pub use self::machine::Provenance;
pub use self::table::{Cell, Table};
use crate::error::StudyError;

/// What a study found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The title.
    pub title: String,
    /// What was asked, in a sentence or two.
    pub question: String,
    /// How it was made.
    pub provenance: Provenance,
    /// What was found.
    pub sections: Vec<Section>,
}

/// A part of a report.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Section {
    /// The title.
    pub title: String,
    /// Paragraphs.
    pub text: Vec<String>,
    /// Plots.
    pub charts: Vec<Chart>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Sheets of images.
    pub pictures: Vec<Picture>,
}

/// A sheet of images. The page has it inside, and it is a file of its own, too.
#[derive(Debug, Clone, Serialize)]
pub struct Picture {
    /// What it shows.
    pub title: String,
    /// The bytes of a PNG.
    #[serde(skip)]
    pub png: Vec<u8>,
}

impl Report {
    /// Writes the folder, which may exist. A file appears as a whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written, a plot that cannot be drawn.
    pub fn write(&self, folder: &Path) -> Result<(), StudyError> {
        std::fs::create_dir_all(folder).map_err(StudyError::write(folder))?;
        let page = html::page(self)?;
        let json = serde_json::to_vec_pretty(self).map_err(StudyError::write(folder))?;
        let tables = self.sections.iter().flat_map(|section| &section.tables);
        let mut files = vec![
            ("report.html".to_owned(), page.into_bytes()),
            ("report.json".to_owned(), json),
        ];
        for table in tables {
            let bytes = table.csv().map_err(StudyError::write(folder))?;
            files.push((format!("{}.csv", table.name), bytes));
        }
        let pictures = self.sections.iter().flat_map(|section| &section.pictures);
        for (number, picture) in (1..).zip(pictures) {
            files.push((format!("sheet-{number}.png"), picture.png.clone()));
        }
        for (name, bytes) in files {
            let path = folder.join(name);
            atomic_file::write(&path, &bytes).map_err(StudyError::write(&path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let table = Table {
            name: "times".to_owned(),
            title: "Times".to_owned(),
            columns: vec!["model".to_owned(), "s".to_owned()],
            rows: vec![vec![Cell::from("<VAR>, a"), Cell::from(0.25)]],
        };
        let series = Series {
            name: "VAR".to_owned(),
            points: vec![(1.0, 1.0), (10.0, 100.0)],
            style: Style::Points,
        };
        let chart = Chart {
            title: "Seconds".to_owned(),
            x: Axis::logarithmic("side"),
            y: Axis::logarithmic("seconds"),
            series: vec![series],
            references: vec![],
        };
        let report = Report {
            title: "Cost & co".to_owned(),
            question: "How much?".to_owned(),
            provenance: Provenance::new("nextscale study cost", "cpu", &[1]),
            sections: vec![Section {
                title: "Found".to_owned(),
                text: vec!["a < b".to_owned()],
                charts: vec![chart],
                tables: vec![table],
                pictures: vec![Picture {
                    title: "A sheet".to_owned(),
                    png: vec![1, 2, 3],
                }],
            }],
        };
        report.write(folder.path()).unwrap();
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("times.csv"), "model,s\n\"<VAR>, a\",0.25\n");
        let page = read("report.html");
        assert!(
            page.contains("Cost &amp; co") && page.contains("a &lt; b"),
            "{page}"
        );
        assert!(page.contains("&lt;VAR&gt;") && page.matches("<svg").count() == 1);
        assert!(
            page.contains("src=\"data:image/png;base64,AQID\""),
            "{page}"
        );
        assert!(!page.contains("href="), "one file");
        assert!(folder.path().join("sheet-1.png").exists());
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(json["sections"][0]["tables"][0]["rows"][0][1], 0.25);
        assert_eq!(json["provenance"]["seeds"][0], 1);
    }

    #[test]
    fn a_chart_without_points_is_refused() {
        let chart = Chart {
            title: "Nothing".to_owned(),
            x: Axis::logarithmic("x"),
            y: Axis::linear("y"),
            series: vec![],
            references: vec![],
        };
        let error = chart.svg().unwrap_err().to_string();
        assert!(error.contains("`Nothing` cannot be drawn"), "{error}");
    }
}
