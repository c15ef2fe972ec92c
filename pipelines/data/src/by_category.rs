//! A data set of icons as one with classes.

use std::collections::BTreeSet;
use std::path::Path;

use nextscale_files::checksum;

use crate::dataset::Dataset;
use crate::entry::Entry;
use crate::error::DataError;
use crate::manifest::{Contents, Manifest};

/// Writes the images of a data set as one whose classes are their categories, such as the groups of emoji. The same images again are the
/// same bytes.
///
/// # Errors
/// An image without a category, images that are not squares of one size, or a file that cannot be written.
pub fn by_category(set: &Dataset, out: &Path) -> Result<Manifest, DataError> {
    let wrong = |message: &str| Err(DataError::content(set.folder(), message));
    if !set.is_square() || set.frames() != 1 {
        return wrong("only images that are squares of one size can be divided into categories");
    }
    let categories: BTreeSet<&String> = set.entries().iter().map(|e| &e.category).collect();
    if categories.len() < 2 || categories.iter().any(|name| name.is_empty()) {
        return wrong("the images have neither classes nor categories");
    }
    let (mut images, mut alpha) = (vec![], vec![]);
    for entry in set.entries() {
        let (rgb, opaque) = set.raw(entry.id);
        images.extend_from_slice(rgb);
        alpha.extend_from_slice(opaque);
    }
    let entry = |entry: &Entry| Entry {
        id: entry.id,
        name: entry.category.clone(),
        flip: entry.flip,
        held_out: entry.held_out,
        file: entry.file.clone(),
        sha256: entry.sha256.clone(),
        ..Entry::default()
    };
    let manifest = set.manifest();
    let recipe = format!("{} by category", manifest.recipe);
    std::fs::create_dir_all(out).map_err(|error| DataError::write(out, error))?;
    Contents {
        size: set.size(),
        recipe: checksum::of_bytes(recipe.as_bytes()),
        classes: categories.into_iter().cloned().collect(),
        packages: manifest.packages.clone(),
        inputs: manifest.inputs.clone(),
        entries: set.entries().iter().map(entry).collect(),
        images,
        alpha,
    }
    .write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::tests::{Image, small};

    #[test]
    fn categories_become_classes() {
        let image = |name, category| Image {
            name,
            category,
            style: "3d",
            rgb: [7; 12],
            alpha: [255; 4],
            held_out: name == "dog",
        };
        let (_folder, set) = small(&[
            image("dog", "Animals"),
            image("apple", "Food"),
            image("cat", "Animals"),
        ]);
        let out = tempfile::tempdir().unwrap();
        by_category(&set, out.path()).unwrap();
        let classed = Dataset::load(out.path()).unwrap();
        assert_eq!(classed.classes(), ["Animals", "Food"]);
        let classes: Vec<_> = (0..3).map(|i| classed.class(i)).collect();
        assert_eq!(classes, [Some(0), Some(1), Some(0)]);
        assert_eq!(classed.held_out_ids(), [0]);
        assert_eq!(classed.image(1, [0; 3]), set.image(1, [0; 3]));

        let (_folder, none) = small(&[image("dog", ""), image("cat", "")]);
        let error = by_category(&none, out.path()).unwrap_err().to_string();
        assert!(error.contains("neither classes nor categories"), "{error}");
    }
}
