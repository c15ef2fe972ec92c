//! Jobs that are painted together: one run, whose files go to the folders of the jobs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nextscale_files::atomic_file;
use nextscale_pipelines::media::VIDEO_EXTENSION;
use nextscale_pipelines::stage::{Cancel, Event, Observer};
use nextscale_pipelines::yaml::Node;
use nextscale_pipelines::{Artifact, PipelineError};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::app::App;
use crate::family;
use crate::job::Job;
use crate::request::set;
use crate::update::Update;

/// What the folder of a run in the gallery begins with.
pub(crate) const RUNNING: &str = ".painting-";

/// Jobs that are painted together.
pub(super) struct Batch {
    places: Vec<Place>,
    root: Node,
    cancel: Cancel,
    /// Where the run writes; what is finished is moved from here.
    folder: TempDir,
}

/// A job and its samples of the run.
#[derive(Clone)]
struct Place {
    job: Arc<Job>,
    /// The index of its first sample.
    first: usize,
    /// How many it has; all if it is alone.
    count: usize,
}

impl Batch {
    /// One run for all jobs.
    ///
    /// # Errors
    /// Jobs of different families, a folder that cannot be written to.
    pub fn new(app: &App, jobs: &[Arc<Job>]) -> Result<Self, PipelineError> {
        let mut places = vec![];
        let mut first = 0;
        for job in jobs {
            let count = match jobs.len() {
                1 => usize::MAX,
                _ => family::images(&job.pipeline),
            };
            let job = Arc::clone(job);
            places.push(Place { job, first, count });
            first = first.saturating_add(count);
        }
        let pipelines: Vec<&Node> = jobs.iter().map(|job| &job.pipeline).collect();
        let root = match pipelines.as_slice() {
            [alone] => (*alone).clone(),
            all => family::merged(all)?,
        };
        let gallery = &app.options.folder;
        let folder = tempfile::Builder::new().prefix(RUNNING).tempdir_in(gallery);
        let folder = folder.map_err(PipelineError::io("write into", gallery.as_path()))?;
        Ok(Self {
            places,
            root,
            cancel: Cancel::default(),
            folder,
        })
    }

    /// Stops the run after the current scale.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Runs to the end.
    pub async fn run(self, app: &Arc<App>) -> Result<(), PipelineError> {
        if is_unwanted(&self.places) {
            return Err(PipelineError::Cancelled);
        }
        let fetched = app.fetch_uploads(&self.root).await;
        fetched.map_err(|refusal| PipelineError::refused(refusal.message()))?;
        let mut root = self.root.clone();
        write_into(self.folder.path(), &mut root)?;
        let opening = {
            let app = Arc::clone(app);
            tokio::task::spawn_blocking(move || app.open(root))
        };
        let pipeline = opening
            .await
            .map_err(|_| PipelineError::refused("the pipeline could not be opened"))??;
        let observer = self.observer(app);
        pipeline.run(self.cancel.clone(), observer).await
    }

    fn observer(&self, app: &Arc<App>) -> Observer {
        let (app, places, cancel) = (Arc::clone(app), self.places.clone(), self.cancel.clone());
        let is_loading = AtomicBool::new(false);
        Arc::new(move |event| {
            if app.is_closing() || is_unwanted(&places) {
                cancel.cancel();
            }
            match event {
                Event::Loading { .. } if !is_loading.swap(true, Ordering::Relaxed) => {
                    tell_all(&places, &Update::Loading);
                }
                Event::Warning { message } => tell_all(&places, &Update::Notice { message }),
                event => tell(&app, &places, event),
            }
        })
    }
}

/// Whether no job is wanted any more.
fn is_unwanted(places: &[Place]) -> bool {
    places.iter().all(|place| place.job.cancel.is_cancelled())
}

fn tell_all(places: &[Place], update: &Update) {
    for place in places {
        place.job.tell(update.clone());
    }
}

