//! From a request's bytes to an answer's: JSON-RPC 2.0, and the one table of
//! methods and the functions that answer them.

use std::{borrow::Cow, collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use tokio::task::yield_now;

use crate::{
    Limits, Params, Rpc, RpcError, RpcResult,
    answer::RpcAnswer,
    content::admin::AdminApi,
    debug,
    eth::{blocks, config, execute, fees, filters, logs, send, simulate, state},
    heavy::heavy,
    json,
    memory::MemoryAccount,
    net,
    subscriptions::{self, SocketMessage},
    trace, trefoil, txpool,
};

// Answers go out in order, so those that are ready early wait in memory; and eight full batches
// take all the places of a source that waits for a turn (half of `HEAVY_WAITS_MAX`).
/// Requests of one batch that are worked on at once.
const BATCH_WIDTH: usize = 16;
/// A request that is worked on, without its parameters: its task, as the largest method has it.
const REQUEST_BYTES: usize = 2 << 10;
// It is repeated in the answer and in each refusal, for which there always is room.
/// Bytes of a request's `id`.
const ID_BYTES_MAX: usize = 256;
// The name is the caller's: an error must not be as long as the request.
/// Characters of an unknown method's name that the error repeats.
const NAME_CHARS_MAX: usize = 64;

/// One method: its name, the most parameters that it takes, and its handler.
pub(super) struct Method {
    pub name: &'static str,
    params_max: usize,
    handler: Handler,
}

type Wait = for<'a> fn(&'a Arc<Rpc>, &'a Params) -> BoxFuture<'a, RpcResult>;

enum Handler {
    // It runs on the threads of all calls: anything slower would delay every caller. A block is
    // decoded there only if it is light (`lookup::with_block`).
    /// Answers at once: memory, or a few reads.
    Now(fn(&Rpc, &Params) -> RpcResult),
    /// Scans or executes: on the readers' pool, so many at once, so long.
    Heavy(fn(&Rpc, &Params) -> RpcResult),
    /// Asks the node's thread, or waits for a block.
    Wait(Wait),
    /// Belongs to a WebSocket.
    Socket(fn(&Rpc, &SocketMessage, &Params) -> RpcResult),
    /// Belongs to `POST /admin`.
    Admin(for<'a> fn(&'a AdminApi, &'a Params) -> BoxFuture<'a, RpcResult>),
}

use Handler::{Admin, Heavy, Now, Socket, Wait as Ask};

macro_rules! table {
    ($($name:literal $max:literal $kind:ident $handler:expr;)*) => {
        &[$(Method { name: $name, params_max: $max, handler: $kind($handler) },)*]
    };
}

/// Every method there is, sorted by name.
pub(super) static METHODS: &[Method] = table! {
    "admin_cancel" 1 Admin |api, p| Box::pin(async { json(&api.cancel(p.get(0)?)) });
    "admin_contents" 0 Admin |api, _| Box::pin(async { json(&api.contents()) });
    "admin_get" 1 Admin |api, p| Box::pin(async { json(&api.get(p.object(0)?)?) });
    "admin_job" 1 Admin |api, p| Box::pin(async { json(&api.job(p.get(0)?).await?) });
    "admin_openGateway" 0 Admin |api, _| Box::pin(async { json(&api.open_gateway()?) });
    "admin_pin" 1 Admin |api, p| Box::pin(async { json(&api.pin(&p.get::<String>(0)?, true)?) });
    "admin_put" 1 Admin |api, p| Box::pin(async { json(&api.put(p.object(0)?)?) });
    "admin_putOrigin" 1 Admin |api, p| Box::pin(async { json(&api.put_origin(p.object(0)?)?) });
    "admin_remove" 1 Admin |api, p| Box::pin(async { json(&api.remove(&p.get::<String>(0)?).await?) });
    "admin_unpin" 1 Admin |api, p| Box::pin(async { json(&api.pin(&p.get::<String>(0)?, false)?) });
    "debug_getRawBlock" 1 Heavy debug::raw_block;
    "debug_getRawHeader" 1 Heavy debug::raw_header;
    "debug_getRawReceipts" 1 Heavy debug::raw_receipts;
    "debug_getRawTransaction" 1 Ask |rpc, p| Box::pin(debug::raw_transaction(rpc, p));
    "debug_traceBlockByHash" 2 Heavy trace::block;
    "debug_traceBlockByNumber" 2 Heavy trace::block;
    "debug_traceTransaction" 2 Heavy trace::transaction;
    "eth_accounts" 0 Now |_, _| json(&[(); 0]);
    "eth_baseFee" 0 Now fees::base_fee;
    "eth_blobBaseFee" 0 Now fees::blob_base_fee;
    "eth_blockNumber" 0 Now blocks::number;
    "eth_call" 4 Heavy execute::call;
    "eth_capabilities" 0 Heavy config::capabilities;
    "eth_chainId" 0 Now net::chain_id;
    "eth_config" 0 Now config::config;
    "eth_createAccessList" 3 Heavy execute::create_access_list;
    "eth_estimateGas" 4 Heavy execute::estimate_gas;
    "eth_feeHistory" 3 Heavy fees::history;
    "eth_gasPrice" 0 Ask |rpc, p| Box::pin(fees::gas_price(rpc, p));
    "eth_getBalance" 2 Now state::balance;
    "eth_getBlockByHash" 2 Heavy blocks::by_hash;
    "eth_getBlockByNumber" 2 Ask |rpc, p| Box::pin(blocks::by_number(rpc, p));
    "eth_getBlockReceipts" 1 Heavy blocks::receipts;
    "eth_getBlockTransactionCountByHash" 1 Now blocks::transaction_count;
    "eth_getBlockTransactionCountByNumber" 1 Now blocks::transaction_count;
    "eth_getCode" 2 Now state::code;
    "eth_getFilterChanges" 1 Heavy filters::changes;
    "eth_getFilterLogs" 1 Heavy filters::logs;
    "eth_getLogs" 1 Heavy logs::get;
    "eth_getProof" 3 Heavy state::proof;
    "eth_getStorageAt" 3 Now state::storage_at;
    "eth_getStorageValues" 2 Heavy state::storage_values;
    "eth_getTransactionByBlockHashAndIndex" 2 Ask |rpc, p| Box::pin(blocks::transaction_at(rpc, p));
    "eth_getTransactionByBlockNumberAndIndex" 2 Ask |rpc, p| Box::pin(blocks::transaction_at(rpc, p));
    "eth_getTransactionByHash" 1 Ask |rpc, p| Box::pin(send::transaction(rpc, p));
    "eth_getTransactionCount" 2 Ask |rpc, p| Box::pin(state::nonce(rpc, p));
    "eth_getTransactionReceipt" 1 Ask |rpc, p| Box::pin(blocks::receipt(rpc, p));
    "eth_getUncleByBlockHashAndIndex" 2 Now blocks::no_uncle;
    "eth_getUncleByBlockNumberAndIndex" 2 Now blocks::no_uncle;
    "eth_getUncleCountByBlockHash" 1 Now blocks::uncle_count;
    "eth_getUncleCountByBlockNumber" 1 Now blocks::uncle_count;
    "eth_maxPriorityFeePerGas" 0 Ask |rpc, p| Box::pin(fees::max_priority_fee(rpc, p));
    "eth_newBlockFilter" 0 Now filters::new_blocks;
    "eth_newFilter" 1 Now filters::new_logs;
    "eth_newPendingTransactionFilter" 1 Now filters::new_pending;
    "eth_sendRawTransaction" 1 Ask |rpc, p| Box::pin(send::raw(rpc, p));
    "eth_sendRawTransactionSync" 2 Ask |rpc, p| Box::pin(send::raw_sync(rpc, p));
    "eth_simulateV1" 2 Heavy simulate::simulate;
    "eth_subscribe" 2 Socket subscriptions::subscribe;
    "eth_syncing" 0 Now net::syncing;
    "eth_uninstallFilter" 1 Now filters::uninstall;
    "eth_unsubscribe" 1 Socket subscriptions::unsubscribe;
    "net_listening" 0 Now |_, _| json(&true);
    "net_peerCount" 0 Now net::peer_count;
    "net_version" 0 Now net::version;
    "rpc_modules" 0 Now modules;
    "trefoil_getCertificate" 1 Now trefoil::certificate;
    "trefoil_getEvidence" 1 Heavy trefoil::evidence;
    "trefoil_getRawBlock" 1 Heavy debug::raw_block;
    "trefoil_offences" 0 Heavy trefoil::offences;
    "trefoil_peers" 0 Ask |rpc, _| Box::pin(trefoil::peers(rpc));
    "trefoil_refusedPeers" 0 Now trefoil::refused_peers;
    "trefoil_status" 0 Now trefoil::status;
    "txpool_content" 0 Ask |rpc, p| Box::pin(txpool::content(rpc, p));
    "txpool_contentFrom" 1 Ask |rpc, p| Box::pin(txpool::content_from(rpc, p));
    "txpool_inspect" 0 Ask |rpc, p| Box::pin(txpool::inspect(rpc, p));
    "txpool_status" 0 Now txpool::status;
    "web3_clientVersion" 0 Now net::client_version;
    "web3_sha3" 1 Now net::sha3;
};

impl Method {
    fn is_admin(&self) -> bool {
        matches!(self.handler, Admin(_))
    }

    /// Whether it shows the node's insides at the price of a core: for developers.
    fn is_debug(&self) -> bool {
        self.name.starts_with("debug_")
    }
}

/// Each name space with its version, as geth lists them.
fn modules(rpc: &Rpc, _: &Params) -> RpcResult {
    let served = |method: &&Method| !method.is_admin() && (rpc.access.debug || !method.is_debug());
    let spaces = METHODS.iter().filter(served);
    let spaces = spaces.filter_map(|method| method.name.split_once('_'));
    let modules: BTreeMap<_, _> = spaces.map(|(space, _)| (space, "1.0")).collect();
    json(&modules)
}

/// The way by which a request came. It decides which methods the request may call.
#[derive(Clone, Copy)]
pub(super) enum Caller<'a> {
    /// With the account and the source of its connection.
    Http(&'a Arc<Rpc>, &'a MemoryAccount, Option<IpAddr>),
    Socket(&'a Arc<Rpc>, &'a SocketMessage),
    /// `POST /admin`, with the token.
    Admin(&'a AdminApi, &'a Limits, &'a MemoryAccount),
}

impl<'a> Caller<'a> {
    pub fn limits(self) -> &'a Limits {
        match self {
            Self::Http(rpc, ..) | Self::Socket(rpc, _) => &rpc.limits,
            Self::Admin(_, limits, _) => limits,
        }
    }

    /// Where answers are claimed.
    pub fn memory(self) -> &'a MemoryAccount {
        match self {
            Self::Socket(_, frame) => frame.memory(),
            _ => self.account(),
        }
    }

    /// Where requests are claimed.
    fn account(self) -> &'a MemoryAccount {
        match self {
            Self::Http(_, account, _) | Self::Admin(_, _, account) => account,
            Self::Socket(_, frame) => frame.account(),
        }
    }

    /// Where its connection comes from.
    fn source(self) -> Option<IpAddr> {
        match self {
            Self::Http(_, _, source) => source,
            Self::Socket(_, frame) => Some(frame.source()),
            Self::Admin(..) => None,
        }
    }

    // A client that does not read holds memory that others ask for.
    /// Closes whoever holds the memory that a caller was refused.
    pub fn relieve(self) {
        if let Self::Http(rpc, ..) | Self::Socket(rpc, _) = self {
            rpc.relieve();
        }
    }

    /// A method that this caller may call. The others do not exist for it: the open port
    /// must not even reveal which admin methods there are.
    fn find(self, name: &str) -> Option<&'static Method> {
        let at = METHODS.binary_search_by_key(&name, |method| method.name).ok()?;
        let method = &METHODS[at];
        (method.is_admin() == matches!(self, Self::Admin(..))).then_some(method)
    }
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

