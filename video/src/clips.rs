//! The order of generation: an image, then clips, each scale of each of them in one or several passes.

use nextscale_tokenizer::{Scale, ScaleSchedule};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codes::CodeKind;

/// The number of passes over each scale, and the scales with semantic codes. Lists run coarse to fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Passes over each scale of the image.
    pub image_repeats: Vec<usize>,
    /// Passes over each scale of a clip.
    pub clip_repeats: Vec<usize>,
    /// The number of scales, from the first, with semantic codes, for image and clips; the others have detail codes.
    pub semantic_scales: usize,
    /// Latent frames per clip; the last clip may be shorter.
    pub clip_frames: usize,
}

/// An error in the plan of a video.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The layout and the template have different numbers of scales.
    #[error(
        "the layout repeats {image} image scales and {clip} clip scales, but there are {grids} grids"
    )]
    Scales {
        /// Grids of the template.
        grids: usize,
        /// Scales of the image in the layout.
        image: usize,
        /// Scales of a clip in the layout.
        clip: usize,
    },
    /// A scale has no pass, a clip no frame, or the video no frame.
    #[error("a number of passes, the length of a clip or the number of frames is 0")]
    Zero,
    /// The grids do not form a schedule.
    #[error(transparent)]
    Schedule(#[from] nextscale_tokenizer::ScheduleError),
}

/// A pass of the transformer over the tokens of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The clip, from 0 (the image, where there is one).
    pub clip: usize,
    /// The index of the pass within its clip, from 0.
    pub in_clip: usize,
    /// The index of the scale within its clip, from 0.
    pub index: usize,
    /// The index of the pass among those over the same scale, from 0.
    pub repetition: usize,
    /// The grid.
    pub scale: Scale,
    /// The kind of code that is predicted.
    pub kind: CodeKind,
    /// The index of the pass within the video: its position on the scale axis of the rotary embedding.
    pub position: usize,
    /// The first latent frame: its position on the frame axis of the rotary embedding.
    pub first_frame: usize,
    /// Whether the next clip attends to the keys and values of this pass.
    pub keep: bool,
}

/// An image or a clip: one pyramid, coarse to fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The grid of each pass; those of repeated scales follow each other.
    pub schedule: ScaleSchedule,
    /// The passes.
    pub passes: Vec<Pass>,
}

impl Clip {
    /// Passes over the scale of `pass`, one of the clip's, that come after it.
    pub fn passes_left(&self, pass: &Pass) -> usize {
        let later = &self.passes[pass.in_clip + 1..];
        later
            .iter()
            .filter(|other| other.index == pass.index)
            .count()
    }

    /// Whether the next clip attends to the last pass over the scale of `pass`, one of the clip's.
    pub(crate) fn keeps_scale_of(&self, pass: &Pass) -> bool {
        let last = self.passes.last();
        last.is_some_and(|last| last.keep && last.index == pass.index)
    }
}

/// All passes of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    clips: Vec<Clip>,
}

impl Plan {
    /// An image followed by clips, `frames` latent frames in total. `grids` are the rows and columns of the scales, coarse
    /// to fine.
    ///
    /// # Errors
    /// If the layout has another number of scales than there are grids, a number is 0, or the grids shrink.
    pub fn new(layout: &Layout, grids: &[[usize; 2]], frames: usize) -> Result<Self, PlanError> {
        layout.check(grids)?;
        if frames == 0 {
            return Err(PlanError::Zero);
        }
        let mut plan = Self { clips: Vec::new() };
        plan.add(layout, &layout.image_repeats, grids, 1, 0)?;
        let mut done = 1;
        while done < frames {
            let t = layout.clip_frames.min(frames - done);
            plan.add(layout, &layout.clip_repeats, grids, t, done)?;
            done += t;
        }
        plan.mark_kept();
        Ok(plan)
    }

    /// One clip without an image: a turn of an interactive video, whose past is given as conditions.
    ///
    /// # Errors
    /// See [`Plan::new`].
    pub fn continuation(layout: &Layout, grids: &[[usize; 2]]) -> Result<Self, PlanError> {
        layout.check(grids)?;
        let mut plan = Self { clips: Vec::new() };
        plan.add(layout, &layout.clip_repeats, grids, layout.clip_frames, 0)?;
        Ok(plan)
    }

