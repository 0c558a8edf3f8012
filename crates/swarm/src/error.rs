//! Why a resource is not fetched, in words for the operator.

use std::io;

use trefoil_content::{AllowList, ContentId};
use trefoil_types::OrganisationId;

use crate::store::{StoreError, is_full};

/// Why something is not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("it was closed or removed meanwhile")]
    Removed,
    #[error("{0}")]
    Store(String),
    #[error("the disk does not take what comes: {0}")]
    Disk(String),
    #[error(
        "it has {is} bytes, not {said} as its link or name says: that is wrong, and nothing was written"
    )]
    Size { is: u64, said: u64 },
    #[error(
        "it is for organisations {allow} only, and this node belongs to {}; ask one of theirs",
        own.map_or("none".into(), |own| own.to_string())
    )]
    NotAllowed { allow: AllowList, own: Option<OrganisationId> },
    #[error(
        "a part of {id} is here for {}, not for whom this link says; remove it with `trefoil rm {id}` and get it again",
        among(here)
    )]
    OtherList { id: ContentId, here: AllowList },
    #[error("{id} has {is} bytes; {most} are the most that is taken here")]
    TooLong { id: ContentId, is: u64, most: u64 },
    /// It is larger than there is room for.
    #[error("{0}")]
    NoRoom(String),
    #[error(
        "{what} are not those of {id} any more: the file, or what is kept of its hashes, has changed since it was put; put it again under its new id, or put back what it was"
    )]
    Changed { id: ContentId, what: String },
    #[error(
        "{what} have changed on disk and are not those of {id} any more, and nobody gave them anew; check the disk, and try again when somebody is connected who has it"
    )]
    Damaged { id: ContentId, what: String },
    #[error("{0}")]
    Output(String),
    #[error("no file {0:?} in the directory")]
    NoFile(String),
    #[error("other large directories are in use, and leave no room in memory; try again later")]
    Busy,
    #[error("the node is stopping")]
    Stopping,
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        match error.lacks_room() {
            true => Self::NoRoom(error.to_string()),
            false => Self::Store(error.to_string()),
        }
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        let why = format!("{error}; {}", trefoil_os::disk::cure(&error));
        if is_full(&error) { Self::NoRoom(why) } else { Self::Disk(why) }
    }
}

fn among(allow: &AllowList) -> String {
    match allow.is_open() {
        true => "all members".into(),
        false => format!("organisations {allow}"),
    }
}