// serde reads `null` and absence alike; JSON-RPC does not: without `id` it is a notification,
// and gets no answer.
/// An `id` that is there, be it `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Answers a body: a request, a notification (no answer) or a batch.
pub(super) async fn answer(caller: Caller<'_>, body: &[u8]) -> Option<RpcAnswer> {
    if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
        return batch(caller, body).await;
    }
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(raw) => begin(caller, raw).await,
        Err(_) => Some(refusal(caller.memory(), RpcError::Parse)),
    }
}

/// The answer to a request that is not read.
pub(super) fn refusal(memory: &MemoryAccount, error: RpcError) -> RpcAnswer {
    RpcAnswer::refusal(memory, RawValue::NULL, error)
}

// 10 MiB can hold five million items, and a list of them takes 16 times their bytes.
/// A batch's first requests, and how many there are.
struct RequestBatch<'a> {
    requests: Vec<&'a RawValue>,
    count: usize,
}

/// Reads a [`RequestBatch`] of which at most so many requests are kept.
struct AtMost(usize);

impl<'de> Visitor<'de> for AtMost {
    type Value = RequestBatch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of requests")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RequestBatch<'de>, A::Error> {
        let mut batch = RequestBatch { requests: Vec::new(), count: 0 };
        while let Some(request) = items.next_element()? {
            batch.count += 1;
            if batch.count <= self.0 {
                batch.requests.push(request);
            }
        }
        Ok(batch)
    }
}

