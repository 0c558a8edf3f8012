//! A body that holds something until it is sent: its place among the connections, an encoder.
//!
//! What always holds: hyper is given small parts, of which it takes the next when the last are
//! with the kernel, so a body lives as long as its client reads it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

// hyper takes a part of any size at once, and its body is gone with the last part.
/// Bytes of a part.
const PART_BYTES: usize = 16 << 10;

/// The response, which holds `held` until its body was handed to the connection.
pub fn holding<T: Send + Unpin + 'static>(response: Response, held: T) -> Response {
    response.map(|body| Body::new(AnswerBody { body, part: Bytes::new(), _held: held }))
}

struct AnswerBody<T> {
    body: Body,
    /// What is left of the body's own part.
    part: Bytes,
    _held: T,
}

impl<T: Unpin> HttpBody for AnswerBody<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.part.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(part) => self.part = part,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let bytes = self.part.len().min(PART_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.part.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.part.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (here, rest) = (self.part.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + here);
        }
        hint.set_lower(rest.lower() + here);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_held_is_held_until_the_last_part_is_taken() {
        let held = Arc::new(());
        let response = holding(Response::new(Body::from(vec![7; 3 * PART_BYTES])), held.clone());
        assert_eq!(HttpBody::size_hint(response.body()).exact(), Some(3 * PART_BYTES as u64));
        let mut parts = response.into_body().into_data_stream();
        for _ in 0..3 {
            assert_eq!(Arc::strong_count(&held), 2);
            assert_eq!(parts.next().await.unwrap().unwrap().len(), PART_BYTES);
        }
        assert!(parts.next().await.is_none());
        drop(parts);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
