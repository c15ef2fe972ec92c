//! The study: what is trained, what is generated, and what is measured of it.

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::Device;
use image::RgbImage;
use nextscale_data::captions::WHITE;
use nextscale_data::{Dataset, by_category};
use nextscale_files::atomic_file;
use nextscale_metrics::classifier::ClassifierConfig;
use nextscale_metrics::frechet;
use nextscale_models::{device, pixels};
use nextscale_train::{train_classifier, train_tokenizer, train_transformer, trained_classifier};
use serde::{Deserialize, Serialize};

use super::competitor::{Competitor, Kind};
use super::judge::{AT_ONCE, Judge, Scores, images};
use super::options::ParadigmsOptions;
use super::report;
use crate::error::StudyError;
use crate::recipe::{LATENT, Recipe, Transformer};
use crate::report::Report;
use crate::runs::{Steps, StudyRun};
use crate::watch::Watch;

/// Sides of the scales of the auto-encoder that VAR and diffusion share.
const SCALES: [usize; 5] = [1, 2, 3, 5, 8];
/// Images for the choice of the guidance, at most.
pub(super) const FOR_GUIDANCE: usize = 500;
/// Batches that are generated at the same time, at most.
const AT_MOST: usize = 8;
/// Images of a class and a model on the sheet.
pub(super) const SHOWN: usize = 4;
/// Classes on the sheet, at most.
const CLASSES_SHOWN: usize = 12;

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub kind: Kind,
    pub parameters: usize,
    /// Images that it saw in training.
    pub seen: f64,
    /// Distances of some images at each weight of guidance.
    pub guidances: Vec<(f64, f64)>,
    /// The weight with the least.
    pub guidance: f64,
    /// Of all images at that weight.
    pub scores: Scores,
    pub passes: usize,
    /// Operations of an image at that weight.
    pub operations: f64,
    /// Bytes of weights, keys and values of an image at that weight.
    pub bytes: f64,
}

/// How fast a model is: measured by every command, which another that ran at the same time may have slowed down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed {
    /// Seconds of an image that is generated alone.
    pub seconds: f64,
    /// Images a second in batches.
    pub rate: f64,
}

/// What was measured of images that no transformer drew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Bound {
    pub name: String,
    pub scores: Scores,
}

/// All figures.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Figures {
    /// What else decides them, apart from the weights.
    settings: String,
    pub bounds: Vec<Bound>,
    /// Distances at weights of guidance, of models that are not finished.
    #[serde(default)]
    tried: Vec<Tried>,
    pub models: Vec<Measured>,
}

/// The distance of some images of a model at a weight of guidance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Tried {
    kind: Kind,
    /// Images that it saw in training.
    seen: f64,
    guidance: f64,
    distance: f64,
}

/// Trains all models, and compares them.
///
/// # Errors
/// Data that cannot be used, too few images for a distance, a folder that cannot be written, a stop on request.
pub fn run(options: &ParadigmsOptions, watch: Watch<'_>) -> Result<Report, StudyError> {
    let data = prepare(options)?;
    let recipe = Recipe {
        data: data.folder(),
        seed: options.seed,
    };
    let mut steps = Steps::new(watch, 3 + 2 * Kind::ALL.len() + 2);
    let runs = Runs::train(options, recipe, &data, &mut steps)?;
    let device = device::open(options.device)?;
    steps.begin("describing the reference")?;
    let ids = spread(&data.train_ids(), options.count);
    let network = trained_classifier(&runs.classifier, &device)?;
    let reference = ids.iter().map(|&id| data.picture(id, WHITE));
    let judge = Judge::new(network, reference, &device)?;
    steps.end();
    let study = Study {
        options,
        labels: ids.iter().map(|&id| data.class(id).unwrap_or(0)).collect(),
        data,
        judge,
        device,
        file: options.out.join("measured.json"),
    };
    study.compare(&runs, &mut steps)
}

