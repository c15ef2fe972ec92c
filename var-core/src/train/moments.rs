//! The optimiser's moments in memory: in f32, in bf16, or in 8 bits.
//!
//! A moment moves by less in a step than the narrow formats can tell apart, so numbers are rounded up or down at random, in
//! proportion: the mean stays right. The random numbers follow from the step and the position, so a resumed run repeats them.
//!
//! 8 bits hold the logarithm of a number relative to the largest of its block of 256, and the sign of the first moment.

use burn::tensor::{DType, TensorData, bf16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Numbers that share a factor in the format of 8 bits.
pub(super) const BLOCK: usize = 256;
/// Octaves between two neighbouring codes: 127 magnitudes span 20 octaves, 255 span 40.
const OCTAVES: f32 = 20.0 / 127.0;

/// Number format of the optimiser's moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentFormat {
    /// 8 bytes a parameter for both moments.
    #[default]
    F32,
    /// 4 bytes a parameter.
    Bf16,
    /// 2 bytes a parameter.
    Int8,
}

impl MomentFormat {
    /// Bytes of both moments of `count` parameters.
    pub fn bytes(self, count: usize) -> usize {
        match self {
            Self::F32 => 8 * count,
            Self::Bf16 => 4 * count,
            Self::Int8 => 2 * count + 8 * count.div_ceil(BLOCK),
        }
    }
}

/// A moment of one parameter.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    Int8 { codes: Vec<u8>, factors: Vec<f32> },
}

impl Moment {
    /// `count` zeros.
    pub(super) fn zeros(format: MomentFormat, count: usize) -> Self {
        match format {
            MomentFormat::F32 => Self::F32(vec![0.0; count]),
            MomentFormat::Bf16 => Self::Bf16(vec![bf16::ZERO; count]),
            MomentFormat::Int8 => Self::Int8 {
                codes: vec![0; count],
                factors: vec![0.0; count.div_ceil(BLOCK)],
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::Int8 { codes, .. } => codes.len(),
        }
    }

    /// The same numbers in another format; `signed` tells the first moment from the second.
    pub(super) fn in_format(self, format: MomentFormat, signed: bool) -> Self {
        let same = matches!(
            (&self, format),
            (Self::F32(_), MomentFormat::F32)
                | (Self::Bf16(_), MomentFormat::Bf16)
                | (Self::Int8 { .. }, MomentFormat::Int8)
        );
        if same {
            return self;
        }
        let mut other = Self::zeros(format, self.len());
        let mut from = self;
        let both = from.pieces().into_iter().zip(other.pieces());
        both.enumerate().for_each(|(i, (from, mut to))| {
            let mut values = [0.0; BLOCK];
            let values = &mut values[..from.len()];
            from.read(values, signed);
            to.write(values, signed, Noise::new(0, i * BLOCK));
        });
        other
    }

    /// Its blocks of at most [`BLOCK`] numbers.
    fn pieces(&mut self) -> Vec<Piece<'_>> {
        match self {
            Self::F32(values) => values.chunks_mut(BLOCK).map(Piece::F32).collect(),
            Self::Bf16(values) => values.chunks_mut(BLOCK).map(Piece::Bf16).collect(),
            Self::Int8 { codes, factors } => codes
                .chunks_mut(BLOCK)
                .zip(factors)
                .map(|(codes, factor)| Piece::Int8 { codes, factor })
                .collect(),
        }
    }

    /// The tensors that a checkpoint holds of it: the numbers, and the factors of the format of 8 bits.
    pub(super) fn to_data(&self, shape: &[usize]) -> (TensorData, Option<TensorData>) {
        match self {
            Self::F32(values) => (TensorData::new(values.clone(), shape.to_vec()), None),
            Self::Bf16(values) => (TensorData::new(values.clone(), shape.to_vec()), None),
            Self::Int8 { codes, factors } => (
                TensorData::new(codes.clone(), shape.to_vec()),
                Some(TensorData::new(factors.clone(), [factors.len()])),
            ),
        }
    }

