//! A listener that bounds the number and the life of its connections.
//!
//! Anyone in the cluster can reach the health port, and axum's own server waits for a request without a limit. Each waiting
//! connection holds a file descriptor, and without free ones the controller can call neither the API server nor the cloud.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// Accepts a bounded number of connections at once and ends each when its time is over, whatever it does.
#[derive(Debug)]
pub struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    life: Duration,
}

impl Bounded {
    /// Accepts at most `at_once` connections at a time and ends each after `life`.
    pub fn new(listener: TcpListener, at_once: usize, life: Duration) -> Self {
        Self { listener, slots: Arc::new(Semaphore::new(at_once)), life }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Take the slot first: a client that waits for one then waits in the kernel's backlog and costs no descriptor.
        // `acquire` fails only on a closed semaphore, and nothing closes this one.
        let slot = self.slots.clone().acquire_owned().await.ok();
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Connection { stream, end: Box::pin(sleep(self.life)), _slot: slot }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once its time is over.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    /// Returns the slot when the connection is dropped.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Fails once the time is over. Writes check it too: they block when a client sends requests and reads no reply.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn server(at_once: usize, life: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // A reply larger than the buffers of a socket, for those who don't read it.
        let router =
            Router::new().route("/", get(async || "ok")).route("/large", get(async || "x".repeat(32 << 20)));
        tokio::spawn(async move { axum::serve(Bounded::new(listener, at_once, life), router).await });
        address
    }

    async fn sends(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// What it still reads, up to the end of the connection, in good order or not.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut read = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut read)).await.expect("the server ends the connection");
        String::from_utf8_lossy(&read).into_owned()
    }

    #[tokio::test]
    async fn none_outlives_its_time() {
        let address = server(8, Duration::from_millis(300)).await;
        for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Never-Ending: "] {
            assert!(!rest(&mut sends(address, begun).await).await.contains("200 OK"), "{begun:?}");
        }
        // Kept alive after its reply.
        assert!(
            rest(&mut sends(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await).await.contains("200 OK")
        );
    }

    #[tokio::test]
    async fn whoever_finds_no_slot_waits_for_one() {
        let address = server(1, Duration::from_millis(300)).await;
        // One that never asks, then one that never reads: each gives its slot back without a step of its own.
        let _silent = sends(address, "").await;
        let _deaf = sends(address, &"GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(9)).await;
        let mut third = sends(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let mut first_bytes = [0; 15];
        assert!(timeout(Duration::from_millis(100), third.read_exact(&mut first_bytes)).await.is_err());
        assert!(rest(&mut third).await.contains("200 OK"));
    }
}
