//! Clients that ask a running server for images: `load ADDRESS CLIENTS SECONDS`, for example
//! `cargo run --workspace --bin load -- 127.0.0.1:7860 64 300`.
//!
//! Each client asks for one image of a random seed, waits for it, and asks again. A 503 is waited out as `Retry-After` says. At the end: images,
//! refusals, other errors, images a second, and how long an image took.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What a client has seen.
#[derive(Default)]
struct Seen {
    seconds: Vec<f64>,
    /// Answers other than an image, by their code; 0 for a connection that failed.
    others: BTreeMap<u16, usize>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, clients, seconds] = arguments.as_slice() else {
        eprintln!("usage: load ADDRESS CLIENTS SECONDS");
        std::process::exit(2);
    };
    let clients: usize = clients.parse().expect("CLIENTS is a number");
    let length = Duration::from_secs_f64(seconds.parse().expect("SECONDS is a number"));
    let start = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || client(&address, start + length))
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().expect("a client");
        all.seconds.extend(seen.seconds);
        for (code, count) in seen.others {
            *all.others.entry(code).or_default() += count;
        }
    }
    report(all, start.elapsed().as_secs_f64());
}

fn client(address: &str, end: Instant) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < end {
        let start = Instant::now();
        match ask(address) {
            Ok((200, _)) => seen.seconds.push(start.elapsed().as_secs_f64()),
            Ok((code, retry)) => {
                *seen.others.entry(code).or_default() += 1;
                std::thread::sleep(Duration::from_secs(retry.unwrap_or(1)));
            }
            Err(_) => {
                *seen.others.entry(0).or_default() += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
    seen
}

/// Asks for one image: the code of the answer, and after how many seconds to ask again.
fn ask(address: &str) -> std::io::Result<(u16, Option<u64>)> {
    let body = r#"{ "prompt": "red apple" }"#;
    let length = body.len();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    write!(
        stream,
        "POST /v1/images/generations HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = BufReader::new(stream);
    let (mut code, mut retry) = (None, None);
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            code = rest.get(..3).and_then(|code| code.parse().ok());
        } else if let Some(seconds) = line.strip_prefix("retry-after: ") {
            retry = seconds.parse().ok();
        }
    }
    let mut image = vec![];
    answer.read_to_end(&mut image)?;
    let code = code.ok_or_else(|| std::io::Error::other("no answer"))?;
    if code == 200 && !image.ends_with(b"}") {
        return Err(std::io::Error::other("half an answer"));
    }
    Ok((code, retry))
}

fn report(mut seen: Seen, took: f64) {
    let images = seen.seconds.len();
    println!(
        "{images} images in {took:.0} s: {:.2} a second",
        images as f64 / took
    );
    for (code, count) in &seen.others {
        match code {
            0 => println!("{count} connections failed"),
            code => println!("{count} answers with code {code}"),
        }
    }
    seen.seconds.sort_unstable_by(f64::total_cmp);
    let part = |share: f64| {
        let index = (images as f64 * share) as usize;
        seen.seconds.get(index.min(images.saturating_sub(1)))
    };
    for (name, share) in [("half", 0.5), ("95 %", 0.95), ("99 %", 0.99), ("all", 1.0)] {
        if let Some(seconds) = part(share) {
            println!("{name} of them within {seconds:.2} s");
        }
    }
}