/// Tells a job what has happened to one of its samples, and moves the file there is.
fn tell(app: &App, places: &[Place], event: Event) {
    match event {
        Event::Scale {
            sample,
            step,
            clip,
            took,
            ..
        } => {
            let counters = &app.counters;
            counters.scales.fetch_add(1, Ordering::Relaxed);
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            counters
                .scale_milliseconds
                .fetch_add(took, Ordering::Relaxed);
            if let Some((job, index)) = find(places, sample.index) {
                job.tell(Update::Scale {
                    index,
                    scale: clip.map_or(step.scale, |clip| clip.pass),
                    scales: clip.map_or(step.scales, |clip| clip.passes),
                    clip: clip.map(|clip| clip.clip),
                    clips: clip.map(|clip| clip.clips),
                });
            }
        }
        Event::Preview {
            sample, step, path, ..
        } => {
            let scale = step.scale;
            let name = format!("{{index}}-scale-{scale:02}.png");
            move_file(app, places, sample.index, &path, &name, |index, file| {
                Update::Preview { index, scale, file }
            });
        }
        Event::Output { message, .. } => {
            if let Artifact::File(path) = &message.artifact {
                app.counters.images.fetch_add(1, Ordering::Relaxed);
                let seed = message.sample.seed;
                let kind = path.extension().unwrap_or_default().to_string_lossy();
                let name = format!("{{index}}-{seed}.{kind}");
                let sample = message.sample.index;
                move_file(app, places, sample, path, &name, |index, file| {
                    Update::Image { index, seed, file }
                });
            }
        }
        _ => {}
    }
}

/// The job of a sample, and its index there.
fn find(places: &[Place], sample: usize) -> Option<(&Job, usize)> {
    let place = places
        .iter()
        .find(|place| sample >= place.first && sample - place.first < place.count)?;
    let is_wanted = !place.job.cancel.is_cancelled();
    is_wanted.then(|| (&*place.job, sample - place.first))
}

/// Moves a finished file into the folder of its job and tells it.
fn move_file(
    app: &App,
    places: &[Place],
    sample: usize,
    from: &Path,
    name: &str,
    update: impl Fn(usize, String) -> Update,
) {
    let Some((job, index)) = find(places, sample) else {
        return;
    };
    let name = name.replace("{index}", &format!("{index:05}"));
    let moved = std::fs::create_dir_all(&job.folder)
        .and_then(|()| std::fs::rename(from, job.folder.join(&name)))
        .map_err(|e| e.to_string())
        .and_then(|()| {
            // This thread belongs to a stage and may wait.
            Handle::current().block_on(app.pictures.share(&job.id, &name))
        });
    match moved {
        Ok(()) => job.tell(update(index, name)),
        Err(error) => {
            let message = format!("`{name}` could not be kept: {error}");
            job.tell(Update::Notice { message });
        }
    }
}

/// Lets a pipeline write its images and previews into a folder.
fn write_into(folder: &Path, root: &mut Node) -> Result<(), PipelineError> {
    let folder = folder.display();
    set(root, &["preview"], &folder.to_string())?;
    let stages = root.get("stages").map(Node::entries).unwrap_or_default();
    let mut outputs = vec![];
    for stage in stages {
        let path = match stage.node.get("stage").and_then(Node::as_str) {
            Some("save") => format!("{folder}/"),
            Some("save-video") => format!("{folder}/{{index}}-{{seed}}.{VIDEO_EXTENSION}"),
            _ => continue,
        };
        outputs.push((stage.key.clone(), path));
    }
    for (name, path) in outputs {
        set(root, &["stages", &name, "path"], &path)?;
    }
    Ok(())
}

/// Removes what runs of a killed server have left.
pub(crate) fn sweep(gallery: &Path) {
    atomic_file::sweep(gallery);
    for entry in std::fs::read_dir(gallery).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(RUNNING) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
