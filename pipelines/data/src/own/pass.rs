//! One pass over all images: read, decoded and fitted by several threads, and handed on in order.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;

use image::RgbImage;
use nextscale_files::checksum;
use rayon::prelude::*;

use crate::entry::Entry;
use crate::error::DataError;
use crate::manifest::Skipped;
use crate::own::fit;
use crate::own::labels::Described;
use crate::own::media::Media;
use crate::own::recipe::{OwnRecipe, Small};
use crate::own::samples::{Place, Sample, merge};
use crate::own::text::counted;
use crate::own::videos::ReadVideo;
use crate::progress::{OnProgress, Progress};

/// About how many bytes of finished images wait to be written.
const WAITING_BYTES: usize = 256 << 20;

/// How images become part of a data set.
pub(crate) struct Pass<'a> {
    pub recipe: &'a OwnRecipe,
    /// Width and height of the buckets in pixels.
    pub sizes: &'a [[usize; 2]],
    pub videos: &'a dyn ReadVideo,
    pub progress: OnProgress<'a>,
}

/// Gets an entry that is used, and its frames.
pub(crate) type OnEntry<'a> = &'a mut dyn FnMut(&Entry, &[RgbImage]) -> Result<(), DataError>;

/// What the pass found out.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub entries: Vec<Entry>,
    /// Width and height in pixels of what each entry was made from.
    pub originals: Vec<[u32; 2]>,
    pub unreadable: Vec<Skipped>,
    /// Images that are smaller than their bucket, and were left out.
    pub small: Vec<Skipped>,
    /// Images that are smaller than their bucket, and were enlarged.
    pub upscaled: Vec<String>,
    /// The entry of an image, and the files with the same content.
    pub duplicates: BTreeMap<usize, Vec<String>>,
    /// The entry of a checksum.
    known: HashMap<String, usize>,
}

/// One image with its frames, fitted to its bucket.
struct Fitted {
    bucket: usize,
    original: [u32; 2],
    is_small: bool,
    frames: Vec<RgbImage>,
}

/// Why an image is not used.
enum Refused {
    Unreadable(String),
    Small(String),
}

/// An image that was read: its checksum and, unless that was known before, what became of it.
type Read = Result<(String, Option<Result<Fitted, Refused>>), String>;

impl Pass<'_> {
    /// Goes over all samples. `each` gets every entry that is used with its frames, in order.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn run(&self, described: &Described, each: OnEntry<'_>) -> Result<Passed, DataError> {
        let mut passed = Passed::default();
        let total = described.samples.len();
        let largest = self.sizes.iter().map(|[w, h]| w * h * 3).max().unwrap_or(1);
        let waiting = WAITING_BYTES / (largest * self.recipe.clip_frames());
        let mut done = 0;
        for samples in described.samples.chunks(waiting.clamp(4, 64)) {
            self.report(done, total);
            let read: Vec<Read> = samples
                .par_iter()
                .map(|sample| self.read(sample, &passed.known))
                .collect();
            for (sample, read) in samples.iter().zip(read) {
                passed.add(sample, read, self, each)?;
            }
            done += samples.len();
        }
        self.report(done, total);
        Ok(passed)
    }

    fn report(&self, done: usize, total: usize) {
        (self.progress)(Progress {
            step: match Media::of(self.recipe) {
                Media::Images => "images",
                Media::Videos => "videos",
            },
            item: "",
            done,
            total,
        });
    }

    fn read(&self, sample: &Sample, known: &HashMap<String, usize>) -> Read {
        let is_video = Media::of(self.recipe) == Media::Videos;
        if let (Place::File(path), true) = (&sample.place, is_video) {
            let checksum = File::open(path).and_then(checksum::of_reader);
            let checksum = checksum.map_err(|e| e.to_string())?;
            if known.contains_key(&checksum) {
                return Ok((checksum, None));
            }
            let (frames, fps) = (self.recipe.clip_frames(), self.recipe.clip_fps());
            let read = self.videos.frames(path, frames, fps);
            let fitted = read.map_err(Refused::Unreadable);
            return Ok((checksum, Some(fitted.and_then(|f| self.fit(&f)))));
        }
        let bytes = sample.place.read().map_err(|e| e.to_string())?;
        let checksum = checksum::of_bytes(&bytes);
        if known.contains_key(&checksum) {
            return Ok((checksum, None));
        }
        let decoded = fit::decode(&bytes, self.recipe.background);
        let decoded = decoded.map_err(Refused::Unreadable);
        Ok((checksum, Some(decoded.and_then(|image| self.fit(&[image])))))
    }

    fn fit(&self, frames: &[RgbImage]) -> Result<Fitted, Refused> {
        let wanted = self.recipe.clip_frames();
        let first = match frames.first() {
            Some(first) if frames.len() >= wanted => first,
            _ => {
                let (fps, found) = (self.recipe.clip_fps(), counted(frames.len(), "frame"));
                return Err(Refused::Unreadable(format!(
                    "it has only {found} at {fps} frames per second, but {wanted} are needed"
                )));
            }
        };
        let original: [u32; 2] = first.dimensions().into();
        if original.contains(&0) || frames.iter().any(|f| f.dimensions() != first.dimensions()) {
            let reason = "its frames are not all of one size".to_owned();
            return Err(Refused::Unreadable(reason));
        }
        let bucket = fit::bucket(original, self.sizes);
        let size = self.sizes[bucket];
        let is_small = fit::is_small(original, size);
        if is_small && self.recipe.small == Small::Skip {
            let ([w, h], [bucket_w, bucket_h]) = (original, size);
            return Err(Refused::Small(format!(
                "{w}x{h} pixels are less than the {bucket_w}x{bucket_h} of its bucket"
            )));
        }
        let fitted = frames[..wanted].iter().map(|frame| fit::fit(frame, size));
        Ok(Fitted {
            bucket,
            original,
            is_small,
            frames: fitted.collect(),
        })
    }
}

