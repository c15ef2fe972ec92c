//! Which icon stands for a word.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::recipe::WordsRecipe;
use super::wordnet::{Field, Sense, WordNet};
use crate::dataset::Dataset;
use crate::entry::Entry;
use crate::error::DataError;
use crate::icons::keywords;
use crate::progress::OnProgress;
use crate::recipe::Recipe;
use crate::sources;

/// Senses of a word that are looked at, the most frequent first.
const SENSES: usize = 3;
/// How much farther away the next sense is, in steps.
const NEXT_SENSE: f64 = 1.5;
/// Steps up to which WordNet is asked before keywords are.
const NEAR: f64 = 2.0;
/// Steps up to which it is asked at all.
const FAR: f64 = 4.0;
/// Emoji groups in which a keyword may be found: faces and signs have keywords of everything.
const WITHOUT_KEYWORDS: [&str; 2] = ["Flags", "Symbols"];

/// Words that no caption of the icons has, each with the name of the icon that stands for it; and the words that are names of icons
/// themselves, each with that name.
///
/// # Errors
/// A package or a file of WordNet cannot be had, or is damaged; the icons are not built.
pub fn neighbours(
    recipe: &WordsRecipe,
    progress: OnProgress<'_>,
) -> Result<BTreeMap<String, String>, DataError> {
    let icons = Recipe::load(&recipe.icons)?;
    let set = Dataset::load(&icons.out)?;
    let files = sources::collect(&recipe.files(), &recipe.from, &icons.cache)?;
    let texts: Vec<String> = files
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    let wordnet = WordNet::parse(&texts[0], &texts[1], &texts[2], &texts[3])
        .map_err(|error| DataError::content(Path::new("WordNet"), error))?;
    let keywords = keywords(&icons, progress)?;
    Ok(of(set.entries(), &keywords, &wordnet))
}

/// The fields that a thing of an emoji group can be in; none for groups of signs and faces.
fn fields(category: &str) -> &'static [Field] {
    use Field::{
        Act, Animal, Artifact, Body, Communication, Event, Food, Location, Object, Person,
        Phenomenon, Plant, Possession, Substance, Time,
    };
    match category {
        "Animals & Nature" => &[Animal, Plant, Phenomenon, Object, Substance],
        "Food & Drink" => &[Food, Plant, Animal, Artifact, Substance],
        "Objects" => &[
            Artifact,
            Substance,
            Object,
            Possession,
            Communication,
            Food,
            Body,
        ],
        "Travel & Places" => &[Artifact, Object, Location, Phenomenon, Time, Event],
        "People & Body" => &[Person, Body],
        "Activities" => &[Artifact, Act, Event, Communication],
        "Icons" => &[Artifact, Communication, Object, Substance],
        _ => &[],
    }
}

fn of(
    entries: &[Entry],
    keywords: &BTreeMap<String, Vec<String>>,
    wordnet: &WordNet,
) -> BTreeMap<String, String> {
    let owners = owners(entries, wordnet);
    let spoken: BTreeSet<&str> = entries.iter().flat_map(words_of).collect();
    let drawn: HashMap<&str, &str> = entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.category.as_str()))
        .collect();
    let by_keyword = |word: &str| {
        let names = keywords.get(word)?.iter();
        let mut names = names.filter(|name| {
            let category = drawn.get(name.as_str());
            category.is_some_and(|category| !WITHOUT_KEYWORDS.contains(category))
        });
        names.next().map(String::as_str)
    };
    let words = wordnet.words().into_iter();
    let words: BTreeSet<&str> = words.chain(keywords.keys().map(String::as_str)).collect();
    let mut found = BTreeMap::new();
    for word in words {
        if word.len() < 3 || spoken.contains(word) || wordnet.is_adjective(word) {
            continue;
        }
        let known = nearest(word, wordnet, &owners);
        let near = known
            .filter(|(steps, _)| *steps <= NEAR)
            .map(|(_, name)| name);
        let any = known.map(|(_, name)| name);
        if let Some(name) = near.or_else(|| by_keyword(word)).or(any) {
            found.insert(word.to_owned(), name.to_owned());
        }
    }
    for entry in entries
        .iter()
        .filter(|entry| !fields(&entry.category).is_empty())
    {
        for name in std::iter::once(&entry.name).chain(&entry.synonyms) {
            if name.len() > 2 && name.bytes().all(|b| b.is_ascii_lowercase()) {
                let known = found.entry(name.clone());
                known.or_insert_with(|| entry.name.clone());
            }
        }
    }
    for (plural, singular) in &wordnet.plurals {
        let name = found.get(singular).cloned();
        let name = name.or_else(|| spoken.contains(singular.as_str()).then(|| singular.clone()));
        if let Some(name) = name.filter(|_| !spoken.contains(plural.as_str())) {
            found.insert(plural.clone(), name);
        }
    }
    found
}

