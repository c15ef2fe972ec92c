//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use nextscale_models::parts::Parts;
use nextscale_pipelines::settings::random_seed;
use nextscale_pipelines::yaml::Node;
use nextscale_pipelines::{Pipeline, PipelineError, PipelineSpec};
use tokio::sync::Notify;

use crate::adapters::{AdapterInfo, chosen};
use crate::counters::Counters;
use crate::family::family;
use crate::generate::Generate;
use crate::job::Job;
use crate::known_jobs::KnownJobs;
use crate::label::{label, text};
use crate::models::ModelInfo;
use crate::options::Options;
use crate::pictures::Pictures;
use crate::refusal::Refusal;
use crate::request::set;
use crate::store::record::Record;
use crate::store::{NewJob, Store};
use crate::update::{Update, finished};
use crate::uploads::{UPLOADS, Upload, UploadFolder};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub options: Options,
    pub store: Store,
    pub pictures: Pictures,
    pub uploads: UploadFolder,
    /// The models that may be asked for.
    pub models: Vec<ModelInfo>,
    /// The adapters that may be asked for.
    pub adapters: Vec<AdapterInfo>,
    /// Loaded models.
    pub parts: Parts,
    pub counters: Counters,
    pub started: Instant,
    /// Wakes the painter.
    pub added: Notify,
    is_closing: AtomicBool,
    /// The model that a client of A1111's API has chosen.
    chosen_model: Mutex<Option<String>>,
    /// Jobs of which this server has something to tell.
    pub jobs: KnownJobs,
}

impl App {
    pub fn new(
        options: Options,
        store: Store,
        pictures: Pictures,
        models: Vec<ModelInfo>,
        adapters: Vec<AdapterInfo>,
    ) -> Self {
        Self {
            uploads: UploadFolder::new(&options.folder, &adapters),
            store,
            pictures,
            models,
            adapters,
            parts: Parts::keeping(options.weights),
            options,
            counters: Counters::default(),
            started: Instant::now(),
            added: Notify::new(),
            is_closing: AtomicBool::new(false),
            chosen_model: Mutex::default(),
            jobs: KnownJobs::default(),
        }
    }