    /// The moment in these tensors of a checkpoint; none if they are of no known format.
    pub(super) fn of_data(data: TensorData, factors: Option<TensorData>) -> Option<Self> {
        match data.dtype() {
            DType::F32 => data.try_into_vec().ok().map(Self::F32),
            DType::BF16 => data.try_into_vec().ok().map(Self::Bf16),
            DType::U8 => Some(Self::Int8 {
                codes: data.try_into_vec().ok()?,
                factors: factors?.try_into_vec().ok()?,
            }),
            _ => None,
        }
    }
}

/// Calls `update` with a block of each: parameters, gradients, and both moments in f32; moments are written back in their
/// format. Blocks run on all cores.
///
/// # Panics
/// If the lengths differ.
pub(super) fn update(
    parameters: &mut [f32],
    gradients: &[f32],
    moments: [&mut Moment; 2],
    step: usize,
    update: impl Fn(&mut [f32], &[f32], &mut [f32], &mut [f32]) + Sync,
) {
    let [first, second] = moments;
    assert!(
        [gradients.len(), first.len(), second.len()] == [parameters.len(); 3],
        "parameters, gradients and moments have different lengths"
    );
    let (first, second) = (first.pieces(), second.pieces());
    let blocks = parameters
        .par_chunks_mut(BLOCK)
        .zip(gradients.par_chunks(BLOCK));
    let moments = first.into_par_iter().zip(second);
    let all = blocks.zip(moments).enumerate().with_min_len(64);
    all.for_each(|(i, ((p, g), (mut first, mut second)))| {
        if let (Piece::F32(m), Piece::F32(v)) = (&mut first, &mut second) {
            return update(p, g, m, v);
        }
        let (mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (m, v) = (&mut m[..p.len()], &mut v[..p.len()]);
        first.read(m, true);
        second.read(v, false);
        update(p, g, m, v);
        first.write(m, true, Noise::new(2 * step, i * BLOCK));
        second.write(v, false, Noise::new(2 * step + 1, i * BLOCK));
    });
}

/// A block of a moment.
enum Piece<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
    Int8 {
        codes: &'a mut [u8],
        factor: &'a mut f32,
    },
}

impl Piece<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::Int8 { codes, .. } => codes.len(),
        }
    }

    fn read(&self, to: &mut [f32], signed: bool) {
        match self {
            Self::F32(values) => to.copy_from_slice(values),
            Self::Bf16(values) => {
                to.iter_mut()
                    .zip(&**values)
                    .for_each(|(to, x)| *to = x.to_f32());
            }
            Self::Int8 { codes, factor } => {
                let table = table(signed);
                let codes = to.iter_mut().zip(&**codes);
                codes.for_each(|(to, &code)| *to = table[usize::from(code)] * **factor);
            }
        }
    }

    fn write(&mut self, from: &[f32], signed: bool, noise: Noise) {
        match self {
            Self::F32(values) => values.copy_from_slice(from),
            Self::Bf16(values) => {
                for (i, (to, &x)) in values.iter_mut().zip(from).enumerate() {
                    let bits = x.to_bits().wrapping_add(noise.bits(i) >> 16);
                    *to = bf16::from_bits((bits >> 16) as u16);
                }
            }
            Self::Int8 { codes, factor } => {
                let largest = from.iter().fold(0f32, |most, x| most.max(x.abs()));
                **factor = largest;
                let per = if largest > 0.0 { 1.0 / largest } else { 0.0 };
                for (i, (to, &x)) in codes.iter_mut().zip(from).enumerate() {
                    *to = code(x * per, signed, noise.share(i));
                }
            }
        }
    }
}

/// The number of every code, relative to the largest of its block.
fn table(signed: bool) -> &'static [f32; 256] {
    use std::sync::LazyLock;
    static SIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|code| {
            let sign = if code >= 128 { -1.0 } else { 1.0 };
            match code % 128 {
                0 => 0.0,
                magnitude => sign * ((magnitude as f32 - 127.0) * OCTAVES).exp2(),
            }
        })
    });
    static POSITIVE: LazyLock<[f32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|code| match code {
            0 => 0.0,
            magnitude => ((magnitude as f32 - 255.0) * OCTAVES).exp2(),
        })
    });
    if signed { &SIGNED } else { &POSITIVE }
}

