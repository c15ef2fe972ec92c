//! A learned codebook: each cell becomes the index of its nearest vector.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Int, Tensor, TensorData},
};

use crate::quantizer::{Codes, Quantizer};
use crate::schedule::Scale;

/// The vectors that latent cells are quantised to (VQ-VAE, arXiv 1711.00937).
#[derive(Module, Debug)]
pub struct Codebook {
    /// `[V, c]`.
    pub embedding: Param<Tensor<2>>,
}

impl Codebook {
    /// `vocabulary` random vectors of `channels` channels, uniform in +-1 / `vocabulary`.
    pub fn init(vocabulary: usize, channels: usize, device: &Device) -> Self {
        let limit = 1.0 / vocabulary as f64;
        let uniform = Initializer::Uniform {
            min: -limit,
            max: limit,
        };
        Self {
            embedding: uniform.init([vocabulary, channels], device),
        }
    }

    /// Number of vectors, V.
    pub fn vocabulary(&self) -> usize {
        self.embedding.dims()[0]
    }

    /// The codebook with the vectors of some indices replaced, each with c channels, in f32. `require_grad` stays as it is.
    ///
    /// # Panics
    /// If an index is outside the codebook, or a vector has another length.
    pub fn with_vectors(self, vectors: &[(usize, Vec<f32>)]) -> Self {
        let [v, c] = self.embedding.dims();
        let replace = |old: Tensor<2>| {
            let data = old.clone().into_data().convert::<f32>();
            let mut all: Vec<f32> = data.iter().collect();
            for (place, vector) in vectors {
                all[place * c..(place + 1) * c].copy_from_slice(vector);
            }
            let new = Tensor::<2>::from_data(TensorData::new(all, [v, c]), &old.device());
            new.set_require_grad(old.is_require_grad())
        };
        Self {
            embedding: self.embedding.map(replace),
        }
    }

    /// The vectors of `indices` `[b, t, h, w]`: `[b, c, t, h, w]`, differentiable in the codebook.
    pub fn look_up(&self, indices: Tensor<4, Int>) -> Tensor<5> {
        let [b, t, h, w] = indices.dims();
        let rows = self
            .embedding
            .val()
            .select(0, indices.reshape([b * t * h * w]));
        let c = rows.dims()[1];
        rows.reshape([b, t, h, w, c]).permute([0, 4, 1, 2, 3])
    }

    /// Squared distances of rows `[n, c]` to all vectors, `[n, V]`.
    fn distances(&self, rows: Tensor<2>) -> Tensor<2> {
        let vectors = self.embedding.val().detach();
        let lengths = vectors.clone().square().sum_dim(1).transpose(); // [1, V]
        let own = rows.clone().square().sum_dim(1); // as in the released code, for the same rounding
        (own + lengths) - rows.matmul(vectors.transpose()) * 2.0
    }
}

impl Quantizer for Codebook {
    fn dim(&self) -> usize {
        self.embedding.dims()[1]
    }

    fn quantize(&self, x: Tensor<5>) -> Codes {
        let [b, c, t, h, w] = x.dims();
        assert_eq!(c, self.dim(), "channels of the latent and of the codebook");
        let rows = x.permute([0, 2, 3, 4, 1]).reshape([b * t * h * w, c]);
        let nearest = self.distances(rows).argmin(1);
        Codes::Indices(nearest.reshape([b, t, h, w]))
    }

    fn embed(&self, codes: &Codes) -> Tensor<5> {
        let indices = codes.clone().indices();
        self.look_up(indices.expect("indices of a codebook, not bits"))
    }

    fn blend(&self, weights: Tensor<3>, scale: Scale) -> Option<Tensor<5>> {
        let [b, l, _] = weights.dims();
        let vectors = self.embedding.val().unsqueeze::<3>();
        let [_, v, c] = vectors.dims();
        let cells = weights.matmul(vectors.expand([b, v, c])); // [b, l, c]
        assert_eq!(l, scale.tokens(), "tokens of the scale");
        let cells = cells.swap_dims(1, 2);
        Some(cells.reshape([b, c, scale.t, scale.h, scale.w]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Codebook {
        let vectors = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]];
        let vectors = Tensor::from_floats(vectors, &Device::flex());
        Codebook {
            embedding: Param::from_tensor(vectors),
        }
    }

    #[test]
    fn the_nearest_vector_is_taken_and_found_again() {
        let x = Tensor::<2>::from_floats([[0.9, 0.1, -3.0], [0.2, 1.9, 0.0]], &Device::flex());
        let x = x.reshape([1, 2, 1, 1, 3]);
        let codes = three().quantize(x);
        let indices: Vec<i64> = codes
            .clone()
            .indices()
            .unwrap()
            .into_data()
            .iter()
            .collect();
        assert_eq!(indices, [1, 2, 0]);
        let again: Vec<f32> = three().embed(&codes).into_data().iter().collect();
        assert_eq!(again, [1.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn of_equal_ones_the_first_is_taken() {
        let x = Tensor::<1>::from_floats([0.5, 0.0], &Device::flex()).reshape([1, 2, 1, 1, 1]);
        let codes = three().quantize(x).indices().unwrap();
        assert_eq!(codes.into_scalar::<i64>(), 0);
    }

    #[test]
    fn blends_are_means() {
        let weights = Tensor::<1>::from_floats([0.0, 0.5, 0.5], &Device::flex()).reshape([1, 1, 3]);
        let mean = three().blend(weights, Scale::image(1, 1)).unwrap();
        let mean: Vec<f32> = mean.into_data().iter().collect();
        assert_eq!(mean, [0.5, 1.0]);
    }

    #[test]
    fn replaced_vectors_are_trained_like_the_old_ones() {
        let device = Device::flex().autodiff();
        let book = Codebook::init(4, 2, &device);
        let id = book.embedding.id;
        let kept = book.embedding.val().slice_dim(0, 0..1).into_data();
        let book = book.with_vectors(&[(2, vec![5.0, 6.0])]);
        assert_eq!(book.embedding.id, id);
        let rows = book.embedding.val();
        assert_eq!(rows.clone().slice_dim(0, 0..1).into_data(), kept);
        let row: Vec<f32> = rows.slice_dim(0, 2..3).into_data().iter().collect();
        assert_eq!(row, [5.0, 6.0]);
        let one = Tensor::<4, Int>::from_ints([[[[2]]]], &device);
        let grads = book.look_up(one).sum().backward();
        let gradient = book.embedding.grad(&grads).expect("a gradient");
        assert_eq!(gradient.sum().into_scalar::<f32>(), 2.0);
    }
}
