//! A small HTTP server for probes and scrapes: it bounds what anyone in the cluster can make it hold.
//!
//! - It always accepts. When too many connections are open, it closes the oldest one: connections that ask nothing hold up
//!   none that asks at once.
//! - It reads a request's head within a second, and a connection lives for a few seconds and serves one request.
//!
//! Each open connection holds a file descriptor, and without free ones the controller can call neither the API server nor
//! the cloud.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tracing::{info, warn};

/// Connections at once: a probe takes milliseconds, and several probers at once are rare.
const AT_ONCE: usize = 64;
/// Limit for the head of a request.
const HEAD: Duration = Duration::from_secs(1);
/// Life of a connection, whatever it does: longer than a scrape may take.
const LIFE: Duration = Duration::from_secs(5);
/// Bytes of a request's head that are read; the heads of probes and scrapes have some hundred.
const HEAD_BYTES: usize = 16 << 10;
/// Wait after an accept that failed, as it does without free file descriptors.
const AGAIN: Duration = Duration::from_secs(1);

/// Connections that wait to be accepted, as tokio and std set it.
const WAITING: i32 = 1024;

/// A bound address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    bound: SocketAddr,
    open: JoinSet<()>,
    /// The open connections, the oldest first.
    by_age: VecDeque<AbortHandle>,
}

impl Server {
    /// Binds the address, and logs it with what it serves. `[::]` means every address of the host, of both families.
    pub fn bind(address: SocketAddr, serves: &str) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{address} for {serves}: {error}"));
        let listener = bound(address, open).and_then(TcpListener::from_std).map_err(named)?;
        let bound = listener.local_addr()?;
        info!("listening on {bound} for {serves}");
        Ok(Self { listener, bound, open: JoinSet::new(), by_age: VecDeque::new() })
    }

    /// The bound address.
    #[must_use]
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Serves until the process ends.
    pub async fn run(mut self, router: Router) -> Infallible {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.make_room().await;
                    self.by_age.push_back(self.open.spawn(serve(stream, router.clone())));
                }
                Err(error) => {
                    warn!(%error, "a connection was not accepted");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Closes the oldest connections until there is room for another one.
    async fn make_room(&mut self) {
        while self.open.try_join_next().is_some() {}
        self.by_age.retain(|connection| !connection.is_finished());
        while self.open.len() >= AT_ONCE {
            if let Some(oldest) = self.by_age.pop_front() {
                oldest.abort();
            }
            self.open.join_next().await;
        }
    }
}

/// Binds an address. On a host without IPv6, `0.0.0.0` takes the place of `[::]`.
fn bound(
    address: SocketAddr,
    open: impl Fn(SocketAddr) -> io::Result<StdListener>,
) -> io::Result<StdListener> {
    let first = open(address);
    let Err(error) = &first else { return first };
    // Another process listens on this port for one of the families: binding the other family would split its clients.
    let every = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if !every || error.kind() == io::ErrorKind::AddrInUse {
        return first;
    }
    let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    // If both fail, the address that was asked for is the one to name.
    let Ok(second) = open(ipv4) else { return first };
    info!(%error, "{address} can't be used, as on a host without IPv6; {ipv4} takes its place");
    Ok(second)
}

/// Opens a socket and binds it, for both families where the address means both, whatever `net.ipv6.bindv6only` says.
fn open(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A process that was started again must not wait for the connections of the one before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(WAITING)?;
    Ok(socket.into())
}

async fn serve(stream: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Its errors concern this connection only.
    let _ = timeout(LIFE, connection).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const ASK: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    fn server() -> SocketAddr {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), "tests").unwrap();
        let address = server.bound();
        tokio::spawn(server.run(router()));
        address
    }

    fn router() -> Router {
        // A reply larger than the buffers of a socket, for those who don't read it.
        Router::new().route("/", get(async || "ok")).route("/large", get(async || "x".repeat(32 << 20)))
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
    async fn a_head_that_does_not_come_within_a_second_ends_the_connection() {
        let address = server();
        for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Never-Ending: "] {
            let started = Instant::now();
            assert!(!rest(&mut sends(address, begun).await).await.contains("200 OK"), "{begun:?}");
            assert!(started.elapsed() < LIFE, "{begun:?}: {:?}", started.elapsed());
        }
        // One request is served, and the connection is closed though the client did not ask for it.
        assert!(rest(&mut sends(address, ASK).await).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn one_that_reads_no_reply_loses_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _deaf = sends(listener.local_addr().unwrap(), "GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (stream, _) = listener.accept().await.unwrap();
        timeout(SOON, serve(stream, router())).await.expect("it ends the connection");
    }

    #[tokio::test]
    async fn x21_connections_that_ask_nothing_hold_up_none_that_asks() {
        let address = server();
        let mut idle = Vec::new();
        for _ in 0..20 {
            for _ in 0..AT_ONCE {
                idle.push(TcpStream::connect(address).await.unwrap());
            }
            let started = Instant::now();
            assert!(rest(&mut sends(address, ASK).await).await.contains("200 OK"));
            assert!(started.elapsed() < HEAD, "{:?}", started.elapsed());
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error_that_names_it() {
        let taken = server();
        let error = Server::bind(taken, "probes").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&format!("{taken} for probes")), "{error}");
    }

    /// A host that has no address family IPv6, as with the kernel's parameter `ipv6.disable=1`: EAFNOSUPPORT.
    fn without_ipv6(address: SocketAddr) -> io::Result<StdListener> {
        if address.is_ipv6() { Err(io::Error::from_raw_os_error(97)) } else { open(address) }
    }

    #[test]
    fn every_address_means_those_of_ipv4_where_there_is_no_ipv6() {
        let every = "[::]:0".parse().unwrap();
        let ip = |listener: io::Result<StdListener>| listener.unwrap().local_addr().unwrap().ip();
        assert_eq!(ip(bound(every, without_ipv6)), Ipv4Addr::UNSPECIFIED);
        // Another address is one that the user named.
        let error = bound("[::1]:0".parse().unwrap(), without_ipv6).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(97));
        assert_eq!(ip(bound("127.0.0.1:0".parse().unwrap(), without_ipv6)), Ipv4Addr::LOCALHOST);
        // The error names the address that was asked for.
        let neither =
            |address: SocketAddr| Err(io::Error::from_raw_os_error(if address.is_ipv6() { 97 } else { 13 }));
        assert_eq!(bound(every, neither).unwrap_err().raw_os_error(), Some(97));
    }

    #[test]
    fn a_port_that_one_family_uses_is_not_shared() {
        let taken = open("0.0.0.0:0".parse().unwrap()).unwrap();
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, taken.local_addr().unwrap().port()));
        assert_eq!(bound(every, open).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
