//! Data sets in the IDX format of MNIST and its relatives: gray images of one size, each with a class.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::error::{DataError, Invalid, ensure};
use crate::manifest::{Contents, Manifest, fingerprint, start};
use crate::recipe::{DataKind, check_sha256, check_size, read_recipe};
use crate::sources::{self, PinnedFile, Source};

/// Counts up when the same recipe would give other bytes.
const VERSION: u32 = 1;

/// The recipe of such a data set, as the user wrote it in YAML.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdxRecipe {
    /// [`DataKind::Idx`].
    pub kind: DataKind,
    /// Side of every image in pixels, 8 to 1024: images are centred on black.
    pub size: usize,
    /// Folder of the finished data set.
    pub out: PathBuf,
    /// Folder of downloads.
    pub cache: PathBuf,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// Whether mirrored images still show the same thing.
    #[serde(default)]
    pub flip: bool,
    /// Images that training sees.
    pub train: IdxPair,
    /// Images that training never sees.
    pub held_out: IdxPair,
    /// Where to look for the files, in this order.
    pub from: Vec<Source>,
}

/// Images and their labels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdxPair {
    /// A file of bytes in three dimensions: images, rows, columns.
    pub images: PinnedFile,
    /// A file of bytes in one dimension.
    pub labels: PinnedFile,
}

impl IdxRecipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// The file cannot be read, is not valid YAML for such a recipe, or holds a value out of range.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        read_recipe(path, Self::check)
    }

    fn check(&self) -> Result<(), Invalid> {
        ensure!(self.kind == DataKind::Idx, "kind must be idx");
        check_size(self.size)?;
        ensure!(
            (1..=256).contains(&self.classes.len()),
            "classes must have 1 to 256 names"
        );
        for (i, name) in self.classes.iter().enumerate() {
            ensure!(
                !name.trim().is_empty() && !self.classes[..i].contains(name),
                "classes: {name:?} is empty or repeated"
            );
        }
        ensure!(!self.from.is_empty(), "from must name at least one place");
        let mut files = self.files().into_iter();
        files.try_for_each(|file| check_sha256(&file.file, &file.sha256))
    }

    /// The four files: training images and labels, held-out images and labels.
    fn files(&self) -> [&PinnedFile; 4] {
        let (train, held_out) = (&self.train, &self.held_out);
        [
            &train.images,
            &train.labels,
            &held_out.images,
            &held_out.labels,
        ]
    }

    /// What decides the bytes of the data set: everything but where files come from and go to.
    fn fingerprint(&self) -> String {
        let recipe = Self {
            out: PathBuf::new(),
            cache: PathBuf::new(),
            from: Vec::new(),
            ..self.clone()
        };
        fingerprint(&(VERSION, recipe))
    }
}

/// Builds the data set of a recipe in `out` and returns its manifest. A finished one is left as it is unless `force`.
///
/// # Errors
/// No source has a file, a file has another checksum or is not an IDX file, or a folder cannot be written.
pub fn build(recipe: &IdxRecipe, out: &Path, force: bool) -> Result<Manifest, DataError> {
    let fingerprint = recipe.fingerprint();
    if let Some(manifest) = start(out, &recipe.cache, &fingerprint, force)? {
        return Ok(manifest);
    }
    let files = recipe.files();
    let bytes = sources::collect(&files, &recipe.from, &recipe.cache)?;
    let mut contents = Contents {
        size: recipe.size,
        recipe: fingerprint,
        classes: recipe.classes.clone(),
        ..Contents::default()
    };
    for (part, held_out) in [(0, false), (2, true)] {
        let fail = |i: usize, message| DataError::content(Path::new(&files[i].file), message);
        let images = parse::<3>(&bytes[part]).map_err(|e| fail(part, e))?;
        let labels = parse::<1>(&bytes[part + 1]).map_err(|e| fail(part + 1, e))?;
        append(&mut contents, recipe, images, labels, held_out).map_err(|e| fail(part, e))?;
    }
    contents.inputs = files
        .iter()
        .map(|file| (file.file.clone(), file.sha256.clone()))
        .collect();
    contents.write(out)
}