    /// The same plan with at most `most` passes over each scale, the first ones. Each keeps its position.
    ///
    /// # Panics
    /// If `most` is 0.
    #[must_use]
    pub fn with_repeats(mut self, most: usize) -> Self {
        assert!(most > 0, "no pass over a scale");
        for clip in &mut self.clips {
            clip.passes.retain(|pass| pass.repetition < most);
            for (i, pass) in clip.passes.iter_mut().enumerate() {
                (pass.in_clip, pass.keep) = (i, false);
            }
            let scales = clip.passes.iter().map(|pass| pass.scale).collect();
            clip.schedule = ScaleSchedule::new(scales).expect("scales of a schedule, in order");
        }
        self.mark_kept();
        self
    }

    fn add(
        &mut self,
        layout: &Layout,
        repeats: &[usize],
        grids: &[[usize; 2]],
        t: usize,
        first_frame: usize,
    ) -> Result<(), PlanError> {
        let clip = self.clips.len();
        let mut position = self.passes().count();
        let mut passes = Vec::new();
        for (index, (&[h, w], &repeats)) in grids.iter().zip(repeats).enumerate() {
            for repetition in 0..repeats {
                passes.push(Pass {
                    clip,
                    in_clip: passes.len(),
                    index,
                    repetition,
                    scale: Scale::new(t, h, w),
                    kind: if index < layout.semantic_scales {
                        CodeKind::Semantic
                    } else {
                        CodeKind::Detail
                    },
                    position,
                    first_frame,
                    keep: false,
                });
                position += 1;
            }
        }
        let schedule = ScaleSchedule::new(passes.iter().map(|p| p.scale).collect())?;
        self.clips.push(Clip { schedule, passes });
        Ok(())
    }

    /// Marks the last pass of each clip but the last.
    fn mark_kept(&mut self) {
        let last = self.clips.len() - 1;
        for clip in &mut self.clips[..last] {
            if let Some(pass) = clip.passes.last_mut() {
                pass.keep = true;
            }
        }
    }

    /// Image and clips, in order.
    pub fn clips(&self) -> &[Clip] {
        &self.clips
    }

    /// All passes, in order.
    pub fn passes(&self) -> impl Iterator<Item = &Pass> {
        self.clips.iter().flat_map(|clip| &clip.passes)
    }

    /// Scales of each clip.
    pub fn scales(&self) -> usize {
        let last = self.clips[0].passes.last();
        last.map_or(0, |pass| pass.index + 1)
    }

    /// The finest grid, as a single frame: the grid on which positions are measured.
    pub fn reference(&self) -> Scale {
        let last = self.clips[0].schedule.last();
        Scale::image(last.h, last.w)
    }

    /// Latent frames of the video.
    pub fn frames(&self) -> usize {
        self.clips.iter().map(|clip| clip.schedule.last().t).sum()
    }

    /// Tokens of the largest pass.
    pub fn largest_pass(&self) -> usize {
        let tokens = self.passes().map(|pass| pass.scale.tokens());
        tokens.max().unwrap_or(0)
    }

    /// The maximum number of tokens of earlier clips whose keys and values are kept at a time.
    pub fn kept_tokens(&self) -> usize {
        let kept = self.passes().filter(|pass| pass.keep);
        kept.map(|pass| pass.scale.tokens()).max().unwrap_or(0)
    }
}

