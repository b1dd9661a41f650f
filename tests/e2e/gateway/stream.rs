//! Watch streams, forwarded event by event.

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

/// What happens to the events of watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// They pass.
    Pass,
    /// Streams that are open now stay open and deliver nothing more. Later streams pass.
    Stall,
    /// Events are lost and bookmarks pass: the client believes that it is up to date.
    Lose,
    /// Each event is delivered twice.
    Twice,
    /// The server answers 410 Gone and ends the stream.
    Gone,
}

const GONE: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version: scripted","reason":"Expired","code":410}}"#,
    "\n"
);

type Chunk = Result<Bytes, std::io::Error>;

/// The body of a watch.
pub fn watched(mut answer: reqwest::Response, mut watching: watch::Receiver<Watching>) -> Body {
    let (sender, receiver) = mpsc::channel::<Chunk>(16);
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let first = *watching.borrow_and_update();
        let mut stalled = false;
        loop {
            let mut mode = *watching.borrow_and_update();
            stalled |= mode == Watching::Stall && first != Watching::Stall;
            if stalled {
                mode = Watching::Stall;
            } else if mode == Watching::Stall {
                mode = Watching::Pass;
            }
            if mode == Watching::Gone {
                let _ = sender.send(Ok(GONE.into())).await;
                return;
            }
            let chunk = tokio::select! {
                chunk = answer.chunk() => chunk,
                changed = watching.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = sender.closed() => return,
            };
            let Ok(Some(chunk)) = chunk else {
                if mode == Watching::Stall {
                    sender.closed().await;
                }
                return;
            };
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let event: Bytes = rest.drain(..=end).collect::<Vec<_>>().into();
                let bookmark = event.starts_with(br#"{"type":"BOOKMARK""#);
                let copies = match mode {
                    Watching::Pass => 1,
                    Watching::Stall | Watching::Gone => 0,
                    Watching::Lose => usize::from(bookmark),
                    Watching::Twice => 2,
                };
                for _ in 0..copies {
                    let _ = sender.send(Ok(event.clone())).await;
                }
            }
        }
    });
    Body::from_stream(futures::stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    }))
}
