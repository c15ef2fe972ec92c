//! What goes over the wire: a byte for the question, then its arguments. Numbers are those of the machine, which has to have the byte
//! order of the server; strings and values begin with their length in 64 bits.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What a client sends first.
const MAGIC: u32 = 0x3C85_F7CE;
/// More bytes than a value of ours has: the longest that a store with libuv takes.
const MOST: u64 = 8 << 20;
/// The server's answer that a key has a value.
const READY: u8 = 0;
/// The server's answer that a key that was waited for has a value.
const STOP_WAITING: u8 = 0;
/// The server's answer that nothing is waited for any more.
const WAIT_CANCELLED: u8 = 1;

/// Questions to a store.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Query {
    Validate = 0,
    Set = 1,
    Get = 3,
    Add = 4,
    Check = 5,
    Wait = 6,
    CancelWait = 12,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire(TcpStream);

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Questions are short and are waited for.
        let _ = stream.set_nodelay(true);
        Self(stream)
    }

    /// Says what this client speaks, and counts it under `key`. Returns how many came.
    pub(super) fn greet(&mut self, key: &str, limit: Duration) -> Result<i64> {
        let mut message = vec![Query::Validate as u8];
        message.extend(MAGIC.to_ne_bytes());
        message.extend(addition(key, 1));
        self.0.write_all(&message)?;
        self.number(limit)
    }

    /// Asks something whose arguments are strings or values; what it is answered is read by others.
    pub(super) fn send(&mut self, query: Query, arguments: &[&[u8]]) -> Result<()> {
        self.0.write_all(&question(query, arguments))
    }

    pub(super) fn add(&mut self, key: &str, n: i64, limit: Duration) -> Result<i64> {
        self.0.write_all(&addition(key, n))?;
        self.number(limit)
    }

    pub(super) fn check(&mut self, key: &str, limit: Duration) -> Result<bool> {
        self.0.write_all(&about_one(Query::Check, key))?;
        self.byte(limit).map(|answer| answer == READY)
    }

    /// Whether a key has a value, or gets one within `limit`. The server's own answers are waited for as long as `patience`.
    pub(super) fn wait(&mut self, key: &str, limit: Duration, patience: Duration) -> Result<bool> {
        self.0.write_all(&about_one(Query::Wait, key))?;
        match self.byte(limit) {
            Ok(STOP_WAITING) => return Ok(true),
            Ok(answer) => return Err(unknown(answer)),
            Err(error) if !is_late(&error) => return Err(error),
            Err(_) => {}
        }
        self.send(Query::CancelWait, &[])?;
        match self.byte(patience)? {
            WAIT_CANCELLED => Ok(false),
            // The value came in between.
            STOP_WAITING => match self.byte(patience)? {
                WAIT_CANCELLED => Ok(true),
                answer => Err(unknown(answer)),
            },
            answer => Err(unknown(answer)),
        }
    }

    /// The value of a key that has one.
    pub(super) fn get(&mut self, key: &str, limit: Duration) -> Result<Vec<u8>> {
        self.send(Query::Get, &[key.as_bytes()])?;
        let mut length = [0; 8];
        self.fill(&mut length, limit)?;
        let length = u64::from_ne_bytes(length);
        if length > MOST {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("a value of {length} bytes"),
            ));
        }
        let mut value = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut value, limit)?;
        Ok(value)
    }

    fn number(&mut self, limit: Duration) -> Result<i64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes, limit)?;
        Ok(i64::from_ne_bytes(bytes))
    }

    fn byte(&mut self, limit: Duration) -> Result<u8> {
        let mut byte = [0];
        self.fill(&mut byte, limit)?;
        Ok(byte[0])
    }

    fn fill(&mut self, bytes: &mut [u8], limit: Duration) -> Result<()> {
        // No time at all would mean for ever.
        let limit = limit.max(Duration::from_millis(1));
        self.0.set_read_timeout(Some(limit))?;
        self.0.read_exact(bytes)
    }
}

/// Whether an answer did not come in time.
fn is_late(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn unknown(answer: u8) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("an answer that means nothing, {answer}"),
    )
}

fn length(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_ne_bytes()
}

fn question(query: Query, arguments: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![query as u8];
    for argument in arguments {
        message.extend(length(argument));
        message.extend(*argument);
    }
    message
}

/// A question about a list of keys, of which there is one.
fn about_one(query: Query, key: &str) -> Vec<u8> {
    let mut message = vec![query as u8];
    message.extend(1u64.to_ne_bytes());
    message.extend(length(key.as_bytes()));
    message.extend(key.as_bytes());
    message
}

fn addition(key: &str, n: i64) -> Vec<u8> {
    let mut message = question(Query::Add, &[key.as_bytes()]);
    message.extend(n.to_ne_bytes());
    message
}

/// Values in one, each with its length.
pub(super) fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    let with_length = |part: &Vec<u8>| [&length(part)[..], part].concat();
    parts.iter().flat_map(with_length).collect()
}

/// The `count` values of [`join`]; none if they are others.
pub(super) fn split(mut all: &[u8], count: usize) -> Option<Vec<Vec<u8>>> {
    let parts: Option<Vec<Vec<u8>>> = (0..count)
        .map(|_| {
            let (length, rest) = all.split_first_chunk()?;
            let length = usize::try_from(u64::from_ne_bytes(*length)).ok()?;
            let (part, rest) = rest.split_at_checked(length)?;
            all = rest;
            Some(part.to_vec())
        })
        .collect();
    parts.filter(|_| all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_values_come_apart() {
        let parts = vec![vec![1, 2, 3], vec![], vec![4]];
        let all = join(&parts);
        assert_eq!(split(&all, 3), Some(parts));
        assert_eq!(split(&all, 2), None);
        assert_eq!(split(&all, 4), None);
        assert_eq!(split(&all[..all.len() - 1], 3), None);
    }
}