/// The code of a number between -1 and 1, or between 0 and 1; `share`, 0 to 1, decides between two neighbours.
fn code(x: f32, signed: bool, share: f32) -> u8 {
    let most = if signed { 127.0 } else { 255.0 };
    if x == 0.0 {
        return 0;
    }
    let magnitude = (x.abs().log2() / OCTAVES + most + share).floor();
    // A second moment that is not zero stays so: it is divided by.
    let least = if signed { 0.0 } else { 1.0 };
    let magnitude = magnitude.clamp(least, most) as u8;
    if signed && x < 0.0 && magnitude > 0 {
        magnitude + 128
    } else {
        magnitude
    }
}

/// Random numbers that follow from a step and a position.
#[derive(Clone, Copy)]
struct Noise(u64);

impl Noise {
    fn new(step: usize, at: usize) -> Self {
        Self((step as u64) << 40 ^ at as u64)
    }

    /// 32 random bits for the number at `i` (the finaliser of MurmurHash3).
    fn bits(self, i: usize) -> u32 {
        let mut x = self
            .0
            .wrapping_add(i as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (x >> 32) as u32
    }

    fn share(self, i: usize) -> f32 {
        (self.bits(i) >> 8) as f32 / (1u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(values: &[f32], format: MomentFormat, signed: bool, step: usize) -> Vec<f32> {
        let mut moment = Moment::zeros(format, values.len());
        let mut read = vec![0.0; values.len()];
        for (i, (mut piece, part)) in moment
            .pieces()
            .into_iter()
            .zip(values.chunks(BLOCK))
            .enumerate()
        {
            piece.write(part, signed, Noise::new(step, i * BLOCK));
        }
        for (piece, part) in moment.pieces().into_iter().zip(read.chunks_mut(BLOCK)) {
            piece.read(part, signed);
        }
        read
    }

    #[test]
    fn numbers_are_near_and_right_on_average() {
        let values: Vec<f32> = (0..600)
            .map(|i| ((i * 37 % 600) as f32 / 300.0 - 1.0) * 1e-3)
            .collect();
        for (format, near) in [(MomentFormat::Bf16, 0.008), (MomentFormat::Int8, 0.12)] {
            let mut sums = vec![0.0f64; values.len()];
            for step in 0..400 {
                let read = roundtrip(&values, format, true, step);
                for ((sum, read), value) in sums.iter_mut().zip(&read).zip(&values) {
                    assert!(
                        (read - value).abs() <= near * value.abs() + 1e-9,
                        "{read} for {value}"
                    );
                    *sum += f64::from(*read);
                }
            }
            for (sum, &value) in sums.iter().zip(&values) {
                let off = (sum / 400.0 - f64::from(value)).abs();
                assert!(
                    off < 0.012 * f64::from(value.abs()) + 1e-9,
                    "{format:?}: off by {off} for {value}"
                );
            }
        }
    }

    #[test]
    fn a_second_moment_that_is_not_zero_never_becomes_zero() {
        let read = roundtrip(&[1.0, 1e-30, 0.0], MomentFormat::Int8, false, 3);
        assert!(
            read[0] == 1.0 && read[1] > 0.0 && read[2] == 0.0,
            "{read:?}"
        );
    }

    #[test]
    fn checkpoints_hold_every_format() {
        for format in [MomentFormat::F32, MomentFormat::Bf16, MomentFormat::Int8] {
            let moment = Moment::F32(vec![0.5, -0.25, 0.125]).in_format(format, true);
            let (data, factors) = moment.to_data(&[3]);
            let again = Moment::of_data(data, factors).unwrap();
            assert_eq!(format!("{moment:?}"), format!("{again:?}"));
        }
        assert!(Moment::of_data(TensorData::new(vec![1i64], [1]), None).is_none());
    }
}
