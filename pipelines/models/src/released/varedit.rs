//! VAREdit, which edits images by instruction: what tells its files from those of Infinity-8B.
//!
//! Its tensors have the same names and shapes (`Infinity` of github.com/HiDream-ai/VAREdit adds none), so only the name of a
//! file does.

use std::path::Path;

use nextscale_tokenizer::schedule::infinity::PixelBudget;

/// Names of the published files, without their endings.
const STEMS: [(&str, PixelBudget); 2] =
    [("8b-512", PixelBudget::M025), ("8b-1024", PixelBudget::M1)];

/// The number of pixels that a checkpoint of VAREdit edits, by its name or the word `varedit` in its path; none for others.
pub(super) fn budget_of(path: &Path) -> Option<PixelBudget> {
    let stem = path.file_stem()?.to_string_lossy().to_ascii_lowercase();
    if let Some((_, budget)) = STEMS.iter().find(|(name, _)| *name == stem) {
        return Some(*budget);
    }
    let mut names = path
        .iter()
        .map(|name| name.to_string_lossy().to_ascii_lowercase());
    if stem.starts_with("infinity") || !names.any(|name| name.contains("varedit")) {
        return None;
    }
    Some(if stem.contains("512") {
        PixelBudget::M025
    } else {
        PixelBudget::M1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_by_its_names() {
        let (small, large) = (Some(PixelBudget::M025), Some(PixelBudget::M1));
        for (path, budget) in [
            ("8B-1024.pth", large),
            ("x/8b-512.safetensors", small),
            ("VAREdit/model.pth", large),
            ("my-varedit-512.pth", small),
            ("VAREdit/infinity_8b.safetensors", None),
            ("infinity_8b_512x512_weights", None),
            ("model.pth", None),
        ] {
            assert_eq!(budget_of(Path::new(path)), budget, "{path}");
        }
    }
}
