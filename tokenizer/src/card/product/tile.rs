//! How a product is divided among cubes and planes.

/// Multiprocessors of a large card: a grid of fewer tiles leaves some idle.
const PROCESSORS: usize = 132;

/// How a cube divides its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// Of 16 rows, of each plane.
    pub rows: usize,
    /// Of 8 columns, of each plane; even.
    pub columns: usize,
    /// Planes along the rows, the columns and the inner axis.
    pub planes: [usize; 3],
}

impl Tile {
    /// 128 x 128 numbers.
    const LARGE: Self = Self {
        rows: 4,
        columns: 8,
        planes: [2, 2, 1],
    };

    /// 64 x 32 numbers.
    const SMALL: Self = Self {
        rows: 2,
        columns: 4,
        planes: [2, 1, 4],
    };

    /// 128 x 32 numbers.
    const NARROW: Self = Self {
        rows: 2,
        columns: 4,
        planes: [4, 1, 1],
    };

    /// For `m` rows and `n` columns of a result.
    pub fn of(m: usize, n: usize) -> Self {
        let flat = |rows, depth| Self {
            rows,
            columns: 4,
            planes: [1, 1, depth],
        };
        let large = m.div_ceil(128) * n.div_ceil(128);
        match m {
            0..=16 => flat(1, 8),
            17..=32 => flat(2, 4),
            33..=64 => flat(4, 4),
            _ if n <= 32 => Self::NARROW,
            _ if large < PROCESSORS => Self::SMALL,
            _ => Self::LARGE,
        }
    }

    pub const fn units(self) -> usize {
        let [rows, columns, depth] = self.planes;
        32 * rows * columns * depth
    }

    /// Rows of the tile.
    pub const fn height(self) -> usize {
        16 * self.rows * self.planes[0]
    }

    /// Columns of the tile.
    pub const fn width(self) -> usize {
        8 * self.columns * self.planes[1]
    }

    /// Of the inner axis, at a time.
    pub const fn depth(self) -> usize {
        32 * self.planes[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::fragment::VECTOR;

    /// Bytes of shared memory that all cards of compute capability 8 and later give a cube.
    const SHARED: usize = 99 << 10;

    /// Every unit reads as many vectors as every other, and what a cube keeps fits into it.
    #[test]
    fn tiles_divide_evenly_and_fit() {
        for (m, n) in [
            (2, 2048),
            (20, 64),
            (50, 8),
            (72, 2048),
            (300, 32),
            (800, 2048),
            (8192, 8192),
        ] {
            let tile = Tile::of(m, n);
            let units = tile.units() * VECTOR;
            assert_eq!(tile.height() * tile.depth() % units, 0, "{m} {n}");
            assert_eq!(tile.depth() * tile.width() % units, 0, "{m} {n}");
            let staged =
                tile.height() * (tile.depth() + VECTOR) + tile.depth() * (tile.width() + VECTOR);
            let sums = (tile.planes[2] - 1) * tile.height() * tile.width() * 4;
            assert!(2 * 2 * staged + sums <= SHARED, "{m} {n}");
        }
        assert_eq!(Tile::of(8192, 2048), Tile::LARGE);
        assert_eq!(Tile::of(512, 2048), Tile::SMALL);
        assert_eq!(Tile::of(512, 8192), Tile::LARGE);
    }
}
