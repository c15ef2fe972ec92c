use nextscale_var_core::cache_budget::CacheBudget;

use super::choice::{ShortcutChoice, ShortcutError};
use crate::manifest::Manifest;
use crate::model::Model;

/// The share of keys and values that is kept with an index, unless another one is given: that of the paper.
pub const DEFAULT_CACHE_BUDGET: f64 = 0.1;

fn refuse<T>(key: &'static str, message: impl Into<String>) -> Result<T, ShortcutError> {
    let message = message.into();
    Err(ShortcutError { key, message })
}

impl ShortcutChoice {
    /// The budget of the cache of a run by a model; none if everything is kept.
    pub(super) fn cache(&self, model: &Model) -> Result<Option<CacheBudget>, ShortcutError> {
        let drafters = self.checked_drafters(model)?;
        let share = match self.cache_budget {
            Some(share) => share,
            None if self.cache_index.is_some() => DEFAULT_CACHE_BUDGET,
            None if self.drafters.is_some() => {
                return refuse(
                    "drafters",
                    "`drafters` are for a `cache-budget`, which is not set",
                );
            }
            None => return Ok(None),
        };
        if !(share > 0.0 && share <= 1.0) {
            let message =
                format!("`cache-budget` should be above 0 and at most 1, but it is {share}");
            return refuse("cache-budget", message);
        }
        if edits_by_instruction(model) {
            let message = format!(
                "`cache-budget` is not for `{}`: it would drop tokens of the image that is edited",
                model.name()
            );
            return refuse("cache-budget", message);
        }
        let budget = CacheBudget::new(share, drafters);
        Ok((share < 1.0).then_some(budget))
    }

    /// The drafters of the index or of the list, which fit the model.
    fn checked_drafters(&self, model: &Model) -> Result<Vec<usize>, ShortcutError> {
        match (&self.cache_index, &self.drafters) {
            (Some(_), Some(_)) => refuse(
                "drafters",
                "`cache-index` and `drafters` say the same; leave one of them out",
            ),
            (Some(index), None) => match index.check(model) {
                Ok(()) => Ok(index.drafters()),
                Err(message) => refuse("cache-index", message),
            },
            (None, Some(drafters)) => {
                let depth = model.depth();
                match drafters.iter().find(|layer| **layer >= depth) {
                    Some(layer) => {
                        let last = depth - 1;
                        let message =
                            format!("`drafters` should be from 0 to {last}, but one is {layer}");
                        refuse("drafters", message)
                    }
                    None => Ok(drafters.clone()),
                }
            }
            (None, None) => Ok(vec![]),
        }
    }
}

fn edits_by_instruction(model: &Model) -> bool {
    match model.manifest() {
        Manifest::Infinity(manifest) => manifest.edits_by_instruction,
        Manifest::Var(_) | Manifest::InfinityStar(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_index::CacheIndex;
    use crate::open::DEFAULT;
    use crate::released;

    fn choice(cache_budget: Option<f64>, drafters: Option<Vec<usize>>) -> ShortcutChoice {
        ShortcutChoice {
            cache_budget,
            drafters,
            ..ShortcutChoice::default()
        }
    }

    #[test]
    fn budgets_and_indices() {
        let model = Model::open(DEFAULT).unwrap();
        let budget = |choice: ShortcutChoice| choice.resolve_for(&model, 4).unwrap().cache;
        assert_eq!(budget(choice(None, None)), None);
        assert_eq!(budget(choice(Some(1.0), Some(vec![0]))), None);
        let half = CacheBudget::new(0.5, vec![1]);
        assert_eq!(budget(choice(Some(0.5), Some(vec![1]))), Some(half));
        let mut selectivity = vec![vec![0.9]; model.depth()];
        selectivity[2] = vec![0.1];
        let index = CacheIndex::new(&model, vec![[1, 1], [2, 2]], 1, selectivity);
        let with_index = ShortcutChoice {
            cache_index: Some(index.clone()),
            ..ShortcutChoice::default()
        };
        let tenth = CacheBudget::new(DEFAULT_CACHE_BUDGET, vec![2]);
        assert_eq!(budget(with_index), Some(tenth.clone()));
        let resolved = choice(Some(0.1), Some(vec![2]))
            .resolve_for(&model, 4)
            .unwrap();
        assert_eq!(resolved.choice().resolve_for(&model, 4).unwrap(), resolved);
        assert_eq!(resolved.cache, Some(tenth));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let model = Model::open(DEFAULT).unwrap();
        let index = CacheIndex::new(&model, vec![], 1, vec![vec![0.5]; 2]);
        let both = ShortcutChoice {
            cache_index: Some(index.clone()),
            ..choice(None, Some(vec![0]))
        };
        let other = ShortcutChoice {
            cache_index: Some(index),
            ..choice(None, None)
        };
        for (choice, said) in [
            (
                choice(Some(0.0), None),
                "above 0 and at most 1, but it is 0",
            ),
            (choice(Some(1.5), None), "but it is 1.5"),
            (choice(Some(f64::NAN), None), "but it is NaN"),
            (choice(None, Some(vec![0])), "for a `cache-budget`"),
            (choice(Some(0.5), Some(vec![99])), "but one is 99"),
            (both, "leave one of them out"),
            (other, "the cache index is of 2 layers"),
        ] {
            let error = choice.resolve_for(&model, 4).unwrap_err();
            assert!(error.message.contains(said), "{}", error.message);
        }
        let edits = released::infinity::editing_manifest("varedit-8b-512").unwrap();
        let edits = Model::with_random_weights(Manifest::Infinity(edits)).unwrap();
        let error = choice(Some(0.5), None).resolve_for(&edits, 4);
        let error = error.unwrap_err().message;
        assert!(error.contains("image that is edited"), "{error}");
    }
}
