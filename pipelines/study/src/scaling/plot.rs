//! Plots and tables of the laws, in the form of the paper's.

use super::options::{ScalingOptions, VarSize};
use super::study::{Curve, MEASURES};
use crate::fit::PowerLaw;
use crate::report::{Axis, Cell, Chart, Section, Series, Style, Table};

pub(super) fn against_size(
    options: &ScalingOptions,
    curves: &[Curve],
    left_out: &[VarSize],
) -> Section {
    let points = |measure: usize| -> Vec<(f64, f64)> {
        let points = curves.iter();
        let points = points.map(|curve| Some((curve.size.parameters(), curve.last(measure)?)));
        points.flatten().collect()
    };
    let charts = (0..MEASURES.len()).filter_map(|measure| {
        let (_, name) = MEASURES[measure];
        chart(
            name,
            "parameters of the blocks",
            vec![points(measure)],
            &[""],
        )
    });
    let laws = (0..MEASURES.len()).map(|measure| {
        let law = PowerLaw::through(points(measure));
        vec![
            Cell::from(MEASURES[measure].1),
            Cell::from(law.map(|law| law.exponent)),
            Cell::from(law.and_then(|law| law.error)),
            Cell::from(law.map(|law| law.factor)),
            Cell::from(law.and_then(|law| law.pearson)),
        ]
    });
    let columns = [
        "measure",
        "exponent",
        "its standard error",
        "factor",
        "Pearson",
    ];
    let mut text = vec![
            format!(
                "Each model saw {} images with the same tokenizer and recipe. Loss is cross entropy in nats, error is the share of codes that the largest logit \
                 misses; both of 128 held-out images, with averaged weights.",
                options.images
            ),
            "The paper trains each size until it gains little; here all see the same number of images, fewer than the largest could use.".to_owned(),
        ];
    if !left_out.is_empty() {
        let sizes = left_out
            .iter()
            .map(|size| format!("{} x {}", size.width, size.depth));
        text.push(format!(
            "Left out, as their training does not fit the memory: {}.",
            sizes.collect::<Vec<_>>().join(", ")
        ));
    }
    Section {
        title: "Against the size".to_owned(),
        text,
        charts: charts.collect(),
        tables: vec![
            Table {
                name: "laws-of-size".to_owned(),
                title: "y = factor * parameters^exponent".to_owned(),
                columns: columns.map(str::to_owned).to_vec(),
                rows: laws.collect(),
            },
            measured(curves),
        ],
        ..Section::default()
    }
}

/// The last values of each size.
fn measured(curves: &[Curve]) -> Table {
    let mut columns = vec!["width x blocks".to_owned(), "parameters".to_owned()];
    columns.extend(MEASURES.map(|(_, name)| name.to_owned()));
    let row = |curve: &Curve| {
        let size = format!("{} x {}", curve.size.width, curve.size.depth);
        let mut row = vec![Cell::from(size), Cell::from(curve.size.parameters())];
        row.extend((0..MEASURES.len()).map(|measure| Cell::from(curve.last(measure))));
        row
    };
    Table {
        name: "sizes".to_owned(),
        title: "Measured at the end".to_owned(),
        columns,
        rows: curves.iter().map(row).collect(),
    }
}

/// For images of so many codes over all scales.
pub(super) fn against_compute(curves: &[Curve], codes: usize) -> Section {
    let names: Vec<String> = curves
        .iter()
        .map(|curve| format!("{} x {}", curve.size.width, curve.size.depth))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut charts = vec![];
    let mut rows = vec![];
    for (measure, (_, name)) in MEASURES.into_iter().enumerate() {
        let of_size = curves.iter().map(|curve| {
            let cost = 6.0 * curve.size.parameters() * codes as f64;
            let values = curve.values[measure].iter();
            values.map(|&(images, y)| (cost * images, y)).collect()
        });
        let of_size: Vec<Vec<(f64, f64)>> = of_size.collect();
        let best = frontier(&of_size);
        let law = PowerLaw::through(best.clone());
        rows.push(vec![
            Cell::from(name),
            Cell::from(law.map(|law| law.exponent)),
            Cell::from(law.and_then(|law| law.error)),
            Cell::from(law.and_then(|law| law.pearson)),
            Cell::from(best.len()),
        ]);
        if let Some(mut chart) = chart(name, "operations of training", of_size, &names) {
            chart.series.retain(|series| series.style != Style::Fit);
            if let Some(law) = law {
                let line = best.iter().map(|&(x, _)| (x, law.at(x))).collect();
                chart.series.push(Series {
                    name: String::new(),
                    points: line,
                    style: Style::Fit,
                });
            }
            charts.push(chart);
        }
    }
    let columns = [
        "measure",
        "exponent",
        "its standard error",
        "Pearson",
        "points",
    ];
    Section {
        title: "Against the compute of training".to_owned(),
        text: vec![
            "Compute is 6 operations for each parameter of the blocks and each code of each image seen. The law goes through the frontier: the points that no other \
             reaches with less compute."
                .to_owned(),
        ],
        charts,
        tables: vec![Table {
            name: "laws-of-compute".to_owned(),
            title: "y = factor * compute^exponent".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows,
        }],
        ..Section::default()
    }
}

/// The points that are lower than all with less compute, by growing compute.
fn frontier(curves: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = curves.iter().flatten().copied().collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut least = f64::INFINITY;
    all.retain(|&(_, y)| {
        let lower = y < least;
        least = least.min(y);
        lower
    });
    all
}

fn chart(name: &str, x: &str, curves: Vec<Vec<(f64, f64)>>, names: &[&str]) -> Option<Chart> {
    if curves.iter().all(Vec::is_empty) {
        return None;
    }
    let mut series = vec![];
    for (points, name) in curves.into_iter().zip(names) {
        let law = PowerLaw::through(points.clone());
        let line = law.map(|law| points.iter().map(|&(x, _)| (x, law.at(x))).collect());
        series.push(Series {
            name: (*name).to_owned(),
            points,
            style: Style::Points,
        });
        series.push(Series {
            name: String::new(),
            points: line.unwrap_or_default(),
            style: Style::Fit,
        });
    }
    Some(Chart {
        title: name.to_owned(),
        x: Axis::logarithmic(x),
        y: Axis::logarithmic(name),
        series,
        references: vec![],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_is_what_nothing_beats() {
        let curves = [
            vec![(1.0, 5.0), (2.0, 4.0), (3.0, 3.9)],
            vec![(1.5, 6.0), (4.0, 3.0), (8.0, 2.5)],
            vec![(8.0, 2.6)],
        ];
        let expected = [(1.0, 5.0), (2.0, 4.0), (3.0, 3.9), (4.0, 3.0), (8.0, 2.5)];
        assert_eq!(frontier(&curves), expected);
    }
}
