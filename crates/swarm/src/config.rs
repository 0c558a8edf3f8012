//! How a node shares content: the settings that the host hands in.

use std::path::PathBuf;

use trefoil_content::scheduler::{Rates, UploadPolicy};
use trefoil_types::{OrganisationId, PeerId};

use crate::http::{Credentials, Reach};

/// How a node shares.
#[derive(Clone, Debug)]
pub struct ContentConfig {
    pub me: PeerId,
    /// This node's, in a network of members.
    pub organisation: Option<OrganisationId>,
    /// Where resources are kept.
    pub dir: PathBuf,
    pub upload_policy: UploadPolicy,
    pub rates: Rates,
    /// Bytes that may be kept, without pinned resources; `None`: no limit.
    pub quota: Option<u64>,
    /// Which HTTP servers are asked that peers named; `None`: none.
    pub origins: Option<Reach>,
    /// Headers for HTTP servers.
    pub credentials: Credentials,
}
