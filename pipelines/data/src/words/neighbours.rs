//! Which icon stands for a word.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::recipe::WordsRecipe;
use super::wordnet::{Field, Sense, Synset, WordNet};
use crate::captions::COLOURS;
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
/// How much farther away the next sense of an icon's name is.
const NEXT_SENSE_OF_NAME: f64 = 0.5;
/// How much farther away another name of an icon is.
const SYNONYM: f64 = 0.25;
/// Extra steps if only a part of an icon's name matches, such as the tree of `evergreen tree`.
const PART: f64 = 0.75;
/// Steps up to which WordNet is asked before keywords are.
const NEAR: f64 = 2.0;
/// Steps up to which it is asked at all.
const FAR: f64 = 4.0;
/// The same for living things, whose families have families.
const FAR_LIVING: f64 = 6.0;
/// Steps to another kind of what a word is a kind of.
const SIBLING: f64 = 2.5;
/// What has more kinds than this is too general for them to be siblings.
const FEW: usize = 40;
/// Steps from a young animal to what it grows up to be.
const YOUNG: f64 = 1.5;
/// Steps to a kind of what a word is.
const KIND: f64 = 2.0;
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
        let short = word.len() < 3;
        if short || spoken.contains(word) || says_how(word) || wordnet.is_adjective(word) {
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
            let plain = name.len() > 2 && name.bytes().all(|b| b.is_ascii_lowercase());
            if plain && !says_how(name) {
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

/// Whether captions say with a word how or where a thing is, although it is the name of an icon too.
fn says_how(word: &str) -> bool {
    const HOW: [&str; 8] = [
        "style",
        "background",
        "left",
        "right",
        "up",
        "down",
        "above",
        "below",
    ];
    HOW.contains(&word) || COLOURS.iter().any(|(colour, _)| *colour == word)
}

/// The words of an icon's captions.
fn words_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let names = std::iter::once(&entry.name).chain(&entry.synonyms);
    names.flat_map(|name| name.split([' ', '-']))
}

/// The senses that icons show, each with the steps to the name of its icon.
type Owners<'e> = HashMap<Sense, (f64, &'e str)>;

/// By names, other names, and parts of names.
fn owners<'e>(entries: &'e [Entry], wordnet: &WordNet) -> Owners<'e> {
    let mut owners = Owners::new();
    let mut add = |phrase: &str, entry: &'e Entry, far: f64| {
        let fields = fields(&entry.category);
        let senses = wordnet.senses(phrase).iter().take(SENSES + 1);
        let senses = senses.filter(|&&sense| {
            let synset = wordnet.synset(sense);
            synset.is_some_and(|synset| fields.contains(&synset.field))
        });
        for (rank, &sense) in senses.enumerate() {
            // Of a name's other senses those that its group is about.
            let field = wordnet.synset(sense).map(|synset| synset.field);
            if rank > 0 && field.as_ref() != fields.first() {
                continue;
            }
            let new = (far + NEXT_SENSE_OF_NAME * rank as f64, entry.name.as_str());
            let owner = owners.entry(sense).or_insert(new);
            if new.0 < owner.0 {
                *owner = new;
            }
        }
    };
    for entry in entries {
        add(&entry.name, entry, 0.0);
        for name in &entry.synonyms {
            add(name, entry, SYNONYM);
        }
        // Names of icons of programs say what they are for: `data protection`.
        if let Some(part) = part(&entry.name).filter(|_| entry.category != "Icons") {
            add(part, entry, PART);
        }
    }
    owners
}

/// The word of a longer name that says what it is: the tree of `evergreen tree`, the couch of `couch and lamp`, the cat of `cat face`.
fn part(name: &str) -> Option<&str> {
    const JOINTS: [&str; 7] = [
        " and ", " with ", " of ", " in ", " on ", " for ", " behind ",
    ];
    let end = JOINTS.iter().filter_map(|joint| name.find(joint)).min();
    let front = &name[..end.unwrap_or(name.len())];
    let front = front.strip_suffix(" face").unwrap_or(front);
    let last = front.rsplit(' ').next()?;
    (last != name).then_some(last)
}