impl Passed {
    fn add(
        &mut self,
        sample: &Sample,
        read: Read,
        pass: &Pass<'_>,
        each: OnEntry<'_>,
    ) -> Result<(), DataError> {
        let (checksum, fitted) = match read {
            Ok(read) => read,
            Err(reason) => {
                self.unreadable.push(skipped(sample, reason));
                return Ok(());
            }
        };
        if let Some(&first) = self.known.get(&checksum) {
            self.add_duplicate(first, sample);
            return Ok(());
        }
        match fitted {
            Some(Ok(fitted)) => {
                let entry = self.entry(sample, &checksum, &fitted, pass.recipe);
                each(&entry, &fitted.frames)?;
                if fitted.is_small {
                    self.upscaled.push(sample.file.clone());
                }
                self.originals.push(fitted.original);
                self.known.insert(checksum, entry.id);
                self.entries.push(entry);
            }
            Some(Err(Refused::Unreadable(reason))) => {
                self.unreadable.push(skipped(sample, reason));
            }
            Some(Err(Refused::Small(reason))) => self.small.push(skipped(sample, reason)),
            // It was known when it was read, and nothing that is known is forgotten.
            None => {}
        }
        Ok(())
    }

    /// Another file with the content of an image: its captions are added, unless it is of another class.
    fn add_duplicate(&mut self, first: usize, sample: &Sample) {
        let entry = &mut self.entries[first];
        let files = self.duplicates.entry(first).or_default();
        files.push(sample.file.clone());
        if entry.name == sample.class.as_deref().unwrap_or_default() {
            merge(&mut entry.captions, sample.captions.iter().cloned());
            // Empty stands for none.
            let has_text = entry.captions.iter().any(|caption| !caption.is_empty());
            entry
                .captions
                .retain(|caption| !has_text || !caption.is_empty());
        }
    }

    fn entry(&self, sample: &Sample, checksum: &str, fitted: &Fitted, recipe: &OwnRecipe) -> Entry {
        Entry {
            id: self.entries.len(),
            name: sample.class.clone().unwrap_or_default(),
            captions: sample.captions.clone(),
            flip: recipe.flip,
            held_out: is_held_out(checksum, recipe.held_out),
            bucket: fitted.bucket,
            file: sample.file.clone(),
            sha256: checksum.to_owned(),
            ..Entry::default()
        }
    }
}

fn skipped(sample: &Sample, reason: String) -> Skipped {
    Skipped {
        file: sample.file.clone(),
        reason,
    }
}

/// Whether the checksum of an image is in the lowest `share` of all checksums.
fn is_held_out(checksum: &str, share: f64) -> bool {
    let head = checksum.get(..16).unwrap_or_default();
    let head = u64::from_str_radix(head, 16).unwrap_or(u64::MAX);
    (head as f64) < share * 2f64.powi(64)
}