/// The dimensions and the bytes of an IDX file of bytes with `D` dimensions.
fn parse<const D: usize>(bytes: &[u8]) -> Result<([usize; D], &[u8]), Invalid> {
    let magic = [0, 0, 8, D as u8];
    let Some(bytes) = bytes.strip_prefix(&magic[..]) else {
        let message = format!("this is not an IDX file of bytes in {D} dimensions");
        return Err(Invalid(message));
    };
    let Some((header, rest)) = bytes.split_at_checked(4 * D) else {
        return Err(Invalid("the header is cut off".into()));
    };
    let mut dims = [0; D];
    for (dim, bytes) in dims.iter_mut().zip(header.as_chunks().0) {
        *dim = u32::from_be_bytes(*bytes) as usize;
    }
    let wanted = dims
        .iter()
        .try_fold(1usize, |all, &dim| all.checked_mul(dim));
    ensure!(
        wanted == Some(rest.len()),
        "{} bytes do not make {dims:?}",
        rest.len()
    );
    Ok((dims, rest))
}

/// Adds images of one class each, centred on black.
fn append(
    contents: &mut Contents,
    recipe: &IdxRecipe,
    ([count, h, w], images): ([usize; 3], &[u8]),
    ([labelled], labels): ([usize; 1], &[u8]),
    held_out: bool,
) -> Result<(), Invalid> {
    let size = recipe.size;
    ensure!(count == labelled, "{count} images, but {labelled} labels");
    ensure!(
        h <= size && w <= size && h * w > 0,
        "images of {h}x{w} pixels do not fit into {size}x{size}"
    );
    for (image, &label) in images.chunks_exact(h * w).zip(labels) {
        let name = recipe.classes.get(usize::from(label)).ok_or_else(|| {
            let known = recipe.classes.len();
            Invalid(format!("the label {label} is none of {known} classes"))
        })?;
        contents.images.extend(centred(image, [h, w], size));
        contents.alpha.extend(vec![255; size * size]);
        contents.entries.push(Entry {
            id: contents.entries.len(),
            name: name.clone(),
            flip: recipe.flip,
            held_out,
            ..Entry::default()
        });
    }
    Ok(())
}

/// RGB bytes of a gray image of `h` x `w` pixels in the centre of a black one of `size` x `size`.
fn centred(image: &[u8], [h, w]: [usize; 2], size: usize) -> Vec<u8> {
    let (top, left) = ((size - h) / 2, (size - w) / 2);
    let mut rgb = vec![0; size * size * 3];
    for (y, row) in image.chunks_exact(w).enumerate() {
        for (x, &gray) in row.iter().enumerate() {
            let at = ((top + y) * size + left + x) * 3;
            rgb[at..at + 3].fill(gray);
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_in_the_repository_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fashion-mnist.yaml");
        let recipe = IdxRecipe::load(&path).unwrap();
        assert_eq!((recipe.size, recipe.classes.len()), (32, 10));
        assert_eq!(recipe.from.len(), 3);
    }

    #[test]
    fn what_is_no_idx_file_is_refused() {
        let error = |bytes| parse::<1>(bytes).unwrap_err().0;
        assert!(error(b"\0\0\x08\x03\0\0\0\x01a").contains("1 dimensions"));
        assert!(error(b"\0\0\x08\x01\0\0\0\x02a").contains("[2]"));
        let cut_off = parse::<3>(b"\0\0\x08\x03\0\0\0\x01");
        assert!(cut_off.unwrap_err().0.contains("cut off"));
        let huge = [&b"\0\0\x08\x03"[..], &[255; 12]].concat();
        assert!(parse::<3>(&huge).is_err());
        assert_eq!(
            parse::<1>(b"\0\0\x08\x01\0\0\0\x02ab"),
            Ok(([2], &b"ab"[..]))
        );
    }
}
