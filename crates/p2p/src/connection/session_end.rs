//! How a session ended, and what that says of the peer.

use trefoil_types::Offence;

use crate::{
    connection::{
        frame::{FrameError, FrameReadError},
        hello::{HelloError, VERSION},
    },
    network::VersionMismatch,
};

/// How a session ended.
#[derive(Debug)]
pub(crate) enum SessionEnd {
    Closed(String),
    /// We do not want the peer.
    Refused(String),
    /// The peer speaks another version of the wire protocol.
    OtherVersion {
        theirs: u16,
    },
    /// The peer does not want us.
    RefusedByPeer(String),
    Duplicate,
    Offence(Offence, String),
}

impl SessionEnd {
    /// Why the connection ended, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Closed(reason) | Self::Refused(reason) => reason.clone(),
            Self::OtherVersion { theirs } => HelloError::Version { theirs: *theirs }.to_string(),
            Self::RefusedByPeer(reason) => format!("the peer refuses us: {reason}"),
            Self::Duplicate => "connected already".into(),
            Self::Offence(offence, detail) => format!("{offence:?}: {detail}"),
        }
    }

    /// What the peer is told, if this side refuses it at its hello.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Offence(_, detail) => Some(detail.clone()),
            Self::Refused(_) | Self::OtherVersion { .. } => Some(self.reason()),
            Self::Closed(_) | Self::RefusedByPeer(_) | Self::Duplicate => None,
        }
    }

    /// The versions of the wire protocol, if they are what keeps the peers apart.
    pub fn versions(&self) -> Option<VersionMismatch> {
        match self {
            Self::OtherVersion { theirs } => {
                Some(VersionMismatch { theirs: *theirs, ours: VERSION })
            }
            _ => None,
        }
    }
}

impl From<FrameReadError> for SessionEnd {
    fn from(error: FrameReadError) -> Self {
        match error {
            // Not blamed: a node of another version is honest, and comes back after an upgrade.
            FrameReadError::Frame(FrameError::Hello(HelloError::Version { theirs })) => {
                Self::OtherVersion { theirs }
            }
            FrameReadError::Frame(e) => Self::Offence(Offence::Malformed, e.to_string()),
            e => Self::Closed(e.to_string()),
        }
    }
}

impl From<FrameError> for SessionEnd {
    fn from(error: FrameError) -> Self {
        FrameReadError::Frame(error).into()
    }
}
