//! The painter: runs one job after the other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::settings::random_seed;
use nextscale_pipelines::stage::{Event, Observer};
use nextscale_pipelines::yaml::Node;
use nextscale_pipelines::{Artifact, Pipeline, PipelineSpec};

use crate::app::App;
use crate::job::{Job, Update};

/// Runs the jobs of the queue, for ever.
pub(crate) async fn paint(app: Arc<App>) {
    loop {
        let job = app.queue.pop().await;
        let ended = match run(&app, &job).await {
            Ok(()) => Update::Done,
            Err(PipelineError::Cancelled) => {
                app.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                Update::Cancelled
            }
            Err(error) => {
                app.counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(job = job.id, %error, "failed");
                let message = error.to_string();
                Update::Failed { message }
            }
        };
        job.tell(ended);
    }
}

async fn run(app: &Arc<App>, job: &Arc<Job>) -> Result<(), PipelineError> {
    job.cancel.check()?;
    let folder = &job.folder;
    std::fs::create_dir_all(folder).map_err(PipelineError::io("create", folder.as_path()))?;
    let mut root = job.pipeline.clone();
    let place = format!("{}/", folder.display());
    set(&mut root, "output", &place)?;
    set(&mut root, "preview", &place)?;
    let mut pipeline = Pipeline::new(PipelineSpec::from_node(root)?)?;
    if pipeline.spec().settings.seed.is_none() {
        pipeline.set_seed(random_seed());
    }
    pipeline.share(&app.parts);
    pipeline.run(job.cancel.clone(), observer(app, job)).await
}

fn set(root: &mut Node, key: &str, value: &str) -> Result<(), PipelineError> {
    root.set(&[key], Node::from_data(&value, "server")?)?;
    Ok(())
}

fn observer(app: &Arc<App>, job: &Arc<Job>) -> Observer {
    let (app, job) = (Arc::clone(app), Arc::clone(job));
    Arc::new(move |event| match event {
        Event::Loading { .. } if !job.updates().contains(&Update::Loading) => {
            job.tell(Update::Loading)
        }
        Event::Scale {
            sample, step, took, ..
        } => {
            let counters = &app.counters;
            counters.scales.fetch_add(1, Ordering::Relaxed);
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            counters
                .scale_milliseconds
                .fetch_add(took, Ordering::Relaxed);
            let (scale, scales) = (step.scale, step.scales);
            let index = sample.index;
            job.tell(Update::Scale {
                index,
                scale,
                scales,
            });
        }
        Event::Done { sample, .. } => tell_previews(&job, sample.index),
        Event::Warning { message } => job.tell(Update::Notice { message }),
        Event::Output { message, .. } => {
            if let Artifact::File(path) = &message.artifact {
                app.counters.images.fetch_add(1, Ordering::Relaxed);
                let (index, seed) = (message.sample.index, message.sample.seed);
                job.tell(Update::Image {
                    index,
                    seed,
                    file: name(path),
                });
            }
        }
        _ => {}
    })
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Tells of the previews of an image that have been written since.
fn tell_previews(job: &Job, index: usize) {
    let updates = job.updates();
    let scales = updates.iter().filter_map(|update| match update {
        Update::Scale {
            index: of,
            scale,
            scales,
        } if *of == index && scale < scales => Some(*scale),
        _ => None,
    });
    for scale in scales {
        let file = format!("{index:05}-scale-{scale:02}.png");
        let preview = Update::Preview { index, scale, file };
        if let Update::Preview { file, .. } = &preview
            && !updates.contains(&preview)
            && job.folder.join(file).exists()
        {
            job.tell(preview);
        }
    }
}
