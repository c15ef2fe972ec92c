//! Names: every emoji has one name in all styles, whatever an icon set calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::spelling::{clean, hex_key, is_country_flag, key_of, slug};
use crate::error::DataError;

/// One thing that icons show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Concept {
    /// Lower-case name, the same in every style.
    pub name: String,
    /// Emoji group, or `Icons`.
    pub group: String,
    /// Other names that mean only this concept, best first.
    pub synonyms: Vec<String>,
}

/// The emoji by code points, and the slugs that lead to them.
#[derive(Debug, Default)]
pub(super) struct Names {
    concepts: BTreeMap<String, Concept>,
    slugs: BTreeMap<String, String>,
    /// All tags of each concept, also those that others have.
    tags: Words,
}

/// Maximum number of synonyms of a concept.
const MAX_SYNONYMS: usize = 6;

/// Words of each concept.
type Words = BTreeMap<String, Vec<String>>;
/// Concepts of each word.
type Owners = BTreeMap<String, BTreeSet<String>>;

#[derive(Deserialize)]
struct UnicodeEntry {
    name: String,
    group: String,
}

#[derive(Deserialize)]
struct EmojibaseEntry {
    hexcode: String,
    label: String,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shortcodes {
    One(String),
    Many(Vec<String>),
}

impl Shortcodes {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// `{"annotations": {"annotations": {EMOJI: {"default": [..]}}}}`.
#[derive(Deserialize)]
struct Cldr {
    annotations: Annotations,
}

#[derive(Deserialize)]
struct Annotations {
    annotations: BTreeMap<String, Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    default: Vec<String>,
}

/// Files of the three packages, as read from their tarballs.
pub(super) struct NameFiles<'a> {
    /// `data-by-emoji.json` of `unicode-emoji-json`.
    pub unicode: &'a [u8],
    /// `en/data.json` of `emojibase-data`.
    pub emojibase: &'a [u8],
    /// `en/shortcodes/*.json` of `emojibase-data`.
    pub shortcodes: Vec<&'a [u8]>,
    /// `annotations/en/annotations.json` of `cldr-annotations-full`.
    pub cldr: &'a [u8],
}

impl Names {
    /// Joins the three packages by code point.
    ///
    /// # Errors
    /// A file is not the JSON that its package documents.
    pub fn new(files: &NameFiles<'_>) -> Result<Self, DataError> {
        let mut names = Self::default();
        names.add_concepts(json(files.unicode, "data-by-emoji.json")?);
        let (mut other_names, mut tags) = (Words::new(), Words::new());
        for file in &files.shortcodes {
            let table: BTreeMap<String, Shortcodes> = json(file, "shortcodes")?;
            for (code, short) in table {
                let list = short.into_vec();
                let list = list.iter().map(|s| clean(s));
                other_names.entry(hex_key(&code)).or_default().extend(list);
            }
        }
        let emojibase: Vec<EmojibaseEntry> = json(files.emojibase, "data.json")?;
        names.add_labels(emojibase, &mut other_names, &mut tags);
        let cldr: Cldr = json(files.cldr, "annotations.json")?;
        for (emoji, annotation) in cldr.annotations.annotations {
            let keywords = annotation.default.iter().map(|word| clean(word));
            tags.entry(key_of(&emoji)).or_default().extend(keywords);
        }
        names.set_synonyms(&other_names, &tags);
        names.tags = tags;
        Ok(names)
    }

    /// Adds a concept for every emoji but the flags of countries.
    fn add_concepts(&mut self, unicode: BTreeMap<String, UnicodeEntry>) {
        for (emoji, entry) in unicode {
            let key = key_of(&emoji);
            if is_country_flag(&key) {
                continue;
            }
            self.slugs.insert(slug(&entry.name), key.clone());
            let concept = Concept {
                name: clean(&entry.name),
                group: entry.group,
                synonyms: Vec::new(),
            };
            self.concepts.insert(key, concept);
        }
    }

    /// Adds the labels of emojibase: as slugs, as the first of the other names, and their tags.
    fn add_labels(
        &mut self,
        emojibase: Vec<EmojibaseEntry>,
        other_names: &mut Words,
        tags: &mut Words,
    ) {
        for entry in emojibase {
            let key = hex_key(&entry.hexcode);
            if self.concepts.contains_key(&key) {
                self.slugs.entry(slug(&entry.label)).or_insert(key.clone());
            }
            let others = other_names.entry(key.clone()).or_default();
            others.insert(0, clean(&entry.label));
            let words = entry.tags.iter().map(|tag| clean(tag));
            tags.entry(key).or_default().extend(words);
        }
    }

