//! The `admin_*` methods: what an operator has the node do with content. A long piece
//! of work is a job with a number, by which its progress is polled.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use trefoil_content::{AllowList, ContentId, Link, Origin, OriginError, ResourceKind};
use trefoil_swarm::{Content, Progress, PutOptions, Selection};

use crate::{
    RpcError, RpcResult,
    content::gateway_keys::{GatewayKeys, OPEN_PATH},
};

// A job that ended is kept for a while: the command that polls it still wants its outcome.
/// Jobs that are remembered; the oldest that ended make room.
const JOBS_MAX: usize = 256;

fn failed(error: impl ToString) -> RpcError {
    RpcError::Rejected(error.to_string())
}

/// `admin_put`: what to share, from where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutRequest {
    /// Absolute, as this node's machine knows it.
    pub path: PathBuf,
    pub name: Option<String>,
    /// The organisations that may have it besides this node's own; none: all members.
    #[serde(default)]
    pub allow: AllowList,
    /// Whether it is what [`trefoil_swarm::sealed::seal`] made.
    #[serde(default)]
    pub sealed: bool,
}

/// `admin_putOrigin`: what to share, from an HTTP server that has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutOriginRequest {
    pub url: String,
    pub name: Option<String>,
    /// As of [`PutRequest`].
    #[serde(default)]
    pub allow: AllowList,
}

/// `admin_get`: what to fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// A link, or a bare id.
    pub link: String,
    /// Where it is written to when it is here: absolute. Nowhere, if absent.
    pub output: Option<PathBuf>,
    /// One file of a directory.
    pub path: Option<String>,
    /// Its bytes from the first to before the second.
    pub range: Option<(u64, u64)>,
    #[serde(default)]
    pub sequential: bool,
}

/// `admin_job`: how a job goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// `None`: not yet.
    pub ended: Option<Result<JobOutcome, String>>,
    /// Of a put: bytes that were read.
    pub read: u64,
    /// Of a put from a server: bytes that it has.
    pub total: Option<u64>,
    /// Of a get.
    pub progress: Option<Progress>,
}

/// The result of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobOutcome {
    pub link: String,
    pub output: Option<PathBuf>,
    pub progress: Option<Progress>,
}

#[derive(Debug)]
struct Job {
    /// The resource that a get fetches.
    id: Option<ContentId>,
    read: Arc<AtomicU64>,
    /// 0: not known.
    total: Arc<AtomicU64>,
    ended: Arc<Mutex<Option<Result<JobOutcome, String>>>>,
    task: Option<AbortHandle>,
}

