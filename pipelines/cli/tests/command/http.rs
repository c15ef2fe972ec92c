//! A server on this machine, for what the command downloads or asks and for a browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::spawn;

/// What is asked.
pub(crate) struct Request {
    /// The first line and the headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let (mut reader, mut head) = (BufReader::new(stream), String::new());
        while reader.read_line(&mut head).ok()? > 2 {}
        let mut request = Self { head, body: vec![] };
        let length = request.header("content-length");
        request.body = vec![0; length.map_or(Some(0), |length| length.parse().ok())?];
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) struct Answer {
    head: String,
    body: Vec<u8>,
    /// Bytes of the body that are sent before the connection ends.
    pub(crate) sent: usize,
}

impl Answer {
    /// `head` is the status, such as `200 OK`, and further lines of headers.
    pub(crate) fn new(head: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let (head, body) = (head.into(), body.into());
        let sent = body.len();
        Self { head, body, sent }
    }

    fn send(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let (head, length) = (&self.head, self.body.len());
        write!(
            stream,
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(&self.body[..self.sent])
    }
}

/// Starts to serve in a thread; returns the address.
pub(crate) fn serve(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // A browser opens connections that it does not use, and drops others.
            spawn(move || {
                let request = Request::read(&stream)?;
                answer(&request).send(&stream).ok()
            });
        }
    });
    address
}