/// Refuses what could not be measured after hours of training, and opens the data.
fn prepare(options: &ParadigmsOptions) -> Result<Dataset, StudyError> {
    let nothing = |reason: String| Err(StudyError::Nothing { reason });
    if options.guidance.is_empty() {
        return nothing("name a weight of guidance, 1 for none".to_owned());
    }
    if let Some(weight) = options
        .guidance
        .iter()
        .find(|w| !w.is_finite() || **w < 0.0)
    {
        return nothing(format!(
            "a guidance of {weight} is no weight: name numbers of 0 or more, 1 for none"
        ));
    }
    let set = Dataset::load(&options.data)?;
    let set = if set.classes().is_empty() {
        let folder = options.out.join("data");
        by_category(&set, &folder)?;
        Dataset::load(&folder)?
    } else {
        set
    };
    let side = set.size();
    if !side.is_multiple_of(LATENT) || !(16..=128).contains(&side) {
        return nothing(format!(
            "the images of `{}` have {side}x{side} pixels, and auto-encoders here take 16, 32, 64 or 128",
            options.data.display()
        ));
    }
    let needed = ClassifierConfig::default().features();
    let train = set.train_ids().len();
    let held_out = set.held_out_ids().len();
    for (what, count) in [
        ("the study", options.count),
        ("the training set", train),
        ("the held-out set", held_out),
    ] {
        frechet::check_count(what, count, needed)?;
    }
    Ok(set)
}

/// At most `count` of these, spread evenly.
fn spread(ids: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(ids.len());
    (0..count).map(|i| ids[i * ids.len() / count]).collect()
}

/// A trained model.
struct Loaded {
    kind: Kind,
    model: Box<dyn Competitor>,
    /// Images that it saw in training.
    seen: f64,
}

/// Makes other images of images.
type Change<'a> = &'a dyn Fn(&[RgbImage]) -> Result<Vec<RgbImage>, StudyError>;

/// The folders of the runs.
struct Runs {
    classifier: PathBuf,
    /// In the order of [`Kind::ALL`], with the images seen.
    models: Vec<(Kind, PathBuf, f64)>,
}

impl Runs {
    fn train(
        options: &ParadigmsOptions,
        recipe: Recipe<'_>,
        set: &Dataset,
        steps: &mut Steps<'_>,
    ) -> Result<Self, StudyError> {
        let ParadigmsOptions { out, device, .. } = options;
        let classifier = recipe.classifier(options.classifier_minutes);
        let classifier = StudyRun::new(out, "classifier", classifier);
        steps.train(&classifier, "classifier", train_classifier, *device)?;
        let mut tokenizer = |name: &str, scales: &[usize]| {
            let config = recipe.tokenizer(set.size(), scales, options.tokenizer_minutes);
            let run = StudyRun::new(out, name, config);
            steps.train(&run, name, train_tokenizer, *device)?;
            Ok::<_, StudyError>(run.folder)
        };
        let several = tokenizer("tokenizer-scales", &SCALES)?;
        let single = tokenizer("tokenizer-raster", &[LATENT])?;
        let mut models = vec![];
        for kind in Kind::ALL {
            let (width, depth) = (options.width, kind.depth(options.depth));
            let config = recipe.transformer(Transformer {
                kind: kind.key(),
                tokenizer: match kind {
                    Kind::Raster => &single,
                    Kind::Var | Kind::Dit => &several,
                },
                width,
                depth,
                heads: width / 32,
                budget: &format!("minutes: {}", options.minutes),
                learning_rate: 1.2e-3,
                warmup: 100,
                average: 0.995,
                evaluate: 500,
            });
            let name = format!("{}-{width}x{depth}", kind.key());
            let run = StudyRun::new(out, &name, config);
            steps.train(&run, &name, train_transformer, *device)?;
            let seen = run.images_seen()?;
            models.push((kind, run.folder, seen));
        }
        Ok(Self {
            classifier: classifier.folder,
            models,
        })
    }
}

struct Study<'a> {
    options: &'a ParadigmsOptions,
    data: Dataset,
    judge: Judge,
    /// The class of each image to generate: those of the reference.
    labels: Vec<usize>,
    device: Device,
    /// What was measured so far.
    file: PathBuf,
}

