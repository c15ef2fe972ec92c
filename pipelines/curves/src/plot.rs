//! A page of curves.

mod axis;
mod canvas;
mod chart;
mod colour;
mod curve;
mod horizontal;
mod legend;
mod panels;
pub(crate) mod raster;
mod recipe;
mod recipes;
mod scales;
mod strokes;

use std::path::Path;

use nextscale_files::atomic_file;
use plotters::prelude::Text;

use crate::error::CurvesError;
use crate::log::Log;
use crate::options::PlotOptions;
use crate::plot::canvas::{Area, fitted, part, pixels, px, text};
use crate::plot::colour::{INK, PAPER, of_run};
use crate::plot::curve::Stroke;
use crate::plot::horizontal::Horizontal;
use crate::plot::legend::{Key, Legend};
use crate::plot::panels::{Panel, panel};
use crate::plot::recipes::recipes;

/// Space around the page and between panels, in pixels.
const MARGIN: f64 = 18.0;
const BETWEEN: f64 = 20.0;
/// Size of the text and of the row of a page's title in pixels.
const TITLE: f64 = 18.0;
const TITLE_ROW: f64 = 34.0;
const RUNS: f64 = 13.5;
/// A page that is narrower in pixels has one column.
const TWO_COLUMNS: u32 = 720;
/// The smallest page, and the height of the lowest row of panels, in pixels.
const LEAST: (u32, u32) = (400, 300);
const LEAST_ROW: usize = 200;
/// The largest width and height in pixels.
const MOST: u32 = 8000;

/// What a plot shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plotted {
    /// The titles of its panels.
    pub panels: Vec<String>,
    /// Lines of the logs that were left out, cut off while they were written.
    pub skipped_lines: usize,
    /// Numbers of the logs that were left out since they were not finite.
    pub skipped_values: usize,
}

/// Draws a page of curves into a file: SVG or PNG, by the end of its name. Several runs share the panels, in a colour each.
/// There is a panel for the loss, the share of bits or codes right, the codebook's use, the PSNR, the parts of the loss, and
/// the learning rate with the gradient norm: each only if a log has its numbers.
///
/// # Errors
/// Another end of the name, a page that is too small or too large, no number to plot, a file that cannot be written.
pub fn plot(logs: &[Log], options: &PlotOptions, out: &Path) -> Result<Plotted, CurvesError> {
    let encode = encoder(out)?;
    let x = Horizontal::new(logs, options.x);
    let panels: Vec<Panel> = recipes(logs, options)
        .into_iter()
        .filter_map(|recipe| panel(recipe, logs, &x, options))
        .collect();
    if panels.is_empty() {
        return Err(CurvesError::Nothing);
    }
    let size = (options.width, options.height);
    let columns = columns(panels.len(), options.width);
    check(size, panels.len().div_ceil(columns))?;
    let svg = canvas::svg(size, |area| page(area, logs, &panels, columns, &x))?;
    atomic_file::write(out, &encode(svg)?).map_err(CurvesError::write(out))?;
    Ok(Plotted {
        panels: panels.iter().map(|panel| panel.title.to_owned()).collect(),
        skipped_lines: logs.iter().map(|log| log.skipped_lines).sum(),
        skipped_values: logs.iter().map(|log| log.skipped_values).sum(),
    })
}

/// How a page becomes the bytes of a file.
type Encode = fn(String) -> Result<Vec<u8>, CurvesError>;

fn encoder(out: &Path) -> Result<Encode, CurvesError> {
    let extension = out.extension().unwrap_or_default();
    match extension.to_ascii_lowercase().to_str() {
        Some("svg") => Ok(|svg| Ok(svg.into_bytes())),
        Some("png") => Ok(|svg| raster::png(&svg)),
        _ => Err(CurvesError::Extension {
            path: out.to_owned(),
        }),
    }
}

fn columns(panels: usize, width: u32) -> usize {
    if panels > 1 && width >= TWO_COLUMNS {
        2
    } else {
        1
    }
}

fn check((width, height): (u32, u32), rows: usize) -> Result<(), CurvesError> {
    let least = LEAST.1.max((rows * LEAST_ROW) as u32);
    if (LEAST.0..=MOST).contains(&width) && (least..=MOST).contains(&height) {
        return Ok(());
    }
    Err(CurvesError::Size {
        width,
        height,
        least,
    })
}

/// Draws a page: what runs there are, then the panels in rows.
fn page(
    area: &Area<'_>,
    logs: &[Log],
    panels: &[Panel],
    columns: usize,
    x: &Horizontal,
) -> Result<(), CurvesError> {
    area.fill(&PAPER).map_err(CurvesError::draw)?;
    let (width, height) = pixels(area);
    let inner = (width - 2.0 * MARGIN, height - 2.0 * MARGIN);
    let area = part(area, (MARGIN, MARGIN), inner);
    let top = head(&area, logs)?;
    let rows = panels.len().div_ceil(columns);
    let share = |all: f64, n: usize| (all - BETWEEN * (n - 1) as f64) / n as f64;
    let row_height = share(inner.1 - top, rows);
    for (row, panels) in panels.chunks(columns).enumerate() {
        let panel_width = share(inner.0, panels.len());
        let y = top + row as f64 * (row_height + BETWEEN);
        for (column, panel) in panels.iter().enumerate() {
            let x_place = column as f64 * (panel_width + BETWEEN);
            let place = part(&area, (x_place, y), (panel_width, row_height));
            chart::draw(&place, panel, x)?;
        }
    }
    Ok(())
}

/// Writes the name of the run, or a legend of several, and gives the height that it took in pixels.
fn head(area: &Area<'_>, logs: &[Log]) -> Result<f64, CurvesError> {
    if let [log] = logs {
        let name = fitted(area, &log.name, TITLE, pixels(area).0);
        area.draw(&Text::new(name, (px(0.0), px(0.0)), text(TITLE, INK)))
            .map_err(CurvesError::draw)?;
        return Ok(TITLE_ROW);
    }
    let keys = logs.iter().enumerate().map(|(run, log)| Key {
        name: unique(logs, run, &log.name),
        stroke: Some((of_run(run), Stroke::Solid)),
    });
    let legend = Legend::new(area, &keys.collect::<Vec<_>>(), RUNS);
    legend.draw(area)?;
    Ok(legend.height() + TITLE_ROW - TITLE)
}

/// The name of a run, with a number if other runs have it, too.
fn unique(logs: &[Log], run: usize, name: &str) -> String {
    let same = |logs: &[Log]| logs.iter().filter(|log| log.name == name).count();
    match same(logs) {
        1 => name.to_owned(),
        _ => format!("{name} ({})", same(&logs[..=run])),
    }
}
