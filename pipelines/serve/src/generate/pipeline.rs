//! The pipeline that settings stand for.

use nextscale_pipelines::PipelineSpec;
use nextscale_pipelines::spec::Preset;
use nextscale_pipelines::stages::VariationParams;
use nextscale_pipelines::yaml::Node;
use serde_json::json;

use super::settings::Generate;
use crate::models::{Makes, ModelInfo, Source};
use crate::options::Options;
use crate::refusal::Refusal;
use crate::request::{fill, set};

impl Generate {
    /// The pipeline that generates it, without a seed if there is none.
    ///
    /// # Errors
    /// What the model does not take, no prompt, one that is too long, too many images.
    pub fn pipeline(&self, options: &Options, model: &ModelInfo) -> Result<Node, Refusal> {
        self.check(options, model)?;
        let preset = match (model.makes, model.from) {
            (Makes::Video, _) => Preset::Video,
            (_, Source::Prompt) => Preset::Prompts,
            (_, Source::Class) => Preset::Classes,
        };
        let mut root = PipelineSpec::preset(preset)?;
        set(&mut root, &["model"], &model.name)?;
        fill(options, &mut root)?;
        if let Some(seed) = self.seed {
            set(&mut root, &["seed"], &seed)?;
        }
        self.set_source(&mut root, model)?;
        self.set_generator(&mut root, model)?;
        if model.makes == Makes::Image {
            self.set_edit(&mut root)?;
        }
        Ok(root)
    }

    /// Prompts or class, and how many images.
    fn set_source(&self, root: &mut Node, model: &ModelInfo) -> Result<(), Refusal> {
        let n = self.n.unwrap_or(1);
        if let Some(class) = &self.class {
            set(root, &["stages", "classes", "classes"], &[class])?;
            if n > 1 {
                set(root, &["stages", "classes", "count"], &n)?;
            }
            return Ok(());
        }
        let one = self.prompt.as_deref().map(str::trim);
        let all: Vec<&str> = match &self.prompts {
            Some(prompts) if !prompts.is_empty() => prompts.iter().map(|p| p.trim()).collect(),
            _ => one.into_iter().collect(),
        };
        let source = ["stages", "prompts"];
        let at = |key| [source[0], source[1], key];
        set(root, &at("prompts"), &all)?;
        if model.story && all.len() > 1 {
            set(root, &at("story"), &true)?;
        }
        if n > 1 {
            set(root, &at("count"), &n)?;
        }
        let negative = self.negative_prompt.as_deref().unwrap_or_default();
        if !negative.trim().is_empty() {
            set(root, &at("negative"), &negative)?;
        }
        Ok(())
    }

    /// Size and sampling.
    fn set_generator(&self, root: &mut Node, model: &ModelInfo) -> Result<(), Refusal> {
        let is_own_size = [self.width, self.height] == [Some(model.width), Some(model.height)];
        let sizes = match (model.from, is_own_size) {
            // A model of classes has one size and no option for it.
            (Source::Class, true) => [None, None],
            _ => [self.width, self.height],
        };
        let n = (model.makes == Makes::Image && self.n > Some(1)).then_some(self.n);
        let first_image = (model.makes == Makes::Video).then_some(self.image.as_ref());
        let values = [
            ("width", sizes[0].map(|v| json!(v))),
            ("height", sizes[1].map(|v| json!(v))),
            ("batch", n.map(|v| json!(v))),
            ("cfg-scale", self.cfg_scale.map(|v| json!(v))),
            ("temperature", self.temperature.map(|v| json!(v))),
            ("top-k", self.top_k.map(|v| json!(v))),
            ("top-p", self.top_p.map(|v| json!(v))),
            ("scales", self.scales.map(|v| json!(v))),
            ("seconds", self.seconds.map(|v| json!(v))),
            ("video", self.video.as_ref().map(|v| json!(v))),
            ("image", first_image.flatten().map(|v| json!(v))),
        ];
        for (key, value) in values {
            if let Some(value) = value {
                set(root, &["stages", "latent", key], &value)?;
            }
        }
        if let Some(variation) = &self.variation {
            let params = VariationParams {
                seed: variation.seed,
                from_scale: variation.from_scale,
            };
            set(root, &["stages", "latent", "variation"], &params)?;
        }
        Ok(())
    }

