//! Zero-shot tasks: a model of classes in-paints, out-paints and edits images that it never saw, without being trained for it.
//!
//! As in section 4.3 of the VAR paper (arXiv 2404.02905): the codes of the kept part are the image's at every scale, the others are drawn. The
//! error inside and outside of the new part is measured; outside it is that of the auto-encoder, since the kept part is decoded, too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use burn::tensor::{Device, Tensor, TensorData};
use nextscale_data::{Dataset, captions::WHITE};
use nextscale_models::device::{self, DeviceChoice};
use nextscale_models::generator::{
    Condition, ImageAutoencoder, ImageInput, ImagePlan, ScaleGenerator,
};
use nextscale_models::{Model, Placement, pixels};
use nextscale_tokenizer::InpaintMask;

use crate::error::StudyError;
use crate::report::{Cell, Picture, Provenance, Report, Section, Table};
use crate::watch::{Event, Watch};

/// Images on the sheet of a task.
const SHOWN: usize = 12;

/// What to measure.
#[derive(Debug, Clone)]
pub struct ZeroShotOptions {
    /// The command, for the report.
    pub command: String,
    /// The folder of the report.
    pub out: PathBuf,
    /// Where to compute.
    pub device: DeviceChoice,
    /// A model of classes: a name or a folder.
    pub model: String,
    /// The data set, with images of the model's size and its classes.
    pub data: PathBuf,
    /// Held-out images.
    pub count: usize,
    /// The seed.
    pub seed: u64,
}

/// What is done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    InPaint,
    OutPaint,
    Edit,
}

impl Task {
    const ALL: [Self; 3] = [Self::InPaint, Self::OutPaint, Self::Edit];

    fn name(self) -> &'static str {
        match self {
            Self::InPaint => "in-painting",
            Self::OutPaint => "out-painting",
            Self::Edit => "class-conditional editing",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::InPaint => {
                "The middle, half as wide and high as the image, is drawn anew for the image's own class."
            }
            Self::OutPaint => "The right half is drawn for the image's own class.",
            Self::Edit => "The middle is drawn for the next class.",
        }
    }

    /// Whether a pixel at this place, as a share of the side, is new.
    fn is_new(self, x: f64, y: f64) -> bool {
        let middle = |at: f64| (0.25..0.75).contains(&at);
        match self {
            Self::InPaint | Self::Edit => middle(x) && middle(y),
            Self::OutPaint => x >= 0.5,
        }
    }
}

/// Squared errors of bytes, and how many there were.
#[derive(Debug, Clone, Copy, Default)]
struct Errors {
    sum: f64,
    count: f64,
}

impl Errors {
    fn psnr(self) -> Option<f64> {
        let mean = self.sum / self.count;
        (self.count > 0.0).then(|| 10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10())
    }
}

/// What was measured of a task.
#[derive(Debug, Default)]
struct Found {
    inside: Errors,
    outside: Errors,
    /// The auto-encoder's reconstruction of the same images, outside.
    coded: Errors,
    /// Original, masked and result, of the images on the sheet.
    tiles: Vec<Vec<u8>>,
}

/// Runs the tasks on held-out images, and writes the report.
///
/// # Errors
/// A model that is none of classes, data of another size or without held-out images, a folder that cannot be written, a stop on request.
pub fn run(options: &ZeroShotOptions, watch: Watch<'_>) -> Result<Report, StudyError> {
    let study = Study::load(options)?;
    let all = Task::ALL.len() * study.ids.len();
    let images = study.ids.iter().map(|&id| study.coded(id));
    let images: Vec<Coded> = images.collect::<Result<_, _>>()?;
    let mut sections = vec![];
    let mut rows = vec![];
    for (number, task) in Task::ALL.into_iter().enumerate() {
        let mut found = Found::default();
        for (index, image) in images.iter().enumerate() {
            let done = number * images.len() + index;
            let what = task.name();
            (watch.observe)(Event { what, done, all });
            if watch.stop.load(Ordering::Relaxed) {
                return Err(StudyError::Stopped);
            }
            study.measure(task, image, options.seed + index as u64, &mut found)?;
        }
        let [inside, outside, coded] = [found.inside, found.outside, found.coded].map(Errors::psnr);
        rows.push(vec![
            Cell::from(task.name()),
            Cell::from(outside),
            Cell::from(coded),
            Cell::from(inside),
        ]);
        let sheet = nextscale_data::contact_sheet::encode(&found.tiles, study.set.size(), 9)
            .map_err(StudyError::write(&options.out))?;
        sections.push(Section {
            title: task.name().to_owned(),
            text: vec![task.what().to_owned()],
            pictures: vec![Picture {
                title: "Each three: the image, what is kept, the result".to_owned(),
                png: sheet,
            }],
            ..Section::default()
        });
    }
    sections.insert(0, errors(rows, study.ids.len()));
    let report = Report {
        title: "Zero-shot in-painting, out-painting and editing".to_owned(),
        question: "A model that was only trained to generate images of classes draws parts of images that it never saw. What becomes of the rest of them?".to_owned(),
        provenance: Provenance::new(&options.command, &options.device.to_string(), &[options.seed]),
        sections,
    };
    report.write(&options.out)?;
    Ok(report)
}