impl Study<'_> {
    fn compare(&self, runs: &Runs, steps: &mut Steps<'_>) -> Result<Report, StudyError> {
        let mut figures = self.kept();
        let mut columns = vec![self.real()];
        let (wanted, count) = (runs.models.iter(), self.options.steps);
        let mut loaded = vec![];
        for &(kind, ref folder, seen) in wanted {
            let model = kind.load(folder, count, &self.device)?;
            loaded.push(Loaded { kind, model, seen });
        }
        steps.begin("the bounds")?;
        if figures.bounds.is_empty() {
            figures.bounds = self.bounds(&loaded)?;
            self.save(&figures)?;
        }
        steps.end();
        let mut speeds = vec![];
        for Loaded { kind, model, seen } in &loaded {
            let known = |m: &&Measured| m.kind == *kind && m.seen == *seen;
            let known = figures.models.iter().find(known).cloned();
            let measured = match known {
                Some(known) => known,
                None => {
                    let measured =
                        self.measure(*kind, model.as_ref(), *seen, &mut figures, steps)?;
                    figures.models.retain(|m| m.kind != *kind);
                    figures.tried.retain(|tried| tried.kind != *kind);
                    figures.models.push(measured.clone());
                    self.save(&figures)?;
                    measured
                }
            };
            steps.begin(&format!("{}, speed", kind.name()))?;
            speeds.push(speed(model.as_ref(), measured.guidance)?);
            columns.push(self.shown(model.as_ref(), measured.guidance)?);
            steps.end();
        }
        figures
            .models
            .sort_by_key(|m| Kind::ALL.iter().position(|kind| *kind == m.kind));
        let report = report::of(
            self.options,
            &figures,
            &speeds,
            &self.judge.label(),
            &columns,
            self.data.size(),
        )?;
        report.write(&self.options.out)?;
        Ok(report)
    }

    /// What an earlier command with the same settings measured.
    fn kept(&self) -> Figures {
        let settings = self.settings();
        let kept = std::fs::read(&self.file).ok();
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Figures>(&bytes).ok());
        let kept = kept.filter(|kept| kept.settings == settings);
        kept.unwrap_or_else(|| Figures {
            settings,
            ..Figures::default()
        })
    }

    fn save(&self, figures: &Figures) -> Result<(), StudyError> {
        let bytes = serde_json::to_vec_pretty(figures).map_err(StudyError::write(&self.file))?;
        atomic_file::write(&self.file, &bytes).map_err(StudyError::write(&self.file))
    }

    /// What else decides the figures, apart from the weights.
    fn settings(&self) -> String {
        let ParadigmsOptions {
            count,
            steps,
            guidance,
            seed,
            width,
            depth,
            tokenizer_minutes,
            ..
        } = self.options;
        format!(
            "{count} images, {FOR_GUIDANCE} for the guidance, {steps} steps, guidance {guidance:?}, seed {seed}, {width}x{depth}, tokenizers of {tokenizer_minutes} minutes, {}",
            self.judge.label()
        )
    }

    /// Held-out images, and what the auto-encoders make of them.
    fn bounds(&self, models: &[Loaded]) -> Result<Vec<Bound>, StudyError> {
        let ids = spread(&self.data.held_out_ids(), self.options.count);
        let pictures = || ids.iter().map(|&id| self.data.picture(id, WHITE));
        let all: Vec<RgbImage> = pictures().collect();
        let score = |name: &str, change: Change<'_>| {
            let mut described = self.judge.describe();
            for batch in all.chunks(AT_ONCE) {
                self.judge.add(&mut described, &change(batch)?)?;
            }
            let (name, scores) = (name.to_owned(), self.judge.scores(&described)?);
            Ok::<_, StudyError>(Bound { name, scores })
        };
        let mut bounds = vec![score("held-out images", &|batch| Ok(batch.to_vec()))?];
        for (kind, name) in [
            (Kind::Var, "auto-encoder of VAR and DiT, codes"),
            (Kind::Raster, "auto-encoder of raster AR, codes"),
        ] {
            let Some(Loaded { model, .. }) = models.iter().find(|loaded| loaded.kind == kind)
            else {
                continue;
            };
            bounds.push(score(name, &|batch| {
                images(model.reconstruct(pixels::from_images(batch, &self.device)))
            })?);
        }
        Ok(bounds)
    }

    fn measure(
        &self,
        kind: Kind,
        model: &dyn Competitor,
        seen: f64,
        figures: &mut Figures,
        steps: &mut Steps<'_>,
    ) -> Result<Measured, StudyError> {
        let name = kind.name();
        let mut guidances = vec![];
        let few = spread(&self.labels, FOR_GUIDANCE);
        for &guidance in &self.options.guidance {
            let known =
                |tried: &&Tried| (tried.kind, tried.seen, tried.guidance) == (kind, seen, guidance);
            if let Some(tried) = figures.tried.iter().find(known) {
                guidances.push((guidance, tried.distance));
                continue;
            }
            let what = format!("{name}, guidance {guidance}");
            let distance = self.generate(model, &few, guidance, &what, steps)?.frechet;
            guidances.push((guidance, distance));
            figures.tried.push(Tried {
                kind,
                seen,
                guidance,
                distance,
            });
            self.save(figures)?;
        }
        let best = guidances.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let guidance = best.map_or(1.0, |best| best.0);
        let scores = self.generate(model, &self.labels, guidance, name, steps)?;
        let rows = if guidance == 1.0 { 1.0 } else { 2.0 };
        let operations = model.operations();
        Ok(Measured {
            kind,
            parameters: model.parameters(),
            seen,
            guidances,
            guidance,
            scores,
            passes: operations.passes,
            operations: rows * operations.total(),
            bytes: 4.0 * (model.parameters() as f64 + rows * model.kept() as f64),
        })
    }

    /// The scores of images of these classes.
    fn generate(
        &self,
        model: &dyn Competitor,
        labels: &[usize],
        guidance: f64,
        what: &str,
        steps: &mut Steps<'_>,
    ) -> Result<Scores, StudyError> {
        let mut described = self.judge.describe();
        let mut seeds = self.options.seed << 32..;
        let batches = labels.chunks(AT_ONCE).map(|labels| {
            let seeds: Vec<u64> = seeds.by_ref().take(labels.len()).collect();
            (labels, seeds)
        });
        let batches: Vec<_> = batches.collect();
        let mut done = 0;
        for together in batches.chunks(self.threads()) {
            steps.begin(&format!("{what}, image {done}"))?;
            for made in generated(model, together, guidance) {
                self.judge.add(&mut described, &made?)?;
            }
            done += together.len() * AT_ONCE;
        }
        self.judge.scores(&described)
    }

    /// Batches that are generated at the same time: the passes of these small models leave most of a CPU idle.
    fn threads(&self) -> usize {
        if nextscale_tokenizer::cpu::is_cpu(&self.device) {
            std::thread::available_parallelism().map_or(1, |count| usize::from(count).min(AT_MOST))
        } else {
            1
        }
    }

    fn classes_shown(&self) -> usize {
        self.data.classes().len().min(CLASSES_SHOWN)
    }

    /// Training images of each class for the sheet.
    fn real(&self) -> Vec<Vec<u8>> {
        let ids = self.data.train_ids();
        let of_class = |class| {
            let ids = ids
                .iter()
                .filter(move |&&id| self.data.class(id) == Some(class));
            let shown = ids.take(SHOWN).map(|&id| self.data.image(id, WHITE));
            let blank = vec![255; 3 * self.data.size().pow(2)];
            shown.chain(std::iter::repeat(blank)).take(SHOWN)
        };
        (0..self.classes_shown()).flat_map(of_class).collect()
    }

    /// Images of each class for the sheet.
    fn shown(&self, model: &dyn Competitor, guidance: f64) -> Result<Vec<Vec<u8>>, StudyError> {
        let labels: Vec<usize> = (0..self.classes_shown()).flat_map(|c| [c; SHOWN]).collect();
        let seeds: Vec<u64> = (0..labels.len() as u64).collect();
        let made = images(model.generate(&labels, &seeds, guidance))?;
        Ok(made.into_iter().map(RgbImage::into_raw).collect())
    }
}

