//! The sizes of a data set, from its recipe or from a model.

use anyhow::{Context as _, bail};
use nextscale_data::{Buckets, OwnRecipe};
use nextscale_models::{Model, released};

/// Areas whose ratio is no larger than this are of one pixel budget.
const SAME_BUDGET: f64 = 1.35;

/// Widths and heights of the buckets of a recipe.
pub(super) fn of(recipe: &OwnRecipe) -> anyhow::Result<Vec<[usize; 2]>> {
    if let Some(sizes) = recipe.sizes() {
        return Ok(sizes);
    }
    let buckets = recipe.buckets.as_ref();
    of_model(buckets.context("the recipe has none of size, sizes and buckets")?)
}

/// The sizes of a model that have about so many pixels.
fn of_model(buckets: &Buckets) -> anyhow::Result<Vec<[usize; 2]>> {
    let name = &buckets.model;
    let model = match Model::open(name) {
        Ok(model) => model,
        // Sizes do not need the weights.
        Err(error) => match released::shape(name) {
            Some(shape) => Model::with_random_weights(shape)?,
            None => return Err(error.into()),
        },
    };
    let trained = model.manifest().sizes().into_iter();
    let trained = trained.filter(|size| size.known.is_none());
    let all: Vec<[usize; 2]> = trained.map(|size| [size.width, size.height]).collect();
    let area = |&[width, height]: &[usize; 2]| (width * height) as f64;
    let near = |a: f64, b: f64| a.max(b) / a.min(b) <= SAME_BUDGET;
    let Some(pixels) = &buckets.pixels else {
        let first = all.first().map_or(1.0, area);
        if all.iter().all(|size| near(area(size), first)) {
            return Ok(all);
        }
        let mut budgets: Vec<String> = all.iter().map(|size| budget(area(size))).collect();
        budgets.dedup();
        bail!(
            "buckets: `{name}` has several sizes; choose one with `pixels`: {}",
            budgets.join(", ")
        );
    };
    let wanted = parse(pixels).with_context(|| {
        format!("buckets.pixels: `{pixels}` is no number of pixels, such as 0.06M or 65536")
    })?;
    let chosen: Vec<[usize; 2]> = all
        .into_iter()
        .filter(|size| near(area(size), wanted))
        .collect();
    if chosen.is_empty() {
        bail!("buckets.pixels: `{name}` generates no size of about {pixels} pixels");
    }
    Ok(chosen)
}

/// A number of pixels; `M` are millions.
fn parse(text: &str) -> Option<f64> {
    let (number, factor) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1e6),
        None => (text, 1.0),
    };
    let pixels = number.trim().parse::<f64>().ok()? * factor;
    (pixels.is_finite() && pixels > 0.0).then_some(pixels)
}

/// A number of pixels as the released models name it.
fn budget(area: f64) -> String {
    format!("{:.2}M", area / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(model: &str, pixels: Option<&str>) -> anyhow::Result<Vec<[usize; 2]>> {
        of_model(&Buckets {
            model: model.into(),
            pixels: pixels.map(str::to_owned),
        })
    }

    #[test]
    fn sizes_are_those_of_a_budget() {
        assert_eq!(buckets("default", None).unwrap(), [[64, 64]]);
        let small = buckets("infinity-2b", Some("0.06M")).unwrap();
        assert!(small.contains(&[256, 256]), "{small:?}");
        assert!(small.iter().all(|[w, h]| w * h < 100_000), "{small:?}");
        let error = buckets("infinity-2b", None).unwrap_err().to_string();
        assert!(
            error.contains("0.07M") && error.contains("pixels"),
            "{error}"
        );
        for (pixels, words) in [("many", "no number"), ("5M", "no size of about")] {
            let error = buckets("infinity-2b", Some(pixels))
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
