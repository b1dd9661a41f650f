//! The last check before a call leaves.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::leadership::DepartureGuard;

/// The request was too late to leave.
#[derive(Debug, thiserror::Error)]
#[error("too late after the write of the intent, or another process leads")]
pub struct TooLate;

/// A request body that is sent only while its [`DepartureGuard`] allows it.
///
/// The HTTP library polls it once the connection stands and before it flushes the head, so nothing of a late request
/// leaves. The body can't be cloned, so no library sends it twice.
pub struct GuardedBody {
    bytes: Option<Bytes>,
    departure: DepartureGuard,
}

impl GuardedBody {
    /// A body of these bytes that leaves while `departure` allows it, or not at all.
    pub fn new(bytes: Vec<u8>, departure: DepartureGuard) -> Self {
        Self { bytes: Some(bytes.into()), departure }
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Some(bytes) = this.bytes.take() else { return Poll::Ready(None) };
        if !this.departure.allows() {
            return Poll::Ready(Some(Err(TooLate.into())));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::{
        clock::{Clock, Deadline},
        leadership::Leadership,
    };

    fn poll(body: &mut GuardedBody) -> Option<Result<Bytes, String>> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let frame = frame.now_or_never().unwrap()?;
        Some(frame.map(|f| f.into_data().unwrap()).map_err(|e| e.to_string()))
    }

    #[test]
    fn s13_a_body_is_given_out_whole_and_in_time_or_not_at_all() {
        let clock = Clock::start();
        let within = |life| DepartureGuard::new(Deadline::after(life, &clock), &Leadership::always());
        let mut body = GuardedBody::new(b"body".to_vec(), within(Duration::from_mins(1)));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
        assert_eq!(poll(&mut body), Some(Ok(Bytes::from_static(b"body"))));
        assert_eq!((poll(&mut body), body.is_end_stream()), (None, true));
        let mut late = GuardedBody::new(b"body".to_vec(), within(Duration::ZERO));
        assert!(poll(&mut late).unwrap().is_err());
        assert_eq!(poll(&mut late), None, "a second poll brings nothing either");
    }
}
