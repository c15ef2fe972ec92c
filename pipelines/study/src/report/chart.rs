//! Plots as SVG.

use std::ops::Range;

use nextscale_curves::register_font;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use serde::Serialize;

use crate::error::StudyError;

const SIZE: (u32, u32) = (840, 480);
/// A colour for each series, told apart by people who see fewer of them (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(80, 80, 80),
];

/// A plot of numbers against numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
    /// Horizontal lines with a label.
    pub references: Vec<Reference>,
}

/// An axis.
#[derive(Debug, Clone, Serialize)]
pub struct Axis {
    /// What it counts.
    pub name: String,
    /// Whether equal distances are equal ratios.
    pub logarithmic: bool,
}

impl Axis {
    /// Equal distances are equal ratios.
    pub fn logarithmic(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            logarithmic: true,
        }
    }

    /// Equal distances are equal differences.
    pub fn linear(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            logarithmic: false,
        }
    }

    /// A number as the axis lays it out.
    fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            value.log10()
        } else {
            value
        }
    }

    /// The label of a place.
    fn label(&self, place: f64) -> String {
        if !self.logarithmic {
            return super::table::Cell::Number(place).shown();
        }
        let value = 10f64.powf(place);
        match value {
            1e-3..1e5 => format!("{}", (value * 1e4).round() / 1e4),
            _ => format!("{value:.0e}"),
        }
    }

    fn labelled(&self, range: Range<f64>) -> Labelled {
        Labelled {
            ticks: self.ticks(&range),
            range: range.into(),
        }
    }

    /// The places with a label: on a logarithmic axis powers of ten, with 2 and 5 times them where there are few.
    fn ticks(&self, range: &Range<f64>) -> Vec<f64> {
        let span = range.end - range.start;
        if !self.logarithmic {
            let step = 10f64.powf((span / 4.0).log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * step);
            let step = step.into_iter().find(|step| span / step <= 8.0);
            let step = step.unwrap_or(span);
            let first = (range.start / step).ceil() as i64;
            let last = (range.end / step).floor() as i64;
            return (first..=last).map(|i| i as f64 * step).collect();
        }
        let factors: &[f64] = match span {
            ..0.7 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
            0.7..3.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let powers = range.start.floor() as i32..=range.end.ceil() as i32;
        let ticks = powers.flat_map(|power| {
            let tick = move |factor: &f64| f64::from(power) + factor.log10();
            factors.iter().map(tick)
        });
        ticks.filter(|tick| range.contains(tick)).collect()
    }
}

/// Points that belong together.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Their name.
    pub name: String,
    /// Their coordinates; those that are not finite, or not positive on a logarithmic axis, are left out.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub style: Style,
}

/// How points are drawn. A line has the colour of the points before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// As dots.
    Points,
    /// As dots and a line.
    Line,
    /// As a thin line in the colour of the series before, without an entry in the legend: a fit.
    Fit,
}

/// A labelled horizontal line.
#[derive(Debug, Clone, Serialize)]
pub struct Reference {
    /// What it stands for.
    pub label: String,
    /// Where it is.
    pub y: f64,
}

impl Chart {
    /// The plot as SVG.
    ///
    /// # Errors
    /// If there is no point to draw.
    pub fn svg(&self) -> Result<String, StudyError> {
        let failed = |reason: String| StudyError::Draw {
            title: self.title.clone(),
            reason,
        };
        let [x, y] = self
            .ranges()
            .ok_or_else(|| failed("it has no point".to_owned()))?;
        register_font().map_err(|error| failed(error.to_string()))?;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        self.draw(&area, x, y).map_err(failed)?;
        area.present().map_err(|error| failed(error.to_string()))?;
        drop(area);
        Ok(svg)
    }

    fn places<'a>(&'a self, series: &'a Series) -> impl Iterator<Item = (f64, f64)> + 'a {
        let places = series.points.iter();
        let places = places.map(|&(x, y)| (self.x.place(x), self.y.place(y)));
        places.filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    fn ranges(&self) -> Option<[Range<f64>; 2]> {
        let points: Vec<_> = self.series.iter().flat_map(|s| self.places(s)).collect();
        let references = self.references.iter().map(|line| self.y.place(line.y));
        let ys = points
            .iter()
            .map(|p| p.1)
            .chain(references.filter(|y| y.is_finite()));
        Some([range(points.iter().map(|p| p.0))?, range(ys)?])
    }

    fn draw(
        &self,
        area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
        x: Range<f64>,
        y: Range<f64>,
    ) -> Result<(), String> {
        let problem = |error: DrawingAreaErrorKind<_>| error.to_string();
        area.fill(&WHITE).map_err(problem)?;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(self.x.labelled(x.clone()), self.y.labelled(y))
            .map_err(problem)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(&self.x.name).y_desc(&self.y.name);
        mesh.light_line_style(WHITE)
            .bold_line_style(RGBColor(230, 230, 230));
        let (of_x, of_y) = (
            |place: &f64| self.x.label(*place),
            |place: &f64| self.y.label(*place),
        );
        mesh.x_label_formatter(&of_x).y_label_formatter(&of_y);
        mesh.draw().map_err(problem)?;
        self.draw_series(&mut chart)?;
        for line in &self.references {
            let y = self.y.place(line.y);
            let ends = [(x.start, y), (x.end, y)];
            let style = RGBColor(120, 120, 120);
            chart
                .draw_series(DashedLineSeries::new(ends, 6, 4, style.into()))
                .map_err(problem)?;
            let label = Text::new(line.label.clone(), (x.start, y), ("sans-serif", 12));
            chart.draw_series([label]).map_err(problem)?;
        }
        let mut legend = chart.configure_series_labels();
        legend
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200));
        legend
            .position(SeriesLabelPosition::UpperLeft)
            .draw()
            .map_err(problem)
    }

    fn draw_series(
        &self,
        chart: &mut ChartContext<'_, SVGBackend<'_>, Plane>,
    ) -> Result<(), String> {
        let problem = |error: DrawingAreaErrorKind<_>| error.to_string();
        let mut next = 0;
        for series in &self.series {
            let places: Vec<(f64, f64)> = self.places(series).collect();
            if series.style != Style::Fit {
                next += 1;
            }
            let colour = COLOURS[(next + COLOURS.len() - 1) % COLOURS.len()];
            if series.style != Style::Points {
                let line = LineSeries::new(places.clone(), colour.stroke_width(1));
                chart.draw_series(line).map_err(problem)?;
            }
            if series.style == Style::Fit {
                continue;
            }
            let dots = places
                .into_iter()
                .map(|at| Circle::new(at, 4, colour.filled()));
            chart
                .draw_series(dots)
                .map_err(problem)?
                .label(&series.name)
                .legend(move |at| Circle::new(at, 4, colour.filled()));
        }
        Ok(())
    }
}

/// A plane with labels at chosen places.
type Plane = Cartesian2d<Labelled, Labelled>;

/// A range with labels at chosen places.
struct Labelled {
    range: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ranged for Labelled {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return vec![];
        }
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

/// From the least to the most, with a margin; none without a number.
fn range(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let ends = values.fold(None, |ends: Option<(f64, f64)>, value| {
        let (least, most) = ends.unwrap_or((value, value));
        Some((least.min(value), most.max(value)))
    });
    let (least, most) = ends?;
    let margin = ((most - least) * 0.06).max(0.05);
    Some(least - margin..most + margin)
}
