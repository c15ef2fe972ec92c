//! The order in which a video is written: an image, then clips, each scale of each of them once or several times.

use nextscale_tokenizer::{Scale, ScaleSchedule};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codes::CodeKind;

/// How scales are repeated, and which of them have semantic codes. Lists go coarse to fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Passes over each scale of the image.
    pub image_repeats: Vec<usize>,
    /// Passes over each scale of a clip.
    pub clip_repeats: Vec<usize>,
    /// The first scales, of image and clips, which have semantic codes; the others have detail codes.
    pub semantic_scales: usize,
    /// Latent frames of a clip; the last one may be shorter.
    pub clip_frames: usize,
}

/// Why there is no plan for a video.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The layout has repetitions for another number of scales.
    #[error("{image} repetitions of image scales and {clip} of clip scales for {grids} grids")]
    Scales {
        /// Grids of the template.
        grids: usize,
        /// Repetitions of image scales.
        image: usize,
        /// Repetitions of clip scales.
        clip: usize,
    },
    /// A scale is never written, a clip has no frame, or there is no frame at all.
    #[error("a repetition, a clip's length or the number of frames is zero")]
    Zero,
    /// The grids are no schedule.
    #[error(transparent)]
    Schedule(#[from] nextscale_tokenizer::ScheduleError),
}

/// One pass of the transformer over the tokens of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The clip, from 0 (the image, where there is one).
    pub clip: usize,
    /// The pass in its clip, from 0.
    pub in_clip: usize,
    /// The scale in its clip, from 0.
    pub index: usize,
    /// Which of the passes over this scale, from 0.
    pub repetition: usize,
    /// The grid.
    pub scale: Scale,
    /// The kind of code that is predicted.
    pub kind: CodeKind,
    /// Running number over the whole video, repetitions counted: the scale coordinate of the position embedding.
    pub position: usize,
    /// The first latent frame, as the position embedding counts frames.
    pub first_frame: usize,
    /// Whether the next clip sees the keys and values of this pass.
    pub keep: bool,
}

/// An image or a clip, written from coarse to fine on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The grid of every pass, those of repeated scales one after the other.
    pub schedule: ScaleSchedule,
    /// The passes.
    pub passes: Vec<Pass>,
}

/// All passes of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    clips: Vec<Clip>,
}

impl Plan {
    /// An image, and clips behind it until there are `frames` latent frames. `grids` are rows and columns of the scales,
    /// coarse to fine.
    ///
    /// # Errors
    /// If the layout has repetitions for another number of grids, something is zero, or the grids shrink.
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

    /// One clip without an image: a turn of an interactive video, whose past comes in as conditions.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn continuation(layout: &Layout, grids: &[[usize; 2]]) -> Result<Self, PlanError> {
        layout.check(grids)?;
        let mut plan = Self { clips: Vec::new() };
        plan.add(layout, &layout.clip_repeats, grids, layout.clip_frames, 0)?;
        Ok(plan)
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
                    kind: match index < layout.semantic_scales {
                        true => CodeKind::Semantic,
                        false => CodeKind::Detail,
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

    /// The last pass of every clip that has a successor.
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

    /// The finest grid, one frame of it: positions are measured on it.
    pub fn reference(&self) -> Scale {
        let last = self.clips[0].schedule.last();
        Scale::image(last.h, last.w)
    }

    /// Latent frames of the video.
    pub fn frames(&self) -> usize {
        self.clips.iter().map(|clip| clip.schedule.last().t).sum()
    }

    /// Tokens that go through the transformer, text not counted: the measure of the work.
    pub fn token_passes(&self) -> usize {
        self.passes().map(|pass| pass.scale.tokens()).sum()
    }

    /// Most tokens of a pass.
    pub fn largest_pass(&self) -> usize {
        let tokens = self.passes().map(|pass| pass.scale.tokens());
        tokens.max().unwrap_or(0)
    }

    /// Most tokens of earlier clips whose keys and values are held at a time.
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
        Plan::new(&preset.layout, &grids, preset.latent_frames(seconds)).unwrap()
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
            assert_eq!(plan.token_passes(), tokens);
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
