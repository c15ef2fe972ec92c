//! Edits with exact instructions: an image, what to do with it, and the result.

use std::collections::HashMap;
use std::sync::Arc;

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::augment::{Augment, Change, composite};
use crate::captions::{COLOURS, SYNONYM, WHITE, article};
use crate::dataset::Dataset;
use crate::recolour::{self, Tint, Turn};

/// An image, an instruction and the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What to do.
    pub instruction: String,
    /// The image before: RGB bytes in rows.
    pub source: Vec<u8>,
    /// The image after, of the same size.
    pub target: Vec<u8>,
}

/// What an instruction changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EditKind {
    /// The colour of the thing: `make it blue`.
    Colour,
    /// The colour behind it: `make the background yellow`.
    Background,
    /// By quarters: `turn it left`.
    Turn,
    /// Left to right: `mirror it`.
    Mirror,
    /// `make it smaller`.
    Smaller,
    /// `make it bigger`.
    Bigger,
    /// `make it black and white`.
    Grey,
    /// The same thing drawn otherwise: `3d style`.
    Style,
    /// Another thing in the same style: `turn it into a dog`.
    Replace,
}

impl EditKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Colour,
        Self::Background,
        Self::Turn,
        Self::Mirror,
        Self::Smaller,
        Self::Bigger,
        Self::Grey,
        Self::Style,
        Self::Replace,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Background => "background",
            Self::Turn => "turn",
            Self::Mirror => "mirror",
            Self::Smaller => "smaller",
            Self::Bigger => "bigger",
            Self::Grey => "grey",
            Self::Style => "style",
            Self::Replace => "replace",
        }
    }

    /// How often one is drawn, out of 20.
    fn share(self) -> usize {
        match self {
            Self::Colour => 4,
            Self::Replace | Self::Style | Self::Turn | Self::Background => 3,
            Self::Smaller | Self::Bigger | Self::Mirror | Self::Grey => 1,
        }
    }
}

/// Colours that a thing can get.
const TINTS: [(&str, Tint); 7] = [
    ("red", tint(0.0, 0.85)),
    ("orange", tint(28.0, 0.95)),
    ("yellow", tint(50.0, 0.95)),
    ("green", tint(130.0, 0.6)),
    ("blue", tint(220.0, 0.85)),
    ("purple", tint(275.0, 0.65)),
    ("pink", tint(335.0, 0.85)),
];

const fn tint(hue: f32, saturation: f32) -> Tint {
    Tint { hue, saturation }
}

const TURNS: [(&str, Turn); 3] = [
    ("left", Turn::Left),
    ("right", Turn::Right),
    ("upside down", Turn::Half),
];

/// How much smaller a smaller thing is.
const SMALLER: f32 = 0.6;

/// Chance that an instruction is said in its first form.
const USUAL: f64 = 0.6;

/// Makes edits of the images of a data set whose images are squares of one size.
#[derive(Debug)]
pub struct Editor {
    set: Arc<Dataset>,
    ids: Vec<usize>,
    /// The images of a name, held out or not.
    named: HashMap<String, Vec<usize>>,
}

/// What an edit starts from.
#[derive(Clone, Copy)]
struct Source {
    index: usize,
    change: Change,
    background: [u8; 3],
}

impl Editor {
    /// Of images that training may see, or of those that it may not. A result in another style may be any image of the same
    /// name that training may see; that of a held-out one may be any at all.
    ///
    /// # Panics
    /// The images are not all squares of one size.
    pub fn new(set: &Arc<Dataset>, held_out: bool) -> Self {
        assert!(set.is_square(), "edits need square images of one size");
        let ids = if held_out {
            set.held_out_ids()
        } else {
            set.train_ids()
        };
        let mut named = HashMap::<String, Vec<usize>>::new();
        for entry in set.entries() {
            if held_out || !entry.held_out {
                named.entry(entry.name.clone()).or_default().push(entry.id);
            }
        }
        Self {
            set: Arc::clone(set),
            ids,
            named,
        }
    }

    /// The images whose edits it makes.
    pub fn ids(&self) -> &[usize] {
        &self.ids
    }

    /// A random edit of image `index`, shifted and scaled a little.
    pub fn any(&self, index: usize, augment: &Augment, rng: &mut impl Rng) -> Edit {
        let shares = EditKind::ALL.map(|kind| std::iter::repeat_n(kind, kind.share()));
        let kinds: Vec<EditKind> = shares.into_iter().flatten().collect();
        loop {
            let kind = *kinds.choose(rng).expect("there are kinds");
            let change = augment.sample(self.set.entry(index).flip, rng);
            let usual = rng.random_bool(USUAL);
            if let Some(edit) = self.edit(index, kind, change, usual, rng) {
                return edit;
            }
        }
    }

