//! Keys and values of the scales already written, owned by the caller.

use burn::tensor::Tensor;

/// Rotated keys and values of one attention layer, with room for a whole schedule.
#[derive(Debug, Clone)]
struct Layer {
    k: Tensor<4>,
    v: Tensor<4>,
    len: usize,
}

/// Keys and values of every layer of a model: those of all scales but the last, which nobody looks back at.
///
/// Room for `capacity` tokens is taken when a layer is first written; after that each scale is written into
/// its place, so nothing already there is copied again (as long as no returned view is still alive).
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<Option<Layer>>,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `layers` layers and at most `capacity` tokens.
    pub fn new(layers: usize, capacity: usize) -> Self {
        Self {
            layers: vec![None; layers],
            capacity,
        }
    }

    /// Tokens written to `layer` so far.
    pub fn len(&self, layer: usize) -> usize {
        self.layers[layer].as_ref().map_or(0, |l| l.len)
    }

    /// Whether no layer holds a token.
    pub fn is_empty(&self) -> bool {
        self.layers.iter().flatten().all(|l| l.len == 0)
    }

    /// Forgets all tokens from `len` on, in every layer; the room is kept.
    pub fn truncate(&mut self, len: usize) {
        for layer in self.layers.iter_mut().flatten() {
            layer.len = layer.len.min(len);
        }
    }

    /// Writes `k` and `v`, `[b, h, n, d]`, behind what `layer` holds, and returns all of it, `[b, h, len, d]`.
    ///
    /// # Panics
    /// If the capacity is exceeded, or a shape differs from the first one in anything but `n`.
    pub fn append(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [b, h, n, d] = k.dims();
        let capacity = self.capacity;
        let held = self.layers[layer].take().unwrap_or_else(|| Layer {
            k: Tensor::empty([b, h, capacity, d], (&k.device(), k.dtype())),
            v: Tensor::empty([b, h, capacity, d], (&v.device(), v.dtype())),
            len: 0,
        });
        let end = held.len + n;
        assert!(
            end <= capacity,
            "{end} tokens in a cache made for {capacity}"
        );
        assert_eq!(
            held.k.dims(),
            [b, h, capacity, d],
            "keys differ from the cached ones in shape"
        );
        let place = [0..b, 0..h, held.len..end, 0..d];
        let k = held.k.slice_assign(place.clone(), k);
        let v = held.v.slice_assign(place, v);
        let seen = [0..b, 0..h, 0..end, 0..d];
        let views = (k.clone().slice(seen.clone()), v.clone().slice(seen));
        self.layers[layer] = Some(Layer { k, v, len: end });
        views
    }

    /// What `layer` holds, with `k` and `v` of the last scale behind it, which are not kept: a third of all tokens and more.
    ///
    /// Of one layer at a time there is a copy then.
    pub fn with_last(&self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let Some(Layer {
            k: keys,
            v: values,
            len,
        }) = &self.layers[layer]
        else {
            return (k, v);
        };
        let behind =
            |held: &Tensor<4>, new| Tensor::cat(vec![held.clone().slice_dim(2, 0..*len), new], 2);
        (behind(keys, k), behind(values, v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn pieces_add_up() {
        let device = Device::flex();
        let all = Tensor::<4>::random([2, 3, 6, 4], Distribution::Default, &device);
        let part = |r: std::ops::Range<usize>| all.clone().slice([0..2, 0..3, r, 0..4]);
        let mut cache = KvCache::new(2, 6);
        assert!(cache.is_empty());
        cache.append(1, part(0..1), part(0..1));
        cache.append(1, part(1..3), part(1..3));
        cache.truncate(1);
        cache.append(1, part(1..3), part(1..3));
        let (last, _) = cache.with_last(1, part(3..6), part(3..6));
        assert_eq!((cache.len(1), cache.len(0)), (3, 0));
        assert_eq!(
            cache.with_last(0, part(0..2), part(0..2)).1.dims(),
            [2, 3, 2, 4]
        );
        last.into_data().assert_eq(&all.clone().into_data(), true);
        let (k, v) = cache.append(1, part(3..6), part(3..6) * 2.0);
        assert_eq!((cache.len(0), cache.len(1)), (0, 6));
        k.into_data().assert_eq(&all.clone().into_data(), true);
        v.slice([0..2, 0..3, 3..6, 0..4])
            .into_data()
            .assert_eq(&(part(3..6) * 2.0).into_data(), true);
    }

    #[test]
    #[should_panic(expected = "made for 2")]
    fn too_many_tokens() {
        let x = Tensor::<4>::zeros([1, 1, 3, 2], &Device::flex());
        KvCache::new(1, 2).append(0, x.clone(), x);
    }
}
