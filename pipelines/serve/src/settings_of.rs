//! The settings that an image carries.

use nextscale_pipelines::media;
use nextscale_pipelines::spec::parse_untrusted;

use crate::app::App;
use crate::generate::Generate;

/// What was found in an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// The request that gives it again, if it is one that this server has the model for.
    pub request: Option<Generate>,
    /// The pipeline.
    pub yaml: Option<String>,
    /// The text that the tools of Stable Diffusion read and show.
    pub parameters: Option<String>,
}

/// The settings in an upload; none if it carries nothing.
pub(crate) fn settings_of(app: &App, upload: &str) -> Option<Settings> {
    let path = app.uploads.as_uploads().find(upload)?;
    let texts = media::tags(&path).ok()?;
    let text = |key: &str| {
        let mut found = texts.iter().filter(|(of, _)| of == key);
        found.next().map(|(_, text)| text.clone())
    };
    let yaml = text(media::PIPELINE_KEY);
    let root = yaml
        .as_deref()
        .and_then(|yaml| parse_untrusted(yaml, "image").ok());
    let request = root.as_ref().and_then(Generate::read);
    let is_known = |request: &Generate| app.model(request.model.as_deref()).is_ok();
    Some(Settings {
        request: request.filter(is_known),
        yaml: root.map(|root| root.to_yaml()),
        parameters: text("parameters"),
    })
}