    /// An edit of image `index`, as it is, in the usual words; none if the set has no such pair.
    pub fn plain(&self, index: usize, kind: EditKind, rng: &mut impl Rng) -> Option<Edit> {
        self.edit(index, kind, Change::NONE, true, rng)
    }

    fn edit(
        &self,
        index: usize,
        kind: EditKind,
        change: Change,
        usual: bool,
        rng: &mut impl Rng,
    ) -> Option<Edit> {
        let coloured = rng.random_bool(0.2);
        let source = Source {
            index,
            change: match kind {
                EditKind::Bigger => scaled(change, SMALLER),
                _ => change,
            },
            background: match COLOURS.choose(rng) {
                Some((_, rgb)) if coloured => *rgb,
                _ => WHITE,
            },
        };
        let before = self.composite(source);
        let (target, [first, second]) = self.result(kind, source, &before, rng)?;
        Some(Edit {
            instruction: if usual { first } else { second },
            source: before,
            target,
        })
    }

    /// The image after an edit of this kind, and the instruction in its usual words and in others.
    fn result(
        &self,
        kind: EditKind,
        source: Source,
        before: &[u8],
        rng: &mut impl Rng,
    ) -> Option<(Vec<u8>, [String; 2])> {
        let changed = |change| self.composite(Source { change, ..source });
        let shown = |index| self.composite(Source { index, ..source });
        let change = source.change;
        Some(match kind {
            EditKind::Colour => {
                let &(name, tint) = TINTS.choose(rng)?;
                let tinted = |rgb: &[u8], alpha: &[u8]| recolour::tint(rgb, alpha, tint);
                let words = said(format!("make it {name}"), format!("paint it {name}"));
                (self.recoloured(source, tinted), words)
            }
            EditKind::Grey => {
                let words = said("make it black and white", "remove the colours");
                (self.recoloured(source, recolour::grey), words)
            }
            EditKind::Background => {
                let &(name, background) = COLOURS.choose(rng)?;
                let other = format!("put it on {} {name} background", article(name));
                let words = said(format!("make the background {name}"), other);
                (
                    self.composite(Source {
                        background,
                        ..source
                    }),
                    words,
                )
            }
            EditKind::Turn => {
                let &(name, turn) = TURNS.choose(rng)?;
                let words = said(format!("turn it {name}"), format!("rotate it {name}"));
                (recolour::turn(before, self.set.size(), 3, turn), words)
            }
            EditKind::Mirror => {
                let mirror = !change.mirror;
                (
                    changed(Change { mirror, ..change }),
                    said("mirror it", "flip it"),
                )
            }
            EditKind::Smaller => {
                let words = said("make it smaller", "shrink it");
                (changed(scaled(change, SMALLER)), words)
            }
            EditKind::Bigger => {
                let words = said("make it bigger", "enlarge it");
                (changed(scaled(change, 1.0 / SMALLER)), words)
            }
            EditKind::Style => {
                let other = self.in_another_style(source.index, rng)?;
                let style = &self.set.entry(other).style;
                let words = said(format!("make it {style} style"), format!("{style} style"));
                (shown(other), words)
            }
            EditKind::Replace => {
                let other = self.of_the_same_style(source.index, rng)?;
                (shown(other), self.replaced_by(other, rng))
            }
        })
    }

    fn composite(&self, source: Source) -> Vec<u8> {
        self.recoloured(source, |rgb, _| rgb.to_vec())
    }

    /// The source with other colours, on its background.
    fn recoloured(&self, source: Source, map: impl Fn(&[u8], &[u8]) -> Vec<u8>) -> Vec<u8> {
        let (rgb, alpha) = self.set.raw(source.index);
        let (rgb, alpha) = source.change.apply(rgb, alpha, [self.set.size(); 2]);
        composite(&map(&rgb, &alpha), &alpha, source.background)
    }

    fn in_another_style(&self, index: usize, rng: &mut impl Rng) -> Option<usize> {
        let entry = self.set.entry(index);
        let others = self.named.get(entry.name.as_str())?.iter().copied();
        let others = others.filter(|&id| self.set.entry(id).style != entry.style);
        others.collect::<Vec<_>>().choose(rng).copied()
    }

