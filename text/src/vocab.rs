//! Prompts to token ids, from a `tokenizer.json`.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::error::TextError;

/// The padding id.
pub const PAD: u32 = 0;

/// Length limit of the released Infinity models, `</s>` included.
pub const MAX_LEN: usize = 512;

/// A tokenizer with T5's conventions: `</s>` ends every prompt, id 0 is padding, and a prompt that is too long is
/// truncated but keeps its `</s>`.
#[derive(Debug, Clone)]
pub struct Vocab {
    tokenizer: Tokenizer,
    eos: u32,
    appends_eos: bool,
    max_len: usize,
}

/// The ids of one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The ids; the last one is `</s>`.
    pub ids: Vec<u32>,
    /// Number of ids of the whole prompt, `</s>` included.
    pub untruncated: usize,
}

/// The ids of several prompts, padded on the right to the longest of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Row-major ids, `rows * width`.
    pub ids: Vec<u32>,
    /// Number of prompts, b.
    pub rows: usize,
    /// Length of a row, l.
    pub width: usize,
    /// Length of each row without padding, `</s>` included.
    pub lens: Vec<usize>,
    /// Number of ids of each whole prompt; larger than in `lens` if it was truncated.
    pub untruncated: Vec<usize>,
}

impl Vocab {
    /// Reads a `tokenizer.json`. Truncation and padding settings in the file are ignored.
    ///
    /// # Errors
    /// [`TextError::Io`], or [`TextError::Vocab`] if the file is damaged or lacks `</s>` or `<pad>`.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| TextError::io(path, e))?;
        Self::parse(&bytes, path)
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// As for [`Vocab::from_file`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        Self::parse(bytes, Path::new("tokenizer.json (in memory)"))
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, TextError> {
        let error = |message: String| TextError::Vocab {
            path: path.to_owned(),
            message,
        };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| error(e.to_string()))?;
        tokenizer
            .with_truncation(None)
            .map_err(|e| error(e.to_string()))?;
        tokenizer.with_padding(None);
        let eos = tokenizer
            .token_to_id("</s>")
            .ok_or_else(|| error("the tokenizer has no </s>".into()))?;
        match tokenizer.token_to_id("<pad>") {
            Some(PAD) => {}
            other => return Err(error(format!("<pad> must have id {PAD}, not {other:?}"))),
        }
        let empty = tokenizer
            .encode("", true)
            .map_err(|e| error(e.to_string()))?;
        Ok(Self {
            appends_eos: empty.get_ids().last() == Some(&eos),
            tokenizer,
            eos,
            max_len: MAX_LEN,
        })
    }

    /// Sets the length limit, `</s>` included; [`MAX_LEN`] by default.
    ///
    /// # Panics
    /// If `max_len` is zero.
    pub fn with_max_len(mut self, max_len: usize) -> Self {
        assert!(max_len > 0, "a prompt needs room for </s>, max_len is 0");
        self.max_len = max_len;
        self
    }

    /// The length limit, `</s>` included.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// Id of `</s>`.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Number of ids, special ones included: one more than the largest id.
    pub fn size(&self) -> usize {
        let ids = self.tokenizer.get_vocab(true);
        ids.values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The ids of a prompt. An empty prompt is `</s>` alone. A prompt that is too long is truncated on the right
    /// ([`Encoded::untruncated`] is larger than the number of ids).
    ///
    /// # Errors
    /// [`TextError::Prompt`] if the tokenizer cannot encode the text.
    pub fn encode(&self, prompt: &str) -> Result<Encoded, TextError> {
        let encoding = self
            .tokenizer
            .encode(prompt, true)
            .map_err(|e| TextError::Prompt {
                prompt: prompt.to_owned(),
                message: e.to_string(),
            })?;
        let mut ids = encoding.get_ids().to_vec();
        if !self.appends_eos {
            ids.push(self.eos);
        }
        let untruncated = ids.len();
        if untruncated > self.max_len {
            ids.truncate(self.max_len - 1);
            ids.push(self.eos);
        }
        Ok(Encoded { ids, untruncated })
    }

    /// The words of a text with a character that the vocabulary does not have: they reach the encoder as `<unk>`.
    pub fn unknown_words<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let Some(unknown) = self.tokenizer.token_to_id("<unk>") else {
            return vec![];
        };
        let words = text.split_whitespace();
        let is_unknown = |word: &&str| {
            let encoding = self.tokenizer.encode(*word, false);
            encoding.is_ok_and(|encoding| encoding.get_ids().contains(&unknown))
        };
        words.filter(is_unknown).collect()
    }

    /// The ids of several prompts, padded with id 0.
    ///
    /// # Errors
    /// [`TextError::NoPrompt`], or as for [`Vocab::encode`].
    pub fn batch<S: AsRef<str>>(&self, prompts: &[S]) -> Result<TokenBatch, TextError> {
        let rows: Vec<Encoded> = prompts
            .iter()
            .map(|prompt| self.encode(prompt.as_ref()))
            .collect::<Result<_, _>>()?;
        let lens: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
        let width = lens.iter().copied().max().ok_or(TextError::NoPrompt)?;
        let mut ids = vec![PAD; rows.len() * width];
        for (to, row) in ids.chunks_exact_mut(width).zip(&rows) {
            to[..row.ids.len()].copy_from_slice(&row.ids);
        }
        Ok(TokenBatch {
            ids,
            rows: rows.len(),
            width,
            lens,
            untruncated: rows.iter().map(|row| row.untruncated).collect(),
        })
    }

    /// The text of an id, as in the tokenizer file.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The file that [`Vocab::from_bytes`] reads back.
    ///
    /// # Errors
    /// [`TextError::Vocab`] if the tokenizer cannot be serialised.
    pub fn to_json(&self) -> Result<String, TextError> {
        self.tokenizer
            .to_string(false)
            .map_err(|e| TextError::Vocab {
                path: PathBuf::from("tokenizer.json"),
                message: e.to_string(),
            })
    }

    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::Io`], or as for [`Vocab::to_json`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TextError> {
        let path = path.as_ref();
        std::fs::write(path, self.to_json()?).map_err(|e| TextError::io(path, e))
    }
}
