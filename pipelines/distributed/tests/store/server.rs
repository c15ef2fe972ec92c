//! Servers that speak the protocol of PyTorch's `TCPStore`.

use std::collections::HashMap;
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Serves one client: after each of these questions, the answer. Panics where it asks anything else. Returns the address.
pub fn script(steps: &'static [(&'static [u8], &'static [u8])]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for (question, answer) in steps {
            let mut asked = vec![0; question.len()];
            stream.read_exact(&mut asked).unwrap();
            if asked != *question {
                // The client reads what it takes for no answer at all.
                eprintln!("asked   {asked:?}\ninstead {question:?}");
                return;
            }
            stream.write_all(answer).unwrap();
        }
    });
    address
}

/// The values of a store, and a bell for those that wait.
#[derive(Default)]
struct Shared {
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    changed: Condvar,
}

/// A store in memory, as long as the test runs. Returns its address.
pub fn memory() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let shared = Arc::new(Shared::default());
        for stream in listener.incoming() {
            let shared = Arc::clone(&shared);
            // A client that is gone ends its thread.
            thread::spawn(move || serve(stream.unwrap(), &shared));
        }
    });
    address
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    loop {
        let values = || shared.values.lock().unwrap();
        match bytes::<1>(&mut stream)?[0] {
            0 => assert_eq!(u32::from_ne_bytes(bytes(&mut stream)?), 0x3c85_f7ce),
            1 => {
                let (key, value) = (text(&mut stream)?, text(&mut stream)?);
                values().insert(key, value);
                shared.changed.notify_all();
            }
            3 => {
                let value = values()[&text(&mut stream)?].clone();
                stream.write_all(&(value.len() as u64).to_ne_bytes())?;
                stream.write_all(&value)?;
            }
            4 => {
                let (key, more) = (text(&mut stream)?, i64::from_ne_bytes(bytes(&mut stream)?));
                let mut values = values();
                let before = values
                    .get(&key)
                    .map_or("0".into(), |value| String::from_utf8_lossy(value));
                let sum = before.parse::<i64>().unwrap() + more;
                values.insert(key, sum.to_string().into_bytes());
                stream.write_all(&sum.to_ne_bytes())?;
            }
            5 => {
                let key = one(&mut stream)?;
                let has = values().contains_key(&key);
                stream.write_all(&[u8::from(!has)])?;
            }
            6 => {
                let key = one(&mut stream)?;
                wait(&mut stream, shared, &key)?;
            }
            question => panic!("question {question}"),
        }
    }
}

/// Answers when the key has a value, or the client does not want to wait any more.
fn wait(stream: &mut TcpStream, shared: &Shared, key: &[u8]) -> Result<()> {
    let mut values = shared.values.lock().unwrap();
    stream.set_nonblocking(true)?;
    while !values.contains_key(key) {
        let mut question = [0];
        if stream.read(&mut question).is_ok_and(|n| n == 1) {
            assert_eq!(question[0], 12, "while it waits");
            stream.set_nonblocking(false)?;
            return stream.write_all(&[1]);
        }
        let moment = Duration::from_millis(20);
        values = shared.changed.wait_timeout(values, moment).unwrap().0;
    }
    stream.set_nonblocking(false)?;
    stream.write_all(&[0])
}

fn bytes<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let length = u64::from_ne_bytes(bytes(stream)?);
    let mut text = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut text)?;
    Ok(text)
}

/// The only key of a list.
fn one(stream: &mut TcpStream) -> Result<Vec<u8>> {
    assert_eq!(u64::from_ne_bytes(bytes(stream)?), 1, "keys");
    text(stream)
}
