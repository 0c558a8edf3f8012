//! The task that takes parts of one resource from one origin, a few at a time.
//!
//! Bytes are verified and written where they arrive; only progress reaches the service. After
//! a failure the server is left alone for a while. Requests fail at once meanwhile, so that
//! other sources serve them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use trefoil_content::{
    GROUP_BYTES, Part,
    proof::ProofError,
    scheduler::{FetchFailure, RequestId, Resource, Source},
};

use super::{Server, WebError};
use crate::{events::TaskEvent, store::OpenStore};

// The server may serve every node of the swarm at once: 100 of them open 600 connections.
/// The most connections to one origin.
const CONNECTIONS_MAX: usize = 6;

// The scheduler has at most 1,024 requests open at one source: an order to ask for each, and
// one to cancel. There is room for twice as many.
/// The most orders that wait.
const ORDERS_MAX: usize = 4_096;

// The five pauses between them are 31 s. A server that is away for longer is asked again after
// another minute (`REST` in origins.rs).
/// Failures in a row after which an origin is left.
const FAILURES_MAX: u32 = 6;

// The scheduler cancels stalled requests, after 3 s at the earliest. A server that accepts
// requests and never answers would otherwise never count as failing.
/// A cancelled request for which nothing came for this time counts as a failure.
const STALL: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum FetchOrder {
    Ask(PartRequest),
    Cancel(RequestId),
}

/// A part that is wanted.
#[derive(Debug)]
pub struct PartRequest {
    pub request: RequestId,
    pub opened: Arc<OpenStore>,
    pub part: Part,
}

/// Handle to the task of one origin. Its requests end when it is dropped.
#[derive(Debug)]
pub struct Fetcher {
    orders: mpsc::Sender<FetchOrder>,
    task: AbortHandle,
}

impl Fetcher {
    /// Takes parts of `resource` from `server`, which the swarm knows as `web`.
    pub fn start(
        web: u16,
        server: Server,
        resource: Resource,
        events: mpsc::Sender<TaskEvent>,
    ) -> Self {
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let worker = Worker {
            web,
            server: Arc::new(server),
            resource,
            events,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            open: BTreeMap::new(),
            failures: 0,
            resume: Instant::now(),
            moved: Arc::new(Mutex::new(Instant::now())),
        };
        let task = tokio::spawn(worker.run(waiting)).abort_handle();
        Self { orders, task }
    }

    /// `false`: it cannot take it.
    #[must_use]
    pub fn ask(&self, part_request: PartRequest) -> bool {
        self.orders.try_send(FetchOrder::Ask(part_request)).is_ok()
    }

