//! Statistics and batches of images in NumPy's `.npz` files.
//!
//! | file | arrays |
//! |---|---|
//! | `pytorch-fid --save-stats`, `clean-fid` | `mu` `[d]`, `sigma` `[d, d]` |
//! | reference batches of ADM (guided-diffusion) | the same, `mu_s` and `sigma_s` of spatial features, and `arr_0` `[n, h, w, 3]` of 8-bit images |
//! | sample batches of ADM | `arr_0` alone |

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::Path;

use image::RgbImage;
use nalgebra::{DMatrix, DVector};
use nextscale_files::atomic_file;
use npyz::{NpyFile, Order, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::error::{MetricsError, Result};
use crate::statistics::Gaussian;

/// No statistics have more numbers: those of 8192 features.
const LARGEST: u64 = 1 << 26;

/// The statistics of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// `mu` and `sigma`.
    pub main: Gaussian,
    /// `mu_s` and `sigma_s`, which ADM's files have for the distance sFID.
    pub spatial: Option<Gaussian>,
}

/// An open file.
pub struct Npz<'a> {
    path: &'a Path,
    archive: ZipArchive<File>,
}

impl<'a> Npz<'a> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read or is no `.npz`.
    pub fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| MetricsError::read(path, e))?;
        let archive = ZipArchive::new(file);
        let archive =
            archive.map_err(|e| MetricsError::read(path, format!("no .npz file: {e}")))?;
        Ok(Self { path, archive })
    }

    /// Whether it has an array of this name.
    pub fn has(&self, name: &str) -> bool {
        let entry = format!("{name}.npy");
        self.archive.index_for_name(entry.as_str()).is_some()
    }

    /// The statistics of this file.
    ///
    /// # Errors
    /// If it has none, or they do not fit together.
    pub fn statistics(&mut self) -> Result<Statistics> {
        let main = self.gaussian("mu", "sigma")?;
        let has_spatial = self.has("mu_s") && self.has("sigma_s");
        let spatial = has_spatial.then(|| self.gaussian("mu_s", "sigma_s"));
        let spatial = spatial.transpose()?;
        Ok(Statistics { main, spatial })
    }

    fn gaussian(&mut self, mean: &str, covariance: &str) -> Result<Gaussian> {
        let (shape, mean) = self.numbers(mean)?;
        let dims = mean.len();
        let (square, values) = self.numbers(covariance)?;
        if shape.len() != 1 || square != [dims as u64, dims as u64] {
            let reason = format!("`{covariance}` has shape {square:?}, and `mu` {shape:?}");
            return Err(MetricsError::read(self.path, reason));
        }
        if !mean.iter().chain(&values).all(|value| value.is_finite()) {
            let reason = "its statistics have numbers that are not finite";
            return Err(MetricsError::read(self.path, reason));
        }
        Ok(Gaussian {
            mean: DVector::from_vec(mean),
            covariance: DMatrix::from_row_slice(dims, dims, &values),
        })
    }

    /// Shape and numbers of an array of f32 or f64.
    fn numbers(&mut self, name: &str) -> Result<(Vec<u64>, Vec<f64>)> {
        let path = self.path;
        let bad = |reason: String| MetricsError::read(path, reason);
        let npy = self.array(name)?;
        let shape = npy.shape().to_vec();
        if npy.len() > LARGEST {
            return Err(bad(format!(
                "`{name}` has shape {shape:?}: too large for statistics"
            )));
        }
        let values: io::Result<Vec<f64>> = match npy.try_data::<f64>() {
            Ok(values) => values.collect(),
            Err(npy) => match npy.try_data::<f32>() {
                Ok(values) => values.map(|value| value.map(f64::from)).collect(),
                Err(npy) => {
                    let kind = npy.dtype().descr();
                    return Err(bad(format!(
                        "`{name}` is of type {kind}, not of f32 or f64"
                    )));
                }
            },
        };
        Ok((shape, values.map_err(|e| bad(format!("`{name}`: {e}")))?))
    }

    /// An array whose header fits the length of its entry: a damaged one must not become an allocation of its size.
    fn array(&mut self, name: &str) -> Result<NpyFile<impl Read>> {
        let path = self.path;
        let missing = || {
            let reason = format!("it has no array `{name}`: statistics have `mu` and `sigma`");
            MetricsError::read(path, reason)
        };
        let bad = |reason: String| MetricsError::read(path, format!("`{name}`: {reason}"));
        if !self.has(name) {
            return Err(missing());
        }
        let entry = self.archive.by_name(&format!("{name}.npy"));
        let entry = entry.map_err(|e| bad(e.to_string()))?;
        let length = entry.size();
        let npy = NpyFile::new(BufReader::new(entry)).map_err(|e| bad(e.to_string()))?;
        let numbers = npy
            .shape()
            .iter()
            .try_fold(1u64, |all, n| all.checked_mul(*n));
        match numbers {
            Some(numbers) if numbers <= length && numbers > 0 => Ok(npy),
            _ => Err(bad(format!("shape {:?} in {length} bytes", npy.shape()))),
        }
    }

    /// Calls `each` with the images of `arr_0`, at most `batch` at a time, and with how many there are.
    ///
    /// # Errors
    /// If there are none, they are no 8-bit RGB images, or `each` fails.
    pub fn images<E: From<MetricsError>>(
        &mut self,
        batch: usize,
        mut each: impl FnMut(Vec<RgbImage>, usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let path = self.path;
        let npy = self.array("arr_0")?;
        let wrong = |shape: &[u64]| {
            let reason = format!("`arr_0` has shape {shape:?}, not [n, h, w, 3] of 8 bits");
            MetricsError::read(path, reason)
        };
        let shape = npy.shape().to_vec();
        let [count, height, width, 3] = shape[..] else {
            return Err(wrong(&shape).into());
        };
        if npy.order() != Order::C {
            return Err(wrong(&shape).into());
        }
        let mut bytes = npy.data::<u8>().map_err(|_| wrong(&shape))?;
        let mut left = count as usize;
        while left > 0 {
            let now = left.min(batch);
            let mut images = Vec::with_capacity(now);
            for _ in 0..now {
                let pixels = bytes.by_ref().take((height * width * 3) as usize);
                let pixels: io::Result<Vec<u8>> = pixels.collect();
                let pixels = pixels.map_err(|e| MetricsError::read(path, e))?;
                let image = RgbImage::from_raw(width as u32, height as u32, pixels);
                images.push(image.ok_or_else(|| wrong(&shape))?);
            }
            each(images, count as usize)?;
            left -= now;
        }
        Ok(())
    }
}

