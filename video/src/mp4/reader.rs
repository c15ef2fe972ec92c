//! Reading a video frame by frame.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use ffmpeg_next::{
    self as ffmpeg, Packet, codec, decoder,
    format::{Pixel, context::Input, stream::Stream},
    frame::Video,
    software::scaling::Context as Scaler,
    util::error::EAGAIN,
};

use super::clock::Clock;
use super::colour::{Image, scaler};
use super::error::MediaError;
use super::file::open_input;
use super::frame::{RgbFrame, crop};
use super::info::{Geometry, VideoInfo, may_reset, moving_stream};

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

/// Frames with more pixels than this are refused before memory is taken for them: 16384 x 8192.
const MOST_PIXELS: i64 = 1 << 27;
/// Frames per second of a stream that does not say.
const DEFAULT_RATE: f64 = 25.0;
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
    geometry: Geometry,
    clock: Clock,
    scaler: Option<(Image, [usize; 2], Scaler)>,
    drained: bool,
    /// Packets that could not be decoded.
    damaged: usize,
    /// Whether a frame holds two fields, of two moments.
    interlaced: bool,
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
    /// Opens the video stream of a file; a cover image is none.
    ///
    /// # Errors
    /// If the file cannot be read, is not a video, or FFmpeg lacks its decoder.
    pub fn open(path: &Path, options: ReaderOptions) -> Result<Self, MediaError> {
        let input = open_input(path)?;
        let Some(stream) = moving_stream(&input) else {
            let path = path.to_owned();
            return Err(MediaError::NoVideo { path });
        };
        let decoder = open_decoder(path, &stream)?;
        let geometry = Geometry::of(&stream, &decoder);
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        let info = VideoInfo::new(&input, &stream, &decoder, &geometry, bytes);
        let rate = if info.fps > 0.0 {
            info.fps
        } else {
            DEFAULT_RATE
        };
        let tick = f64::from(stream.time_base());
        // A stream without a start time starts at 0.
        let first = Some(stream.start_time()).filter(|&ticks| ticks != i64::MIN);
        let mut reader = Self {
            path: path.to_owned(),
            options,
            info,
            geometry,
            clock: Clock::new(tick, 1.0 / rate, may_reset(&input)),
            stream: stream.index(),
            decoder,
            input,
            scaler: None,
            drained: false,
            damaged: 0,
            interlaced: false,
            start: None,
            shown: None,
            next: None,
            given: 0,
            failed: false,
        };
        if options.start > 0.0 {
            reader.seek(first.map_or(0.0, |ticks| ticks as f64 * tick));
        }
        Ok(reader)
    }

    /// Seeks to the last key frame before the start; `begin` is the time of the first frame in seconds.
    fn seek(&mut self, begin: f64) {
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

    /// What is worth knowing of what was read so far, one sentence each: damaged parts that were left out, a clock that jumps,
    /// a high dynamic range that was read as none, frames of two moments.
    pub fn notices(&self) -> Vec<String> {
        let path = self.path.display();
        let hdr = self.info.hdr.map(|name| {
            format!("`{path}` is {name}: its colours are read as those of standard range")
        });
        let damaged = match self.damaged {
            0 => None,
            1 => Some(format!("`{path}` is damaged: one part was left out")),
            n => Some(format!("`{path}` is damaged: {n} parts were left out")),
        };
        let jumps = self.clock.jumps() > 0;
        let jumps =
            jumps.then(|| format!("the clock of `{path}` jumps: its frames are read in order"));
        let interlaced = self.interlaced.then(|| {
            format!(
                "`{path}` is interlaced: its frames are read woven; deinterlace it first with `ffmpeg -i IN -vf bwdif OUT`"
            )
        });
        let all = [hdr, damaged, jumps, interlaced];
        all.into_iter().flatten().collect()
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

    /// Decodes the next frame of the file; what is damaged is left out and counted.
    fn decode(&mut self) -> Result<Option<Shown>, ffmpeg::Error> {
        let mut frame = Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    self.interlaced |= frame.is_interlaced();
                    let seconds = self.clock.seconds(frame.timestamp());
                    let start = *self.start.get_or_insert(seconds);
                    let seconds = seconds - start;
                    return Ok(Some(Shown { seconds, frame }));
                }
                Err(ffmpeg::Error::Eof) if self.damaged == 0 || self.clock.is_running() => {
                    return Ok(None);
                }
                Err(ffmpeg::Error::Eof) => return Err(ffmpeg::Error::InvalidData),
                Err(ffmpeg::Error::Other { errno: EAGAIN }) if !self.drained => self.feed()?,
                Err(ffmpeg::Error::InvalidData) => self.damaged += 1,
                Err(e) => return Err(e),
            }
        }
    }

    fn feed(&mut self) -> Result<(), ffmpeg::Error> {
        let mut packet = Packet::empty();
        loop {
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() != self.stream => continue,
                Ok(()) => {}
                Err(e) => {
                    // A file that was cut off ends where it was cut.
                    self.damaged += usize::from(e != ffmpeg::Error::Eof);
                    self.drained = true;
                    return self.decoder.send_eof();
                }
            }
            match self.decoder.send_packet(&packet) {
                Err(ffmpeg::Error::InvalidData) => self.damaged += 1,
                sent => return sent,
            }
        }
    }

    /// A decoded frame as it is shown, scaled and cropped.
    fn rgb(&mut self, frame: &Video) -> Result<RgbFrame, ffmpeg::Error> {
        let [w, h] = self
            .geometry
            .square([frame.width() as usize, frame.height() as usize]);
        let wanted = self
            .options
            .size
            .map_or([w, h], |size| self.geometry.turned(size));
        let factor = (wanted[0] as f64 / w as f64).max(wanted[1] as f64 / h as f64);
        let cover =
            |side: usize, least: usize| ((side as f64 * factor).round() as usize).max(least);
        let full = [cover(w, wanted[0]), cover(h, wanted[1])];
        let from = Image::of(frame);
        let (pixel, channels) = if from.has_alpha() {
            (Pixel::RGBA, 4)
        } else {
            (Pixel::RGB24, 3)
        };
        let rgb = self.scale(frame, from, full, pixel)?;
        let bytes = crop(&rgb, full, wanted, channels);
        Ok(self.geometry.orientation.apply(wanted, bytes))
    }

    fn scale(
        &mut self,
        frame: &Video,
        from: Image,
        size: [usize; 2],
        pixel: Pixel,
    ) -> Result<Video, ffmpeg::Error> {
        let fits = |(image, to, _): &(Image, [usize; 2], Scaler)| *image == from && *to == size;
        if !self.scaler.as_ref().is_some_and(fits) {
            let to = Image::rgb(pixel, size.map(|side| side as u32));
            self.scaler = Some((from, size, scaler(&from, &to)?));
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

fn open_decoder(path: &Path, stream: &Stream) -> Result<decoder::Video, MediaError> {
    let context = codec::context::Context::from_parameters(stream.parameters());
    let decoder = context.and_then(|mut context| {
        // SAFETY: the context is alive and not yet open.
        unsafe { (*context.as_mut_ptr()).max_pixels = MOST_PIXELS };
        context.decoder().video()
    });
    decoder.map_err(|e| match e {
        ffmpeg::Error::DecoderNotFound => MediaError::Codec {
            path: path.to_owned(),
            what: format!("decoder of {:?}", stream.parameters().id()),
        },
        e => MediaError::read(path, e),
    })
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
