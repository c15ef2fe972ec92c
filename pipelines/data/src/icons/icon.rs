//! An icon before it is rendered: what it shows, and its artwork.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::Names;
use super::render::{self, ViewBox};
use super::spelling;

/// What an icon shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Label {
    /// Code points, or `icon:` and the slug of an icon that is no emoji.
    pub key: String,
    pub name: String,
    pub group: String,
    pub synonyms: Vec<String>,
}

impl Label {
    /// Of the emoji with this key.
    pub fn of_emoji(key: &str, names: &Names) -> Option<Self> {
        let concept = names.concept(key)?;
        Some(Self {
            key: key.to_owned(),
            name: concept.name.clone(),
            group: concept.group.clone(),
            synonyms: concept.synonyms.clone(),
        })
    }

    /// Of an icon that is no emoji: its slug is its name.
    pub fn of_slug(slug: &str) -> Self {
        Self {
            key: format!("icon:{slug}"),
            name: spelling::clean(&slug.replace('-', " ")),
            group: "Icons".into(),
            synonyms: Vec::new(),
        }
    }
}

/// An icon to render.
pub(super) struct Icon<'a> {
    pub label: Label,
    pub artwork: Artwork<'a>,
}

pub(super) enum Artwork<'a> {
    Svg {
        body: &'a str,
        view: ViewBox,
        mirror: bool,
    },
    Webp(&'a [u8]),
}

impl Artwork<'_> {
    /// Premultiplied RGBA of `size` x `size` pixels; see [`render`].
    pub fn render(&self, size: usize, supersample: usize) -> Result<Vec<u8>, render::RenderError> {
        match *self {
            Self::Webp(bytes) => render::webp(bytes, size),
            Self::Svg { body, view, mirror } => {
                let mut image = render::svg(body, view, size, supersample)?;
                if mirror {
                    render::mirror(&mut image, size);
                }
                Ok(image)
            }
        }
    }
}

/// The emoji among WebP files that are named by code points; the first file of a sequence wins.
pub(super) fn of_webp_files<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    names: &Names,
) -> Vec<Icon<'a>> {
    let mut chosen: BTreeMap<String, Icon<'a>> = BTreeMap::new();
    for (path, bytes) in files {
        let file = path.rsplit('/').next().unwrap_or(path);
        let key = spelling::hex_key(file.trim_end_matches(".webp"));
        if let Some(label) = Label::of_emoji(&key, names) {
            chosen.entry(key).or_insert(Icon {
                label,
                artwork: Artwork::Webp(bytes),
            });
        }
    }
    chosen.into_values().collect()
}