/// The icon of the nearest sense that a word is, is a kind of, or has as a kind, with the steps to it.
fn nearest<'e>(word: &str, wordnet: &WordNet, owners: &Owners<'e>) -> Option<(f64, &'e str)> {
    let mut best: Option<(f64, &str)> = None;
    let mut offer = |steps: f64, (far, name): (f64, &'e str)| {
        if best.is_none_or(|(least, _)| steps + far < least) {
            best = Some((steps + far, name));
        }
    };
    let nearest_of = |senses: &[Sense]| {
        let owners = senses.iter().filter_map(|sense| owners.get(sense).copied());
        owners.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    for (rank, &sense) in wordnet.senses(word).iter().take(SENSES).enumerate() {
        let first = NEXT_SENSE * rank as f64;
        let Some(synset) = wordnet.synset(sense) else {
            continue;
        };
        let living = matches!(synset.field, Field::Animal | Field::Plant);
        let far = if living { FAR_LIVING } else { FAR };
        let (mut level, mut steps) = (vec![sense], first);
        while !level.is_empty() && steps <= far {
            if let Some(owner) = nearest_of(&level) {
                offer(steps, owner);
            }
            let above = level.iter().filter_map(|&sense| wordnet.synset(sense));
            level = above.flat_map(|synset| synset.above.clone()).collect();
            steps += 1.0;
        }
        if let Some(owner) = nearest_of(&synset.below) {
            // What has no icon itself may have kinds that have one: a fruit is drawn as an apple.
            offer(first + KIND, owner);
        }
        if !living {
            continue;
        }
        let parents = synset.above.iter();
        let parents = parents.filter_map(|&sense| wordnet.synset(sense));
        for parent in parents.filter(|parent| parent.below.len() <= FEW) {
            if let Some(owner) = nearest_of(&parent.below) {
                offer(first + SIBLING, owner);
            }
        }
        let grown = grown(synset).map_or(&[][..], |word| wordnet.senses(word));
        if let Some(owner) = nearest_of(&grown[..grown.len().min(SENSES)]) {
            offer(first + YOUNG, owner);
        }
    }
    best
}

/// What a young animal is explained as the young of: `a young pig`, `young of domestic cattle`.
fn grown(synset: &Synset) -> Option<&str> {
    const BETWEEN: [&str; 8] = ["of", "a", "an", "the", "domestic", "or", "female", "male"];
    let young = synset.gloss.iter().position(|word| word == "young")?;
    let mut rest = synset.gloss[young + 1..].iter().map(String::as_str);
    rest.find(|word| !BETWEEN.contains(word))
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
    fn longer_names_are_found_by_what_they_are() {
        for (name, expected) in [
            ("evergreen tree", Some("tree")),
            ("couch and lamp", Some("couch")),
            ("cat face", Some("cat")),
            ("glass of milk", Some("glass")),
            ("dog", None),
        ] {
            assert_eq!(part(name), expected, "{name}");
        }
    }

    #[test]
    fn a_word_finds_its_kin() {
        let line = |sense: u32, word: &str, pointers: &str, gloss: &str| {
            format!("{sense:08} 05 n 01 {word} 0 {pointers} | {gloss}\n")
        };
        let data = [
            line(
                10,
                "leporid",
                "002 ~ 00000020 n 0000 ~ 00000030 n 0000",
                "a mammal",
            ),
            line(20, "rabbit", "001 @ 00000010 n 0000", "it digs"),
            line(30, "hare", "001 @ 00000010 n 0000", "it runs"),
            line(40, "leveret", "000", "a young rabbit; not yet grown"),
        ];
        let words = ["leporid", "rabbit", "hare", "leveret"];
        let index = (1..).zip(words);
        let index: String = index
            .map(|(i, word)| format!("{word} n 1 1 @ 1 0 {:08}  \n", 10 * i))
            .collect();
        let wordnet = WordNet::parse(&data.concat(), &index, "", "").unwrap();
        let entries = [entry("rabbit face", "Animals & Nature", &["rabbit"])];
        let found = of(&entries, &BTreeMap::new(), &wordnet);
        for word in ["leporid", "hare", "leveret", "rabbit"] {
            assert_eq!(
                found.get(word).map(String::as_str),
                Some("rabbit face"),
                "{word}"
            );
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
        // A colour is no thing.
        let tangerine = [entry("tangerine", "Food & Drink", &["orange"])];
        let found = of(&tangerine, &BTreeMap::new(), &wordnet);
        assert!(found.contains_key("tangerine") && !found.contains_key("orange"));
        // What a caption has is no question.
        let found = of(&entries, &keywords.into(), &wordnet);
        assert!(!found.contains_key("puppy") && !found.contains_key("eyes"));
    }
}
