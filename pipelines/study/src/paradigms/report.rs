//! The report: tables, plots, and the images side by side.

use nextscale_data::contact_sheet;
use nextscale_metrics::frechet;

use super::competitor::Kind;
use super::options::ParadigmsOptions;
use super::study::{FOR_GUIDANCE, Figures, Measured, SHOWN, Speed};
use crate::error::StudyError;
use crate::report::{
    Axis, Cell, Chart, Picture, Provenance, Reference, Report, Section, Series, Style, Table,
};

/// The report of figures, which were measured in the features of `network`; `columns` are the images for the sheet, side by side.
pub(super) fn of(
    options: &ParadigmsOptions,
    figures: &Figures,
    speeds: &[Speed],
    network: &str,
    columns: &[Vec<Vec<u8>>],
    side: usize,
) -> Result<Report, StudyError> {
    Ok(Report {
        title: "VAR, raster autoregression and diffusion".to_owned(),
        question: "The VAR paper finds that next-scale prediction makes better images than raster autoregression and diffusion, and makes them faster. Does it with \
                   equal parameters and equal time of training, at the size of this machine?"
            .to_owned(),
        provenance: Provenance::new(&options.command, &options.device.to_string(), &[options.seed]),
        sections: vec![
            quality(options, figures, speeds, network),
            cost(options, figures, speeds),
            sheet(options, columns, side)?,
        ],
    })
}

/// The points of a model.
type Points<'a> = &'a dyn Fn(&Measured, &Speed) -> Vec<(f64, f64)>;

fn quality(
    options: &ParadigmsOptions,
    figures: &Figures,
    speeds: &[Speed],
    network: &str,
) -> Section {
    let of_models = figures.models.iter().map(|m| {
        let name = format!("{}, guidance {}", m.kind.name(), m.guidance);
        (name, m.scores)
    });
    let bounds = figures.bounds.iter().map(|b| (b.name.clone(), b.scores));
    let rows = of_models.chain(bounds).map(|(name, scores)| {
        vec![
            Cell::from(name),
            Cell::from(scores.frechet),
            Cell::from(scores.inception),
            Cell::from(scores.precision),
            Cell::from(scores.recall),
        ]
    });
    let columns = [
        "images",
        "Frechet distance",
        "Inception-style score",
        "precision",
        "recall",
    ];
    let mut text = vec![
        format!("All figures are in the features of a {network}: they are no FID or IS of Inception-v3, and comparable with each other alone."),
        format!(
            "Each model trained for {} minutes, and generated {} images of the classes of as many training images, which are the reference. The weight of guidance is, of those \
             tried, the one with the least distance of at most {FOR_GUIDANCE} images. VAR's weight grows to it over the scales.",
            options.minutes, options.count
        ),
        "Held-out images are what no model can be nearer than. VAR and DiT share an auto-encoder, of which VAR draws the codes and DiT the continuous latents."
            .to_owned(),
    ];
    if options.count < frechet::RELIABLE {
        text.push(format!(
            "With {} images, fewer than {}, distances come out too large: compare them with those of as many images only.",
            options.count,
            frechet::RELIABLE
        ));
    }
    let best = figures.bounds.first();
    let references = best.map(|bound| Reference {
        label: bound.name.clone(),
        y: bound.scores.frechet,
    });
    let series = |points: Points<'_>, style| {
        let models = figures.models.iter().zip(speeds);
        let of_model = models.map(|(m, speed)| Series {
            name: m.kind.name().to_owned(),
            points: points(m, speed),
            style,
        });
        of_model.collect::<Vec<_>>()
    };
    Section {
        title: "Quality".to_owned(),
        text,
        charts: vec![
            Chart {
                title: "Frechet distance and seconds of an image".to_owned(),
                x: Axis::logarithmic("seconds of an image that is generated alone"),
                y: Axis::logarithmic("Frechet distance"),
                series: series(&|m, s| vec![(s.seconds, m.scores.frechet)], Style::Points),
                references: references.into_iter().collect(),
            },
            Chart {
                title: "The choice of guidance".to_owned(),
                x: Axis::linear("weight of guidance"),
                y: Axis::logarithmic(&format!(
                    "Frechet distance of at most {FOR_GUIDANCE} images"
                )),
                series: series(&|m, _| m.guidances.clone(), Style::Line),
                references: vec![],
            },
        ],
        tables: vec![Table {
            name: "quality".to_owned(),
            title: format!("Of {} images", options.count),
            columns: columns.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }],
        ..Section::default()
    }
}

fn cost(options: &ParadigmsOptions, figures: &Figures, speeds: &[Speed]) -> Section {
    let rows = figures.models.iter().zip(speeds).map(|(m, speed)| {
        vec![
            Cell::from(m.kind.name()),
            Cell::from(m.parameters),
            Cell::from(m.seen),
            Cell::from(speed.seconds),
            Cell::from(speed.rate),
            Cell::from(m.passes),
            Cell::from(m.operations),
            Cell::from(m.bytes / 1e6),
        ]
    });
    let columns = [
        "model",
        "parameters",
        "images seen in training",
        "seconds of an image alone",
        "images a second in batches of 64",
        "passes",
        "operations of an image",
        "MB of weights, keys and values",
    ];
    Section {
        title: "Cost".to_owned(),
        text: vec![format!(
            "Seconds are with the decoder, operations without it; both with the guidance above, which doubles the rows of a pass. DiT takes {} steps of Euler's method. Bytes are \
             counted, for one image in 32 bits.",
            options.steps
        )],
        tables: vec![Table {
            name: "cost".to_owned(),
            title: "Parameters, and what an image costs".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }],
        ..Section::default()
    }
}

/// A row for each class, with a gap between the columns.
fn sheet(
    options: &ParadigmsOptions,
    columns: &[Vec<Vec<u8>>],
    side: usize,
) -> Result<Section, StudyError> {
    let blank = vec![255; 3 * side * side];
    let rows = columns.first().map_or(0, |column| column.len() / SHOWN);
    let mut tiles = vec![];
    for row in 0..rows {
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                tiles.push(blank.clone());
            }
            tiles.extend_from_slice(&column[row * SHOWN..(row + 1) * SHOWN]);
        }
    }
    let width = columns.len() * (SHOWN + 1) - 1;
    let png =
        contact_sheet::encode(&tiles, side, width).map_err(StudyError::write(&options.out))?;
    let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    Ok(Section {
        title: "Side by side".to_owned(),
        text: vec!["Not chosen: the first seeds of each class.".to_owned()],
        pictures: vec![Picture {
            title: format!(
                "A row for each class; {SHOWN} each: training images, {}",
                names.join(", ")
            ),
            png,
        }],
        ..Section::default()
    })
}
