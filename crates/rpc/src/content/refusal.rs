//! What the gateway says when it serves nothing.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use trefoil_swarm::FetchError;

use crate::content::body_reader::BodyError;

pub const BUSY: &str = "too much is being read through the gateway; try again later";

pub fn refuse(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

pub fn refused(error: &FetchError) -> Response {
    let status = match error {
        FetchError::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
        FetchError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        FetchError::Changed { .. } | FetchError::Damaged { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::BAD_GATEWAY,
    };
    refuse(status, &error.to_string())
}

pub fn not_begun(error: &BodyError) -> Response {
    match error {
        BodyError::Fetch(error) => refused(error),
        BodyError::NoRoom => refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY),
        BodyError::Stalled => refuse(StatusCode::GATEWAY_TIMEOUT, &error.to_string()),
    }
}
