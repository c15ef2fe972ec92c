//! Encoding and decoding of clips chunk by chunk: memory does not grow with their length.

use burn::tensor::Tensor;

use super::model::InfinityStarVae;
use crate::conv3d::FrameCache;

/// Latent frames per chunk of the encoder and of the decoder, as in the released code.
const ENCODER_CHUNK: usize = 2;
const DECODER_CHUNK: usize = 2;

/// Encodes a clip.
#[derive(Debug)]
pub struct EncodeStream<'a> {
    vae: &'a InfinityStarVae,
    cache: FrameCache,
}

impl<'a> EncodeStream<'a> {
    pub(super) fn new(vae: &'a InfinityStarVae) -> Self {
        let cache = FrameCache::new();
        Self { vae, cache }
    }

    /// The raw moments `[b, 2 z, t', 2 h/s, 2 w/s]` of the next frames, pixels `[b, 3, t, h, w]` in [-1, 1]. The first chunk
    /// has `1 + k p` frames, every other one `k p`.
    ///
    /// # Panics
    /// If the number of frames is another, or the sides are not multiples of the stride.
    pub fn push(&mut self, frames: Tensor<5>) -> Tensor<5> {
        let [_, _, t, h, w] = frames.dims();
        let (stride, p) = (self.vae.stride, self.vae.frame_stride);
        assert!(
            h % stride == 0 && w % stride == 0,
            "frames of {h}x{w} do not fit a stride of {stride}"
        );
        if self.cache.is_at_start() {
            assert!(
                t % p == 1 % p,
                "{t} frames at the start of a clip, not 1 plus a multiple of {p}"
            );
        } else {
            assert!(t % p == 0, "{t} frames, not a multiple of {p}");
        }
        self.vae
            .encoder
            .forward(self.vae.fold(frames), &mut self.cache)
    }

    /// [`EncodeStream::push`] in small chunks.
    ///
    /// # Panics
    /// See [`EncodeStream::push`].
    pub fn push_all(&mut self, frames: Tensor<5>) -> Tensor<5> {
        let [_, _, t, _, _] = frames.dims();
        let p = self.vae.frame_stride;
        let lone = usize::from(self.cache.is_at_start());
        let ranges = chunks(t, lone, ENCODER_CHUNK * p);
        let moments = ranges.map(|(from, to)| self.push(frames.clone().slice_dim(2, from..to)));
        Tensor::cat(moments.collect(), 2)
    }
}

/// Decodes a clip.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    vae: &'a InfinityStarVae,
    cache: FrameCache,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(vae: &'a InfinityStarVae) -> Self {
        let cache = FrameCache::new();
        Self { vae, cache }
    }

    /// Continues a clip from the cache of its earlier chunks ([`DecodeStream::into_cache`]). A new cache starts a clip.
    pub fn resume(vae: &'a InfinityStarVae, cache: FrameCache) -> Self {
        Self { vae, cache }
    }

    /// The cache of the clip so far, for callers that cannot hold the stream.
    pub fn into_cache(self) -> FrameCache {
        self.cache
    }

    /// The pixels `[b, 3, t', s h, s w]` of the next latent frames `[b, 4 z, t, h, w]`, about [-1, 1], not clamped. The
    /// first latent frame of a clip gives one frame, every other one `p`.
    pub fn push(&mut self, latent: Tensor<5>) -> Tensor<5> {
        let z = self.vae.decoder_input(latent);
        self.vae
            .unfold(self.vae.decoder.forward(z, &mut self.cache))
    }

    /// [`DecodeStream::push`] in small chunks: an iterator over their pixels, which decodes each chunk on demand.
    pub fn push_all(&mut self, latent: Tensor<5>) -> impl Iterator<Item = Tensor<5>> {
        let [_, _, t, _, _] = latent.dims();
        let lone = usize::from(self.cache.is_at_start());
        chunks(t, lone, DECODER_CHUNK)
            .map(move |(from, to)| self.push(latent.clone().slice_dim(2, from..to)))
    }
}

/// Splits `total` into a first chunk of up to `lone + size` and others of up to `size`: pairs of start and end.
fn chunks(total: usize, lone: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let len = if from == 0 { lone + size } else { size };
        let start = from;
        from = total.min(from + len);
        (start < total).then_some((start, from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_clip() {
        let of = |total, lone, size| chunks(total, lone, size).collect::<Vec<_>>();
        assert_eq!(of(17, 1, 8), [(0, 9), (9, 17)]);
        assert_eq!(of(13, 1, 8), [(0, 9), (9, 13)]);
        assert_eq!(of(1, 1, 8), [(0, 1)]);
        assert_eq!(of(4, 0, 2), [(0, 2), (2, 4)]);
        assert_eq!(of(0, 0, 2), []);
    }
}
