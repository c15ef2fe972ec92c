use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use ffmpeg_next::{
    self as ffmpeg, Packet, decoder,
    format::{self, Pixel, context::Input},
    frame::Video,
    media::Type,
    software::scaling::{Context as Scaler, Flags},
    util::error::EAGAIN,
};

use super::error::MediaError;
use super::frame::{RgbFrame, crop, rotate};
use super::info::{VideoInfo, open_decoder};

/// Settings for reading a video.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReaderOptions {
    /// Columns and rows of the frames: each frame is scaled to cover them and cropped around its centre. `None` keeps the
    /// size.
    pub size: Option<[usize; 2]>,
    /// Frames per second of the output: at each time the frame that is shown then, also for variable frame rates. `None`
    /// returns each frame once.
    pub fps: Option<f64>,
    /// Seconds to skip at the start; the file is read from near there.
    pub start: f64,
}

/// The precision of times in seconds: Matroska rounds to milliseconds.
const TIME_TOLERANCE: f64 = 1e-3;

/// A decoded frame and its display time in seconds from the start.
struct Shown {
    seconds: f64,
    frame: Video,
}

/// Reads a video frame by frame, on demand: an iterator over `[width, height]` and RGB bytes.
pub struct VideoReader {
    path: PathBuf,
    options: ReaderOptions,
    info: VideoInfo,
    input: Input,
    decoder: decoder::Video,
    stream: usize,
    seconds_per_tick: f64,
    scaler: Option<(Pixel, [u32; 2], Scaler)>,
    drained: bool,
    start: Option<f64>,
    shown: Option<Shown>,
    next: Option<Shown>,
    given: usize,
    failed: bool,
}

// SAFETY: the reader owns everything in it, and FFmpeg's contexts may be used from any thread, one at a time; only the
// scaler's wrapper is not marked `Send`.
unsafe impl Send for VideoReader {}

impl VideoReader {
    /// Opens the first video stream of a file.
    ///
    /// # Errors
    /// If the file cannot be read, has no video stream, or FFmpeg lacks its decoder.
    pub fn open(path: &Path, options: ReaderOptions) -> Result<Self, MediaError> {
        let fail = |e: ffmpeg::Error| MediaError::read(path, e);
        super::init().map_err(fail)?;
        let input = format::input(path).map_err(fail)?;
        let Some(stream) = input.streams().best(Type::Video) else {
            let path = path.to_owned();
            return Err(MediaError::NoVideo { path });
        };
        let decoder = open_decoder(path, &stream)?;
        let (index, first) = (stream.index(), stream.start_time());
        let seconds_per_tick = f64::from(stream.time_base());
        let mut reader = Self {
            path: path.to_owned(),
            options,
            info: VideoInfo::new(&input, &stream, &decoder),
            stream: index,
            decoder,
            seconds_per_tick,
            input,
            scaler: None,
            drained: false,
            start: None,
            shown: None,
            next: None,
            given: 0,
            failed: false,
        };
        if options.start > 0.0 {
            reader.seek(first);
        }
        Ok(reader)
    }

    /// Seeks to the last key frame before the start.
    fn seek(&mut self, first: i64) {
        // A stream without a start time starts at 0.
        let begin = match first {
            i64::MIN => 0.0,
            ticks => ticks as f64 * self.seconds_per_tick,
        };
        let start = begin + self.options.start;
        self.start = Some(start);
        let micros = (start * 1e6) as i64;
        // A file that cannot seek is read from its start.
        let _ = self.input.seek(micros, ..micros);
    }