impl<'a> RequestBatch<'a> {
    fn read(body: &'a [u8], max: usize) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let batch = reader.deserialize_seq(AtMost(max))?;
        reader.end()?;
        Ok(batch)
    }
}

async fn batch(caller: Caller<'_>, body: &[u8]) -> Option<RpcAnswer> {
    let refuse = |error| Some(refusal(caller.memory(), error));
    let max = caller.limits().batch;
    let Ok(RequestBatch { requests, count }) = RequestBatch::read(body, max) else {
        return refuse(RpcError::Parse);
    };
    if count == 0 {
        return refuse(RpcError::InvalidRequest("the batch is empty".into()));
    }
    if count > max {
        let text = format!("the batch has {count} requests, at most {max} are taken");
        return refuse(RpcError::InvalidRequest(text));
    }
    let mut answers = stream::iter(work(caller, requests)).buffered(BATCH_WIDTH);
    let mut out = String::from("[");
    let mut claim = caller.memory().claim_anyway(0);
    while let Some(answer) = answers.next().await {
        // Most methods answer at once: a thousand of them would keep a thread from all others.
        yield_now().await;
        let Some(RpcAnswer { text, claim: held }) = answer else { continue };
        if out.len() + text.len() > caller.limits().batch_reply_bytes {
            let max = caller.limits().batch_reply_bytes;
            let text = format!("the batch's answers are over {max} bytes; ask for less at once");
            return refuse(RpcError::InvalidRequest(text));
        }
        let bytes = text.len() + 1;
        drop(held);
        if let Err(busy) = claim.grow(bytes) {
            caller.relieve();
            return refuse(busy);
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&text);
    }
    out.push(']');
    (out.len() > 2).then_some(RpcAnswer { text: out, claim })
}

