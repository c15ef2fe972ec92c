//! Event files that TensorBoard reads.

mod message;
mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::CurvesError;
use crate::events::message::Message;

/// The fields of TensorBoard's `event.proto` and `summary.proto` that are written.
mod field {
    pub(super) const EVENT_WALL_TIME: u32 = 1;
    pub(super) const EVENT_STEP: u32 = 2;
    pub(super) const EVENT_FILE_VERSION: u32 = 3;
    pub(super) const EVENT_SUMMARY: u32 = 5;
    pub(super) const EVENT_SESSION_LOG: u32 = 7;
    pub(super) const SESSION_LOG_STATUS: u32 = 1;
    pub(super) const SUMMARY_VALUE: u32 = 1;
    pub(super) const VALUE_TAG: u32 = 1;
    pub(super) const VALUE_SIMPLE_VALUE: u32 = 2;
    pub(super) const VALUE_IMAGE: u32 = 4;
    pub(super) const IMAGE_HEIGHT: u32 = 1;
    pub(super) const IMAGE_WIDTH: u32 = 2;
    pub(super) const IMAGE_COLORSPACE: u32 = 3;
    pub(super) const IMAGE_ENCODED: u32 = 4;
}

/// The version of the format, in the first record of a file.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.START`.
const START: u64 = 1;
/// Files that one process may start in a folder in the same second.
const MOST_FILES: u32 = 1000;

/// Writes an event file, which TensorBoard shows while it grows. Each event is on the disk when the call returns.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a file `events.out.tfevents.<unix seconds>.<host>.<process>` in the folder of a run. `resume_from_step` is the
    /// number of steps that the run has done, 0 for a new one. TensorBoard then forgets what earlier files say of later steps.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(folder: &Path, resume_from_step: u64) -> Result<Self, CurvesError> {
        let now = unix_seconds();
        let (path, file) = new_file(folder, now)?;
        let mut writer = Self { path, file };
        let mut version = event(0, now);
        version.bytes(field::EVENT_FILE_VERSION, VERSION.as_bytes());
        writer.append(version)?;
        // TensorBoard takes the first start in a folder for that of the run, and each later one for a resumption: it forgets
        // what it has read of that step and later ones. The step that the run resumes from stays.
        let mut session = Message::default();
        session.integer(field::SESSION_LOG_STATUS, START);
        let first = match resume_from_step {
            0 => 0,
            done => done + 1,
        };
        let mut start = event(first, now);
        start.message(field::EVENT_SESSION_LOG, session);
        writer.append(start)?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the numbers of a step. `wall_time_seconds` is the time since 1970 in seconds. A dot in a name becomes a slash,
    /// by which TensorBoard groups: `right.0` is shown as `right/0`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        &mut self,
        step: u64,
        wall_time_seconds: f64,
        values: &[(String, f64)],
    ) -> Result<(), CurvesError> {
        let mut summary = Message::default();
        for (name, number) in values {
            let mut value = Message::default();
            value.bytes(field::VALUE_TAG, tag(name).as_bytes());
            value.float(field::VALUE_SIMPLE_VALUE, *number as f32);
            summary.message(field::SUMMARY_VALUE, value);
        }
        self.append_summary(step, wall_time_seconds, summary)
    }

    /// Writes an image of a step, such as a sheet of samples: the bytes of a PNG file. Time and name are as for
    /// [`Self::write`].
    ///
    /// # Errors
    /// The bytes are no PNG file, or the event file cannot be written.
    pub fn write_image(
        &mut self,
        step: u64,
        wall_time_seconds: f64,
        name: &str,
        png: &[u8],
    ) -> Result<(), CurvesError> {
        let header = png_header(png).ok_or_else(|| CurvesError::Image {
            tag: name.to_owned(),
        })?;
        let mut image = Message::default();
        image.integer(field::IMAGE_HEIGHT, header.height.into());
        image.integer(field::IMAGE_WIDTH, header.width.into());
        image.integer(field::IMAGE_COLORSPACE, header.channels);
        image.bytes(field::IMAGE_ENCODED, png);
        let mut value = Message::default();
        value.bytes(field::VALUE_TAG, tag(name).as_bytes());
        value.message(field::VALUE_IMAGE, image);
        let mut summary = Message::default();
        summary.message(field::SUMMARY_VALUE, value);
        self.append_summary(step, wall_time_seconds, summary)
    }

    fn append_summary(
        &mut self,
        step: u64,
        time: f64,
        summary: Message,
    ) -> Result<(), CurvesError> {
        let mut event = event(step, time);
        event.message(field::EVENT_SUMMARY, summary);
        self.append(event)
    }

    /// Appends an event in one piece, so that a reader finds whole records.
    fn append(&mut self, event: Message) -> Result<(), CurvesError> {
        self.file
            .write_all(&record::frame(event.as_bytes()))
            .map_err(CurvesError::write(&self.path))
    }
}

/// An event without content.
fn event(step: u64, time: f64) -> Message {
    let mut event = Message::default();
    event.double(field::EVENT_WALL_TIME, time);
    event.integer(field::EVENT_STEP, step);
    event
}

fn tag(name: &str) -> String {
    name.replace('.', "/")
}

fn unix_seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}

/// A file that was not there. TensorBoard reads the files of a folder in the order of their names.
fn new_file(folder: &Path, now: f64) -> Result<(PathBuf, File), CurvesError> {
    let host = gethostname::gethostname();
    let host: String = host
        .to_string_lossy()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let base = format!(
        "events.out.tfevents.{:010}.{host}.{}",
        now as u64,
        std::process::id()
    );
    let mut taken = 0;
    loop {
        let name = match taken {
            0 => base.clone(),
            _ => format!("{base}.{taken:03}"),
        };
        let path = folder.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(reason) if reason.kind() == io::ErrorKind::AlreadyExists && taken < MOST_FILES => {
                taken += 1
            }
            Err(reason) => return Err(CurvesError::Write { path, reason }),
        }
    }
}

/// What a PNG file says of itself.
struct PngHeader {
    width: u32,
    height: u32,
    /// 1 for gray, 3 for RGB, one more with transparency.
    channels: u64,
}

fn png_header(png: &[u8]) -> Option<PngHeader> {
    let rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    let rest = rest.strip_prefix(b"\0\0\0\x0dIHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let channels = match rest.get(9)? {
        0 => 1,
        2 | 3 => 3,
        4 => 2,
        6 => 4,
        _ => return None,
    };
    Some(PngHeader {
        width: number(0)?,
        height: number(4)?,
        channels,
    })
}
