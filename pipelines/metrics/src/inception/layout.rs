//! The layers of Inception-v3 as a table, under the names that torchvision gave them.

/// Which Inception-v3 a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// That of TensorFlow's FID: `pt_inception-2015-12-05-6726825d.pth`, 1008 classes; averages ignore the padding, and the last block
    /// takes the largest instead of the average.
    Fid,
    /// torchvision's `inception_v3`, 1000 classes.
    Torchvision,
}

impl Variant {
    /// The number of classes of its logits.
    pub fn classes(self) -> usize {
        match self {
            Variant::Fid => 1008,
            Variant::Torchvision => 1000,
        }
    }

    /// The variant with this number of classes.
    pub(super) fn of_classes(classes: usize) -> Option<Self> {
        let mut all = [Variant::Fid, Variant::Torchvision].into_iter();
        all.find(|variant| variant.classes() == classes)
    }

    /// The average over 3 x 3 cells of this variant.
    fn average(self) -> Pool {
        match self {
            Variant::Fid => Pool::Average,
            Variant::Torchvision => Pool::AverageOfPadded,
        }
    }

    /// The pooling of the last block.
    fn last(self) -> Pool {
        match self {
            Variant::Fid => Pool::Largest,
            Variant::Torchvision => Pool::AverageOfPadded,
        }
    }
}

/// Numbers of the vector of an image.
pub(super) const DIMS: usize = 2048;

/// A pooling over 3 x 3 cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// The average of the cells within the image.
    Average,
    /// The average with the zeros around the image.
    AverageOfPadded,
    /// The largest, with padding.
    Largest,
    /// The largest, with stride 2 and without padding.
    Halving,
}