    /// Keeps the other names that mean one concept, then the tags that no other concept has in any list.
    fn set_synonyms<'w>(&mut self, other_names: &'w Words, tags: &'w Words) {
        let taken: BTreeSet<String> = self.concepts.values().map(|c| c.name.clone()).collect();
        let named = self.owners(&[other_names]);
        let all = self.owners(&[other_names, tags]);
        let alone = |owners: &Owners, word: &str| owners.get(word).is_some_and(|o| o.len() == 1);
        for (key, concept) in &mut self.concepts {
            let part = |word: &str| concept.name.split(' ').any(|p| p == word);
            let of_key = |list: &'w Words| list.get(key).into_iter().flatten();
            let others = of_key(other_names).filter(|w| alone(&named, w));
            let tags = of_key(tags).filter(|w| alone(&all, w) && !part(w));
            let usable = |w: &&String| speakable(w) && !taken.contains(*w);
            let mut seen = BTreeSet::new();
            let synonyms = others.chain(tags).filter(usable);
            let synonyms = synonyms.filter(|w| seen.insert(*w));
            concept.synonyms = synonyms.take(MAX_SYNONYMS).cloned().collect();
        }
    }

    /// The tags that are words, each with the names of its concepts: first those that have few others.
    pub fn into_keywords(self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
        for (key, tags) in self.tags {
            let Some(concept) = self.concepts.get(&key) else {
                continue;
            };
            let count = tags.iter().collect::<BTreeSet<_>>().len();
            for tag in tags.into_iter().filter(|tag| speakable(tag)) {
                let place = (count, concept.name.clone());
                found.entry(tag).or_default().push(place);
            }
        }
        let sorted = found.into_iter().map(|(tag, mut places)| {
            places.sort();
            places.dedup_by(|a, b| a.1 == b.1);
            (tag, places.into_iter().map(|(_, name)| name).collect())
        });
        sorted.collect()
    }

    /// The concepts that have a word in any of the lists.
    fn owners(&self, lists: &[&Words]) -> Owners {
        let mut owners = Owners::new();
        for (key, words) in lists.iter().flat_map(|list| list.iter()) {
            for word in words.iter().filter(|_| self.concepts.contains_key(key)) {
                owners.entry(word.clone()).or_default().insert(key.clone());
            }
        }
        owners
    }

    /// Adds the slugs of an icon set's own table (`chars.json`: code points to slug).
    pub fn add_chars(&mut self, chars: &BTreeMap<String, String>) {
        for (code, name) in chars {
            let key = hex_key(code);
            if self.concepts.contains_key(&key) {
                self.slugs.entry(name.clone()).or_insert(key);
            }
        }
    }

    /// Makes `from` lead to the concept that the slug `to` leads to.
    pub fn add_alias(&mut self, from: &str, to: &str) {
        if let Some(key) = self.slugs.get(to).cloned() {
            self.slugs.insert(from.to_owned(), key);
        }
    }

    /// The key (code points) of a slug.
    pub fn key(&self, slug: &str) -> Option<&str> {
        self.slugs.get(slug).map(String::as_str)
    }

    /// The concept of a key (code points in hexadecimal joined by `-`, without variation selectors).
    pub fn concept(&self, key: &str) -> Option<&Concept> {
        self.concepts.get(key)
    }
}

/// Whether a word can appear in a caption: at least three characters, plain letters, no digits.
fn speakable(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || matches!(b, b' ' | b'-' | b'\'');
    word.len() >= 3 && word.bytes().all(plain)
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T, DataError> {
    serde_json::from_slice(bytes).map_err(|e| DataError::content(Path::new(name), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(&NameFiles {
            unicode: r#"{"🍎":{"name":"red apple","group":"Food & Drink"},"☕":{"name":"hot beverage","group":"Food & Drink"},
                "🇫🇷":{"name":"flag France","group":"Flags"}}"#.as_bytes(),
            emojibase: br#"[{"hexcode":"1F34E","label":"red apple","tags":["fruit","red"]},{"hexcode":"2615","label":"hot beverage","tags":["tea","fruit","apple"]}]"#,
            shortcodes: vec![br#"{"2615":["coffee","hot_drink","cup2"],"1F34E":"apple"}"#],
            cldr: r#"{"annotations":{"annotations":{"🍎":{"default":["red apple","malus"]}}}}"#.as_bytes(),
        })
        .unwrap()
    }

    #[test]
    fn one_name_and_only_unambiguous_synonyms() {
        let names = names();
        let key = names.key("hot-beverage").unwrap();
        assert_eq!(key, "2615");
        assert_eq!(
            names.concept(key).unwrap().synonyms,
            ["coffee", "hot drink", "tea"]
        );
        assert_eq!(names.concept("1f34e").unwrap().synonyms, ["apple", "malus"]);
        assert!(names.key("flag-france").is_none());
        let keywords = names.into_keywords();
        // The drink has fewer words.
        assert_eq!(keywords["fruit"], ["hot beverage", "red apple"]);
        assert_eq!(keywords["malus"], ["red apple"]);
    }
}
