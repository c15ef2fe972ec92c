//! What a video's header says.

use ffmpeg_next::{
    codec::packet::side_data::Type as SideData,
    decoder, ffi,
    format::{context::Input, stream::Disposition, stream::Stream},
    media::Type,
};

use super::colour::hdr;
use super::frame::Orientation;

/// Properties of a video file.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    /// Columns, as shown: after rotation, of square pixels.
    pub width: usize,
    /// Rows, as shown.
    pub height: usize,
    /// Average frames per second; 0 if unknown.
    pub fps: f64,
    /// Duration in seconds; `None` if unknown.
    pub seconds: Option<f64>,
    /// The name of its high dynamic range, if it has one; the frames are read as if they had none.
    pub hdr: Option<&'static str>,
}

/// How the stored frames of a stream become those that are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) orientation: Orientation,
    /// Width of a pixel in heights of a pixel.
    pub(super) pixel_aspect: f64,
}

impl Geometry {
    pub(super) fn of(stream: &Stream, decoder: &decoder::Video) -> Self {
        let matrix = stream
            .side_data()
            .find(|data| data.kind() == SideData::DisplayMatrix);
        // SAFETY: the stream is alive.
        let container = unsafe { (*stream.as_ptr()).sample_aspect_ratio };
        let codec = decoder.aspect_ratio();
        let aspect = |n: i32, d: i32| (n > 0 && d > 0).then(|| f64::from(n) / f64::from(d));
        let pixel_aspect = aspect(container.num, container.den)
            .or_else(|| aspect(codec.0, codec.1))
            .unwrap_or(1.0);
        Self {
            orientation: matrix.map_or_else(Orientation::default, |m| Orientation::of(m.data())),
            pixel_aspect,
        }
    }

    /// The size of stored frames with square pixels, before rotation.
    pub(super) fn square(&self, [w, h]: [usize; 2]) -> [usize; 2] {
        [((w as f64 * self.pixel_aspect).round() as usize).max(1), h]
    }

    /// A size before rotation as it is after it, and the other way round.
    pub(super) fn turned(&self, [w, h]: [usize; 2]) -> [usize; 2] {
        if self.orientation.is_sideways() {
            [h, w]
        } else {
            [w, h]
        }
    }
}

/// The stream of moving pictures: not the cover of a song.
pub(super) fn moving_stream(input: &Input) -> Option<Stream<'_>> {
    let is_moving = |stream: &Stream| {
        let is_cover = stream.disposition().contains(Disposition::ATTACHED_PIC);
        stream.parameters().medium() == Type::Video && !is_cover
    };
    let best = input.streams().best(Type::Video).filter(is_moving);
    best.or_else(|| input.streams().find(is_moving))
}

/// Whether the clock of the container may be reset within a file, as that of MPEG-TS.
pub(super) fn may_reset(input: &Input) -> bool {
    // SAFETY: an open input has a format.
    unsafe { (*(*input.as_ptr()).iformat).flags & ffi::AVFMT_TS_DISCONT != 0 }
}

/// Bytes a second of the leanest video that is believed: a longer duration comes from a clock that was reset.
const LEAST_BYTES: f64 = 500.0;

impl VideoInfo {
    pub(super) fn new(
        input: &Input,
        stream: &Stream,
        decoder: &decoder::Video,
        geometry: &Geometry,
        file_bytes: u64,
    ) -> Self {
        let stored = [decoder.width() as usize, decoder.height() as usize];
        let [width, height] = geometry.turned(geometry.square(stored));
        // The stream's own duration first: sound may last longer than the frames.
        let seconds = match (stream.duration(), input.duration()) {
            (ticks, _) if ticks > 0 => Some(ticks as f64 * f64::from(stream.time_base())),
            (_, micros) if micros > 0 => Some(micros as f64 * 1e-6),
            _ => None,
        };
        let believed = |s: &f64| !may_reset(input) || s * LEAST_BYTES < file_bytes as f64;
        Self {
            width,
            height,
            fps: frames_per_second(stream),
            seconds: seconds.filter(believed),
            hdr: hdr(decoder.color_transfer_characteristic()),
        }
    }
}

fn frames_per_second(stream: &Stream) -> f64 {
    let rates = [stream.avg_frame_rate(), stream.rate()];
    let known = rates.into_iter().find(|rate| rate.0 > 0 && rate.1 > 0);
    known.map_or(0.0, f64::from)
}
