//! Texts to token ids, with CLIP's byte-pair vocabulary in any of the forms that people have.
//!
//! Unlike OpenAI's tokenizer, this one repairs no broken encodings (`ftfy`) and resolves no HTML entities; nor does that of Hugging Face.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::error::{MetricsError, Result};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// How OpenAI's tokenizer divides a text into words.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// What the vocabulary should be, and where people get it.
pub const VOCABULARY: &str = "the vocabulary is bpe_simple_vocab_16e6.txt.gz of https://github.com/openai/CLIP, or tokenizer.json, or a folder with vocab.json and merges.txt, of https://huggingface.co/openai/clip-vit-base-patch32";
/// No vocabulary is longer: a compressed one must not fill the memory.
const LONGEST: u64 = 64 << 20;

/// CLIP's tokenizer.
#[derive(Debug)]
pub struct Tokens {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
}

impl Tokens {
    /// Reads OpenAI's `bpe_simple_vocab_16e6.txt.gz`, unpacked or not, a `tokenizer.json`, or a folder with `tokenizer.json` or with
    /// `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    /// If a file cannot be read, or is none of these.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |reason: String| MetricsError::Weights {
            part: "vocabulary",
            reason: format!("{}: {reason}", path.display()),
            hint: VOCABULARY,
        };
        let json = path.join("tokenizer.json");
        let file = if json.is_file() { json.as_path() } else { path };
        let described = if path.is_dir() && !json.is_file() {
            from_folder(path).map_err(wrong)?
        } else {
            let text = read(file).map_err(wrong)?;
            let is_json = text.trim_start().starts_with('{');
            if is_json {
                text
            } else {
                from_merges(&text).map_err(wrong)?
            }
        };
        let tokenizer: Tokenizer = described.parse().map_err(|e| wrong(format!("{e}")))?;
        let id = |token: &str| tokenizer.token_to_id(token);
        let (Some(start), Some(end)) = (id(START), id(END)) else {
            return Err(wrong(format!("it lacks `{START}` or `{END}`")));
        };
        Ok(Self {
            tokenizer,
            start,
            end,
        })
    }

    /// The ids of a text between start and end, and whether it was cut to `length` ids.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str, length: usize) -> Result<(Vec<u32>, bool)> {
        let encoded = self.tokenizer.encode(text.trim(), false);
        let encoded = encoded.map_err(|e| MetricsError::Text(format!("`{text}`: {e}")))?;
        let room = length.saturating_sub(2);
        let is_cut = encoded.len() > room;
        let words = encoded.get_ids().iter().copied().take(room);
        let ids = [self.start].into_iter().chain(words).chain([self.end]);
        Ok((ids.collect(), is_cut))
    }
}

/// The text of a file, unpacked if it is packed.
fn read(path: &Path) -> std::result::Result<String, String> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return String::from_utf8(bytes).map_err(|_| "no text".to_owned());
    }
    let mut text = String::new();
    let mut unpacked = GzDecoder::new(bytes.as_slice()).take(LONGEST);
    unpacked
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    Ok(text)
}

/// Hugging Face's two files.
fn from_folder(folder: &Path) -> std::result::Result<String, String> {
    let file = |name: &str| read(&folder.join(name)).map_err(|e| format!("{name}: {e}"));
    let vocab: Value = serde_json::from_str(&file("vocab.json")?).map_err(|e| e.to_string())?;
    let merges = file("merges.txt")?;
    let merges: Vec<&str> = rules(&merges).collect();
    let id = |token: &str| vocab[token].as_u64();
    match (id(START), id(END)) {
        (Some(start), Some(end)) => Ok(described(&vocab, &merges, [start, end])),
        _ => Err(format!("vocab.json lacks `{START}` or `{END}`")),
    }
}

/// The lines of a list of merges, without its heading.
fn rules(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().skip(1).map(str::trim);
    lines.filter(|line| line.split(' ').count() == 2)
}

/// OpenAI's list of merges, from which the ids follow: bytes, bytes at the end of a word, merges, start and end.
fn from_merges(text: &str) -> std::result::Result<String, String> {
    const MERGES: usize = 49_152 - 256 - 2;
    let merges: Vec<&str> = rules(text).take(MERGES).collect();
    if merges.is_empty() {
        return Err("no list of merges".to_owned());
    }
    let letters = letters();
    let ends = letters.iter().map(|letter| format!("{letter}</w>"));
    let merged = merges.iter().map(|merge| merge.replace(' ', ""));
    let mut tokens: Vec<String> = letters.iter().map(char::to_string).collect();
    tokens.extend(ends.chain(merged));
    let start = tokens.len() as u64;
    tokens.extend([START, END].map(str::to_owned));
    let ids = tokens.into_iter().zip(0u64..);
    let vocab: HashMap<String, u64> = ids.collect();
    Ok(described(&json!(vocab), &merges, [start, start + 1]))
}

/// The letters that stand for the 256 bytes, in the order of their ids: those that can be printed, then the others.
fn letters() -> Vec<char> {
    let printed = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let shown = (0..=255u8).filter(printed).map(char::from);
    let others = (0..=255u8).filter(|byte| !printed(byte)).count() as u32;
    let hidden = (0..others).filter_map(|i| char::from_u32(256 + i));
    shown.chain(hidden).collect()
}

/// A `tokenizer.json`, as Hugging Face has it for CLIP.
fn described(vocab: &Value, merges: &[&str], [start, end]: [u64; 2]) -> String {
    let special = |id: u64, content: &str| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    let described = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(start, START), special(end, END)],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        ] },
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": END, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    described.to_string()
}
