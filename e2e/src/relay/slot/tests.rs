//! What no client can provoke at will: a connection that ends with frames still unwritten.

use super::*;

fn slot() -> Slot {
    let options = Arc::new(RelayOptions::new(Version::V2, "key"));
    Slot::new("default", options, Arc::new(Journal::new(true)))
}

/// Starts a request and gives its handle once it is pending.
async fn forward(slot: &Arc<Slot>, id: &'static str) -> tokio::task::JoinHandle<Result<Answer, Failure>> {
    let (before, asking) = (slot.pending(), Arc::clone(slot));
    let call = tokio::spawn(async move { asking.forward(id, "{}".into()).await });
    while slot.pending() == before {
        tokio::task::yield_now().await;
    }
    call
}

fn drain(attached: &mut Attached) -> impl Iterator<Item = Outgoing> {
    std::iter::from_fn(|| attached.commands.try_recv().ok())
}

// PROTOCOL §2.5: what was never sent fails straight away; only what was sent and not acked is sent again.
// PROTOCOL §3.1: a frame that can't be sent is an error for the caller at once
#[tokio::test]
async fn a_request_that_was_never_written_fails_and_a_written_one_stays() {
    let slot = Arc::new(slot());
    let mut first = slot.attach(&HeaderMap::new());
    let written = forward(&slot, "written").await;
    // The connected frame and the first request go out.
    assert_eq!(drain(&mut first).count(), 2);
    let unwritten = forward(&slot, "unwritten").await;
    slot.detach(
        first.number,
        Ending::Broken,
        std::iter::from_fn(|| first.commands.try_recv().ok()),
    );
    let told = timeout(Duration::from_secs(10), unwritten)
        .await
        .expect("the caller is told at once");
    assert_eq!(told.unwrap(), Err(Failure::NotSent));
    assert_eq!(slot.pending(), 1);

    let mut second = slot.attach(&HeaderMap::new());
    let again: Vec<_> = drain(&mut second).collect();
    assert!(
        matches!(&again[..], [Outgoing::Text(_), Outgoing::Request(id, _)] if id == "written"),
        "{again:?}"
    );
    written.abort();
}

// PROTOCOL §2.5: not acked is sent again: what moved to a newer connection is not lost with the older one's queue.
#[tokio::test]
async fn what_an_older_connection_never_wrote_is_not_failed_once_a_newer_one_has_it() {
    let slot = Arc::new(slot());
    let mut older = slot.attach(&HeaderMap::new());
    let call = forward(&slot, "moved").await;
    let mut newer = slot.attach(&HeaderMap::new());
    slot.detach(
        older.number,
        Ending::ByRelay(None),
        std::iter::from_fn(|| older.commands.try_recv().ok()),
    );
    assert_eq!(slot.pending(), 1);
    assert!(drain(&mut newer).any(|outgoing| matches!(outgoing, Outgoing::Request(id, _) if id == "moved")));
    call.abort();
}

// PROTOCOL §3.1: a 1001 that crosses our own close frame comes from a connection that was replaced already.
#[tokio::test]
async fn a_1001_from_a_replaced_connection_leaves_the_newer_ones_requests_alone() {
    let slot = Arc::new(slot());
    let older = slot.attach(&HeaderMap::new());
    let call = forward(&slot, "asked").await;
    let newer = slot.attach(&HeaderMap::new());
    slot.detach(older.number, Ending::ByClient(Some(1001)), std::iter::empty());
    assert_eq!(slot.pending(), 1);
    assert!(slot.is_connected());
    slot.detach(newer.number, Ending::ByClient(Some(1001)), std::iter::empty());
    let told = timeout(Duration::from_secs(10), call)
        .await
        .expect("the caller is told at once");
    assert_eq!(told.unwrap(), Err(Failure::Gone));
}

// PROTOCOL §2.5: hasn't acked: its fate is unknown since the first connection, whatever became of the second
#[tokio::test]
async fn what_was_to_be_sent_again_and_was_not_stays_for_the_next_connection() {
    let slot = Arc::new(slot());
    let mut first = slot.attach(&HeaderMap::new());
    let call = forward(&slot, "asked").await;
    assert_eq!(drain(&mut first).count(), 2);
    slot.detach(first.number, Ending::Broken, std::iter::empty());
    let mut second = slot.attach(&HeaderMap::new());
    slot.detach(
        second.number,
        Ending::Broken,
        std::iter::from_fn(|| second.commands.try_recv().ok()),
    );
    assert_eq!(slot.pending(), 1);
    let mut third = slot.attach(&HeaderMap::new());
    assert!(drain(&mut third).any(|outgoing| matches!(outgoing, Outgoing::Request(id, _) if id == "asked")));
    call.abort();
}