    fn of_the_same_style(&self, index: usize, rng: &mut impl Rng) -> Option<usize> {
        let entry = self.set.entry(index);
        // Half of the images at least are of another style: some draws find one.
        let draws = (0..64).filter_map(|_| self.ids.choose(rng).copied());
        let mut others = draws.filter(|&id| {
            let other = self.set.entry(id);
            other.style == entry.style && other.name != entry.name
        });
        others.next()
    }

    fn replaced_by(&self, index: usize, rng: &mut impl Rng) -> [String; 2] {
        let entry = self.set.entry(index);
        let synonym = rng.random_bool(SYNONYM);
        let name = match entry.synonyms.choose(rng) {
            Some(other) if synonym => other,
            _ => &entry.name,
        };
        let thing = format!("{} {name}", article(name));
        said(
            format!("turn it into {thing}"),
            format!("replace it with {thing}"),
        )
    }
}

/// The usual words and others.
fn said(usual: impl Into<String>, other: impl Into<String>) -> [String; 2] {
    [usual.into(), other.into()]
}

fn scaled(change: Change, factor: f32) -> Change {
    Change {
        scale: change.scale * factor,
        ..change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::tests::{Image, small};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// A red dot at the top left in two styles, and a thing of another name.
    fn set() -> (tempfile::TempDir, Arc<Dataset>) {
        let dot = [255u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let image = |name, style| Image {
            name,
            style,
            category: "",
            rgb: dot,
            alpha: [255, 0, 0, 0],
            held_out: false,
        };
        let other = Image {
            rgb: [0, 0, 255].repeat(4).try_into().unwrap(),
            alpha: [255; 4],
            ..image("ball", "3d")
        };
        let (folder, set) = small(&[image("dot", "3d"), image("dot", "flat"), other]);
        (folder, Arc::new(set))
    }

    fn edits(kind: EditKind) -> Vec<Edit> {
        let (_folder, set) = set();
        let editor = Editor::new(&set, false);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let made = (0..40).filter_map(|_| editor.plain(0, kind, &mut rng));
        made.filter(|edit| edit.source[9..] == [255; 3]).collect()
    }

    /// The first pixel of the result, where an instruction says so.
    fn first(kind: EditKind, instruction: &str) -> [u8; 3] {
        let edits = edits(kind);
        let edit = edits.iter().find(|edit| edit.instruction == instruction);
        let edit = edit.unwrap_or_else(|| panic!("no `{instruction}` among {edits:?}"));
        edit.target[..3].try_into().unwrap()
    }

    #[test]
    fn instructions_are_exact() {
        let white = [255, 255, 255];
        let blue = first(EditKind::Colour, "make it blue");
        assert!(blue[2] > 200 && blue[0] < 60, "{blue:?}");
        assert_eq!(first(EditKind::Grey, "make it black and white"), [76; 3]);
        assert_eq!(
            first(EditKind::Background, "make the background black"),
            [255, 0, 0]
        );
        assert_eq!(first(EditKind::Mirror, "mirror it"), white);
        assert_eq!(first(EditKind::Style, "make it flat style"), [255, 0, 0]);
        assert_eq!(first(EditKind::Replace, "turn it into a ball"), [0, 0, 255]);
        let turned = edits(EditKind::Turn);
        let left = turned.iter().find(|e| e.instruction == "turn it left");
        assert_eq!(left.unwrap().target[6..9], [255, 0, 0]); // bottom left
        let [small, large] =
            [EditKind::Smaller, EditKind::Bigger].map(|kind| edits(kind).remove(0));
        assert_eq!(small.instruction, "make it smaller");
        assert_eq!(small.source, large.target);
        assert_eq!(small.target, large.source);
        assert_ne!(small.source, small.target);
    }

    #[test]
    fn an_edit_that_the_set_lacks_is_none() {
        let (_folder, set) = set();
        let editor = Editor::new(&set, false);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert!(editor.plain(2, EditKind::Style, &mut rng).is_none());
        assert_eq!(editor.ids(), [0, 1, 2]);
        // Any edit is one of the others then.
        let words: Vec<String> = (0..50)
            .map(|_| editor.any(2, &Augment::default(), &mut rng).instruction)
            .collect();
        assert!(
            words.iter().all(|text| !text.contains("style")),
            "{words:?}"
        );
        assert!(
            words.iter().any(|text| text.starts_with("paint it")),
            "{words:?}"
        );
    }
}
