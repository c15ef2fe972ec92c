use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use ffmpeg_next::{
    self as ffmpeg, Packet, codec, decoder,
    format::{self, Pixel, context::Input},
    frame::Video,
    media::Type,
    software::scaling::{Context as Scaler, Flags},
    util::error::EAGAIN,
};

use super::MediaError;

/// How a video is read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReaderOptions {
    /// Columns and rows that every frame is brought to: enlarged or reduced until it covers them, then cut around its
    /// middle. None leaves the size.
    pub size: Option<[usize; 2]>,
    /// Frames a second that come out, whatever the file has, also where its rate varies: at each time the frame that is
    /// shown then. None gives every frame once.
    pub fps: Option<f64>,
    /// Seconds that are skipped at the beginning: the file is entered near there, and what lies before is not read.
    pub start: f64,
}

/// What a file says about its video.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    /// Columns, after turning.
    pub width: usize,
    /// Rows, after turning.
    pub height: usize,
    /// Frames a second, on average; 0 where the file does not say.
    pub fps: f64,
    /// Seconds; none where the file does not say.
    pub seconds: Option<f64>,
    /// By how many quarters frames have to be turned to the right.
    pub quarters: usize,
}

/// Containers round times, Matroska to a thousandth of a second.
const ROUNDED: f64 = 1e-3;

/// A frame as bytes, row by row, red, green and blue, behind its size.
type Picture = ([usize; 2], Vec<u8>);

/// A decoded frame and when it is shown, in seconds behind the beginning.
struct Shown {
    seconds: f64,
    frame: Video,
}

/// Reads a video frame by frame: an iterator over `[width, height]` and bytes. What is not asked for is not read.
pub struct VideoReader {
    path: PathBuf,
    options: ReaderOptions,
    info: VideoInfo,
    input: Input,
    decoder: decoder::Video,
    stream: usize,
    seconds_a_tick: f64,
    scaler: Option<(Pixel, [u32; 2], Scaler)>,
    drained: bool,
    start: Option<f64>,
    shown: Option<Shown>,
    next: Option<Shown>,
    given: usize,
    failed: bool,
}

// SAFETY: everything in it is owned by it alone, and FFmpeg's contexts may be used from any thread, one at a time; only
// the scaler's wrapper does not say so itself.
unsafe impl Send for VideoReader {}

impl VideoReader {
    /// Opens the first video stream of a file.
    ///
    /// # Errors
    /// If the file cannot be read, or has no video stream.
    pub fn open(path: &Path, options: ReaderOptions) -> Result<Self, MediaError> {
        let fail = |e: ffmpeg::Error| MediaError::read(path, e);
        super::init().map_err(fail)?;
        let input = format::input(path).map_err(fail)?;
        let Some(stream) = input.streams().best(Type::Video) else {
            let path = path.to_owned();
            return Err(MediaError::NoVideo { path });
        };
        let context = codec::context::Context::from_parameters(stream.parameters());
        let decoder = context.and_then(|c| c.decoder().video());
        let decoder = decoder.map_err(|e| match e {
            ffmpeg::Error::DecoderNotFound => MediaError::Codec {
                path: path.to_owned(),
                what: format!("decoder of {:?}", stream.parameters().id()),
            },
            e => MediaError::read(path, e),
        })?;
        let seconds_a_tick = f64::from(stream.time_base());
        let quarters = stream
            .side_data()
            .find(|data| data.kind() == codec::packet::side_data::Type::DisplayMatrix)
            .map_or(0, |data| quarters(data.data()));
        let (w, h) = (decoder.width() as usize, decoder.height() as usize);
        let (width, height) = if quarters % 2 == 1 { (h, w) } else { (w, h) };
        let rate = stream.avg_frame_rate();
        // Sound may last longer than the pictures.
        let seconds = match (stream.duration(), input.duration()) {
            (ticks, _) if ticks > 0 => Some(ticks as f64 * seconds_a_tick),
            (_, micros) if micros > 0 => Some(micros as f64 * 1e-6),
            _ => None,
        };
        let info = VideoInfo {
            width,
            height,
            fps: if rate.1 == 0 { 0.0 } else { f64::from(rate) },
            seconds,
            quarters,
        };
        let first = stream.start_time();
        let mut reader = Self {
            path: path.to_owned(),
            options,
            info,
            stream: stream.index(),
            decoder,
            seconds_a_tick,
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
            reader.enter(first);
        }
        Ok(reader)
    }

    /// Goes to the last frame before the start that can be decoded by itself.
    fn enter(&mut self, first: i64) {
        // A stream that does not say when it begins does so at 0.
        let begin = match first {
            i64::MIN => 0.0,
            ticks => ticks as f64 * self.seconds_a_tick,
        };
        let start = begin + self.options.start;
        self.start = Some(start);
        let micros = (start * 1e6) as i64;
        // A file that cannot be entered in its middle is read from its beginning.
        let _ = self.input.seek(micros, ..micros);
    }

    /// What the file says.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// The next frames, at most `count`, as pixels `[1, 3, t, h, w]` in [-1, 1]; none at the end of the video.
    ///
    /// # Errors
    /// If the file is damaged, or frames change their size where none was asked for.
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
                return Err(MediaError::read(&self.path, "the frames change their size"));
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