    pub fn cancel(&self, request: RequestId) {
        // A task that ended has nothing open; one so far behind ends it anyway.
        let _ = self.orders.try_send(FetchOrder::Cancel(request));
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Worker {
    web: u16,
    server: Arc<Server>,
    resource: Resource,
    events: mpsc::Sender<TaskEvent>,
    waiting: VecDeque<PartRequest>,
    running: JoinSet<(RequestId, Arc<OpenStore>, Result<(), WebError>)>,
    /// Running requests, and since when.
    open: BTreeMap<RequestId, (AbortHandle, Instant)>,
    /// In a row.
    failures: u32,
    /// Nothing is asked before this time.
    resume: Instant,
    /// When right bytes came last.
    moved: Arc<Mutex<Instant>>,
}

impl Worker {
    async fn run(mut self, mut orders: mpsc::Receiver<FetchOrder>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(FetchOrder::Ask(part_request)) => self.waiting.push_back(part_request),
                    Some(FetchOrder::Cancel(request)) => self.cancel(request).await,
                    None => return,
                },
                Some(ended) = self.running.join_next() => {
                    // A cancelled request was reported already.
                    if let Ok((request, opened, result)) = ended {
                        self.on_ended(request, opened, result).await;
                    }
                }
            }
            self.start_waiting().await;
        }
    }

    async fn start_waiting(&mut self) {
        let pausing = Instant::now() < self.resume;
        while (pausing || self.open.len() < CONNECTIONS_MAX)
            && let Some(part_request) = self.waiting.pop_front()
        {
            let request = part_request.request;
            if pausing {
                self.report_failed(request).await;
                continue;
            }
            let (server, web) = (self.server.clone(), self.web);
            let (events, moved) = (self.events.clone(), self.moved.clone());
            let opened = part_request.opened.clone();
            let task = self.running.spawn(async move {
                (request, opened, fetch(&server, web, part_request, &events, &moved).await)
            });
            self.open.insert(request, (task, Instant::now()));
        }
    }

    async fn cancel(&mut self, request: RequestId) {
        self.waiting.retain(|part_request| part_request.request != request);
        let Some((task, since)) = self.open.remove(&request) else { return };
        task.abort();
        let moved = *self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if since.max(moved).elapsed() > STALL {
            self.count_failure(&WebError::Network("it lets a request lie".into())).await;
        }
    }

    async fn on_ended(
        &mut self,
        request: RequestId,
        opened: Arc<OpenStore>,
        result: Result<(), WebError>,
    ) {
        if self.open.remove(&request).is_none() {
            return;
        }
        match result {
            Ok(()) => self.failures = 0,
            Err(WebError::Disk(error)) => {
                self.send_event(TaskEvent::Broken { opened, error }).await;
            }
            Err(error) if error.is_passing() => {
                self.report_failed(request).await;
                self.count_failure(&error).await;
            }
            Err(error) => self.leave(&error, true).await,
        }
    }

    /// One attempt more came to nothing.
    async fn count_failure(&mut self, error: &WebError) {
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            return self.leave(error, false).await;
        }
        let pause = error.pause(self.failures);
        // Many requests may fail of one cause.
        self.resume = self.resume.max(Instant::now() + pause);
        let origin = &self.server.origin;
        tracing::info!(%origin, %error, ?pause, "an origin fails, and is left alone for a while");
    }

    async fn leave(&self, error: &WebError, for_good: bool) {
        let origin = &self.server.origin;
        tracing::warn!(%origin, %error, "an origin is left");
        let (web, resource) = (self.web, self.resource);
        self.send_event(TaskEvent::OriginLeft { web, resource, for_good }).await;
    }

    async fn report_failed(&self, request: RequestId) {
        let (resource, failure) = (self.resource, FetchFailure::Closed);
        self.send_event(TaskEvent::Failed { resource, request, failure }).await;
    }

    async fn send_event(&self, event: TaskEvent) {
        // The service may have ended.
        let _ = self.events.send(event).await;
    }
}

/// Takes one part; each group is verified and written as it comes.
async fn fetch(
    server: &Server,
    web: u16,
    part_request: PartRequest,
    events: &mpsc::Sender<TaskEvent>,
    moved: &Mutex<Instant>,
) -> Result<(), WebError> {
    let PartRequest { request, opened, part } = part_request;
    let (resource, size) = (opened.resource, opened.layout.bytes());
    let end = (part.groups.end * GROUP_BYTES).min(size);
    let mut verifier = opened.store.verifier(&part).map_err(of_proof)?;
    let mut answer = server.range(part.groups.start * GROUP_BYTES..end, size).await?;
    let mut pending = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        pending.extend(&chunk);
        let whole = match answer.left {
            0 => pending.len(),
            _ => pending.len() - pending.len() % GROUP_BYTES as usize,
        };
        if whole == 0 {
            continue;
        }
        let groups = opened.store.write_bare(part.file, &mut verifier, &pending[..whole]);
        let groups = groups.map_err(of_proof)?;
        pending.drain(..whole);
        *moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let (source, bytes) = (Source::Web(web), whole as u64);
        // The service may have ended.
        let _ = events.send(TaskEvent::Arrived { resource, request, source, groups, bytes }).await;
    }
    Ok(())
}

fn of_proof(error: ProofError) -> WebError {
    match error {
        ProofError::Corrupt { group } | ProofError::Short { group } => WebError::Lies { group },
        ProofError::Io(error) => WebError::Disk(error),
        // The hashes here have changed.
        error => WebError::Disk(std::io::Error::other(error)),
    }
}