// One begun request takes a thousand times its place in the list.
/// The requests' work, each begun when its turn comes.
fn work<'a>(
    caller: Caller<'a>,
    requests: Vec<&'a RawValue>,
) -> impl Iterator<Item = BoxFuture<'a, Option<RpcAnswer>>> + Send + 'a {
    requests.into_iter().map(move |raw| begin(caller, raw))
}

/// Begins to answer one request.
fn begin<'a>(caller: Caller<'a>, raw: &'a RawValue) -> BoxFuture<'a, Option<RpcAnswer>> {
    one(caller, raw).boxed()
}

/// Answers one request; `None` if it was a notification.
async fn one(caller: Caller<'_>, raw: &RawValue) -> Option<RpcAnswer> {
    let Ok(request) = serde_json::from_str::<Request<'_>>(raw.get()) else {
        let text = "want an object with jsonrpc, id, method and params".into();
        return Some(refusal(caller.memory(), RpcError::InvalidRequest(text)));
    };
    let id = request.id.unwrap_or(RawValue::NULL);
    if !matches!(id.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9' | b'n')) {
        let text = "id must be a number, a string or null".into();
        return Some(refusal(caller.memory(), RpcError::InvalidRequest(text)));
    }
    if id.get().len() > ID_BYTES_MAX {
        let text = format!("id has more than {ID_BYTES_MAX} bytes");
        return Some(refusal(caller.memory(), RpcError::InvalidRequest(text)));
    }
    let outcome = run(caller, &request).await;
    request.id.map(|id| write(caller, id, outcome))
}

