//! What is counted.

use super::harness::{Script, connected_v2};
use crate::status::snapshot::{Totals, Traffic};

fn totals(script: &Script) -> &Totals {
    script.session.totals()
}

#[test]
fn frames_and_their_bytes_are_counted_by_type() {
    let mut script = connected_v2();
    let bytes = totals(&script).received.connected.bytes;
    script
        .request("a")
        .request("a")
        .text("{}")
        .text("[]")
        .answer("a")
        .ack("a");
    let Totals { received, sent, .. } = totals(&script);
    assert_eq!(received.connected, Traffic { frames: 1, bytes });
    assert_eq!((received.request.frames, received.ack.frames), (2, 1));
    assert_eq!(received.ignored, Traffic { frames: 2, bytes: 4 });
    assert_eq!((sent.ack.frames, sent.response.frames), (2, 1));
    let all = [received.connected, received.request, received.ack, received.ignored];
    assert_eq!(totals(&script).received_bytes, all.iter().map(|t| t.bytes).sum::<u64>());
    assert_eq!(totals(&script).sent_bytes, sent.ack.bytes + sent.response.bytes);
}

#[test]
fn a_response_that_is_sent_again_is_a_frame_again_but_no_response() {
    let mut script = connected_v2();
    script.request("a").answer("a").reconnected_v2();
    assert_eq!(totals(&script).sent.response.frames, 2);
    assert_eq!(totals(&script).responses.get(&200), Some(&1));
}

#[test]
fn each_scheduled_attempt_is_counted_by_its_reason() {
    let mut script = connected_v2();
    script.reconnected_v2().closed(4003).due().dialled().hello_v2().broken();
    script.due().dial_failed(None);
    let reconnects = &totals(&script).reconnects;
    let counted: Vec<_> = reconnects.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    assert_eq!(counted, [("broken", 2), ("dial_failed", 1), ("rotation", 1)]);
}

#[test]
fn the_time_until_a_response_is_acknowledged_is_told_once() {
    let mut script = connected_v2();
    script.request("a").at(1).answer("a").skip();
    script.at(6).ack("a").expect(["(acknowledged after 5)"]);
    script.at(7).ack("a").expect([]);
}
