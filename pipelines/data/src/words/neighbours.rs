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
const NEAR: f64 = 1.5;
/// Steps up to which it is asked before keywords of words that mean the same are.
const KIN: f64 = 2.5;
/// Steps up to which a phrase of two words is looked for.
const NEAR_PAIR: f64 = 3.0;
/// Steps up to which it is asked at all.
const FAR: f64 = 4.0;
/// The same for living things, whose families have families.
const FAR_LIVING: f64 = 6.0;
/// How much of the steps to a later sense remains if an icon is named by that very sense.
const NAMED: f64 = 0.5;
/// Steps to an icon whose name the explanation of a word has: an oak is explained as a `deciduous tree`.
const EXPLAINED: f64 = 0.5;
/// Steps to another kind of what a word is a kind of.
const SIBLING: f64 = 2.5;
/// What has more kinds than this is too general for them to be siblings.
const FEW: usize = 40;
/// Steps to another kind of what has few kinds.
const CLOSE_SIBLING: f64 = 1.5;
/// How far a sibling goes before others for every word that its explanation shares, in steps.
const ALIKE: f64 = 0.25;
/// What has at most this many kinds has few.
const VERY_FEW: usize = 12;
/// Steps from a young animal to what it grows up to be.
const YOUNG: f64 = 1.5;
/// Steps to a kind of what a word is.
const KIND: f64 = 2.0;
/// Emoji groups in which a keyword may be found: faces and signs have keywords of everything.
const WITHOUT_KEYWORDS: [&str; 2] = ["Flags", "Symbols"];
/// The group of persons, which have keywords of all that they do.
const PERSONS: &str = "People & Body";

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
        "Travel & Places" => &[Artifact, Object, Location, Phenomenon, Time],
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
        let names = keywords.get(word)?.iter().map(String::as_str);
        let names = names.filter_map(|name| Some((name, *drawn.get(name)?)));
        let mut names = names.filter(|(_, category)| !WITHOUT_KEYWORDS.contains(category));
        let persons = Persons::of(word, wordnet);
        match persons {
            Persons::No => names.find(|(_, category)| *category != PERSONS),
            Persons::Perhaps => names.next(),
            Persons::Yes => names.min_by_key(|(_, category)| *category != PERSONS),
        }
        .map(|(name, _)| name)
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
        let within = |most: f64| {
            known
                .filter(|(steps, _)| *steps <= most)
                .map(|(_, name)| name)
        };
        let name = within(NEAR)
            .or_else(|| by_keyword(word))
            .or_else(|| within(KIN));
        let others = || same(word, wordnet).find_map(by_keyword);
        if let Some(name) = name.or_else(others).or_else(|| within(f64::INFINITY)) {
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
    for (pair, name) in pairs(&found, &spoken, entries, wordnet, &owners) {
        found.insert(pair, name);
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

/// Phrases of two words that mean something else than their last word (a `granny smith` is no smith), or whose first word would be drawn
/// too (of `mountain bike` a mountain).
fn pairs(
    found: &BTreeMap<String, String>,
    spoken: &BTreeSet<&str>,
    entries: &[Entry],
    wordnet: &WordNet,
    owners: &Owners<'_>,
) -> Vec<(String, String)> {
    let names = entries.iter().flat_map(|entry| {
        let names = std::iter::once(&entry.name).chain(&entry.synonyms);
        names.map(String::as_str)
    });
    let names: BTreeSet<&str> = names.collect();
    let mut pairs = vec![];
    for pair in wordnet.pairs() {
        let Some((first, last)) = pair.split_once(' ').filter(|_| !names.contains(pair)) else {
            continue;
        };
        let known = nearest(pair, wordnet, owners).filter(|(steps, _)| *steps <= NEAR_PAIR);
        let Some((_, name)) = known else { continue };
        let said = found.get(last).is_some_and(|by| by == name);
        let drawn = found.get(first).is_some_and(|by| by == first);
        let says_how = says_how(first) || wordnet.may_be_adjective(first);
        // What captions say is understood as it is, unless the first word misleads.
        let useful = if spoken.contains(last) {
            said && drawn && !says_how
        } else {
            !said
        };
        if useful {
            pairs.push((pair.to_owned(), name.to_owned()));
        }
    }
    pairs
}

/// Whether a word means persons.
enum Persons {
    Yes,
    /// A part of a person or what persons do, or a word that is in no dictionary.
    Perhaps,
    No,
}

impl Persons {
    fn of(word: &str, wordnet: &WordNet) -> Self {
        let senses = wordnet.senses(word).iter().take(SENSES);
        let fields = senses.filter_map(|&sense| wordnet.synset(sense).map(|synset| synset.field));
        let fields: Vec<Field> = fields.collect();
        let about = |field: &Field| matches!(field, Field::Person | Field::Body | Field::Act);
        if fields.first() == Some(&Field::Person) {
            Self::Yes
        } else if fields.is_empty() || fields.iter().any(about) {
            Self::Perhaps
        } else {
            Self::No
        }
    }
}

/// Other words for the first sense of a word.
fn same<'w>(word: &'w str, wordnet: &'w WordNet) -> impl Iterator<Item = &'w str> {
    let first = ranked(word, wordnet).into_iter().next();
    let synset = first.and_then(|(_, sense)| wordnet.synset(sense));
    let thing = synset.filter(|synset| synset.field != Field::Other);
    let words = thing.into_iter().flat_map(|synset| &synset.words);
    words
        .map(String::as_str)
        .filter(move |other| *other != word)
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

/// What icons show.
struct Owners<'e> {
    /// Senses, each with the steps to the name of its icon.
    senses: HashMap<Sense, (f64, &'e str)>,
    /// Names of several words by the first of them, each with the fields that it can be in.
    phrases: HashMap<&'e str, Vec<(&'e str, &'static [Field])>>,
}

impl<'e> Owners<'e> {
    /// The icon whose name of several words is in an explanation, in the singular or the plural.
    fn explaining(&self, synset: &Synset) -> Option<&'e str> {
        let says = |at: usize, name: &str| {
            let mut words = synset.gloss[at..].iter();
            name.split(' ').all(|part| {
                let word = words.next();
                word.is_some_and(|word| word == part || word.strip_suffix('s') == Some(part))
            })
        };
        let gloss = synset.gloss.iter().enumerate();
        let mut phrases = gloss.flat_map(|(at, word)| {
            let phrases = self.phrases.get(word.as_str()).into_iter().flatten();
            phrases.map(move |phrase| (at, phrase))
        });
        let found =
            phrases.find(|(at, (name, fields))| fields.contains(&synset.field) && says(*at, name));
        found.map(|(_, (name, _))| *name)
    }
}

/// By names, other names, and parts of names.
fn owners<'e>(entries: &'e [Entry], wordnet: &WordNet) -> Owners<'e> {
    let mut owners = HashMap::new();
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
    let mut phrases: HashMap<&str, Vec<_>> = HashMap::new();
    for entry in entries {
        if let Some((first, _)) = entry.name.split_once(' ') {
            let of_first = phrases.entry(first).or_default();
            of_first.push((entry.name.as_str(), fields(&entry.category)));
        }
    }
    Owners {
        senses: owners,
        phrases,
    }
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
        let owners = senses
            .iter()
            .filter_map(|sense| owners.senses.get(sense).copied());
        owners.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    for (rank, sense) in ranked(word, wordnet) {
        let first = NEXT_SENSE * rank as f64;
        let Some(synset) = wordnet.synset(sense) else {
            continue;
        };
        if let Some(owner) = nearest_of(&[sense]) {
            offer(NAMED * first, owner);
        }
        if let Some(name) = owners.explaining(synset) {
            offer(first + EXPLAINED, (0.0, name));
        }
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
        if !living && !matches!(synset.field, Field::Food | Field::Artifact) {
            continue;
        }
        let parents = synset.above.iter();
        let parents = parents.filter_map(|&sense| wordnet.synset(sense));
        for parent in parents.filter(|parent| parent.below.len() <= FEW) {
            let few = parent.below.len() <= VERY_FEW;
            let steps = if few { CLOSE_SIBLING } else { SIBLING };
            let alike = |sense: &Sense| {
                let other = wordnet.synset(*sense);
                other.map_or(0, |other| alike(synset, other)) as f64
            };
            let siblings = parent.below.iter().filter_map(|sense| {
                let owner = *owners.senses.get(sense)?;
                Some((owner.0 - ALIKE * alike(sense), owner))
            });
            let nearest = siblings.min_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, owner)) = nearest.filter(|_| few || living) {
                offer(first + steps, owner);
            }
        }
        if !living {
            continue;
        }
        let grown = grown(synset).map_or(&[][..], |word| wordnet.senses(word));
        let grown = &grown[..grown.len().min(SENSES)];
        let kinds = grown.iter().filter_map(|&sense| wordnet.synset(sense));
        let kinds: Vec<Sense> = kinds.flat_map(|synset| synset.below.clone()).collect();
        if let Some(owner) = nearest_of(grown).or_else(|| nearest_of(&kinds)) {
            offer(first + YOUNG, owner);
        }
    }
    best
}

