//! The resources that are here, in memory: what they are, and their names between peers.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_content::{AllowList, ContentId, ResourceKind, scheduler::Resource};

use super::metadata::Metadata;

/// The resources that are here.
#[derive(Debug, Default)]
pub(super) struct ResourceIndex {
    pub metadata: BTreeMap<ContentId, Metadata>,
    /// By the names of their parts between peers, see [`resources`].
    pub ids: BTreeMap<Resource, ContentId>,
    /// Those that are whole and for everyone.
    pub open: BTreeSet<ContentId>,
    /// Those that the quota does not count until this node ends, or its user wants them.
    pub apart: BTreeSet<ContentId>,
    /// Those whose last use is not on disk.
    pub used: BTreeSet<ContentId>,
}

impl ResourceIndex {
    pub fn insert(&mut self, id: ContentId, metadata: Metadata) {
        self.forget(id);
        for resource in resources(id, &metadata.allow) {
            self.ids.insert(resource, id);
        }
        self.set(id, metadata);
    }

    /// Sets the metadata of one that has the same list, or is new.
    pub fn set(&mut self, id: ContentId, metadata: Metadata) {
        match metadata.whole && metadata.allow.is_open() {
            true => self.open.insert(id),
            false => self.open.remove(&id),
        };
        self.metadata.insert(id, metadata);
    }

    pub fn forget(&mut self, id: ContentId) {
        let Some(metadata) = self.metadata.remove(&id) else { return };
        for resource in resources(id, &metadata.allow) {
            self.ids.remove(&resource);
        }
        self.open.remove(&id);
    }
}

/// The names of a resource's parts between peers: the part with most of the bytes comes
/// first.
pub fn resources(id: ContentId, allow: &AllowList) -> Vec<Resource> {
    let tree = (id.kind == ResourceKind::Directory).then(|| Resource::tree(id.root));
    let file = [Resource::file(id.root), Resource::hashes(id.root)];
    tree.into_iter().chain(file).map(|part| part.among(allow)).collect()
}
