//! InfinityStar's interactive videos: prompts, one after the other, that continue a given clip.

use burn::tensor::Tensor;
use nextscale_tests::{Fixture, Report};
use nextscale_video::clips::Plan;
use nextscale_video::generate::Condition;
use nextscale_video::infinity_star::grid_positions;
use nextscale_video::interactive_session::InteractiveSession;

use crate::star::{BYTES_OFF, SUMS, Subject, bgr, compare_pass, options};
use crate::star_plan::{compare_plan, grids, layout, pairs, tables};
use crate::star_vae::{LATENTS, bits, compare_pixels, pick};

pub fn check(f: &Fixture, report: &mut Report) {
    let s = Subject::open(f);
    let grids = grids(f);
    let plan = Plan::continuation(&layout(f), &grids);
    let plan = plan.unwrap_or_else(|e| panic!("{e}"));
    report.part("reference", |report| reference(&s, report));
    report.part("rope", |report| tables(&s, report));
    let mut story = InteractiveSession::new(f.float("former_clip_features.0"));
    let turns = f.config["turns"].as_array().expect("turns");
    for (turn, settings) in turns.iter().enumerate() {
        let steps = &settings["steps"];
        report.part("plan", |report| {
            compare_plan(&plan, steps, grids.len(), report);
        });
        report.part(&format!("t{turn}"), |report| {
            let conditions = story.conditions(grids[f.number("semantic_scale_ind")]);
            conditions_are(&s, &plan, turn, &conditions, report);
            let latent = taught(&s, &plan, turn, &conditions, report);
            let decode = story.advance(latent);
            let name = |what: &str| format!("t{turn}.{what}");
            report.close(f, &name("decoder_input"), decode.clone(), SUMS);
            report.close(f, &name("next_former"), story.former().clone(), SUMS);
            frames(&s, turn, decode, report);
        });
    }
    report.part("resaved", |report| s.resaved(report));
}

/// The clip that the first turn continues.
fn reference(s: &Subject, report: &mut Report) {
    let f = s.f;
    let frames = f.float::<5>("ref_frames_u8") / 127.5 - 1.0;
    let draw = s.vae.encode(frames).with_noise(f.float("ref_eps"));
    let latent = s.vae.latent(draw);
    report.close(f, "former_clip_features.0", latent.clone(), LATENTS);
    let first = latent.slice_dim(2, 0..1);
    report.close(f, "first_frame_features", first, LATENTS);
}

fn conditions_are(
    s: &Subject,
    plan: &Plan,
    turn: usize,
    conditions: &[Condition],
    report: &mut Report,
) {
    for (what, condition) in ["semantic", "detail"].iter().zip(conditions) {
        let name = format!("t{turn}.{what}_condition");
        report.close(s.f, &name, condition.cells.clone(), SUMS);
        let [_, _, t, h, w] = condition.cells.dims();
        let stated = &s.f.config["cond_rope"][what];
        if stated.is_object() {
            assert_eq!(stated["frames"], serde_json::json!(condition.frames));
            assert_eq!(stated["scale_pos"], condition.position);
        }
        let scale = nextscale_tokenizer::Scale::new(t, h, w);
        let at = s.config.text_max_len + condition.position;
        let positions = grid_positions(scale, plan.reference(), &condition.frames, at);
        let table = s.model.rope(&positions, &s.f.device);
        let name = format!("t{turn}.rope.{what}_condition");
        report.close(s.f, &name, pairs(&table, positions.len()), SUMS);
    }
}

/// Every pass of a turn on the stored bits.
fn taught(
    s: &Subject,
    plan: &Plan,
    turn: usize,
    conditions: &[Condition],
    report: &mut Report,
) -> Tensor<5> {
    let prefix = format!("t{turn}.");
    let passes = 0..plan.passes().count();
    let stored = passes.map(|k| bits(s.f, &format!("{prefix}bits.{k:03}")));
    let options = options(s, stored.collect());
    let run = s.run(plan, &format!("{prefix}text_features"), conditions, options);
    let steps = &s.f.config["turns"][turn]["steps"];
    let mut latent = None;
    for pass in run {
        compare_pass(s, &prefix, &pass, &steps[pass.k], report);
        latent = Some(pass.features);
    }
    latent.expect("a pass")
}

/// The new frames of a turn.
fn frames(s: &Subject, turn: usize, decode: Tensor<5>, report: &mut Report) {
    let settings = &s.f.config["turns"][turn];
    let number = |key: &str| settings[key].as_u64().expect("a number") as usize;
    let saved = settings["saved_frames"].as_array().expect("frames").iter();
    let saved: Vec<usize> = saved
        .map(|x| x.as_u64().expect("a frame") as usize)
        .collect();
    let decoded = s.vae.decode(decode);
    let all = decoded.dims()[2];
    assert_eq!(all, number("decoder_frames"));
    let new = decoded.slice_dim(2, all - number("n_frames_out")..all);
    let shown = pick(new, &saved);
    let name = |what: &str| format!("t{turn}.{what}");
    let (float, ours) = (name("frames_float"), shown.clone());
    compare_pixels(&float, ours, s.f.float(&float), false, report);
    report.bytes(s.f, &name("frames_bgr_u8"), &bgr(shown), BYTES_OFF);
}