    /// The next frame of the file.
    fn decode(&mut self) -> Result<Option<Shown>, ffmpeg::Error> {
        let mut frame = Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    let ticks = frame.timestamp().unwrap_or(0) as f64;
                    let seconds = ticks * self.seconds_a_tick;
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

    /// Scales, cuts and turns a decoded frame.
    fn picture(&mut self, frame: &Video) -> Result<Picture, ffmpeg::Error> {
        let [w, h] = [frame.width() as usize, frame.height() as usize];
        let turned = self.info.quarters % 2 == 1;
        let wanted = match self.options.size {
            Some([w, h]) if turned => [h, w],
            Some(size) => size,
            None => [w, h],
        };
        let factor = (wanted[0] as f64 / w as f64).max(wanted[1] as f64 / h as f64);
        let cover =
            |side: usize, least: usize| ((side as f64 * factor).round() as usize).max(least);
        let full = [cover(w, wanted[0]), cover(h, wanted[1])];
        let rgb = self.scale(frame, full)?;
        let bytes = cut(&rgb, full, wanted);
        Ok(turn(wanted, bytes, self.info.quarters))
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

    /// The picture of the next output time.
    fn advance(&mut self) -> Result<Option<Picture>, ffmpeg::Error> {
        let Some(fps) = self.options.fps else {
            while let Some(Shown { seconds, frame }) = self.decode()? {
                if seconds > -ROUNDED {
                    return self.picture(&frame).map(Some);
                }
            }
            return Ok(None);
        };
        if self.given == 0 && self.shown.is_none() {
            self.shown = self.decode()?;
            self.next = self.decode()?;
        }
        let now = self.given as f64 / fps;
        while let Some(next) = self.next.take_if(|next| next.seconds <= now + ROUNDED) {
            self.shown = Some(next);
            self.next = self.decode()?;
        }
        self.given += 1;
        // The last frame is shown for as long as frames are on average.
        let last = match self.info.fps {
            rate if rate > 0.0 => 1.0 / rate,
            _ => 1.0 / fps,
        };
        let Some(shown) = self.shown.take() else {
            return Ok(None);
        };
        if self.next.is_none() && now + ROUNDED >= shown.seconds + last {
            return Ok(None);
        }
        let picture = self.picture(&shown.frame)?;
        self.shown = Some(shown);
        Ok(Some(picture))
    }
}

impl Iterator for VideoReader {
    type Item = Result<Picture, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(picture) => picture.map(Ok),
            Err(e) => {
                self.failed = true;
                Some(Err(MediaError::read(&self.path, e)))
            }
        }
    }
}

/// Bytes of the middle of a frame of size `full`.
fn cut(frame: &Video, full: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    let [left, top] = [(full[0] - to[0]) / 2, (full[1] - to[1]) / 2];
    let (stride, data) = (frame.stride(0), frame.data(0));
    let rows = (top..top + to[1]).flat_map(|row| &data[row * stride + 3 * left..][..3 * to[0]]);
    rows.copied().collect()
}

/// A frame turned to the right by so many quarters.
fn turn(size: [usize; 2], bytes: Vec<u8>, quarters: usize) -> ([usize; 2], Vec<u8>) {
    let [w, h] = size;
    let to = if quarters % 2 == 1 { [h, w] } else { size };
    if quarters == 0 {
        return (size, bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    for y in 0..to[1] {
        for x in 0..to[0] {
            let (column, row) = match quarters {
                1 => (y, h - 1 - x),
                2 => (w - 1 - x, h - 1 - y),
                _ => (w - 1 - y, x),
            };
            out.extend_from_slice(&bytes[3 * (row * w + column)..][..3]);
        }
    }
    (to, out)
}

/// Quarters to the right from a display matrix: nine whole numbers, of which the first and the second are cosine and sine
/// of the turn.
fn quarters(matrix: &[u8]) -> usize {
    let number = |i: usize| {
        let bytes = matrix.get(4 * i..4 * i + 4)?;
        Some(f64::from(i32::from_ne_bytes(bytes.try_into().ok()?)))
    };
    let (Some(cosine), Some(sine)) = (number(0), number(1)) else {
        return 0;
    };
    let turns = sine.atan2(cosine) / std::f64::consts::FRAC_PI_2;
    (turns.round() as i64).rem_euclid(4) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_turn_to_the_right() {
        let picture: Vec<u8> = (0..6u8).flat_map(|i| [i; 3]).collect(); // 3 x 2
        let of = |quarters| {
            let (size, bytes) = turn([3, 2], picture.clone(), quarters);
            (size, bytes.chunks(3).map(|p| p[0]).collect::<Vec<_>>())
        };
        assert_eq!(of(1), ([2, 3], vec![3, 0, 4, 1, 5, 2]));
        assert_eq!(of(2), ([3, 2], vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(of(3), ([2, 3], vec![2, 5, 1, 4, 0, 3]));
        let matrix = |a: i32, b: i32| [a, b].map(i32::to_ne_bytes).concat();
        assert_eq!(quarters(&matrix(65536, 0)), 0);
        assert_eq!(quarters(&matrix(0, 65536)), 1);
        assert_eq!(quarters(&matrix(0, -65536)), 3);
        assert_eq!(quarters(&[]), 0);
    }
}