/// The methods.
#[derive(Debug)]
pub struct AdminApi {
    content: Content,
    keys: Option<Arc<GatewayKeys>>,
    jobs: Mutex<(u64, BTreeMap<u64, Job>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AdminApi {
    pub fn new(content: Content) -> Self {
        Self { content, keys: None, jobs: Mutex::new((0, BTreeMap::new())) }
    }

    /// With the keys that `admin_openGateway` hands out.
    #[must_use]
    pub fn opening(self, keys: Arc<GatewayKeys>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// A path of the gateway by which one browser may read what has an allow-list.
    pub(crate) fn open_gateway(&self) -> RpcResult<String> {
        let keys = self.keys.as_ref().ok_or_else(|| failed("there is no gateway here"))?;
        Ok(format!("{OPEN_PATH}?key={}", keys.new_link()))
    }

    /// The resources that are here.
    pub(crate) fn contents(&self) -> impl Serialize {
        self.content.list()
    }

    pub(crate) fn pin(&self, text: &str, pinned: bool) -> RpcResult<bool> {
        self.content.pin(link(text)?.id, pinned).map_err(failed)?;
        Ok(true)
    }

    pub(crate) async fn remove(&self, text: &str) -> RpcResult<bool> {
        self.content.remove(link(text)?.id).await.map_err(failed)?;
        Ok(true)
    }

    pub(crate) fn put(&self, put: PutRequest) -> RpcResult<u64> {
        absolute(&put.path)?;
        let (content, read) = (self.content.clone(), Arc::new(AtomicU64::new(0)));
        let counter = read.clone();
        let work = async move {
            let PutRequest { path, name, allow, sealed } = put;
            let terms = PutOptions { name, allow, sealed, ..PutOptions::default() };
            let id = content.put(&path, terms, counter).await.map_err(failed)?;
            let link = link_of(&content, id);
            Ok(JobOutcome { link, output: None, progress: None })
        };
        self.start(None, read, Arc::default(), work)
    }

    pub(crate) fn put_origin(&self, put: PutOriginRequest) -> RpcResult<u64> {
        let origin: Origin = put.url.parse().map_err(|error: OriginError| {
            RpcError::InvalidParams(format!("{:?} is no origin: {error}", put.url))
        })?;
        let (content, read, total) = (self.content.clone(), Arc::default(), Arc::default());
        let counters = (Arc::clone(&read), Arc::clone(&total));
        let work = async move {
            let terms = PutOptions { name: put.name, allow: put.allow, ..PutOptions::default() };
            let id = content.put_origin(origin, terms, counters.0, counters.1).await;
            let link = link_of(&content, id.map_err(failed)?);
            Ok(JobOutcome { link, output: None, progress: None })
        };
        self.start(None, read, total, work)
    }

    /// Starts a fetch, as a job.
    ///
    /// # Errors
    /// Wrong parameters, or too many jobs.
    pub fn get(&self, get: GetRequest) -> Result<u64, RpcError> {
        let wanted = link(&get.link)?;
        if let Some(output) = &get.output {
            absolute(output)?;
            // Now, and not after hours of fetching.
            if output.exists() {
                let taken = trefoil_swarm::ExportError::Taken(output.clone());
                return Err(RpcError::InvalidParams(taken.to_string()));
            }
        }
        if get.range.is_some_and(|(from, to)| from >= to) {
            return Err(RpcError::InvalidParams("a range ends behind its start".into()));
        }
        if wanted.id.kind != ResourceKind::Directory && get.path.is_some() {
            let what = "this link is of no directory: there are no paths in it";
            return Err(RpcError::InvalidParams(what.into()));
        }
        let (content, id) = (self.content.clone(), wanted.id);
        let work = async move {
            let selection = Selection {
                path: get.path.clone(),
                range: get.range.map(|(from, to)| from..to),
                sequential: get.sequential,
                apart: false,
            };
            let output = get.output.clone();
            match &output {
                Some(output) => content.export(&wanted, &selection, output).await,
                None => content.get(&wanted, selection).await,
            }
            .map_err(failed)?;
            let progress = content.progress(id).await.map_err(failed)?;
            Ok(JobOutcome { link: link_of(&content, id), output, progress })
        };
        self.start(Some(id), Arc::default(), Arc::default(), work)
    }

    /// Runs work as a job, and returns its number.
    fn start(
        &self,
        id: Option<ContentId>,
        read: Arc<AtomicU64>,
        total: Arc<AtomicU64>,
        work: impl Future<Output = Result<JobOutcome, RpcError>> + Send + 'static,
    ) -> RpcResult<u64> {
        let jobs = &mut *lock(&self.jobs);
        if jobs.1.len() >= JOBS_MAX {
            let over = jobs.1.iter().find(|(_, job)| lock(&job.ended).is_some()).map(|job| *job.0);
            let over = over.ok_or_else(|| failed("too many jobs at a time; wait for some"))?;
            jobs.1.remove(&over);
        }
        let ended = Arc::new(Mutex::new(None));
        let end = ended.clone();
        let task = tokio::spawn(async move {
            let outcome = work.await.map_err(|error| error.to_string());
            *lock(&end) = Some(outcome);
        });
        jobs.0 += 1;
        let number = jobs.0;
        jobs.1.insert(number, Job { id, read, total, ended, task: Some(task.abort_handle()) });
        Ok(number)
    }

    /// How a job goes.
    ///
    /// # Errors
    /// No such job, or an index of content that cannot be read.
    pub async fn job(&self, number: u64) -> Result<JobStatus, RpcError> {
        let (id, read, total, ended) = {
            let jobs = lock(&self.jobs);
            let job = jobs.1.get(&number).ok_or_else(|| failed("no such job"))?;
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (job.id, count(&job.read), count(&job.total), lock(&job.ended).clone())
        };
        let progress = match id {
            Some(id) => self.content.progress(id).await.map_err(failed)?,
            None => None,
        };
        let total = Some(total).filter(|total| *total > 0);
        Ok(JobStatus { ended, read, total, progress })
    }

    /// Ends a job; the bytes that came stay.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        let job = lock(&self.jobs).1.get_mut(&number).and_then(|job| job.task.take());
        job.inspect(AbortHandle::abort).is_some()
    }
}

// The node's working directory is not the command's.
fn absolute(path: &std::path::Path) -> Result<(), RpcError> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(RpcError::InvalidParams(format!("{} is not absolute", path.display()))),
    }
}

/// A link, or a bare id.
pub fn link(text: &str) -> Result<Link, RpcError> {
    let bad = |error: &dyn std::fmt::Display| RpcError::InvalidParams(error.to_string());
    if text.contains(':') {
        return text.parse().map_err(|error: trefoil_content::LinkError| bad(&error));
    }
    let id = text.parse().map_err(|error: trefoil_content::IdError| bad(&error))?;
    Ok(ContentId::into(id))
}

/// The link of a resource that is here.
pub fn link_of(content: &Content, id: ContentId) -> String {
    let about = content.metadata(id);
    let size = about.as_ref().map(|about| about.tree_bytes.unwrap_or(about.size));
    let (name, allow) = about.map(|about| (about.name, about.allow)).unwrap_or_default();
    Link { id, name, size, allow }.to_string()
}
