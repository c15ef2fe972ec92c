//! Keys and values of earlier scales, owned by the caller.

#[cfg(test)]
mod tests;

use burn::tensor::Tensor;
use nextscale_tokenizer::Scale;

use crate::cache_budget::{most_attended, selectivity};

/// Rotated keys and values of one attention layer, allocated for a whole schedule.
#[derive(Debug, Clone)]
struct Layer {
    k: Tensor<4>,
    v: Tensor<4>,
    len: usize,
}

/// Keys and values of every layer of a model: those of all scales but the last, which no later scale attends to.
///
/// A layer is allocated for its capacity when it is first written. After that each scale is written in place, so
/// nothing is copied again (as long as no returned view is alive).
///
/// A cache with a budget ([`KvCache::compressed`]) has no room to spare: after each scale a layer is copied with the tokens that it keeps.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<Option<Layer>>,
    /// Tokens that each layer has room for.
    capacity: Vec<usize>,
    /// The grid of the scale that comes next or is running.
    grid: Option<Scale>,
    /// Tokens that each layer keeps after it.
    limits: Option<Vec<usize>>,
    /// Whether layers hold what they keep, and no room.
    compressed: bool,
    /// How selective the attention of each layer was at each scale, if it is measured.
    selectivity: Option<Vec<Vec<f64>>>,
    /// Whether the buffers stay where they are: a recorded graph writes them.
    #[cfg(feature = "cuda")]
    fixed: bool,
}

impl KvCache {
    /// An empty cache for `layers` layers and at most `capacity` tokens.
    pub fn new(layers: usize, capacity: usize) -> Self {
        Self::with_capacity(vec![capacity; layers])
    }

    /// An empty cache with room for a number of tokens in each layer.
    pub fn with_capacity(capacity: Vec<usize>) -> Self {
        Self {
            layers: vec![None; capacity.len()],
            capacity,
            grid: None,
            limits: None,
            compressed: false,
            selectivity: None,
            #[cfg(feature = "cuda")]
            fixed: false,
        }
    }

    /// An empty cache whose layers hold what they keep after each scale, as [`KvCache::begin`] says, and never more than `capacity` tokens;
    /// none is reserved.
    pub fn compressed(capacity: Vec<usize>) -> Self {
        Self {
            compressed: true,
            ..Self::with_capacity(capacity)
        }
    }

    /// Begins a scale with this grid, after which the layers of a compressed cache keep so many tokens at most; all if there are no limits.
    pub fn begin(&mut self, grid: Scale, limits: Option<Vec<usize>>) {
        self.grid = Some(grid);
        self.limits = limits;
    }

    /// From now on, measures how selective attention is.
    pub fn measure(&mut self) {
        self.selectivity = Some(vec![vec![]; self.layers.len()]);
    }

    /// Of each layer and each scale but the first: the share of attention that stays if, of the earlier tokens, a tenth is kept. None if
    /// it is not measured.
    pub fn selectivity(&self) -> Option<&[Vec<f64>]> {
        self.selectivity.as_deref()
    }

    /// Whether kernels may write to the layers, and attend to them, as they are.
    pub fn is_plain(&self) -> bool {
        !self.compressed && self.selectivity.is_none()
    }

    /// An empty cache whose buffers, of keys and values `[b, h, d]` for each token, are written in place whoever else holds
    /// them.
    #[cfg(feature = "cuda")]
    pub fn fixed(
        layers: usize,
        capacity: usize,
        [b, h, d]: [usize; 3],
        like: (&burn::tensor::Device, burn::tensor::DType),
    ) -> Self {
        // A schedule of one scale keeps none.
        let fresh = || Tensor::empty([b, h, capacity.max(1), d], like);
        let layer = || Layer {
            k: fresh(),
            v: fresh(),
            len: 0,
        };
        Self {
            layers: (0..layers).map(|_| Some(layer())).collect(),
            fixed: true,
            ..Self::new(layers, capacity)
        }
    }

    /// Whether buffers are written in place whoever else holds them.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Says that each layer holds `len` tokens.
    ///
    /// # Panics
    /// If the capacity is exceeded.
    #[cfg(feature = "cuda")]
    pub fn set_len(&mut self, len: usize) {
        for (layer, room) in self.layers.iter_mut().zip(&self.capacity) {
            assert!(len <= *room, "{len} tokens in a cache made for {room}");
            if let Some(layer) = layer {
                layer.len = len;
            }
        }
    }

