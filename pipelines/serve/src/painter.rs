//! The painter: runs one job after the other.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nextscale_pipelines::error::PipelineError;
use nextscale_pipelines::settings::random_seed;
use nextscale_pipelines::stage::{Event, Observer};
use nextscale_pipelines::{Artifact, Pipeline, PipelineSpec};

use crate::app::App;
use crate::job::{Job, Update};
use crate::request::set;

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
    set(&mut root, &["output"], &place)?;
    set(&mut root, &["preview"], &place)?;
    let mut pipeline = Pipeline::new(PipelineSpec::from_node(root)?)?;
    if pipeline.spec().settings.seed.is_none() {
        pipeline.set_seed(random_seed());
    }
    pipeline.share(&app.parts);
    pipeline.run(job.cancel.clone(), observer(app, job)).await
}

fn observer(app: &Arc<App>, job: &Arc<Job>) -> Observer {
    let (app, job) = (Arc::clone(app), Arc::clone(job));
    let loading = AtomicBool::new(false);
    // Image and scale of the previews that are not written yet.
    let expected = Mutex::new(vec![]);
    Arc::new(move |event| match event {
        Event::Loading { .. } if !loading.swap(true, Ordering::Relaxed) => {
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
            if scale < scales {
                lock(&expected).push((index, scale));
            }
            job.tell(Update::Scale {
                index,
                scale,
                scales,
            });
        }
        Event::Done { sample, .. } => tell_previews(&job, sample.index, &mut lock(&expected)),
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

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of those expected previews of an image that have been written.
fn tell_previews(job: &Job, image: usize, expected: &mut Vec<(usize, usize)>) {
    expected.retain(|&(index, scale)| {
        let file = format!("{index:05}-scale-{scale:02}.png");
        let is_there = index == image && job.folder.join(&file).exists();
        if is_there {
            job.tell(Update::Preview { index, scale, file });
        }
        !is_there
    });
}
