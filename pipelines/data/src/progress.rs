//! How far the build of a data set is.

/// How far a build is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What is being done: `packages`, `downloads`, `archives`, `images`, `videos`, or the style that is being drawn.
    pub step: &'a str,
    /// The package or the address that is being downloaded; empty otherwise.
    pub item: &'a str,
    /// Items of the step that are done.
    pub done: usize,
    /// Items of the step.
    pub total: usize,
}

/// Called now and then while a data set is built, from several threads.
pub type OnProgress<'a> = &'a (dyn Fn(Progress<'_>) + Sync);
