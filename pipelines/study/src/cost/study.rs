//! The study: what is counted and measured, and the report.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use nextscale_files::atomic_file;
use serde::{Deserialize, Serialize};

use super::measure::seconds;
use super::options::{CostOptions, ModelSize, Paradigm};
use super::paper::Measured;
use super::shapes::{bytes, operations};
use crate::error::StudyError;
use crate::fit::PowerLaw;
use crate::operations::Operations;
use crate::report::{Axis, Cell, Chart, Provenance, Report, Section, Series, Style, Table};
use crate::room::fits;
use crate::watch::{Event, Watch};

/// What was measured so far: a file in the folder of the report.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    points: Vec<Point>,
    paper: Measured,
}

/// One model at one resolution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Point {
    paradigm: Paradigm,
    size: ModelSize,
    side: usize,
    steps: usize,
    operations: Operations,
    /// None where it would take longer than the limit, or does not fit the memory.
    seconds: Option<f64>,
    /// Whether it fits the memory.
    fits: bool,
}

/// Counts and measures, and writes the report. What was measured before in the same folder is taken over.
///
/// # Errors
/// Nothing to measure, a folder that cannot be written, a stop on request.
pub fn run(options: &CostOptions, mut watch: Watch<'_>) -> Result<Report, StudyError> {
    if options.sides.len() < 2 || options.sizes.is_empty() {
        let reason = "an exponent needs two sides and a size of the model".to_owned();
        return Err(StudyError::Nothing { reason });
    }
    std::fs::create_dir_all(&options.out).map_err(StudyError::write(&options.out))?;
    let file = options.out.join("measured.json");
    let kept = std::fs::read(&file).ok();
    let kept = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut study = Study {
        options,
        file,
        kept: kept.unwrap_or_default(),
    };
    study.measure(&mut watch)?;
    let report = study.report();
    report.write(&options.out)?;
    Ok(report)
}

struct Study<'a> {
    options: &'a CostOptions,
    file: PathBuf,
    kept: Kept,
}