async fn run(caller: Caller<'_>, request: &Request<'_>) -> RpcResult {
    let _claim = caller.account().claim(REQUEST_BYTES)?;
    if request.jsonrpc.as_deref().is_some_and(|version| version != "2.0") {
        return Err(RpcError::InvalidRequest("jsonrpc must be \"2.0\"".into()));
    }
    let counters = match caller {
        Caller::Http(rpc, ..) | Caller::Socket(rpc, _) => Some(&rpc.counters),
        // The open port shows the counters, and they must not reveal what the operator does.
        Caller::Admin(..) => None,
    };
    let Some(method) = caller.find(&request.method) else {
        counters.inspect(|counters| counters.unknown());
        return Err(RpcError::UnknownMethod(request.method.chars().take(NAME_CHARS_MAX).collect()));
    };
    let whose = (caller.account(), caller.source());
    let params = Params::parse_within(whose, request.params, method.params_max);
    let result = match params {
        Ok(params) => call(caller, method, params).await,
        Err(error) => Err(error),
    };
    counters.inspect(|counters| counters.answered(method.name, result.is_ok()));
    result
}

async fn call(caller: Caller<'_>, method: &Method, params: Params) -> RpcResult {
    if let Caller::Http(rpc, ..) | Caller::Socket(rpc, _) = caller
        && method.is_debug()
        && !rpc.access.debug
    {
        return Err(RpcError::DebugOff(method.name));
    }
    match (&method.handler, caller) {
        (Now(answer), Caller::Http(rpc, ..) | Caller::Socket(rpc, _)) => answer(rpc, &params),
        (Ask(answer), Caller::Http(rpc, ..) | Caller::Socket(rpc, _)) => answer(rpc, &params).await,
        (Heavy(answer), Caller::Http(rpc, ..) | Caller::Socket(rpc, _)) => {
            heavy(rpc, *answer, params).await
        }
        (Socket(answer), Caller::Socket(rpc, frame)) => answer(rpc, frame, &params),
        (Admin(answer), Caller::Admin(api, ..)) => answer(api, &params).await,
        _ => Err(RpcError::UnknownMethod(format!("{} over HTTP (use a WebSocket)", method.name))),
    }
}

/// The answer, if there is room for it; otherwise what to do about that.
fn write(caller: Caller<'_>, id: &RawValue, outcome: RpcResult) -> RpcAnswer {
    if matches!(outcome, Err(RpcError::Busy(_))) {
        caller.relieve();
    }
    RpcAnswer::new(caller.memory(), id, outcome).unwrap_or_else(|busy| {
        caller.relieve();
        RpcAnswer::refusal(caller.memory(), id, busy)
    })
}
