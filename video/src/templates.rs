//! The grids of the released models for each aspect ratio and frame size.
//!
//! A grid of base side `s` and aspect `a = h / w` has `w = s / sqrt(a)` columns and `a w` rows, both rounded,
//! halves to even (`get_ratio2hws_video_v2` of `infinity/schedules/dynamic_resolution.py`).

use serde::{Deserialize, Serialize};

/// Base sides of the scales; smaller frame sizes use the first ones.
const SIDES: [usize; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 40, 60];

/// Rows and columns of the aspect ratios; all but the first exist in landscape and portrait.
const ASPECTS: [(f64, f64); 8] = [
    (1.0, 1.0),
    (100.0, 116.0),
    (3.0, 4.0),
    (2.0, 3.0),
    (9.0, 16.0),
    (1.0, 2.0),
    (2.0, 5.0),
    (1.0, 3.0),
];

/// The approximate number of cells in the finest grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FrameSize {
    /// 256 cells, 0.06 million pixels.
    #[serde(rename = "0.06M")]
    M006,
    /// 1024 cells, 0.25 million pixels.
    #[serde(rename = "0.25M")]
    M025,
    /// 1600 cells, 0.4 million pixels: 480p.
    #[serde(rename = "0.40M")]
    M040,
    /// 3600 cells, 0.9 million pixels: 720p.
    #[serde(rename = "0.90M")]
    M090,
}

impl FrameSize {
    /// The number of scales.
    pub const fn scales(self) -> usize {
        match self {
            Self::M006 => 11,
            Self::M025 => 13,
            Self::M040 => 14,
            Self::M090 => 15,
        }
    }
}

/// The grids of one aspect ratio, coarse to fine.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Rows over columns of the finest grid of the largest size, truncated to three decimals: the template's name.
    pub ratio: f64,
    grids: Vec<[usize; 2]>,
}

impl Template {
    /// All 15 of them.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (rows, columns) in ASPECTS {
            let grids: Vec<_> = SIDES.iter().map(|&s| grid(s, rows / columns)).collect();
            let [h, w] = grids[grids.len() - 1];
            let ratio = h as f64 / w as f64;
            let portrait = grids.iter().map(|&[h, w]| [w, h]).collect();
            all.push(Self {
                ratio: truncate(ratio),
                grids,
            });
            if rows != columns {
                let ratio = truncate(1.0 / ratio);
                let grids = portrait;
                all.push(Self { ratio, grids });
            }
        }
        all
    }

    /// The template nearest to `ratio`, rows over columns.
    pub fn nearest(ratio: f64) -> Self {
        let distance = |t: &Self| (t.ratio - ratio).abs();
        let all = Self::all().into_iter();
        let nearest = all.min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.expect("templates")
    }

    /// Rows and columns of each scale of a frame size, coarse to fine.
    pub fn grids(&self, size: FrameSize) -> &[[usize; 2]] {
        &self.grids[..size.scales()]
    }

    /// Rows and columns of the finest grid of a frame size.
    pub fn finest(&self, size: FrameSize) -> [usize; 2] {
        self.grids[size.scales() - 1]
    }
}

fn grid(side: usize, aspect: f64) -> [usize; 2] {
    let columns = ((side * side) as f64 / aspect).sqrt();
    let rows = columns * aspect;
    [rows, columns].map(|x| x.round_ties_even() as usize)
}

/// Truncated to three decimals.
fn truncate(ratio: f64) -> f64 {
    (ratio * 1000.0).trunc() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and finest grids of 480p and 720p, from the released code.
    const RELEASED: [(f64, [usize; 2], [usize; 2]); 15] = [
        (0.336, [23, 69], [35, 104]),
        (0.4, [25, 63], [38, 95]),
        (0.494, [28, 57], [42, 85]),
        (0.562, [30, 53], [45, 80]),
        (0.671, [33, 49], [49, 73]),
        (0.753, [35, 46], [52, 69]),
        (0.861, [37, 43], [56, 65]),
        (1.0, [40, 40], [60, 60]),
        (1.16, [43, 37], [65, 56]),
        (1.326, [46, 35], [69, 52]),
        (1.489, [49, 33], [73, 49]),
        (1.777, [53, 30], [80, 45]),
        (2.023, [57, 28], [85, 42]),
        (2.5, [63, 25], [95, 38]),
        (2.971, [69, 23], [104, 35]),
    ];

    #[test]
    fn as_released() {
        let all = Template::all();
        assert_eq!(all.len(), RELEASED.len());
        for (ratio, p480, p720) in RELEASED {
            let found = all.iter().find(|t| t.ratio == ratio);
            let found = found.unwrap_or_else(|| panic!("no template {ratio}"));
            assert_eq!(found.finest(FrameSize::M040), p480, "{ratio}");
            assert_eq!(found.finest(FrameSize::M090), p720, "{ratio}");
        }
    }

    #[test]
    fn wide_images() {
        let wide = Template::nearest(9.0 / 16.0);
        assert_eq!(wide.ratio, 0.562);
        let grids = [
            [1, 1],
            [2, 3],
            [2, 4],
            [3, 5],
            [4, 7],
            [4, 8],
            [5, 9],
            [6, 11],
            [8, 13],
            [9, 16],
            [12, 21],
            [18, 32],
            [24, 43],
            [30, 53],
            [45, 80],
        ];
        assert_eq!(wide.grids(FrameSize::M090), grids);
        assert_eq!(wide.grids(FrameSize::M006).len(), 11);
    }
}
