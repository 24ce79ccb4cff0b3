use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::config::Config;

/// A directory for locks, and a file with the key.
struct Host(PathBuf);

impl Host {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spectral-bridge-lock-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let host = Self(path);
        host.set_key("hunter2");
        host
    }

    fn set_key(&self, key: &str) {
        std::fs::write(self.0.join("key"), key).unwrap();
    }

    fn directory(&self) -> PathBuf {
        self.0.join("locks")
    }

    fn lock(&self) -> KeyLock {
        KeyLock::within(vec![self.directory()])
    }

    fn relay(&self, url: &str) -> Arc<Relay> {
        let config = json!({
            "relays": [{ "name": "default", "url": url, "api_key": { "file": self.0.join("key") } }],
            "forward": { "to": "http://127.0.0.1:1" },
        });
        let config = Config::from_json(config.to_string().as_bytes()).unwrap();
        Arc::new(config.relays.into_iter().next().unwrap())
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Whether `lock` waits rather than giving the key.
async fn waits(lock: &KeyLock, relay: &Arc<Relay>) -> bool {
    timeout(Duration::from_secs(30), lock.key(relay)).await.is_err()
}

const URL: &str = "wss://relay.example.com/connect";

#[tokio::test(start_paused = true)]
async fn the_second_waits_and_says_so_until_the_first_ends() {
    let host = Host::new("second");
    let relay = host.relay(URL);
    let (first, second) = (host.lock(), host.lock());
    assert_eq!(first.key(&relay).await.unwrap().expose(), "hunter2");
    assert!(!first.is_waiting());
    let waiting = tokio::spawn({
        let (second, relay) = (second.clone(), Arc::clone(&relay));
        async move { second.key(&relay).await.unwrap() }
    });
    while !second.is_waiting() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // a reconnect of the first does not let go
    first.key(&relay).await.unwrap();
    assert!(second.is_waiting());
    drop(first);
    waiting.await.unwrap();
    assert!(!second.is_waiting());
    assert_eq!(host.files().len(), 1);
    drop(second);
    assert!(host.files().is_empty(), "nothing stays behind");
}

#[tokio::test(start_paused = true)]
async fn other_keys_and_other_relays_do_not_wait() {
    let host = Host::new("others");
    let (first, other_relay, other_key) = (host.lock(), host.lock(), host.lock());
    first.key(&host.relay(URL)).await.unwrap();
    other_relay
        .key(&host.relay("wss://relay.example.com/connect?tenant=2"))
        .await
        .unwrap();
    host.set_key("hunter3");
    other_key.key(&host.relay(URL)).await.unwrap();
    assert_eq!(host.files().len(), 3);
    assert!(
        host.files()
            .iter()
            .all(|name| !name.contains("hunter") && !name.contains("tenant")),
        "{:?}",
        host.files()
    );
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_gives_up_the_lock_of_the_old_one() {
    let host = Host::new("rotated");
    let relay = host.relay(URL);
    let (first, second) = (host.lock(), host.lock());
    first.key(&relay).await.unwrap();
    assert!(waits(&second, &relay).await);
    host.set_key("hunter3");
    // whoever waits for the old key goes on with the new one, too
    assert_eq!(second.key(&relay).await.unwrap().expose(), "hunter3");
    assert!(waits(&first, &relay).await);
    host.set_key("hunter2");
    first.key(&relay).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_released_lets_others_in_and_may_come_back_but_not_once_it_ended() {
    let host = Host::new("released");
    let relay = host.relay(URL);
    let (first, second) = (host.lock(), host.lock());
    first.key(&relay).await.unwrap();
    first.release();
    second.key(&relay).await.unwrap();
    assert!(waits(&first, &relay).await);
    second.end();
    first.key(&relay).await.unwrap();
    // a look that was under way when it ended takes nothing
    second.key(&relay).await.unwrap();
    assert!(!second.is_waiting());
    first.key(&relay).await.unwrap();
    assert_eq!(host.files().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_file_left_by_a_killed_process_is_no_hindrance() {
    let host = Host::new("killed");
    let relay = host.relay(URL);
    let first = host.lock();
    first.key(&relay).await.unwrap();
    let name = host.files().pop().unwrap();
    drop(first);
    std::fs::write(host.directory().join(&name), "1").unwrap();
    let second = host.lock();
    second.key(&relay).await.unwrap();
    let pid = std::fs::read_to_string(host.directory().join(&name)).unwrap();
    assert_eq!(pid, std::process::id().to_string());
}

#[tokio::test(start_paused = true)]
async fn a_file_removed_under_its_holder_is_not_taken_for_the_next_ones() {
    let host = Host::new("removed");
    let relay = host.relay(URL);
    let (first, second) = (host.lock(), host.lock());
    first.key(&relay).await.unwrap();
    std::fs::remove_file(host.directory().join(host.files().pop().unwrap())).unwrap();
    second.key(&relay).await.unwrap();
    drop(first);
    assert_eq!(host.files().len(), 1, "the second's file stays");
    assert!(waits(&host.lock(), &relay).await);
}

#[test]
fn the_directory_must_be_private() {
    let host = Host::new("private");
    let directory = host.directory();
    open_private(&directory).unwrap();
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    open_private(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o750)).unwrap();
    assert!(open_private(&directory).unwrap_err().to_string().contains("0700"));
    let link = host.0.join("link");
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&directory, &link).unwrap();
    open_private(&link).unwrap_err();
    open_private(&host.0.join("key")).unwrap_err();
    open_private(&host.0.join("absent/locks")).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn without_a_directory_it_goes_on_unlocked_and_the_next_best_place_is_taken() {
    let host = Host::new("nowhere");
    let relay = host.relay(URL);
    let nowhere = || KeyLock::within(vec![host.0.join("absent/locks")]);
    let (first, second) = (nowhere(), nowhere());
    first.key(&relay).await.unwrap();
    second.key(&relay).await.unwrap();
    assert!(first.file().said_unusable && !first.is_waiting());
    let next_best = || KeyLock::within(vec![host.0.join("absent/locks"), host.directory()]);
    let third = next_best();
    third.key(&relay).await.unwrap();
    assert!(waits(&next_best(), &relay).await);
}

#[tokio::test(start_paused = true)]
async fn an_absent_key_is_an_error_that_says_where_it_was_looked_for() {
    let host = Host::new("absent");
    let relay = host.relay(URL);
    std::fs::remove_file(host.0.join("key")).unwrap();
    let error = host.lock().key(&relay).await.unwrap_err().to_string();
    assert!(error.starts_with("the API key cannot be read: file "), "{error}");
}

#[test]
fn the_holder_is_named() {
    let said = |by| Taken { by }.to_string();
    assert_eq!(
        said(Some(7)),
        "another process on this host serves this key (process 7)"
    );
    assert_eq!(said(None), "another process on this host serves this key");
}