/// How many words of one explanation another has too, by their first four letters.
fn alike(one: &Synset, other: &Synset) -> usize {
    const EVERYWHERE: [&str; 4] = ["have", "havi", "that", "with"];
    let stem = |word: &str| {
        let stem = word.get(..4).filter(|stem| !EVERYWHERE.contains(stem));
        stem.map(str::to_owned)
    };
    let stems = |synset: &Synset| -> BTreeSet<String> {
        synset.gloss.iter().filter_map(|word| stem(word)).collect()
    };
    stems(one).intersection(&stems(other)).count()
}

/// The senses of a word that are looked at, each with its place.
///
/// A word for an animal and its meat means the animal, and one for a plant and its fruit the fruit.
fn ranked(word: &str, wordnet: &WordNet) -> Vec<(usize, Sense)> {
    let all = wordnet.senses(word);
    let senses = all.iter().take(SENSES).copied().enumerate();
    let (mut places, mut living) = (vec![], vec![]);
    let mut ranked = vec![];
    for (rank, sense) in senses {
        let field = wordnet.synset(sense).map(|synset| synset.field);
        let order = match field {
            Some(Field::Animal) => 0,
            Some(Field::Food) => 1,
            Some(Field::Plant) => 2,
            _ => {
                ranked.push((rank, sense));
                continue;
            }
        };
        places.push(rank);
        living.push((order, sense));
    }
    living.sort_by_key(|(order, _)| *order);
    let living = living.into_iter().map(|(_, sense)| sense);
    ranked.extend(places.into_iter().zip(living));
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    ranked
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

    /// A word, the number of its field, the numbers of what it is a kind of, and its explanation. Senses have the numbers 1, 2, 3, ….
    type Line<'a> = (&'a str, u8, &'a [u32], &'a str);

    fn dictionary(lines: &[Line<'_>]) -> WordNet {
        let (mut data, mut senses) = (String::new(), BTreeMap::<&str, Vec<u32>>::new());
        for (sense, (word, field, above, gloss)) in (1..).zip(lines) {
            let kinds = (1..)
                .zip(lines)
                .filter(|(_, (_, _, above, _))| above.contains(&sense));
            let kinds: Vec<u32> = kinds.map(|(kind, _)| kind).collect();
            let mut pointers = String::new();
            for (symbol, others) in [("@", above.to_vec()), ("~", kinds.clone())] {
                for other in others {
                    pointers += &format!(" {symbol} {other:08} n 0000");
                }
            }
            let count = above.len() + kinds.len();
            let word = word.replace(' ', "_");
            data +=
                &format!("{sense:08} {field:02} n 01 {word} 0 {count:03}{pointers} | {gloss}\n");
        }
        for (sense, (word, ..)) in (1..).zip(lines) {
            senses.entry(word).or_default().push(sense);
        }
        let index = senses.iter().map(|(word, senses)| {
            let numbers: Vec<String> = senses.iter().map(|sense| format!("{sense:08}")).collect();
            let (word, count) = (word.replace(' ', "_"), senses.len());
            format!("{word} n {count} 0 {count} 0 {}  \n", numbers.join(" "))
        });
        WordNet::parse(&data, &index.collect::<String>(), "", "").unwrap()
    }

    fn check(found: &BTreeMap<String, String>, expected: &[(&str, Option<&str>)]) {
        for (word, name) in expected {
            assert_eq!(found.get(*word).map(String::as_str), *name, "{word}");
        }
    }

    #[test]
    fn a_word_finds_its_kin() {
        let wordnet = dictionary(&[
            ("leporid", 5, &[], "a mammal"),
            ("rabbit", 5, &[1], "it digs"),
            ("hare", 5, &[1], "it runs"),
            ("leveret", 5, &[], "a young rabbit; not yet grown"),
            ("cattle", 5, &[], "they graze"),
            ("cow", 5, &[5], "it moos"),
            ("calf", 5, &[], "young of domestic cattle"),
        ]);
        let entries = [
            entry("rabbit face", "Animals & Nature", &["rabbit"]),
            entry("cow", "Animals & Nature", &[]),
        ];
        let found = of(&entries, &BTreeMap::new(), &wordnet);
        let rabbit = Some("rabbit face");
        check(
            &found,
            &[
                ("leporid", rabbit),
                ("hare", rabbit),
                ("leveret", rabbit),
                ("rabbit", rabbit),
                ("calf", Some("cow")),
            ],
        );
    }

    #[test]
    fn of_several_siblings_the_one_that_is_explained_alike() {
        let wordnet = dictionary(&[
            ("cat", 5, &[], "it meows"),
            ("lion", 5, &[1], "a cat with a mane"),
            ("leopard", 5, &[1], "an african cat with spots"),
            ("cheetah", 5, &[1], "a spotted cat of africa"),
        ]);
        let entries = ["lion", "leopard"].map(|name| entry(name, "Animals & Nature", &[]));
        let found = of(&entries, &BTreeMap::new(), &wordnet);
        check(&found, &[("cheetah", Some("leopard"))]);
    }

    #[test]
    fn a_word_for_several_things_means_the_one_to_be_drawn() {
        let wordnet = dictionary(&[
            ("tree", 20, &[], "a plant"),
            ("fruit", 13, &[], "it is sweet"),
            ("plum", 20, &[1], "it bears fruit"),
            ("plum", 13, &[2], "it is a fruit"),
            ("peach", 13, &[2], "a fruit too"),
            ("trout", 13, &[2], "its meat"),
            ("trout", 5, &[8], "it swims"),
            ("fish", 5, &[], "it lives in water"),
            ("greedy", 5, &[10], "a sheep"),
            ("sheep", 5, &[], "woolly"),
            ("hog", 5, &[10], "a young sheep of a year"),
            ("hog", 5, &[], "a farm animal"),
        ]);
        let mut entries = ["peach", "tree"]
            .map(|name| entry(name, "Food & Drink", &[]))
            .to_vec();
        entries.extend(["fish", "sheep"].map(|name| entry(name, "Animals & Nature", &[])));
        let found = of(&entries, &BTreeMap::new(), &wordnet);
        check(
            &found,
            &[
                ("plum", Some("peach")),
                ("trout", Some("fish")),
                ("hog", Some("sheep")),
            ],
        );
        // The second sense is that of an icon itself.
        entries.push(entry("pig", "Animals & Nature", &["hog"]));
        let owners = owners(&entries, &wordnet);
        assert_eq!(nearest("hog", &wordnet, &owners), Some((SYNONYM, "pig")));
    }

    #[test]
    fn an_explanation_may_name_an_icon() {
        let wordnet = dictionary(&[
            ("tree", 20, &[], "a plant"),
            ("oak", 20, &[1], "a deciduous tree with acorns"),
            ("beech", 20, &[1], "one of the deciduous trees"),
            ("bench", 6, &[], "made of a deciduous tree"),
        ]);
        let entries = ["tree", "deciduous tree"].map(|name| entry(name, "Animals & Nature", &[]));
        let found = of(&entries, &BTreeMap::new(), &wordnet);
        let tree = Some("deciduous tree");
        check(&found, &[("oak", tree), ("beech", tree), ("bench", None)]);
    }

    #[test]
    fn keywords_of_persons_are_for_persons() {
        let wordnet = dictionary(&[
            ("king", 18, &[], "he rules"),
            ("day", 28, &[], "a time"),
            ("jump", 4, &[], "a leap"),
        ]);
        let entries = [
            entry("crown", "Objects", &[]),
            entry("person with crown", "People & Body", &[]),
            entry("sun", "Travel & Places", &[]),
        ];
        let both = vec!["crown".to_owned(), "person with crown".to_owned()];
        let keywords = ["king", "jump", "rex"].map(|word| (word.to_owned(), both.clone()));
        let mut keywords = BTreeMap::from(keywords);
        keywords.insert("day".into(), vec!["person with crown".into(), "sun".into()]);
        let found = of(&entries, &keywords, &wordnet);
        let expected = [
            ("king", "person with crown"),
            ("jump", "crown"),
            ("rex", "crown"),
            ("day", "sun"),
        ];
        check(&found, &expected.map(|(word, name)| (word, Some(name))));
    }

    #[test]
    fn phrases_that_mean_something_else_than_their_last_word() {
        let wordnet = dictionary(&[
            ("apple", 13, &[], "it grows on trees"),
            ("granny smith", 13, &[1], "it is green"),
            ("smith", 18, &[], "he forges"),
            ("bicycle", 6, &[], "two wheels"),
            ("mountain bike", 6, &[4], "with thick tyres"),
            ("racing bike", 6, &[4], "with thin tyres"),
            ("orange bike", 6, &[4], "a brand"),
            ("mountain apple", 6, &[4], "no apple"),
            ("beach apple", 20, &[], "a shrub of apple trees"),
            ("apple", 20, &[9], "a tree"),
        ]);
        let entries = [
            entry("apple", "Food & Drink", &[]),
            entry("bicycle", "Travel & Places", &["bike"]),
            entry("mountain", "Travel & Places", &[]),
            entry("orange", "Food & Drink", &[]),
            entry("person", "People & Body", &[]),
        ];
        let found = of(&entries, &BTreeMap::new(), &wordnet);
        let expected = [
            ("granny smith", Some("apple")),
            ("mountain bike", Some("bicycle")),
            ("racing bike", None),
            ("orange bike", None),    // a colour
            ("mountain apple", None), // captions have apples
            ("beach apple", None),
        ];
        check(&found, &expected);
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
