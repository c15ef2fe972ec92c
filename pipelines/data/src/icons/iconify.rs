//! Icon sets of Iconify: `icons.json`, and which of its icons stands for which concept.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::icon::{Artwork, Icon, Label};
use super::names::Names;
use super::render::ViewBox;
use super::spelling;
use crate::recipe::{IconSource, Recipe};

/// `icons.json`.
#[derive(Deserialize)]
pub(super) struct IconifySet {
    icons: BTreeMap<String, IconifyIcon>,
    #[serde(default)]
    aliases: BTreeMap<String, Alias>,
    width: Option<f64>,
    height: Option<f64>,
    left: Option<f64>,
    top: Option<f64>,
}

#[derive(Deserialize)]
struct IconifyIcon {
    body: String,
    width: Option<f64>,
    height: Option<f64>,
    left: Option<f64>,
    top: Option<f64>,
    #[serde(default)]
    hidden: bool,
}

/// Another slug for an icon, perhaps flipped or rotated.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    parent: String,
    #[serde(default)]
    h_flip: bool,
    #[serde(default)]
    v_flip: bool,
    #[serde(default)]
    rotate: u8,
}

/// How well an icon stands for a concept, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Its slug is the concept's own.
    OwnSlug,
    /// A mirrored alias.
    MirroredAlias,
    /// Another slug of the concept.
    OtherSlug,
    /// An alias.
    Alias,
}

struct Candidate<'a> {
    rank: Rank,
    label: Label,
    icon: &'a IconifyIcon,
    mirror: bool,
}

/// The best candidate for each key; of equals the first.
#[derive(Default)]
struct Candidates<'a>(BTreeMap<String, Candidate<'a>>);

impl<'a> Candidates<'a> {
    fn offer(&mut self, candidate: Candidate<'a>) {
        let best = self.0.get(&candidate.label.key);
        if best.is_none_or(|best| candidate.rank < best.rank) {
            self.0.insert(candidate.label.key.clone(), candidate);
        }
    }
}

impl IconifySet {
    /// The icons to render: one per concept, preferably the one with the concept's own slug.
    pub fn choose(&self, recipe: &Recipe, source: &IconSource, names: &Names) -> Vec<Icon<'_>> {
        let mut candidates = Candidates::default();
        let known_by_alias = self.offer_aliases(recipe, names, &mut candidates);
        for (slug, icon) in &self.icons {
            if !usable(slug, icon, recipe) {
                continue;
            }
            let (rank, label) = if let Some(label) = emoji(slug, names) {
                let own = spelling::slug(&label.name) == *slug;
                (if own { Rank::OwnSlug } else { Rank::OtherSlug }, label)
            } else if source.keep_unmatched && !known_by_alias.contains(slug.as_str()) {
                (Rank::OwnSlug, Label::of_slug(slug))
            } else {
                continue;
            };
            candidates.offer(Candidate {
                rank,
                label,
                icon,
                mirror: false,
            });
        }
        candidates
            .0
            .into_values()
            .map(|candidate| Icon {
                artwork: Artwork::Svg {
                    body: &candidate.icon.body,
                    view: self.view(candidate.icon),
                    mirror: candidate.mirror,
                },
                label: candidate.label,
            })
            .collect()
    }

    /// Offers the aliases that are emoji; returns the slugs of the icons that they stand for.
    fn offer_aliases<'a>(
        &'a self,
        recipe: &Recipe,
        names: &Names,
        candidates: &mut Candidates<'a>,
    ) -> BTreeSet<&'a str> {
        let mut parents = BTreeSet::new();
        for (slug, alias) in &self.aliases {
            if alias.v_flip || alias.rotate != 0 {
                continue; // no emoji set turns one icon into another
            }
            let parent = self.icons.get(&alias.parent);
            let Some(icon) = parent.filter(|icon| usable(slug, icon, recipe)) else {
                continue;
            };
            let Some(label) = emoji(slug, names) else {
                continue;
            };
            parents.insert(alias.parent.as_str());
            candidates.offer(Candidate {
                rank: if alias.h_flip {
                    Rank::MirroredAlias
                } else {
                    Rank::Alias
                },
                label,
                icon,
                mirror: alias.h_flip,
            });
        }
        parents
    }

    fn view(&self, icon: &IconifyIcon) -> ViewBox {
        ViewBox {
            left: icon.left.or(self.left).unwrap_or(0.0),
            top: icon.top.or(self.top).unwrap_or(0.0),
            width: icon.width.or(self.width).unwrap_or(16.0),
            height: icon.height.or(self.height).unwrap_or(16.0),
        }
    }
}

fn usable(slug: &str, icon: &IconifyIcon, recipe: &Recipe) -> bool {
    !icon.hidden && !spelling::has_skin_tone(slug) && !recipe.excludes(slug)
}

fn emoji(slug: &str, names: &Names) -> Option<Label> {
    Label::of_emoji(names.key(slug)?, names)
}