    /// The image that is edited, or whose first scales are kept.
    fn set_edit(&self, root: &mut Node) -> Result<(), Refusal> {
        let Some(image) = &self.image else {
            return Ok(());
        };
        if let Some(from) = self.from_scale {
            let start = json!({ "image": image, "from-scale": from });
            set(root, &["stages", "latent", "start"], &start)?;
            return Ok(());
        }
        let mut edit = json!({ "image": image });
        let parts = [
            ("mask", &self.mask),
            ("box", &self.region),
            ("outpaint", &self.outpaint),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                edit[key] = json!(value);
            }
        }
        if self.invert == Some(true) {
            edit["invert"] = json!(true);
        }
        set(root, &["stages", "latent", "edit"], &edit)?;
        if self.keep_original == Some(true) {
            let kept = json!({ "stage": "keep-original", "from": "image", "edit": edit });
            set(root, &["stages", "kept"], &kept)?;
            set(root, &["stages", "save", "from"], &"kept")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nextscale_models::search::SearchPath;

    use super::*;
    use crate::generate::check::LONGEST_PROMPT;

    fn model(name: &str) -> ModelInfo {
        ModelInfo::open(name, &SearchPath::default()).unwrap()
    }

    fn refused(json: &str, name: &str) -> String {
        let request: Generate = serde_json::from_str(json).unwrap();
        let refusal = request.pipeline(&Options::in_folder("x"), &model(name));
        refusal.unwrap_err().message().to_owned()
    }

    #[test]
    fn a_pipeline_gives_its_request_back() {
        let options = Options::in_folder("x");
        let cases = [
            (
                "default",
                r#"{"model": "default", "prompt": "red apple", "seed": 7, "n": 2, "negative_prompt": "car", "cfg_scale": 2.5, "top_k": 9}"#,
            ),
            (
                "default",
                r#"{"model": "default", "prompt": "red apple", "image": "upload:a1", "box": "1,2,3,4", "invert": true, "keep_original": true, "width": 64, "height": 64}"#,
            ),
            (
                "default",
                r#"{"model": "default", "prompt": "red apple", "variation": {"seed": 3, "from_scale": 4}}"#,
            ),
            (
                "default",
                r#"{"model": "default", "prompt": "red apple", "image": "upload:a1", "from_scale": 3}"#,
            ),
            (
                "sprites",
                r#"{"model": "sprites", "prompt": "red apple bouncing", "seconds": 1.0, "image": "upload:a1"}"#,
            ),
            (
                "sprites",
                r#"{"model": "sprites", "prompt": "red apple bouncing", "video": "upload:a1"}"#,
            ),
        ];
        for (name, json) in cases {
            let request: Generate = serde_json::from_str(json).unwrap();
            let root = request.pipeline(&options, &model(name)).unwrap();
            assert_eq!(Generate::read(&root), Some(request), "{}", root.to_yaml());
        }
    }

    #[test]
    fn seeds_are_numbers_or_digits() {
        for (json, seed) in [
            ("7", Some(7)),
            ("\"18446744073709551615\"", Some(u64::MAX)),
            ("-1", None),
            ("null", None),
        ] {
            let request: Generate = serde_json::from_str(&format!("{{\"seed\": {json}}}")).unwrap();
            assert_eq!(request.seed, seed, "{json}");
        }
        for bad in ["-2", "1.5", "\"x\"", "[]", "1e30"] {
            let request = serde_json::from_str::<Generate>(&format!("{{\"seed\": {bad}}}"));
            assert!(request.is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_model_does_not_take_is_refused() {
        for (json, name, words) in [
            ("{}", "default", "`prompt` is empty"),
            (r#"{"prompt": " "}"#, "default", "`prompt` is empty"),
            (r#"{"prompt": "a\u0000b"}"#, "default", "NUL"),
            (
                r#"{"prompt": "a", "n": 9}"#,
                "default",
                "`n` is from 1 to 8",
            ),
            (
                r#"{"prompt": "a", "n": 0}"#,
                "default",
                "`n` is from 1 to 8",
            ),
            (r#"{"class": "1"}"#, "default", "not a class"),
            (r#"{"prompt": "a", "seconds": 1}"#, "default", "no length"),
            (
                r#"{"prompt": "a", "box": "0,0,1,1"}"#,
                "default",
                "`image` is missing",
            ),
            (
                r#"{"prompt": "a", "box": "0,0,1,1"}"#,
                "sprites",
                "makes videos",
            ),
            (
                r#"{"prompt": "a", "mask": "upload:a"}"#,
                "edits",
                "by instruction",
            ),
            (r#"{"prompts": ["a", "b"]}"#, "default", "takes one prompt"),
        ] {
            let message = refused(json, name);
            assert!(message.contains(words), "{json}: {message}");
        }
        let long = "a".repeat(LONGEST_PROMPT + 1);
        let message = refused(&format!("{{\"prompt\": \"{long}\"}}"), "default");
        assert!(message.contains("at most"), "{message}");
    }
}
