//! Jobs in SQLite.

use super::*;

fn job(client: &str, id: &str, family: &str) -> NewJob {
    let [client, id, family] = [client, id, family].map(str::to_owned);
    NewJob {
        prompt: format!("A red apple {id}"),
        pipeline: "a: 1".to_owned(),
        model: "default".to_owned(),
        id,
        client,
        family,
    }
}

async fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::Builder::new()
        .prefix("a b%c?#")
        .tempdir()
        .unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn clients_take_turns_and_the_queue_is_bounded() {
    let (_folder, store) = open().await;
    let jobs = ["a1", "a2", "a3", "b1", "b2", "c1"];
    for id in jobs {
        assert!(store.submit(&job(&id[..1], id, ""), 6).await.unwrap());
    }
    assert!(!store.submit(&job("d", "d1", ""), 6).await.unwrap());
    let expected = ["a1", "b1", "c1", "a2", "b2", "a3"];
    for (position, id) in (0..).zip(expected) {
        assert_eq!(store.position(id).await.unwrap(), Some(position), "{id}");
    }
    assert!(store.cancel("b1", &[Update::Cancelled]).await.unwrap());
    assert!(!store.cancel("b1", &[Update::Cancelled]).await.unwrap());
    for id in ["a1", "c1", "a2", "b2", "a3"] {
        assert_eq!(store.claim().await.unwrap().unwrap().id, id);
    }
    assert!(store.claim().await.unwrap().is_none());
    assert_eq!(store.waiting().await.unwrap(), 0);
}

#[tokio::test]
async fn jobs_of_a_family_are_taken_together() {
    let (_folder, store) = open().await;
    for (id, family) in [("1", "x"), ("2", "y"), ("3", "x"), ("4", "x"), ("5", "x")] {
        store.submit(&job("a", id, family), 9).await.unwrap();
    }
    let first = store.claim().await.unwrap().unwrap();
    let more = store.claim_more(&first.family, 2).await.unwrap();
    let ids: Vec<_> = more.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["3", "4"]);
}

#[tokio::test]
async fn what_was_done_and_what_waits_outlives_the_server() {
    let (folder, store) = open().await;
    for id in ["1", "2", "3"] {
        store.submit(&job("a", id, ""), 9).await.unwrap();
    }
    let done = [Update::Queued, Update::Loading, Update::Done];
    store.claim().await.unwrap();
    assert!(store.finish("1", &done).await.unwrap());
    assert!(!store.finish("1", &done).await.unwrap());
    store.claim().await.unwrap();
    drop(store);
    let store = Store::open(folder.path(), None).await.unwrap();
    assert!(!store.finish("2", &done).await.unwrap());
    assert_eq!(store.take_over().await.unwrap(), 1);
    let again = store.claim().await.unwrap().unwrap();
    assert_eq!((again.id.as_str(), again.attempts), ("2", 2));
    let search = |words: &str| Search {
        words: words.to_owned(),
        limit: 9,
        ..Search::default()
    };
    let found = store.list(&search("RED apple 1")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].updates, done);
    assert_eq!(store.list(&search("%")).await.unwrap().len(), 0);
    assert_eq!(store.list(&search("")).await.unwrap().len(), 3);
    assert!(store.forget("1").await.unwrap() && !store.forget("3").await.unwrap());
}
