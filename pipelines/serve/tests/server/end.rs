//! A full queue, runs that are stopped, clients that leave, and servers that end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::running::{PIPELINE, Running, long, start, start_in};

fn wait_for(server: &Running, id: &str, event: &str) {
    let start = Instant::now();
    while !server
        .get(&format!("/api/runs/{id}"))
        .text()
        .contains(event)
    {
        assert!(start.elapsed() < Duration::from_secs(60), "no {event}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_full_queue_says_when_to_come_again_and_a_run_can_be_stopped() {
    let server = start(|options| {
        options.waiting = 1;
        options.images = 400;
    });
    let first = server.run(&long(400));
    let busy = loop {
        let answer = server.post("/api/runs", PIPELINE);
        if answer.status == 503 {
            break answer;
        }
        assert_eq!(answer.status, 202);
    };
    assert!(busy.head.contains("retry-after: 2"), "{}", busy.head);
    assert!(
        busy.message().contains("1 jobs are waiting"),
        "{}",
        busy.text()
    );
    assert_eq!(server.delete(&format!("/api/runs/{first}")).status, 204);
    let events = server.get(&format!("/api/runs/{first}/events")).events();
    assert_eq!(events.last().unwrap(), "cancelled");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("nextscale_refused_total 1"), "{metrics}");
}

#[test]
fn who_leaves_frees_the_place() {
    let server = start(|options| options.images = 400);
    for stream in [false, true] {
        let mut client = TcpStream::connect(server.address).unwrap();
        let body = format!(r#"{{ "prompt": "red apple", "n": 400, "stream": {stream} }}"#);
        let length = body.len();
        let head = format!(
            "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        client.write_all((head + &body).as_bytes()).unwrap();
        let id = loop {
            let runs = server.get("/api/runs?limit=1&state=running").json();
            if let Some(id) = runs["runs"][0]["id"].as_str() {
                break id.to_owned();
            }
        };
        wait_for(&server, &id, "\"event\":\"scale\"");
        drop(client);
        wait_for(&server, &id, "\"state\":\"cancelled\"");
    }
}

#[test]
fn a_job_that_takes_too_long_is_stopped() {
    let server = start(|options| {
        options.images = 4000;
        options.time = Duration::from_millis(500);
    });
    let run = server.end(&server.run(&long(4000)));
    assert_eq!(run["state"], "failed");
    let message = run["message"].as_str().unwrap();
    assert!(message.contains("the limit of this server"), "{message}");
}

#[test]
fn a_server_that_starts_again_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start_in(folder.path(), |options| options.images = 4000);
    let done = server.run(PIPELINE);
    server.end(&done);
    let (running, waiting) = (server.run(&long(4000)), server.run(PIPELINE));
    wait_for(&server, &running, "\"event\":\"scale\"");
    let (address, followed) = (server.address, running.clone());
    let follower = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "GET /api/runs/{followed}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = String::new();
        stream.read_to_string(&mut events).unwrap();
        events
    });
    std::thread::sleep(Duration::from_millis(100));
    server.stop();
    let events = follower.join().unwrap();
    assert!(events.contains("event: scale") && !events.contains("event: cancelled"));
    assert!(TcpStream::connect(server.address).is_err());

    let server = start_in(folder.path(), |options| options.images = 4000);
    let shown = server.get(&format!("/api/runs/{done}")).json();
    assert_eq!(
        (shown["state"].as_str(), shown["prompt"].as_str()),
        (Some("done"), Some("red apple"))
    );
    let file = shown["images"][0]["file"].as_str().unwrap();
    assert_eq!(
        server.get(&format!("/api/runs/{done}/files/{file}")).status,
        200
    );
    wait_for(&server, &running, "\"state\":\"running\"");
    assert_eq!(server.delete(&format!("/api/runs/{running}")).status, 204);
    assert_eq!(server.end(&running)["state"], "cancelled");
    assert_eq!(server.end(&waiting)["state"], "done");
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with(".painting")),
        "{left:?}"
    );
}