fn errors(rows: Vec<Vec<Cell>>, count: usize) -> Section {
    let columns = [
        "task",
        "PSNR outside, dB",
        "of the auto-encoder there, dB",
        "PSNR inside, dB",
    ];
    Section {
        title: "Errors".to_owned(),
        text: vec![format!(
            "Against {count} held-out images. Outside is what is kept: no run can be nearer to it than the auto-encoder. Inside, the model draws what could be there, \
                 not what was: a low figure is no fault, and under another class it should be low."
        )],
        tables: vec![Table {
            name: "errors".to_owned(),
            title: "Peak signal-to-noise ratio of all pixels".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows,
        }],
        ..Section::default()
    }
}

/// A held-out image.
struct Coded {
    class: usize,
    original: Vec<u8>,
    /// What the auto-encoder makes of its codes.
    coded: Vec<u8>,
}

/// The model and the images.
struct Study {
    set: Dataset,
    ids: Vec<usize>,
    model: Arc<Model>,
    generator: ScaleGenerator,
    autoencoder: ImageAutoencoder,
    plan: ImagePlan,
    device: Device,
}

impl Study {
    fn load(options: &ZeroShotOptions) -> Result<Self, StudyError> {
        let set = Dataset::load(&options.data)?;
        let model = Arc::new(Model::open(&options.model)?);
        let size = model.default_size()?;
        let nothing = |reason: String| Err(StudyError::Nothing { reason });
        let classes = model.var()?.transformer.classes;
        if (set.size(), set.size()) != (size.width, size.height) {
            let (w, h, side) = (size.width, size.height, set.size());
            return nothing(format!(
                "`{}` makes images of {w}x{h} pixels, those of the data have {side}x{side}",
                model.name()
            ));
        }
        if set.classes().len() != classes {
            return nothing(format!(
                "`{}` has {classes} classes, the data have {}",
                model.name(),
                set.classes().len()
            ));
        }
        let ids: Vec<usize> = set.held_out_ids().into_iter().take(options.count).collect();
        if ids.is_empty() {
            return nothing("the data hold no images out".to_owned());
        }
        let device = device::open(options.device)?;
        let placement = Placement {
            device: device.clone(),
            ..Placement::cpu()
        };
        let generator = ScaleGenerator::load(&model, &placement)?;
        Ok(Self {
            plan: generator.plan(&size)?,
            generator,
            autoencoder: ImageAutoencoder::load(&model, &placement)?,
            set,
            ids,
            model,
            device,
        })
    }

    /// A held-out image and its reconstruction.
    fn coded(&self, id: usize) -> Result<Coded, StudyError> {
        let original = self.set.image(id, WHITE);
        let latent = self.autoencoder.encode(self.pixels(&original));
        let codes = self.autoencoder.quantize(latent, self.plan.cells());
        Ok(Coded {
            class: self.set.class(id).unwrap_or(0),
            coded: self.bytes(codes.sum)?,
            original,
        })
    }

    fn pixels(&self, bytes: &[u8]) -> Tensor<4> {
        pixels::from_bytes([bytes].into_iter(), [self.set.size(); 2], &self.device)
    }

    fn measure(
        &self,
        task: Task,
        image: &Coded,
        seed: u64,
        found: &mut Found,
    ) -> Result<(), StudyError> {
        let side = self.set.size();
        let Coded {
            class,
            original,
            coded,
        } = image;
        let place = |i: usize| {
            (
                (i % side) as f64 / side as f64,
                (i / side) as f64 / side as f64,
            )
        };
        let new: Vec<bool> = (0..side * side)
            .map(|i| task.is_new(place(i).0, place(i).1))
            .collect();
        let masked: Vec<u8> = original
            .iter()
            .enumerate()
            .map(|(i, &byte)| if new[i / 3] { 128 } else { byte })
            .collect();
        // What is new is hidden from the encoder.
        let latent = self.autoencoder.encode(self.pixels(&masked));
        let kept: Vec<f32> = new.iter().map(|&new| if new { 0.0 } else { 1.0 }).collect();
        let kept = Tensor::from_data(TensorData::new(kept, [1, 1, 1, side, side]), &self.device);
        let class = match task {
            Task::Edit => (class + 1) % self.set.classes().len(),
            _ => *class,
        };
        let result = self.draw(class, seed, InpaintMask::new(latent, kept))?;
        for (i, &byte) in original.iter().enumerate() {
            let square = |other: u8| (f64::from(byte) - f64::from(other)).powi(2);
            let errors = if new[i / 3] {
                &mut found.inside
            } else {
                found.coded.sum += square(coded[i]);
                found.coded.count += 1.0;
                &mut found.outside
            };
            errors.sum += square(result[i]);
            errors.count += 1.0;
        }
        if found.tiles.len() < 3 * SHOWN {
            found.tiles.extend([original.clone(), masked, result]);
        }
        Ok(())
    }

    /// An image of a class with a part that is kept, as bytes.
    fn draw(&self, class: usize, seed: u64, keep: InpaintMask) -> Result<Vec<u8>, StudyError> {
        let sampling = self.model.sampling()?.ramp(self.plan.schedule().len());
        let input = ImageInput {
            keep: Some(keep),
            ..ImageInput::new(Condition::Classes(vec![class]), vec![seed], sampling)
        };
        let last = self.generator.steps(&self.plan, input)?.last();
        self.bytes(last.ok_or_else(|| StudyError::Nothing {
            reason: "the model has no scale".to_owned(),
        })?)
    }

    fn bytes(&self, latent: Tensor<5>) -> Result<Vec<u8>, StudyError> {
        let decoded = pixels::to_bytes(self.autoencoder.decode(latent, None));
        let mut images = decoded.map_err(|error| StudyError::Nothing {
            reason: error.to_string(),
        })?;
        Ok(images.remove(0))
    }
}
