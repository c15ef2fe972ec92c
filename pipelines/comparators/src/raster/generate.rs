//! Generation, code by code.

use burn::tensor::{Int, Tensor};
use nextscale_var_core::cache::KvCache;
use nextscale_var_core::guidance::mix;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::rope::RopeTable;
use nextscale_var_core::sampler::Sampler;

use super::model::{Pass, Raster};

/// Whether keys and values are kept from code to code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RasterCache {
    /// They are: each code is one token through the transformer.
    #[default]
    Kept,
    /// They are not: each code needs all tokens before it once more. This is what the cost of O(n^6) counts.
    Recomputed,
}

/// What [`generate`] generates from.
#[derive(Debug, Clone)]
pub struct GenerateInput<'a> {
    /// One class per image.
    pub labels: &'a [usize],
    /// The guidance weight, `weight c + (1 - weight) u`; 1 is no guidance.
    pub cfg: f64,
    /// Samples the codes. It needs one seed per image unless it is greedy.
    pub sampler: Sampler,
    /// Whether keys and values are kept.
    pub cache: RasterCache,
}

/// An iterator over the codes, `[b, 1]` each, row by row. Dropping it stops the work.
pub struct Generation<'a> {
    model: &'a Raster,
    labels: Vec<usize>,
    images: usize,
    cfg: f64,
    sampler: Sampler,
    rope: RopeTable,
    kept: Option<KvCache>,
    codes: Vec<Tensor<2, Int>>,
}

/// Generates one image per label, code by code.
///
/// # Panics
/// If a label is not a class, or there is not one seed per image.
pub fn generate<'a>(model: &'a Raster, input: GenerateInput<'_>) -> Generation<'a> {
    let config = model.config();
    let mut labels = input.labels.to_vec();
    let images = labels.len();
    if input.cfg != 1.0 {
        labels.extend(vec![config.classes; images]);
    }
    let kept = match input.cache {
        RasterCache::Kept => Some(KvCache::new(config.depth, config.tokens())),
        RasterCache::Recomputed => None,
    };
    Generation {
        model,
        labels,
        images,
        cfg: input.cfg,
        sampler: input.sampler,
        rope: config.rope(&model.class_embed.device()),
        kept,
        codes: vec![],
    }
}

impl Generation<'_> {
    /// The logits of the next code before guidance, `[rows, 1, V]`.
    fn logits(&mut self) -> Tensor<3> {
        let copies = self.labels.len() / self.images;
        let Some(kept) = &mut self.kept else {
            let mut codes = self.codes.clone();
            // The code that is to come is not read.
            codes.push(Tensor::zeros(
                [self.images, 1],
                &self.model.class_embed.device(),
            ));
            let codes = Tensor::cat(codes, 1).repeat_dim(0, copies);
            let n = codes.dims()[1];
            let all = self.model.forward(codes, &self.labels, Precision::F32);
            return all.slice_dim(1, n - 1..n);
        };
        let (x, rope) = match self.codes.last() {
            None => (self.model.embed_classes(&self.labels), None),
            Some(code) => (
                self.model.embed_codes(code.clone().repeat_dim(0, copies)),
                Some(self.rope.slice(self.codes.len() - 1, 1)),
            ),
        };
        let pass = Pass {
            rope: rope.as_ref(),
            class: rope.is_none(),
            hidden: None,
            precision: Precision::F32,
        };
        self.model
            .next(x, pass, |layer, k, v| kept.append(layer, k, v))
    }
}

impl Iterator for Generation<'_> {
    type Item = Tensor<2, Int>;

    fn next(&mut self) -> Option<Tensor<2, Int>> {
        if self.codes.len() == self.model.config().tokens() {
            return None;
        }
        let logits = self.logits();
        let logits = if self.cfg == 1.0 {
            logits
        } else {
            mix(logits, self.cfg)
        };
        let code = self.sampler.sample(logits);
        self.codes.push(code.clone());
        Some(code)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.model.config().tokens() - self.codes.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Generation<'_> {}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use nextscale_var_core::sampler::SamplerConfig;

    use super::*;
    use crate::raster::RasterConfig;

    fn model() -> Raster {
        let device = Device::flex();
        let config = RasterConfig {
            width: 32,
            depth: 2,
            heads: 4,
            classes: 3,
            vocabulary: 11,
            grid: [3, 4],
            multiple_of: 8,
        };
        let mut model = config.init(&device);
        let head = Tensor::random([32, 11], Distribution::Normal(0.0, 1.0), &device);
        model.head.weight = burn::module::Param::from_tensor(head);
        model
    }

    fn run(model: &Raster, cfg: f64, cache: RasterCache) -> Tensor<2, Int> {
        let config = SamplerConfig {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
        };
        let input = GenerateInput {
            labels: &[2, 0],
            cfg,
            sampler: Sampler::new(config, &[1, 2]),
            cache,
        };
        Tensor::cat(generate(model, input).collect(), 1)
    }

    #[test]
    fn kept_keys_and_values_change_no_code() {
        let model = model();
        for cfg in [1.0, 3.0] {
            let [kept, anew] = [RasterCache::Kept, RasterCache::Recomputed]
                .map(|cache| run(&model, cfg, cache).into_data());
            assert_eq!(kept.shape().as_slice(), [2, 12]);
            assert_eq!(kept, anew);
        }
    }

    #[test]
    fn a_code_depends_on_the_class_and_the_codes_before_it() {
        let model = model();
        let codes = run(&model, 1.0, RasterCache::Kept);
        let logits = |codes, labels: &[usize]| model.forward(codes, labels, Precision::F32);
        let all = logits(codes.clone(), &[2, 0]);
        let off = |x: Tensor<3>, y: Tensor<3>| -> f32 { (x - y).abs().max().into_scalar() };
        // Other codes from the sixth on change the logits of the seventh on.
        let changed = codes.clone().slice_dim(1, 5..12).equal_elem(0).int();
        let changed = Tensor::cat(vec![codes.clone().slice_dim(1, 0..5), changed], 1);
        let other = logits(changed, &[2, 0]);
        let part = |x: &Tensor<3>, range| x.clone().slice_dim(1, range);
        assert_eq!(off(part(&all, 0..6), part(&other, 0..6)), 0.0);
        assert!(off(part(&all, 6..7), part(&other, 6..7)) > 1e-4);
        assert!(off(all, logits(codes, &[1, 1])) > 1e-4);
    }
}
