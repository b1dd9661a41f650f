//! A DNS server for tests: over UDP, on the address that the test names, with an answer for each question that the test
//! decides.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{Record, RecordType},
};

/// How often the server looks whether it shall end.
const STEP: Duration = Duration::from_millis(50);
/// Seconds for which an answer may be kept.
const TTL: u32 = 5;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// The server's answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses. None of them: the name exists without addresses of this family (NODATA).
    Addresses(Vec<IpAddr>),
    /// There is no such name (NXDOMAIN).
    NoSuchName,
    /// The server failed (SERVFAIL).
    Failure,
    /// The server does not answer such questions (REFUSED).
    Refused,
    /// Nothing at all.
    Silence,
}

/// A question that came: the name without the dot at its end, and the family.
pub type Question = (String, Family);

type Decide = dyn Fn(&str, Family) -> Answer + Send + Sync;

/// The server. It ends when it is dropped.
pub struct FakeDns {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
    stop: Arc<AtomicBool>,
}

impl FakeDns {
    /// Starts a server on this address; port 0 takes a free one.
    pub fn start(
        address: SocketAddr,
        decide: impl Fn(&str, Family) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(STEP))?;
        let address = socket.local_addr()?;
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (of_thread, end) = (asked.clone(), stop.clone());
        thread::spawn(move || serve(&socket, &of_thread, &end, &decide));
        Ok(Self { address, asked, stop })
    }

    /// The address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every question that came so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Question> {
        lock(&self.asked).clone()
    }
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn serve(socket: &UdpSocket, asked: &Mutex<Vec<Question>>, stop: &AtomicBool, decide: &Decide) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(request) = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok()) else {
            continue;
        };
        let Some(query) = request.queries.first() else { continue };
        let family = match query.query_type() {
            RecordType::A => Family::V4,
            RecordType::AAAA => Family::V6,
            _ => continue,
        };
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        lock(asked).push((name.clone(), family));
        if let Some(reply) = reply(&request, query, decide(&name, family)) {
            // Who asked may be gone.
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn reply(request: &Message, query: &Query, answer: Answer) -> Option<Vec<u8>> {
    let mut reply = Message::response(request.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    reply.metadata.response_code = match answer {
        Answer::Addresses(addresses) => {
            for address in addresses {
                reply.add_answer(Record::from_rdata(query.name().clone(), TTL, address.into()));
            }
            ResponseCode::NoError
        }
        Answer::NoSuchName => ResponseCode::NXDomain,
        Answer::Failure => ResponseCode::ServFail,
        Answer::Refused => ResponseCode::Refused,
        Answer::Silence => return None,
    };
    reply.to_vec().ok()
}

fn lock(asked: &Mutex<Vec<Question>>) -> MutexGuard<'_, Vec<Question>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