    /// A model of the list; the first where none is named.
    pub fn model(&self, name: Option<&str>) -> Result<&ModelInfo, Refusal> {
        let Some(name) = name else {
            let first = self.models.first();
            return first.ok_or_else(|| Refusal::absent("model"));
        };
        let found = self.models.iter().find(|model| model.name == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|m| m.name.as_str()).collect();
            let known = known.join(", ");
            Refusal::bad(format!("there is no model `{name}`; models here: {known}"))
        })
    }

    /// The model that a client of A1111's API has chosen.
    pub fn chosen_model(&self) -> Option<String> {
        let chosen = self.chosen_model.lock();
        chosen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Chooses it.
    pub fn choose_model(&self, name: String) {
        let chosen = self.chosen_model.lock();
        *chosen.unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    /// Puts what a client wants into the queue.
    pub async fn generate(
        self: &Arc<Self>,
        client: &str,
        request: &Generate,
    ) -> Result<Arc<Job>, Refusal> {
        let pipeline = self.pipeline(request)?;
        self.submit(client, pipeline).await
    }

    /// The pipeline that a client's settings stand for.
    pub fn pipeline(&self, request: &Generate) -> Result<Node, Refusal> {
        let model = self.model(request.model.as_deref())?;
        let mut pipeline = request.pipeline(&self.options, model)?;
        if let Some(wanted) = &request.lora {
            let loras = chosen(&self.adapters, wanted, &model.name)?;
            set(&mut pipeline, &["lora"], &loras)?;
        }
        Ok(pipeline)
    }

    /// Checks a pipeline and puts it into the queue.
    pub async fn submit(
        self: &Arc<Self>,
        client: &str,
        mut pipeline: Node,
    ) -> Result<Arc<Job>, Refusal> {
        if self.is_closing() {
            return Err(Refusal::closing());
        }
        // A job that is painted a second time, after its server was killed, becomes the same image.
        let seed = pipeline
            .get("seed")
            .and_then(|seed| seed.read::<u64>().ok());
        if seed.is_none() {
            set(&mut pipeline, &["seed"], &random_seed())?;
        }
        self.check(pipeline.clone()).await?;
        for name in self.uploads.as_uploads().named(&pipeline) {
            let shared = self.pictures.share(UPLOADS, &name).await;
            shared.map_err(|e| Refusal::failed(format!("the image cannot be shared: {e}")))?;
        }
        let new = NewJob {
            id: format!("{:016x}", rand::random::<u64>()),
            client: client.to_owned(),
            family: family(&pipeline),
            prompt: label(&pipeline),
            model: text(pipeline.get("model")),
            pipeline: pipeline.to_yaml(),
        };
        let updates = vec![Update::Queued];
        let job = Job::new(new.id.clone(), pipeline, &self.options.folder, updates);
        let job = Arc::new(job);
        // It is known before anyone can take it.
        self.jobs.add(&job);
        let added = self.store.submit(&new, self.options.waiting).await;
        let refusal = match added {
            Ok(true) => {
                self.added.notify_one();
                return Ok(job);
            }
            Ok(false) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Refusal::busy(self.options.waiting)
            }
            Err(error) => error.into(),
        };
        self.jobs.forget(&new.id);
        Err(refusal)
    }

    /// Tells mistakes now, with their places, and not when the job's turn comes.
    pub async fn check(self: &Arc<Self>, pipeline: Node) -> Result<(), Refusal> {
        let app = Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || app.open(pipeline).map(drop));
        match checked.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.refusal(&error)),
            Err(_) => Err(Refusal::failed("the pipeline could not be checked")),
        }
    }

    /// Keeps what a client has sent. An image is decoded for that, on a thread that may take its time.
    pub async fn keep(self: &Arc<Self>, bytes: Bytes) -> Result<Upload, Refusal> {
        let app = Arc::clone(self);
        let keeping = tokio::task::spawn_blocking(move || app.uploads.keep(&bytes));
        let failed = |_| Refusal::failed("the upload could not be kept");
        keeping.await.map_err(failed)?
    }

    /// Gets the uploads of a pipeline that another server has taken in.
    pub async fn fetch_uploads(&self, root: &Node) -> Result<(), Refusal> {
        if self.pictures.are_shared() {
            for name in self.uploads.as_uploads().named(root) {
                self.pictures.find(UPLOADS, &name).await?;
            }
        }
        Ok(())
    }

    /// A pipeline that is ready to run.
    pub fn open(&self, mut root: Node) -> Result<Pipeline, PipelineError> {
        let uploads = self.uploads.as_uploads();
        uploads.resolve(&mut root)?;
        let mut pipeline = Pipeline::new(PipelineSpec::from_node(root)?)?;
        pipeline.name_uploads(&uploads);
        pipeline.share(&self.parts);
        Ok(pipeline)
    }

    /// What a client is told of an error: no path of this computer.
    pub fn refusal(&self, error: &PipelineError) -> Refusal {
        Refusal::from(error).without(&self.options.folder)
    }

    /// A job by its name: what this server knows, or what the store has.
    pub async fn job(&self, id: &str) -> Result<Arc<Job>, Refusal> {
        if let Some(job) = self.jobs.find(id) {
            return Ok(job);
        }
        let record = self.store.find(id).await?;
        let record = record.ok_or_else(|| Refusal::absent("job of this name"))?;
        self.restored(&record)
    }

    /// A job that the store has.
    pub fn restored(&self, record: &Record) -> Result<Arc<Job>, Refusal> {
        let pipeline = record.node()?;
        let updates = record.updates.clone();
        let job = Job::new(record.id.clone(), pipeline, &self.options.folder, updates);
        let job = Arc::new(job);
        self.jobs.add(&job);
        Ok(job)
    }

    /// Stops a job; one that runs alone is worked on until its current scale is there.
    pub async fn cancel(&self, job: &Job) -> Result<(), Refusal> {
        let mut updates = job.updates();
        updates.push(Update::Cancelled);
        let was_waiting = self.store.cancel(&job.id, &updates).await?;
        if !was_waiting {
            // A run of several jobs goes on for the others; what it tells of this one is not listened to any more.
            job.cancel.cancel();
            if !self.store.finish(&job.id, &updates).await? {
                // Another server runs it.
                return Ok(self.store.stop(&job.id).await?);
            }
        }
        job.tell(Update::Cancelled);
        self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a job that is over, and its images.
    pub async fn remove(&self, job: &Job) -> Result<(), Refusal> {
        if self.store.forget(&job.id).await? {
            self.jobs.forget(&job.id);
            let images = finished(&job.updates()).into_iter();
            let names = images.flat_map(|image| image.scales.into_iter().chain([image.file]));
            let names: Vec<String> = names.collect();
            self.pictures.remove(&job.id, &names).await?;
        }
        Ok(())
    }

    /// Whether the server is about to end.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Ends what runs after the current scale. What waits and what was running stays in the queue for the next start.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        self.added.notify_one();
        for job in self.jobs.unfinished() {
            job.close();
        }
    }
}