    /// Drops all rows of the batch but the first `rows`, and makes room for other numbers of tokens, unless the cache is compressed. What
    /// is kept is copied once, layer by layer.
    ///
    /// # Panics
    /// If a layer has more tokens than the room that it gets, or there is not one number for each layer.
    pub fn keep_rows(&mut self, rows: usize, capacity: Vec<usize>) {
        assert_eq!(capacity.len(), self.layers.len(), "layers of the cache");
        for (layer, &room) in self.layers.iter_mut().zip(&capacity) {
            let Some(Layer { k, v, len }) = layer.take() else {
                continue;
            };
            assert!(len <= room, "{len} tokens in a cache made for {room}");
            let room = if self.compressed { len } else { room };
            let [k, v] = [k, v].map(|all| {
                let [_, h, _, d] = all.dims();
                let place = [0..rows, 0..h, 0..len, 0..d];
                let kept = all.slice(place.clone());
                let shape = [rows, h, room, d];
                let fresh = Tensor::empty(shape, (&kept.device(), kept.dtype()));
                match len {
                    0 => fresh,
                    _ => fresh.slice_assign(place, kept),
                }
            });
            *layer = Some(Layer { k, v, len });
        }
        self.capacity = capacity;
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Number of tokens in `layer`.
    pub fn len(&self, layer: usize) -> usize {
        self.layers[layer].as_ref().map_or(0, |l| l.len)
    }

    /// Whether all layers are empty.
    pub fn is_empty(&self) -> bool {
        self.layers.iter().flatten().all(|l| l.len == 0)
    }

    /// Drops all tokens from `len` on in every layer; the allocation is kept.
    pub fn truncate(&mut self, len: usize) {
        for layer in self.layers.iter_mut().flatten() {
            layer.len = layer.len.min(len);
        }
    }

    /// Appends `k` and `v`, `[b, h, n, d]`, to `layer`, and returns all of it, `[b, h, len, d]`.
    ///
    /// # Panics
    /// If the capacity is exceeded, or a shape differs from the first one in another dimension than `n`.
    pub fn append(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [b, h, n, d] = k.dims();
        let capacity = self.capacity[layer];
        let cached = self.layers[layer].take().unwrap_or_else(|| Layer {
            k: Tensor::empty([b, h, capacity, d], (&k.device(), k.dtype())),
            v: Tensor::empty([b, h, capacity, d], (&v.device(), v.dtype())),
            len: 0,
        });
        let end = cached.len + n;
        assert!(
            end <= capacity,
            "{end} tokens in a cache made for {capacity}"
        );
        assert_eq!(
            cached.k.dims(),
            [b, h, capacity, d],
            "the shape of the keys differs from the cached ones"
        );
        let place = [0..b, 0..h, cached.len..end, 0..d];
        let k = cached.k.slice_assign(place.clone(), k);
        let v = cached.v.slice_assign(place, v);
        let all = [0..b, 0..h, 0..end, 0..d];
        let views = (k.clone().slice(all.clone()), v.clone().slice(all));
        self.layers[layer] = Some(Layer { k, v, len: end });
        views
    }

    /// Takes the keys and values of a layer, `[b, h, capacity, d]` each, and their number of tokens, to be given back by
    /// [`KvCache::put`]; `shape` is `[b, h, d]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn take(
        &mut self,
        layer: usize,
        shape: [usize; 3],
        dtype: burn::tensor::DType,
        device: &burn::tensor::Device,
    ) -> (Tensor<4>, Tensor<4>, usize) {
        let [b, h, d] = shape;
        // A schedule of one scale keeps none.
        let shape = [b, h, self.capacity[layer].max(1), d];
        match self.layers[layer].take() {
            Some(Layer { k, v, len }) => (k, v, len),
            None => {
                let fresh = || Tensor::empty(shape, (device, dtype));
                (fresh(), fresh(), 0)
            }
        }
    }

    /// Gives back what [`KvCache::take`] took, with `len` tokens.
    ///
    /// # Panics
    /// If the capacity is exceeded.
    #[cfg(feature = "cuda")]
    pub(crate) fn put(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>, len: usize) {
        let capacity = self.capacity[layer];
        assert!(
            len <= capacity,
            "{len} tokens in a cache made for {capacity}"
        );
        self.layers[layer] = Some(Layer { k, v, len });
    }

    /// The keys and values that a scale with queries `q`, `[b, h, n, d]`, attends to, `[b, h, len, d]`, with its own, `k` and `v`, which are
    /// kept as far as there is a budget for them; those of the `last` scale are not ([`KvCache::with_last`]).
    ///
    /// # Panics
    /// As [`KvCache::append`]; and if the cache is compressed or measures, and no scale has begun.
    pub fn extend(
        &mut self,
        layer: usize,
        q: &Tensor<4>,
        [k, v]: [Tensor<4>; 2],
        last: bool,
    ) -> (Tensor<4>, Tensor<4>) {
        let (k, v) = if last || self.compressed {
            self.with_last(layer, k, v)
        } else {
            self.append(layer, k, v)
        };
        if self.compressed && !last {
            self.keep_within_limit(layer, q, [k.clone(), v.clone()]);
        }
        if let Some(measured) = &mut self.selectivity {
            let grid = self.grid.expect("a scale begins before it is attended to");
            measured[layer].extend(selectivity(q, &k, grid));
        }
        (k, v)
    }

    /// Keeps in `layer`, of `all` keys and values, `[b, h, m, d]`, those that its limit leaves.
    fn keep_within_limit(&mut self, layer: usize, q: &Tensor<4>, all: [Tensor<4>; 2]) {
        let [_, _, m, _] = all[0].dims();
        let limits = self.limits.as_ref();
        let len = limits.map_or(m, |limits| m.min(limits[layer]));
        let capacity = self.capacity[layer];
        assert!(
            len <= capacity,
            "{len} tokens in a cache made for {capacity}"
        );
        if len == 0 {
            self.layers[layer] = None;
            return;
        }
        let [k, v] = if len == m {
            all
        } else {
            let grid = self.grid.expect("a scale begins before it is attended to");
            most_attended(q, all, grid, len)
        };
        self.layers[layer] = Some(Layer { k, v, len });
    }

    /// All keys and values of `layer` followed by `k` and `v` of the last scale, which are not cached: they are a third of all
    /// tokens or more. This copies one layer at a time.
    pub fn with_last(&self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let Some(Layer {
            k: keys,
            v: values,
            len,
        }) = &self.layers[layer]
        else {
            return (k, v);
        };
        let extended = |cached: &Tensor<4>, new| {
            Tensor::cat(vec![cached.clone().slice_dim(2, 0..*len), new], 2)
        };
        (extended(keys, k), extended(values, v))
    }
}