/// The images of each batch of labels and seeds, each made by a thread of its own.
fn generated(
    model: &dyn Competitor,
    batches: &[(&[usize], Vec<u64>)],
    guidance: f64,
) -> Vec<Result<Vec<RgbImage>, StudyError>> {
    let generate =
        |(labels, seeds): &(&[usize], Vec<u64>)| images(model.generate(labels, seeds, guidance));
    std::thread::scope(|scope| {
        let others = batches.iter().skip(1);
        let others: Vec<_> = others
            .map(|batch| scope.spawn(move || generate(batch)))
            .collect();
        let first = batches.first().map(generate);
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(made) => made,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        first.into_iter().chain(others).collect()
    })
}

/// How fast a model is, once everything is allocated.
fn speed(model: &dyn Competitor, guidance: f64) -> Result<Speed, StudyError> {
    let seconds = |count: usize| {
        let seeds: Vec<u64> = (0..count as u64).collect();
        let start = Instant::now();
        images(model.generate(&vec![0; count], &seeds, guidance))?;
        Ok::<_, StudyError>(start.elapsed().as_secs_f64())
    };
    seconds(1)?;
    Ok(Speed {
        seconds: seconds(1)?,
        rate: AT_ONCE as f64 / seconds(AT_ONCE)?,
    })
}