    /// Properties of the file.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// The next frames, at most `count`, as pixels `[1, 3, t, h, w]` in [-1, 1]; `None` at the end of the video.
    ///
    /// # Errors
    /// If the file is damaged, or frames differ in size and [`ReaderOptions::size`] is `None`.
    pub fn pixels(
        &mut self,
        count: usize,
        device: &Device,
    ) -> Result<Option<Tensor<5>>, MediaError> {
        let (mut all, mut size, mut frames) = (Vec::new(), None, 0);
        while frames < count
            && let Some(frame) = self.next()
        {
            let (found, bytes) = frame?;
            if *size.get_or_insert(found) != found {
                return Err(MediaError::read(&self.path, "the frames differ in size"));
            }
            all.extend(bytes.into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0));
            frames += 1;
        }
        let Some([w, h]) = size else {
            return Ok(None);
        };
        let pixels = TensorData::new(all, [1, frames, h, w, 3]);
        let pixels = Tensor::<5>::from_data(pixels, device);
        Ok(Some(pixels.permute([0, 4, 1, 2, 3])))
    }

    /// Decodes the next frame of the file.
    fn decode(&mut self) -> Result<Option<Shown>, ffmpeg::Error> {
        let mut frame = Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    let ticks = frame.timestamp().unwrap_or(0) as f64;
                    let seconds = ticks * self.seconds_per_tick;
                    let start = *self.start.get_or_insert(seconds);
                    let seconds = seconds - start;
                    return Ok(Some(Shown { seconds, frame }));
                }
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(ffmpeg::Error::Other { errno: EAGAIN }) if !self.drained => self.feed()?,
                Err(e) => return Err(e),
            }
        }
    }

    fn feed(&mut self) -> Result<(), ffmpeg::Error> {
        let mut packet = Packet::empty();
        loop {
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() == self.stream => {
                    return self.decoder.send_packet(&packet);
                }
                Ok(()) => {}
                Err(ffmpeg::Error::Eof) => {
                    self.drained = true;
                    return self.decoder.send_eof();
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Scales, crops and rotates a decoded frame.
    fn rgb(&mut self, frame: &Video) -> Result<RgbFrame, ffmpeg::Error> {
        let [w, h] = [frame.width() as usize, frame.height() as usize];
        let sideways = self.info.quarters % 2 == 1;
        let wanted = match self.options.size {
            Some([w, h]) if sideways => [h, w],
            Some(size) => size,
            None => [w, h],
        };
        let factor = (wanted[0] as f64 / w as f64).max(wanted[1] as f64 / h as f64);
        let cover =
            |side: usize, least: usize| ((side as f64 * factor).round() as usize).max(least);
        let full = [cover(w, wanted[0]), cover(h, wanted[1])];
        let rgb = self.scale(frame, full)?;
        let bytes = crop(&rgb, full, wanted);
        Ok(rotate(wanted, bytes, self.info.quarters))
    }

    fn scale(&mut self, frame: &Video, to: [usize; 2]) -> Result<Video, ffmpeg::Error> {
        let from = [frame.width(), frame.height()];
        let fits = |(pixel, size, _): &(Pixel, [u32; 2], Scaler)| {
            *pixel == frame.format() && *size == from
        };
        if !self.scaler.as_ref().is_some_and(fits) {
            let to = to.map(|side| side as u32);
            let scaler = Scaler::get(
                frame.format(),
                from[0],
                from[1],
                Pixel::RGB24,
                to[0],
                to[1],
                Flags::BICUBIC,
            )?;
            self.scaler = Some((frame.format(), from, scaler));
        }
        let mut rgb = Video::empty();
        let (_, _, scaler) = self.scaler.as_mut().ok_or(ffmpeg::Error::Bug)?;
        scaler.run(frame, &mut rgb)?;
        Ok(rgb)
    }

    /// The frame at the next output time.
    fn advance(&mut self) -> Result<Option<RgbFrame>, ffmpeg::Error> {
        let Some(fps) = self.options.fps else {
            while let Some(Shown { seconds, frame }) = self.decode()? {
                if seconds > -TIME_TOLERANCE {
                    return self.rgb(&frame).map(Some);
                }
            }
            return Ok(None);
        };
        if self.given == 0 && self.shown.is_none() {
            self.shown = self.decode()?;
            self.next = self.decode()?;
        }
        let now = self.given as f64 / fps;
        while let Some(next) = self
            .next
            .take_if(|next| next.seconds <= now + TIME_TOLERANCE)
        {
            self.shown = Some(next);
            self.next = self.decode()?;
        }
        self.given += 1;
        // The last frame is shown for the average duration of a frame.
        let last = match self.info.fps {
            rate if rate > 0.0 => 1.0 / rate,
            _ => 1.0 / fps,
        };
        let Some(shown) = self.shown.take() else {
            return Ok(None);
        };
        if self.next.is_none() && now + TIME_TOLERANCE >= shown.seconds + last {
            return Ok(None);
        }
        let rgb = self.rgb(&shown.frame)?;
        self.shown = Some(shown);
        Ok(Some(rgb))
    }
}

impl Iterator for VideoReader {
    type Item = Result<RgbFrame, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(frame) => frame.map(Ok),
            Err(e) => {
                self.failed = true;
                Some(Err(MediaError::read(&self.path, e)))
            }
        }
    }
}
