//! A tiny HTTP server on a raw socket, to test what happens on the wire.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

type AnswerTo = Box<dyn Fn(&str) -> (u16, String) + Send + Sync>;

/// What the server does with each request.
pub enum Script {
    /// Answers it, by its text. A status of 0 closes the connection instead.
    Reply(AnswerTo),
    /// Answers with these bytes and goes on holding the connection.
    Raw(&'static str),
    /// Answers with these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Answers with this and then a byte now and then, without an end.
    Drip(&'static str),
    /// Answers with as much as is wanted of a body that has no end, and no length.
    Endless(&'static str),
    /// Never says or reads anything.
    Mute,
}

pub struct RawServer {
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl RawServer {
    /// Everything that was heard, a text for each request that came whole, or for what came of one.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn serve(script: Script) -> RawServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (script, record) = (Arc::new(script), requests.clone());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(connection(stream, script.clone(), record.clone()));
        }
    });
    RawServer { url, requests, connections, task }
}

async fn connection(mut stream: TcpStream, script: Arc<Script>, record: Arc<Mutex<Vec<String>>>) {
    if matches!(*script, Script::Mute) {
        return std::future::pending().await;
    }
    while let Some(request) = request(&mut stream).await {
        record.lock().unwrap().push(request.clone());
        match &*script {
            Script::Mute => {}
            Script::Raw(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            }
            Script::Bytes(bytes) => {
                stream.write_all(bytes).await.unwrap();
                return;
            }
            Script::Drip(head) => {
                stream.write_all(head.as_bytes()).await.unwrap();
                // Often enough for any limit of idleness.
                let mut pause = tokio::time::interval(Duration::from_millis(20));
                while stream.write_all(b" ").await.is_ok() {
                    pause.tick().await;
                }
                return;
            }
            Script::Endless(head) => {
                stream.write_all(head.as_bytes()).await.unwrap();
                while stream.write_all(&[b' '; 1 << 12]).await.is_ok() {}
                return;
            }
            Script::Reply(answer) => {
                let (status, body) = answer(&request);
                if status == 0 || reply(&mut stream, status, &body).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Writes a reply.
pub async fn reply(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let text =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nX-Request-Id: r\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await
}

/// One request, head and body; none when the connection ends without a byte.
pub async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.unwrap_or(0);
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if n == 0 {
            return (!text.is_empty()).then_some(text);
        }
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let length: usize = length.map_or(0, |l| l.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}