/// The words of an icon's captions.
fn words_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let names = std::iter::once(&entry.name).chain(&entry.synonyms);
    names.flat_map(|name| name.split([' ', '-']))
}

/// The senses that icons show, each with the name of its icon: first by the names of icons, then by their synonyms.
fn owners<'e>(entries: &'e [Entry], wordnet: &WordNet) -> HashMap<Sense, &'e str> {
    let mut owners = HashMap::new();
    let mut add = |phrase: &str, entry: &'e Entry| {
        let fields = fields(&entry.category);
        let senses = wordnet.senses(phrase).iter().take(SENSES + 1);
        let mut senses = senses.filter(|&&sense| {
            let synset = wordnet.synset(sense);
            synset.is_some_and(|synset| fields.contains(&synset.field))
        });
        if let Some(&sense) = senses.next() {
            owners.entry(sense).or_insert(entry.name.as_str());
        }
    };
    entries.iter().for_each(|entry| add(&entry.name, entry));
    for entry in entries {
        entry.synonyms.iter().for_each(|name| add(name, entry));
    }
    owners
}

/// The icon of the nearest sense that a word is, or is a kind of, with the steps to it.
fn nearest<'e>(
    word: &str,
    wordnet: &WordNet,
    owners: &HashMap<Sense, &'e str>,
) -> Option<(f64, &'e str)> {
    let mut best: Option<(f64, &str)> = None;
    for (rank, &sense) in wordnet.senses(word).iter().take(SENSES).enumerate() {
        let mut level = vec![sense];
        let mut steps = NEXT_SENSE * rank as f64;
        while !level.is_empty() && steps <= FAR {
            let owner = level.iter().find_map(|sense| owners.get(sense));
            if let Some(&owner) = owner {
                if best.is_none_or(|(least, _)| steps < least) {
                    best = Some((steps, owner));
                }
                break;
            }
            let above = level.iter().filter_map(|&sense| wordnet.synset(sense));
            level = above.flat_map(|synset| synset.above.clone()).collect();
            steps += 1.0;
        }
    }
    best.or_else(|| {
        // What has no icon itself may have kinds that have one: a fruit is drawn as an apple.
        let first = wordnet.synset(*wordnet.senses(word).first()?)?;
        let owner = first.below.iter().find_map(|sense| owners.get(sense));
        Some((FAR, *owner?))
    })
}

#[cfg(test)]
mod tests {
    use super::super::wordnet::tests::{ADJECTIVES, DATA, INDEX};
    use super::*;

    fn entry(name: &str, category: &str, synonyms: &[&str]) -> Entry {
        Entry {
            name: name.into(),
            category: category.into(),
            synonyms: synonyms.iter().map(|s| (*s).into()).collect(),
            ..Entry::default()
        }
    }

    #[test]
    fn a_word_finds_what_it_is_a_kind_of() {
        let wordnet =
            WordNet::parse(DATA, INDEX, ADJECTIVES, "puppyen puppy\ndogen dog\n").unwrap();
        let entries = [
            entry("dog", "Animals & Nature", &[]),
            entry("crown", "Objects", &[]),
            entry("crying face", "Smileys & Emotion", &["puppy eyes"]),
        ];
        let keywords = [
            ("king", "crown"),
            ("puppy", "crown"),
            ("crown", "dog"),
            ("royal", "crown"),
        ];
        let keywords = keywords.map(|(word, name)| (word.to_owned(), vec![name.to_owned()]));
        let found = of(&entries[..2], &keywords.clone().into(), &wordnet);
        let expected = [
            ("animal", "dog"), // a kind of it
            ("crown", "crown"),
            ("dog", "dog"),
            ("dogen", "dog"),
            ("king", "crown"),
            ("puppy", "dog"), // not by its keyword
            ("puppyen", "dog"),
        ];
        let expected = expected.map(|(word, name)| (word.to_owned(), name.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
        // What a caption has is no question.
        let found = of(&entries, &keywords.into(), &wordnet);
        assert!(!found.contains_key("puppy") && !found.contains_key("eyes"));
    }
}
