//! Infinity's image schedules: 15 aspect ratios, each with a list of 13 grids. A pixel budget selects a prefix of it.
//!
//! The numbers are data of the released model (`infinity/utils/dynamic_resolution.py`); the stride is 16 pixels a cell.

use super::scale::{Scale, ScaleSchedule};

/// Approximate number of pixels of an image, which selects a prefix of a ratio's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelBudget {
    /// 0.06 million, 256 x 256: 7 scales.
    M006,
    /// 0.25 million, 512 x 512: 10 scales.
    M025,
    /// 0.60 million, 768 x 768: 12 scales.
    M060,
    /// One million, 1024 x 1024: 13 scales.
    M1,
}

impl PixelBudget {
    /// All budgets, small to large.
    pub const ALL: [Self; 4] = [Self::M006, Self::M025, Self::M060, Self::M1];

    /// Number of scales, the length of the prefix.
    pub const fn scales(self) -> usize {
        match self {
            Self::M006 => 7,
            Self::M025 => 10,
            Self::M060 => 12,
            Self::M1 => 13,
        }
    }

    /// The name in the released scripts: `0.06M`, `0.25M`, `0.60M` or `1M`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::M006 => "0.06M",
            Self::M025 => "0.25M",
            Self::M060 => "0.60M",
            Self::M1 => "1M",
        }
    }
}

/// One aspect ratio's grids.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioTemplate {
    /// Height over width as the released code writes it: inverses are cut, not rounded, to three digits.
    pub ratio: f64,
    grids: [(usize, usize); 13],
}

impl RatioTemplate {
    /// The template whose ratio is nearest to `height / width`; of two that are equally near, the first.
    pub fn nearest(height_over_width: f64) -> &'static Self {
        let distance = |t: &Self| (t.ratio - height_over_width).abs();
        let mut best = &TEMPLATES[0];
        for template in &TEMPLATES {
            if distance(template) < distance(best) {
                best = template;
            }
        }
        best
    }

    /// The transformer's schedule for a budget.
    pub fn schedule(&self, budget: PixelBudget) -> ScaleSchedule {
        let grids = self.grids[..budget.scales()].iter();
        ScaleSchedule {
            scales: grids.map(|&(h, w)| Scale::image(h, w)).collect(),
        }
    }

    /// A schedule for images with `2^octaves` times the sides that the released models were trained for: the last three
    /// grids are doubled once per octave. The lists follow the same rule: from side 16 on every third square grid is twice as
    /// large.
    pub fn extended(&self, octaves: u32) -> ScaleSchedule {
        let mut grids = self.grids.to_vec();
        for _ in 0..octaves {
            let last = grids[grids.len() - 3..].to_vec();
            grids.extend(last.iter().map(|&(h, w)| (2 * h, 2 * w)));
        }
        ScaleSchedule {
            scales: grids.iter().map(|&(h, w)| Scale::image(h, w)).collect(),
        }
    }

    /// Height and width in pixels at a budget.
    pub fn pixels(&self, budget: PixelBudget) -> (usize, usize) {
        let (h, w) = self.grids[budget.scales() - 1];
        (16 * h, 16 * w)
    }
}

