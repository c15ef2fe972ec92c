//! Properties and decoder of a video stream.

use std::path::Path;

use ffmpeg_next::{
    self as ffmpeg, codec, decoder,
    format::{context::Input, stream::Stream},
};

use super::error::MediaError;
use super::frame::quarters;

/// Properties of a video file.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    /// Columns, after rotation.
    pub width: usize,
    /// Rows, after rotation.
    pub height: usize,
    /// Average frames per second; 0 if unknown.
    pub fps: f64,
    /// Duration in seconds; `None` if unknown.
    pub seconds: Option<f64>,
    /// Clockwise quarter turns from stored to displayed frames, 0 to 3.
    pub quarters: usize,
}

impl VideoInfo {
    pub(super) fn new(input: &Input, stream: &Stream, decoder: &decoder::Video) -> Self {
        let quarters = stream
            .side_data()
            .find(|data| data.kind() == codec::packet::side_data::Type::DisplayMatrix)
            .map_or(0, |data| quarters(data.data()));
        let (w, h) = (decoder.width() as usize, decoder.height() as usize);
        let (width, height) = if quarters % 2 == 1 { (h, w) } else { (w, h) };
        let rate = stream.avg_frame_rate();
        // The stream's own duration first: sound may last longer than the frames.
        let seconds = match (stream.duration(), input.duration()) {
            (ticks, _) if ticks > 0 => Some(ticks as f64 * f64::from(stream.time_base())),
            (_, micros) if micros > 0 => Some(micros as f64 * 1e-6),
            _ => None,
        };
        Self {
            width,
            height,
            fps: if rate.1 == 0 { 0.0 } else { f64::from(rate) },
            seconds,
            quarters,
        }
    }
}

/// The decoder of a stream of the file `path`.
pub(super) fn open_decoder(path: &Path, stream: &Stream) -> Result<decoder::Video, MediaError> {
    let context = codec::context::Context::from_parameters(stream.parameters());
    let decoder = context.and_then(|c| c.decoder().video());
    decoder.map_err(|e| match e {
        ffmpeg::Error::DecoderNotFound => MediaError::Codec {
            path: path.to_owned(),
            what: format!("decoder of {:?}", stream.parameters().id()),
        },
        e => MediaError::read(path, e),
    })
}