/// Reads the statistics of a file.
///
/// # Errors
/// If it cannot be read, or has no statistics.
pub fn read(path: &Path) -> Result<Statistics> {
    Npz::open(path)?.statistics()
}

/// Writes statistics as `pytorch-fid`, `clean-fid` and ADM read them: in f64, compressed.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, statistics: &Statistics) -> Result<()> {
    let failed = |e: io::Error| MetricsError::write(path, e);
    let mut file = atomic_file::hidden_for(path).map_err(failed)?;
    write_to(file.as_file_mut(), statistics).map_err(failed)?;
    atomic_file::persist(file, path).map_err(failed)
}

fn write_to(file: &mut File, statistics: &Statistics) -> io::Result<()> {
    let mut archive = ZipWriter::new(BufWriter::new(file));
    let mut gaussian = |gaussian: &Gaussian, names: [&str; 2]| {
        let dims = gaussian.dims() as u64;
        let rows = gaussian.covariance.transpose();
        array(&mut archive, names[0], &[dims], gaussian.mean.as_slice())?;
        array(&mut archive, names[1], &[dims, dims], rows.as_slice())
    };
    gaussian(&statistics.main, ["mu", "sigma"])?;
    if let Some(spatial) = &statistics.spatial {
        gaussian(spatial, ["mu_s", "sigma_s"])?;
    }
    archive.finish()?.into_inner()?;
    Ok(())
}

fn array(
    archive: &mut ZipWriter<BufWriter<&mut File>>,
    name: &str,
    shape: &[u64],
    values: &[f64],
) -> io::Result<()> {
    let options = SimpleFileOptions::default().large_file(true);
    let options = options.compression_method(zip::CompressionMethod::Deflated);
    archive.start_file(format!("{name}.npy"), options)?;
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(archive).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()
}
