//! Batches and training of the transformers that take prompts: what images and clips with captions share.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use nextscale_bitwise::train::BitLoss;
use nextscale_text::{TokenBatch, Vocab};
use nextscale_var_core::train::{Batches, Loss, Task};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::shuffle::{Shuffle, rng_for};

/// Images or clips with prompts.
#[derive(Clone)]
pub(crate) struct Captioned {
    /// Planes in [-1, 1].
    pub pixels: Vec<f32>,
    pub prompts: TokenBatch,
    /// Which prompts are replaced by the unconditional one.
    pub drop: Vec<bool>,
    /// How many clips of each video are given, after its first frame; 0 for images.
    pub given: Vec<usize>,
}

impl Captioned {
    /// Held-out examples: no prompt is dropped.
    pub(crate) fn held_out(pixels: Vec<f32>, vocab: &Vocab, texts: &[String]) -> Self {
        Self {
            pixels,
            prompts: tokens(vocab, texts),
            drop: vec![false; texts.len()],
            given: vec![0; texts.len()],
        }
    }
}

/// Token ids of texts. Every text has tokens: unknown letters become the unknown token.
fn tokens(vocab: &Vocab, texts: &[String]) -> TokenBatch {
    vocab
        .batch(texts)
        .expect("captions are plain text and never an empty list")
}

/// A batch, and the random numbers of its self-correction.
pub(crate) struct CaptionedBatch {
    examples: Captioned,
    rng: ChaCha8Rng,
}

/// What an example is called.
pub(crate) struct Caption {
    pub text: String,
    /// How many clips of the video are given, after its first frame: the text is about the rest.
    pub given: usize,
}

impl From<String> for Caption {
    fn from(text: String) -> Self {
        Self { text, given: 0 }
    }
}

/// What the images of a data set become.
pub(crate) trait Examples: Send + 'static {
    /// Appends an example of image `index` to the planes in `pixels`; returns the caption.
    fn append(&self, index: usize, rng: &mut ChaCha8Rng, pixels: &mut Vec<f32>) -> Caption;
}

/// Makes [`CaptionedBatch`]es of the images that are not held out.
pub(crate) struct CaptionedBatches<E> {
    pub examples: E,
    pub shuffle: Shuffle,
    pub vocab: Vocab,
    /// Seed of everything random in the examples.
    pub seed: u64,
    /// Examples per batch.
    pub count: usize,
    /// Share of prompts that are replaced by the unconditional one.
    pub drop: f64,
}

impl<E: Examples> Batches for CaptionedBatches<E> {
    type Batch = CaptionedBatch;

    fn batch(&mut self, step: u64) -> CaptionedBatch {
        let mut rng = rng_for(self.seed, step);
        let (mut pixels, mut texts) = (Vec::new(), Vec::new());
        let (mut drop, mut given) = (Vec::new(), Vec::new());
        for index in self.shuffle.batch(step, self.count) {
            let caption = self.examples.append(index, &mut rng, &mut pixels);
            texts.push(caption.text);
            given.push(caption.given);
            drop.push(rng.random_bool(self.drop));
        }
        let examples = Captioned {
            pixels,
            prompts: tokens(&self.vocab, &texts),
            drop,
            given,
        };
        CaptionedBatch { examples, rng }
    }
}

/// The loss of a text encoder and a transformer that predicts bits.
pub(crate) trait BitTask: Sync {
    /// What is trained.
    type Model: Module;

    /// Parts of the paths of parameters without weight decay.
    const NO_DECAY: &'static [&'static str];

    /// The loss under teacher forcing; `rng` makes the errors to be corrected.
    fn bit_loss(
        &self,
        model: &Self::Model,
        examples: Captioned,
        rng: Option<&mut ChaCha8Rng>,
    ) -> BitLoss;
}

/// A [`BitTask`] with its log.
pub(crate) struct CaptionedTask<T> {
    pub task: T,
    /// Held-out examples with fixed captions; they have no errors to correct.
    pub held_out: Captioned,
}

impl<T: BitTask> CaptionedTask<T> {
    /// The loss of a batch.
    fn loss(&self, model: &T::Model, batch: CaptionedBatch) -> Loss {
        let CaptionedBatch { examples, mut rng } = batch;
        let count = examples.drop.len();
        let bits = self.task.bit_loss(model, examples, Some(&mut rng));
        Loss {
            total: bits.loss,
            parts: vec![("right", bits.right.mean())],
            examples: count,
        }
    }
}

impl<T: BitTask> Task for CaptionedTask<T> {
    type Model = T::Model;
    type Batch = CaptionedBatch;

    fn gradients(&self, model: &T::Model, batch: CaptionedBatch) -> (Loss, GradientsParams) {
        self.loss(model, batch).gradients(model)
    }

    /// Loss and share of right bits of the held-out examples.
    fn evaluate(&self, average: &T::Model) -> Vec<(String, f64)> {
        let bits = self.task.bit_loss(average, self.held_out.clone(), None);
        let number = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
        vec![
            ("held_out_loss".to_owned(), number(bits.loss)),
            ("held_out_right".to_owned(), number(bits.right.mean())),
        ]
    }

    fn no_decay(&self) -> &[&str] {
        T::NO_DECAY
    }
}