impl Study<'_> {
    fn save(&self) -> Result<(), StudyError> {
        let bytes = serde_json::to_vec(&self.kept).map_err(StudyError::write(&self.file))?;
        atomic_file::write(&self.file, &bytes).map_err(StudyError::write(&self.file))
    }

    /// All points, those of a model by growing side.
    fn wanted(&self) -> Vec<(ModelSize, Paradigm, usize)> {
        let mut sides = self.options.sides.clone();
        sides.sort_unstable();
        sides.dedup();
        let sizes = self.options.sizes.iter();
        let of_size = |&size| Paradigm::ALL.map(|paradigm| (size, paradigm));
        let models = sizes.flat_map(of_size);
        models
            .flat_map(|(size, paradigm)| sides.iter().map(move |&side| (size, paradigm, side)))
            .collect()
    }

    fn find(&self, (size, paradigm, side): (ModelSize, Paradigm, usize)) -> Option<&Point> {
        let steps = self.options.steps;
        self.kept.points.iter().find(|point| {
            (point.size, point.paradigm, point.side, point.steps) == (size, paradigm, side, steps)
        })
    }

    fn measure(&mut self, watch: &mut Watch<'_>) -> Result<(), StudyError> {
        let wanted = self.wanted();
        let paper = if self.options.paper_sizes {
            Measured::count()
        } else {
            0
        };
        let all = wanted.len() + paper;
        for (done, &point) in wanted.iter().enumerate() {
            if self.find(point).is_some() {
                continue;
            }
            let (size, paradigm, side) = point;
            let what = format!(
                "{} {}x{}, {side} x {side}",
                paradigm.name(),
                size.width,
                size.depth
            );
            let what = &what;
            (watch.observe)(Event { what, done, all });
            if watch.stop.load(Ordering::Relaxed) {
                return Err(StudyError::Stopped);
            }
            let point = self.point(point);
            self.kept.points.push(point);
            self.save()?;
        }
        while let Some(what) = self.kept.paper.next().filter(|_| paper > 0) {
            let done = wanted.len() + self.kept.paper.done();
            (watch.observe)(Event { what, done, all });
            if watch.stop.load(Ordering::Relaxed) {
                return Err(StudyError::Stopped);
            }
            self.kept.paper.measure_next(&self.options.device);
            self.save()?;
        }
        Ok(())
    }

    fn point(&self, (size, paradigm, side): (ModelSize, Paradigm, usize)) -> Point {
        let CostOptions {
            steps,
            device,
            limit,
            ..
        } = self.options;
        let operations = operations(paradigm, size, side, *steps);
        // The largest that was measured says how fast the machine is. A point runs twice.
        let before = self.kept.points.iter().rev();
        let mut before = before.filter(|point| (point.size, point.paradigm) == (size, paradigm));
        let expected = before.next().map_or(Some(0.0), |last| {
            let rate = operations.total() / last.operations.total();
            last.seconds.map(|seconds| 2.0 * seconds * rate)
        });
        let in_time = expected.is_some_and(|expected| expected <= *limit);
        let fits = fits(bytes(paradigm, size, side), device);
        Point {
            paradigm,
            size,
            side,
            steps: *steps,
            operations,
            seconds: (in_time && fits).then(|| seconds(paradigm, size, side, *steps, device)),
            fits,
        }
    }

    /// The points of a model, by growing side.
    fn of(&self, size: ModelSize, paradigm: Paradigm) -> Vec<Point> {
        let wanted = self.wanted().into_iter();
        let wanted = wanted.filter(|&(s, p, _)| (s, p) == (size, paradigm));
        wanted
            .filter_map(|point| self.find(point).copied())
            .collect()
    }

    fn report(&self) -> Report {
        let options = self.options;
        let mut sections = vec![self.exponents()];
        sections.extend(options.sizes.iter().map(|&size| self.size(size)));
        if options.paper_sizes {
            sections.push(self.kept.paper.section());
        }
        Report {
            title: "What an image costs, against resolution".to_owned(),
            question: "The VAR paper counts O(n^4) operations of attention for next-scale prediction and O(n^6) for raster autoregression without a cache, \
                       where n is the side of the latent. Do they grow so, and do the seconds?"
                .to_owned(),
            provenance: Provenance::new(&options.command, &options.device_name, &[1]),
            sections,
        }
    }

    /// The exponents of all models.
    fn exponents(&self) -> Section {
        let mut rows = vec![];
        for &size in &self.options.sizes {
            for paradigm in Paradigm::ALL {
                let points = self.of(size, paradigm);
                let law = |of: &dyn Fn(&Point) -> Option<f64>| {
                    let points = points.iter();
                    PowerLaw::through(points.filter_map(|p| Some((p.side as f64, of(p)?))))
                };
                let with_error = |law: Option<PowerLaw>| {
                    law.map_or(Cell::Empty, |law| match law.error {
                        Some(error) => Cell::from(format!("{:.2} ± {error:.2}", law.exponent)),
                        None => Cell::from(format!("{:.2}", law.exponent)),
                    })
                };
                rows.push(vec![
                    Cell::from(paradigm.name()),
                    Cell::from(format!("{} x {}", size.width, size.depth)),
                    with_error(law(&|p| Some(p.operations.attention))),
                    with_error(law(&|p| Some(p.operations.total()))),
                    with_error(law(&|p| p.seconds)),
                    Cell::from(points.iter().filter(|p| p.seconds.is_some()).count()),
                ]);
            }
        }
        let columns = [
            "model",
            "width x blocks",
            "attention, counted",
            "all operations, counted",
            "seconds, measured",
            "points measured",
        ];
        Section {
            title: "Exponents".to_owned(),
            text: vec![
                "Fitted: y = a n^b through all sides, with the standard error of b. Attention alone grows as the paper counts. Layers with weights grow with the \
                 tokens (n^2, and n^4 without a cache), so at small sides the total grows more slowly, and a pass that is too small to fill the machine takes as \
                 long as a larger one."
                    .to_owned(),
            ],
            charts: vec![],
            tables: vec![Table {
                name: "exponents".to_owned(),
                title: "b in n^b".to_owned(),
                columns: columns.map(str::to_owned).to_vec(),
                rows,
            }],
            ..Section::default()
        }
    }

    /// Plots and numbers of a size.
    fn size(&self, size: ModelSize) -> Section {
        let name = format!("{} channels, {} blocks", size.width, size.depth);
        let chart = |title: &str, of: &dyn Fn(&Point) -> Option<f64>| {
            let mut series = vec![];
            for paradigm in Paradigm::ALL {
                let points = self.of(size, paradigm);
                let points = points.iter().filter_map(|p| Some((p.side as f64, of(p)?)));
                let points: Vec<(f64, f64)> = points.collect();
                let law = PowerLaw::through(points.clone());
                let line = law.map(|law| points.iter().map(|&(x, _)| (x, law.at(x))).collect());
                series.push(Series {
                    name: paradigm.name().to_owned(),
                    points,
                    style: Style::Points,
                });
                series.push(Series {
                    name: String::new(),
                    points: line.unwrap_or_default(),
                    style: Style::Fit,
                });
            }
            Chart {
                title: format!("{title}: {name}"),
                x: Axis::logarithmic("side of the latent, n"),
                y: Axis::logarithmic(title),
                series,
                references: vec![],
            }
        };
        let mut charts = vec![chart("operations of an image", &|p| {
            Some(p.operations.total())
        })];
        if self
            .kept
            .points
            .iter()
            .any(|p| p.size == size && p.seconds.is_some())
        {
            charts.push(chart("seconds of an image", &|p| p.seconds));
        }
        let rows = Paradigm::ALL
            .iter()
            .flat_map(|&paradigm| self.of(size, paradigm));
        let rows = rows.map(|p| {
            vec![
                Cell::from(p.paradigm.name()),
                Cell::from(p.side),
                Cell::from(p.operations.passes),
                Cell::from(p.operations.attention),
                Cell::from(p.operations.total()),
                match p.seconds {
                    Some(seconds) => Cell::from(seconds),
                    None if p.fits => Cell::from("left out: over the limit"),
                    None => Cell::from("left out: does not fit the memory"),
                },
            ]
        });
        let columns = ["model", "n", "passes", "attention", "operations", "seconds"];
        Section {
            title: name.clone(),
            text: vec![format!(
                "One image, one row (no guidance), random weights, without the decoder; DiT in {} steps. A point that would take more than {} s is counted, not measured.",
                self.options.steps, self.options.limit
            )],
            charts,
            tables: vec![Table {
                name: format!("cost-{}x{}", size.width, size.depth),
                title: "Counted and measured".to_owned(),
                columns: columns.map(str::to_owned).to_vec(),
                rows: rows.collect(),
            }],
            ..Section::default()
        }
    }
}