/// A convolution: name, channels, height and width of the kernel, stride. With stride 1 it is padded to keep the size.
pub(super) type Conv = (&'static str, usize, [usize; 2], usize);

/// One way through a block.
pub(super) struct Branch {
    pub pool: Option<Pool>,
    pub convs: Vec<Conv>,
    /// Convolutions side by side after the others.
    pub fork: Vec<Conv>,
}

/// The branches of a block, whose channels are joined.
pub(super) type Block = (&'static str, Vec<Branch>);

/// The convolutions before the first block: name, channels, kernel, stride, padding; and whether a halving follows.
pub(super) const STEM: [(&str, usize, usize, usize, usize, bool); 5] = [
    ("Conv2d_1a_3x3", 32, 3, 2, 0, false),
    ("Conv2d_2a_3x3", 32, 3, 1, 0, false),
    ("Conv2d_2b_3x3", 64, 3, 1, 1, true),
    ("Conv2d_3b_1x1", 80, 1, 1, 0, false),
    ("Conv2d_4a_3x3", 192, 3, 1, 0, true),
];

/// All blocks in order.
pub(super) fn blocks(variant: Variant) -> Vec<Block> {
    let average = variant.average();
    vec![
        ("Mixed_5b", block_a(32, average)),
        ("Mixed_5c", block_a(64, average)),
        ("Mixed_5d", block_a(64, average)),
        ("Mixed_6a", block_b()),
        ("Mixed_6b", block_c(128, average)),
        ("Mixed_6c", block_c(160, average)),
        ("Mixed_6d", block_c(160, average)),
        ("Mixed_6e", block_c(192, average)),
        ("Mixed_7a", block_d()),
        ("Mixed_7b", block_e(average)),
        ("Mixed_7c", block_e(variant.last())),
    ]
}

/// Names and shapes of all tensors that a file of a variant has to hold.
pub fn tensors(variant: Variant) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, to: usize, from: usize, [h, w]: [usize; 2]| {
        all.push((format!("{name}.conv.weight"), vec![to, from, h, w]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            all.push((format!("{name}.bn.{part}"), vec![to]));
        }
    };
    let mut channels = 3;
    for (name, to, kernel, ..) in STEM {
        add(name, to, channels, [kernel; 2]);
        channels = to;
    }
    for (block, branches) in blocks(variant) {
        let mut joined = 0;
        for branch in branches {
            let mut from = channels;
            for (name, to, kernel, _) in branch.convs {
                add(&format!("{block}.{name}"), to, from, kernel);
                from = to;
            }
            for (name, to, kernel, _) in &branch.fork {
                add(&format!("{block}.{name}"), *to, from, *kernel);
            }
            let forked: usize = branch.fork.iter().map(|conv| conv.1).sum();
            joined += if forked == 0 { from } else { forked };
        }
        channels = joined;
    }
    let classes = variant.classes();
    all.push(("fc.weight".to_owned(), vec![classes, DIMS]));
    all.push(("fc.bias".to_owned(), vec![classes]));
    all
}

fn branch(convs: &[Conv]) -> Branch {
    forked(convs, &[])
}

fn forked(convs: &[Conv], fork: &[Conv]) -> Branch {
    Branch {
        pool: None,
        convs: convs.to_vec(),
        fork: fork.to_vec(),
    }
}

fn pooled(pool: Pool, convs: &[Conv]) -> Branch {
    Branch {
        pool: Some(pool),
        ..branch(convs)
    }
}

fn block_a(pool_channels: usize, pool: Pool) -> Vec<Branch> {
    vec![
        branch(&[("branch1x1", 64, [1, 1], 1)]),
        branch(&[
            ("branch5x5_1", 48, [1, 1], 1),
            ("branch5x5_2", 64, [5, 5], 1),
        ]),
        branch(&[
            ("branch3x3dbl_1", 64, [1, 1], 1),
            ("branch3x3dbl_2", 96, [3, 3], 1),
            ("branch3x3dbl_3", 96, [3, 3], 1),
        ]),
        pooled(pool, &[("branch_pool", pool_channels, [1, 1], 1)]),
    ]
}

fn block_b() -> Vec<Branch> {
    vec![
        branch(&[("branch3x3", 384, [3, 3], 2)]),
        branch(&[
            ("branch3x3dbl_1", 64, [1, 1], 1),
            ("branch3x3dbl_2", 96, [3, 3], 1),
            ("branch3x3dbl_3", 96, [3, 3], 2),
        ]),
        pooled(Pool::Halving, &[]),
    ]
}

fn block_c(c: usize, pool: Pool) -> Vec<Branch> {
    vec![
        branch(&[("branch1x1", 192, [1, 1], 1)]),
        branch(&[
            ("branch7x7_1", c, [1, 1], 1),
            ("branch7x7_2", c, [1, 7], 1),
            ("branch7x7_3", 192, [7, 1], 1),
        ]),
        branch(&[
            ("branch7x7dbl_1", c, [1, 1], 1),
            ("branch7x7dbl_2", c, [7, 1], 1),
            ("branch7x7dbl_3", c, [1, 7], 1),
            ("branch7x7dbl_4", c, [7, 1], 1),
            ("branch7x7dbl_5", 192, [1, 7], 1),
        ]),
        pooled(pool, &[("branch_pool", 192, [1, 1], 1)]),
    ]
}

fn block_d() -> Vec<Branch> {
    vec![
        branch(&[
            ("branch3x3_1", 192, [1, 1], 1),
            ("branch3x3_2", 320, [3, 3], 2),
        ]),
        branch(&[
            ("branch7x7x3_1", 192, [1, 1], 1),
            ("branch7x7x3_2", 192, [1, 7], 1),
            ("branch7x7x3_3", 192, [7, 1], 1),
            ("branch7x7x3_4", 192, [3, 3], 2),
        ]),
        pooled(Pool::Halving, &[]),
    ]
}

fn block_e(pool: Pool) -> Vec<Branch> {
    vec![
        branch(&[("branch1x1", 320, [1, 1], 1)]),
        forked(
            &[("branch3x3_1", 384, [1, 1], 1)],
            &[
                ("branch3x3_2a", 384, [1, 3], 1),
                ("branch3x3_2b", 384, [3, 1], 1),
            ],
        ),
        forked(
            &[
                ("branch3x3dbl_1", 448, [1, 1], 1),
                ("branch3x3dbl_2", 384, [3, 3], 1),
            ],
            &[
                ("branch3x3dbl_3a", 384, [1, 3], 1),
                ("branch3x3dbl_3b", 384, [3, 1], 1),
            ],
        ),
        pooled(pool, &[("branch_pool", 192, [1, 1], 1)]),
    ]
}
