//! Training a small Unigram tokenizer in flan-T5's layout.

use std::collections::BTreeMap;

use rayon::ThreadPoolBuilder;
use serde_json::json;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::{Lowercase, NFKC};
use tokenizers::{AddedToken, NormalizedString, Normalizer};

use crate::error::TextError;
use crate::vocab::Vocab;

/// Special tokens in the order of their ids 0, 1, 2.
const SPECIAL: [&str; 3] = ["<pad>", "</s>", "<unk>"];

/// The mark at the start of each word.
const WORD_START: char = '▁';

/// Step between the scores of characters that the trainer re-adds (`UnigramTrainer::finalize`).
const PENALTY_STEP: f64 = 1e-4;

/// Trains a Unigram tokenizer with at most `vocab_size` ids on captions.
///
/// Text is normalised with NFKC and to lower case and split at white space, each word gets a mark at its start, and
/// `</s>` is appended. Ids 0, 1, 2 are `<pad>`, `</s>`, `<unk>`, as in flan-T5. Characters that occur in no caption become
/// `<unk>`. The same captions in any order give the same vocabulary on any number of processors.
///
/// Unigram models: Kudo, "Subword Regularization" (2018).
///
/// # Errors
/// [`TextError::Training`] if the captions have no word, or `vocab_size` is too small for all characters.
pub fn train_unigram<I, S>(captions: I, vocab_size: usize) -> Result<Vocab, TextError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    let words = count_words(captions)?;
    if words.is_empty() {
        return Err(TextError::Training("the captions have no words".into()));
    }
    let mut letters: Vec<char> = words.keys().flat_map(|word| word.chars()).collect();
    letters.sort_unstable();
    letters.dedup();
    if letters.len() + SPECIAL.len() > vocab_size {
        return Err(TextError::Training(format!(
            "{vocab_size} ids are too few for {} characters and {} special tokens",
            letters.len(),
            SPECIAL.len()
        )));
    }
    let pieces = train_pieces(words.into_iter().collect(), vocab_size)?;
    Vocab::from_bytes(
        tokenizer_json(&make_deterministic(pieces))
            .to_string()
            .as_bytes(),
    )
}

/// How often each marked word occurs.
fn count_words<I, S>(captions: I) -> Result<BTreeMap<String, u32>, TextError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    let mut words = BTreeMap::new();
    for caption in captions {
        let mut text = NormalizedString::from(caption.as_ref());
        NFKC.normalize(&mut text)
            .and_then(|()| Lowercase.normalize(&mut text))
            .map_err(|e| TextError::Training(e.to_string()))?;
        for word in text.get().split_whitespace() {
            *words.entry(format!("{WORD_START}{word}")).or_insert(0) += 1;
        }
    }
    Ok(words)
}

/// Runs the trainer on one thread: its sums depend on how the words are distributed.
fn train_pieces(words: Vec<(String, u32)>, size: usize) -> Result<Vec<(String, f64)>, TextError> {
    let error = |e: String| TextError::Training(e);
    let special = SPECIAL.map(|token| AddedToken::from(token, true)).to_vec();
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(u32::try_from(size).map_err(|e| error(e.to_string()))?)
        .special_tokens(special)
        .unk_token(Some(SPECIAL[2].to_owned()))
        .build()
        .map_err(|e| error(e.to_string()))?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|e| error(e.to_string()))?;
    let mut model = Unigram::default();
    pool.install(|| trainer.do_train(words, &mut model))
        .map_err(|e| error(e.to_string()))?;
    Ok(model.iter().cloned().collect())
}

