//! What a warm-up has to do, and how much of it is done.

use nextscale_models::Size;

use super::options::{Progress, WarmUpOptions};
use super::prompts::{ladder, within};

/// The options, the sizes, and the count of what is done.
pub(super) struct Work<'a> {
    pub options: &'a WarmUpOptions,
    pub sizes: &'a [Size],
    on_progress: &'a mut dyn FnMut(Progress),
    progress: Progress,
}

impl<'a> Work<'a> {
    pub fn new(
        options: &'a WarmUpOptions,
        sizes: &'a [Size],
        on_progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            options,
            sizes,
            on_progress,
            progress: Progress { done: 0, total: 0 },
        }
    }

    /// Lengths of prompts for the transformer.
    pub fn lengths(&self, longest: usize) -> Vec<usize> {
        within(&self.options.prompt_tokens, longest)
    }

    /// Lengths of prompts for the text encoder.
    pub fn encoded_lengths(&self, longest: usize) -> Vec<usize> {
        ladder(&self.options.prompt_tokens, longest)
    }

    /// Says how much there is to do.
    pub fn begin(&mut self, total: usize) {
        self.progress = Progress { done: 0, total };
        (self.on_progress)(self.progress);
    }

    /// One more is done.
    pub fn advance(&mut self) {
        self.progress.done += 1;
        (self.on_progress)(self.progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warm_up::options::Shape;

    #[test]
    fn what_is_done_is_told() {
        let options = WarmUpOptions {
            model: String::new(),
            models_dir: None,
            random_weights: false,
            shape: Shape::Default,
            prompt_tokens: vec![100],
            batch: 1,
            seconds: None,
            device: Default::default(),
            dtype: Default::default(),
            deterministic: false,
        };
        let mut told = vec![];
        let mut tell = |progress: Progress| told.push((progress.done, progress.total));
        let mut work = Work::new(&options, &[], &mut tell);
        assert_eq!(work.lengths(16), [16]);
        work.begin(2);
        work.advance();
        work.advance();
        assert_eq!(told, [(0, 2), (1, 2), (2, 2)]);
    }
}