/// The 15 ratios, in the released order.
pub static TEMPLATES: [RatioTemplate; 15] = [
    RatioTemplate {
        ratio: 1.0,
        grids: [
            (1, 1),
            (2, 2),
            (4, 4),
            (6, 6),
            (8, 8),
            (12, 12),
            (16, 16),
            (20, 20),
            (24, 24),
            (32, 32),
            (40, 40),
            (48, 48),
            (64, 64),
        ],
    },
    RatioTemplate {
        ratio: 1.25,
        grids: [
            (1, 1),
            (2, 2),
            (3, 3),
            (5, 4),
            (10, 8),
            (15, 12),
            (20, 16),
            (25, 20),
            (30, 24),
            (35, 28),
            (45, 36),
            (55, 44),
            (70, 56),
        ],
    },
    RatioTemplate {
        ratio: 0.8,
        grids: [
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 5),
            (8, 10),
            (12, 15),
            (16, 20),
            (20, 25),
            (24, 30),
            (28, 35),
            (36, 45),
            (44, 55),
            (56, 70),
        ],
    },
    RatioTemplate {
        ratio: 1.333,
        grids: [
            (1, 1),
            (2, 2),
            (4, 3),
            (8, 6),
            (12, 9),
            (16, 12),
            (20, 15),
            (24, 18),
            (28, 21),
            (36, 27),
            (48, 36),
            (60, 45),
            (72, 54),
        ],
    },
    RatioTemplate {
        ratio: 0.75,
        grids: [
            (1, 1),
            (2, 2),
            (3, 4),
            (6, 8),
            (9, 12),
            (12, 16),
            (15, 20),
            (18, 24),
            (21, 28),
            (27, 36),
            (36, 48),
            (45, 60),
            (54, 72),
        ],
    },
    RatioTemplate {
        ratio: 1.5,
        grids: [
            (1, 1),
            (2, 2),
            (3, 2),
            (6, 4),
            (9, 6),
            (15, 10),
            (21, 14),
            (27, 18),
            (33, 22),
            (39, 26),
            (48, 32),
            (63, 42),
            (78, 52),
        ],
    },
    RatioTemplate {
        ratio: 0.666,
        grids: [
            (1, 1),
            (2, 2),
            (2, 3),
            (4, 6),
            (6, 9),
            (10, 15),
            (14, 21),
            (18, 27),
            (22, 33),
            (26, 39),
            (32, 48),
            (42, 63),
            (52, 78),
        ],
    },
    RatioTemplate {
        ratio: 1.75,
        grids: [
            (1, 1),
            (2, 2),
            (3, 3),
            (7, 4),
            (11, 6),
            (14, 8),
            (21, 12),
            (28, 16),
            (35, 20),
            (42, 24),
            (56, 32),
            (70, 40),
            (84, 48),
        ],
    },
    RatioTemplate {
        ratio: 0.571,
        grids: [
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 7),
            (6, 11),
            (8, 14),
            (12, 21),
            (16, 28),
            (20, 35),
            (24, 42),
            (32, 56),
            (40, 70),
            (48, 84),
        ],
    },
    RatioTemplate {
        ratio: 2.0,
        grids: [
            (1, 1),
            (2, 2),
            (4, 2),
            (6, 3),
            (10, 5),
            (16, 8),
            (22, 11),
            (30, 15),
            (38, 19),
            (46, 23),
            (60, 30),
            (74, 37),
            (90, 45),
        ],
    },
    RatioTemplate {
        ratio: 0.5,
        grids: [
            (1, 1),
            (2, 2),
            (2, 4),
            (3, 6),
            (5, 10),
            (8, 16),
            (11, 22),
            (15, 30),
            (19, 38),
            (23, 46),
            (30, 60),
            (37, 74),
            (45, 90),
        ],
    },
    RatioTemplate {
        ratio: 2.5,
        grids: [
            (1, 1),
            (2, 2),
            (5, 2),
            (10, 4),
            (15, 6),
            (20, 8),
            (25, 10),
            (30, 12),
            (40, 16),
            (50, 20),
            (65, 26),
            (80, 32),
            (100, 40),
        ],
    },
    RatioTemplate {
        ratio: 0.4,
        grids: [
            (1, 1),
            (2, 2),
            (2, 5),
            (4, 10),
            (6, 15),
            (8, 20),
            (10, 25),
            (12, 30),
            (16, 40),
            (20, 50),
            (26, 65),
            (32, 80),
            (40, 100),
        ],
    },
    RatioTemplate {
        ratio: 3.0,
        grids: [
            (1, 1),
            (2, 2),
            (6, 2),
            (9, 3),
            (15, 5),
            (21, 7),
            (27, 9),
            (36, 12),
            (45, 15),
            (54, 18),
            (72, 24),
            (90, 30),
            (111, 37),
        ],
    },
    RatioTemplate {
        ratio: 0.333,
        grids: [
            (1, 1),
            (2, 2),
            (2, 6),
            (3, 9),
            (5, 15),
            (7, 21),
            (9, 27),
            (12, 36),
            (15, 45),
            (18, 54),
            (24, 72),
            (30, 90),
            (37, 111),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_template_and_prefix() {
        let t = RatioTemplate::nearest(1.02);
        assert_eq!(t.ratio, 1.0);
        assert_eq!(t.schedule(PixelBudget::M006).tokens(), 521);
        assert_eq!(t.schedule(PixelBudget::M1).tokens(), 10521);
        assert_eq!(RatioTemplate::nearest(0.56).ratio, 0.571);
        assert_eq!(RatioTemplate::nearest(9.0).ratio, 3.0);
    }

    #[test]
    fn larger_images_double_the_last_grids() {
        let square = RatioTemplate::nearest(1.0);
        let sides = |octaves| -> Vec<usize> {
            let schedule = square.extended(octaves);
            schedule.scales()[6..].iter().map(|s| s.h).collect()
        };
        assert_eq!(sides(0), [16, 20, 24, 32, 40, 48, 64]);
        assert_eq!(sides(1)[7..], [80, 96, 128]);
        assert_eq!(sides(2)[7..], [80, 96, 128, 160, 192, 256]);
        for template in &TEMPLATES {
            assert_eq!(template.extended(0), template.schedule(PixelBudget::M1));
            let schedule = template.extended(2);
            assert_eq!(schedule.len(), 19);
            assert_eq!(ScaleSchedule::new(schedule.scales().to_vec()), Ok(schedule));
        }
    }

    #[test]
    fn every_list_is_a_schedule() {
        for template in &TEMPLATES {
            for budget in PixelBudget::ALL {
                let schedule = template.schedule(budget);
                assert_eq!(ScaleSchedule::new(schedule.scales().to_vec()), Ok(schedule));
            }
        }
    }
}
