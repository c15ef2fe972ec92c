//! Two servers that share a PostgreSQL: `NEXTSCALE_POSTGRES` is the address of one that tests may make databases in.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::running::{PIPELINE, Running, long, start_in};

/// The address of a new database, if there is a PostgreSQL for tests.
fn database() -> Option<String> {
    let Ok(address) = std::env::var("NEXTSCALE_POSTGRES") else {
        eprintln!("left out: NEXTSCALE_POSTGRES names no PostgreSQL");
        return None;
    };
    let name = format!("test_{:016x}", rand::random::<u64>());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(&address).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(create).await.unwrap();
    });
    let (place, _) = address.rsplit_once('/').unwrap();
    Some(format!("{place}/{name}"))
}

fn images(server: &Running) -> f64 {
    let metrics = server.get("/metrics").text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("nextscale_images_total"));
    line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn two_servers_share_the_work_and_tell_of_each_others() {
    let Some(store) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        start_in(folder.path(), |options| {
            options.store = Some(store.clone());
            options.images = 4000;
            options.batch = 1;
        })
    };
    let servers = [start(), start()];
    let ids: Vec<String> = (0..16).map(|_| servers[0].run(PIPELINE)).collect();
    for id in &ids {
        // Asked of the one, whoever has painted it.
        let run = servers[0].end(id);
        assert_eq!(run["state"], "done", "{run}");
        let file = run["images"][0]["file"].as_str().unwrap();
        for server in &servers {
            assert_eq!(
                server.get(&format!("/api/runs/{id}/files/{file}")).status,
                200
            );
        }
    }
    let painted = servers.each_ref().map(images);
    assert_eq!(painted[0] + painted[1], 16.0);
    assert!(painted[1] > 0.0, "{painted:?}");
    let listed = servers[1].get("/api/runs").json();
    let listed: HashSet<&str> = listed["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["id"].as_str().unwrap())
        .collect();
    assert!(ids.iter().all(|id| listed.contains(id.as_str())));
    // A run is stopped by whoever is asked.
    let id = servers[0].run(&long(4000));
    let path = format!("/api/runs/{id}");
    let is_running = |run: &Value| run["state"] == "running";
    while !is_running(&servers[1].get(&path).json()) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(servers[1].delete(&path).status, 204);
    assert_eq!(servers[0].end(&id)["state"], "cancelled");
}