/// Removes the dependence on the trainer's hash order: characters that it dropped are re-added with scores
/// `lowest, lowest + 1e-4, ..` in random order, and equal scores stay in that order.
fn make_deterministic(mut pieces: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let learned = &mut pieces[SPECIAL.len()..];
    let lowest = learned.iter().map(|(_, s)| *s).fold(f64::MAX, f64::min);
    let mut readded: Vec<usize> = Vec::new();
    for step in 0.. {
        let expected = lowest + f64::from(step) * PENALTY_STEP;
        let before = readded.len();
        readded.extend(
            learned
                .iter()
                .enumerate()
                .filter_map(|(at, (token, score))| {
                    let fits = token.chars().count() == 1 && (score - expected).abs() < 1e-9;
                    fits.then_some(at)
                }),
        );
        if readded.len() == before {
            break;
        }
    }
    let mut tokens: Vec<String> = readded.iter().map(|&at| learned[at].0.clone()).collect();
    tokens.sort_unstable();
    for (&at, token) in readded.iter().zip(tokens) {
        learned[at].0 = token;
    }
    learned.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pieces
}

/// The `tokenizer.json`: the learned pieces in flan-T5's layout.
fn tokenizer_json(pieces: &[(String, f64)]) -> serde_json::Value {
    let added: Vec<_> = SPECIAL
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    let metaspace = json!({
        "type": "Metaspace", "replacement": WORD_START.to_string(),
        "prepend_scheme": "always", "split": true,
    });
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let eos = json!({"SpecialToken": {"id": SPECIAL[1], "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [sequence("A"), eos],
            "pair": [sequence("A"), eos, sequence("B"), eos],
            "special_tokens": {
                SPECIAL[1]: {"id": SPECIAL[1], "ids": [1], "tokens": [SPECIAL[1]]},
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": false},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions() -> Vec<String> {
        let things = [
            "house", "tree", "cat", "Mouse", "bicycle", "umbrella", "heart", "zebra",
        ];
        let colours = ["red", "blue", "green", "yellow", "pale grey"];
        let mut all = Vec::new();
        for thing in things {
            for colour in colours {
                all.push(format!("a {colour} {thing} on white, flat icon"));
                all.push(format!(
                    "{thing} icon in {colour}; style “outline” №3 {thing}"
                ));
            }
        }
        all
    }

    #[test]
    fn the_same_captions_give_the_same_vocabulary() {
        let forward = train_unigram(captions(), 120).unwrap().to_json().unwrap();
        let mut reversed = captions();
        reversed.reverse();
        for _ in 0..3 {
            let again = train_unigram(&reversed, 120).unwrap().to_json().unwrap();
            assert_eq!(forward, again);
        }
    }

    #[test]
    fn ids_follow_t5() {
        let vocab = train_unigram(captions(), 120).unwrap();
        assert!(vocab.size() <= 120, "{}", vocab.size());
        assert_eq!(vocab.encode("").unwrap().ids, [1]);
        let upper = vocab.encode("A RED  House").unwrap();
        assert_eq!(upper, vocab.encode("a red house").unwrap());
        assert_eq!(upper.ids.last(), Some(&1));
        assert!(!upper.ids.contains(&2));
        assert!(vocab.encode("猫").unwrap().ids.contains(&2));
        assert_eq!(vocab.unknown_words("A red 猫 and a café,"), ["猫", "café,"]);
    }

    #[test]
    fn long_prompts_keep_the_end_token() {
        let vocab = train_unigram(captions(), 120).unwrap().with_max_len(4);
        let long = vocab.encode("a red house a red house").unwrap();
        assert_eq!(long.ids.len(), 4);
        assert_eq!(long.ids[3], vocab.eos());
        assert!(long.untruncated > 6);
        let batch = vocab.batch(&["", "a red house a red house"]).unwrap();
        assert_eq!(
            (batch.rows, batch.width, &batch.lens[..]),
            (2, 4, &[1, 4][..])
        );
        assert_eq!(batch.ids[..4], [1, 0, 0, 0]);
        assert!(matches!(vocab.batch::<&str>(&[]), Err(TextError::NoPrompt)));
    }

    #[test]
    fn refuses_what_cannot_be_trained() {
        assert!(train_unigram(Vec::<String>::new(), 100).is_err());
        let error = train_unigram(captions(), 10).unwrap_err();
        assert!(error.to_string().contains("10 ids"), "{error}");
    }
}