impl Layout {
    fn check(&self, grids: &[[usize; 2]]) -> Result<(), PlanError> {
        let (image, clip) = (self.image_repeats.len(), self.clip_repeats.len());
        if image != grids.len() || clip != grids.len() {
            let grids = grids.len();
            return Err(PlanError::Scales { grids, image, clip });
        }
        let repeats = self.image_repeats.iter().chain(&self.clip_repeats);
        if self.clip_frames == 0 || repeats.clone().any(|&n| n == 0) {
            return Err(PlanError::Zero);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::InfinityStarPreset;
    use crate::templates::Template;

    fn plan(preset: &InfinityStarPreset, seconds: usize) -> Plan {
        let grids = Template::nearest(0.562).grids(preset.size).to_vec();
        Plan::new(&preset.layout, &grids, 1 + seconds * preset.fps / 4).unwrap()
    }

    /// Fewer passes: the first of each scale, where they were, and the last of each clip is kept for the next one.
    #[test]
    fn fewer_repeats() {
        let all = plan(&InfinityStarPreset::infinitystar_8b_720p(), 5);
        let fewer = all.clone().with_repeats(1);
        assert_eq!(fewer.passes().count(), 30);
        let last_of_image = fewer.clips()[0].passes[14];
        assert_eq!((last_of_image.keep, last_of_image.position), (true, 42));
        assert_eq!(fewer.clips()[1].passes[1].position, 48);
        assert_eq!(fewer.clips()[1].passes[1].in_clip, 1);
        let (image, clip) = (&all.clips()[0], &all.clips()[1]);
        let left = |k: usize| image.passes_left(&image.passes[k]);
        assert_eq!([left(0), left(1), left(2), left(44)], [2, 1, 0, 0]);
        let keeps = |k: usize| image.keeps_scale_of(&image.passes[k]);
        assert_eq!([keeps(41), keeps(42)], [false, true]);
        assert!(!clip.keeps_scale_of(clip.passes.last().unwrap()));
        assert_eq!(fewer.clips()[1].schedule.len(), 15);
        assert_eq!((fewer.kept_tokens(), fewer.frames()), (3600, 21));
        assert_eq!(all.clone().with_repeats(3), all);
    }

    /// Numbers of passes and tokens that the released scripts have.
    #[test]
    fn the_released_schedules() {
        let (p720, p480) = (
            InfinityStarPreset::infinitystar_8b_720p(),
            InfinityStarPreset::infinitystar_8b_480p(),
        );
        for (plan, clips, passes, tokens) in [
            (plan(&p720, 5), 2, 85, 244_197),
            (plan(&p480, 5), 2, 81, 161_397),
            (plan(&p480, 10), 3, 120, 311_097),
            (plan(&p720, 0), 1, 45, 22_497),
        ] {
            assert_eq!(plan.clips().len(), clips);
            assert_eq!(plan.passes().count(), passes);
            let count = plan.passes().map(|pass| pass.scale.tokens()).sum::<usize>();
            assert_eq!(count, tokens);
        }
        let plan = plan(&p720, 5);
        assert_eq!(plan.frames(), 21);
        assert_eq!(plan.largest_pass(), 72_000);
        assert_eq!(plan.kept_tokens(), 3600);
        let last = plan.passes().last().unwrap();
        assert_eq!((last.position, last.first_frame, last.keep), (84, 1, false));
    }

    #[test]
    fn the_last_clip_may_be_shorter() {
        let plan = plan(&InfinityStarPreset::infinitystar_8b_480p(), 7);
        let frames: Vec<usize> = plan.clips().iter().map(|c| c.schedule.last().t).collect();
        assert_eq!(frames, [1, 20, 8]);
        let kept: Vec<usize> = plan.passes().filter(|p| p.keep).map(|p| p.clip).collect();
        assert_eq!(kept, [0, 1]);
        let starts: Vec<usize> = plan
            .clips()
            .iter()
            .map(|c| c.passes[0].first_frame)
            .collect();
        assert_eq!(starts, [0, 1, 21]);
    }

    #[test]
    fn contradictions_are_refused() {
        let layout = InfinityStarPreset::infinitystar_8b_480p().layout;
        let grids = [[1, 1], [2, 2]];
        assert!(matches!(
            Plan::new(&layout, &grids, 1),
            Err(PlanError::Scales {
                grids: 2,
                image: 14,
                clip: 14
            })
        ));
        let layout = Layout {
            image_repeats: vec![1, 0],
            clip_repeats: vec![1, 1],
            semantic_scales: 1,
            clip_frames: 2,
        };
        assert_eq!(Plan::new(&layout, &grids, 1), Err(PlanError::Zero));
    }
}
