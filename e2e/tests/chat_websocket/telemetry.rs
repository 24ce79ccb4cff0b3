//! Tokens and times of turns: each counted once, although the filter `usage` sees them, too.

use e2e::model::Model;
use e2e::otlp::{Protocol, Sink};
use e2e::world::site::{DEADLINE, exported_to};
use serde_json::json;

use super::{Plan, ask};

#[tokio::test]
async fn a_turn_is_one_exchange_for_telemetry_and_none_for_the_filter_beside_it() {
    let (model, sink) = (Model::start().await.unwrap(), Sink::start().await.unwrap());
    let mut plan = Plan::new();
    plan.variables = exported_to(&sink.endpoint(Protocol::Grpc), Protocol::Grpc);
    let mut chat = plan.serving(model.address()).await;
    let mut client = chat.dial().await;
    for said in ["one two three", "four five"] {
        let (_, done) = client.turn(ask("demo", said)).await;
        assert_eq!(done["type"], "done");
    }
    let (_, error) = client.turn(ask("status-500", "six")).await;
    assert_eq!(error["status"], 500);
    let books = model.tokens();
    for (kind, tokens) in [("input", books.input), ("output", books.output)] {
        sink.comes_to(
            "gen_ai.client.token.usage",
            &[("gen_ai.token.type", kind)],
            tokens as f64,
            DEADLINE,
        )
        .await
        .unwrap();
    }
    let ok = sink.count("gen_ai.client.operation.duration", &[("gen_ai.request.model", "demo")]);
    assert_eq!(ok, 2);
    sink.wait("the failed turn", DEADLINE, |sink| {
        (sink.count("gen_ai.client.operation.duration", &[("error.type", "500")]) == 1).then_some(())
    })
    .await
    .unwrap();
    let span = sink.wait("three spans", DEADLINE, |sink| {
        (sink.spans().len() >= 3).then(|| sink.spans())
    });
    let spans = span.await.unwrap();
    assert_eq!(spans.len(), 3);
    assert_eq!(spans[0].attributes["gen_ai.request.stream"], json!(true));
    assert!(
        spans[0].attributes.contains_key("gen_ai.usage.input_tokens"),
        "{:?}",
        spans[0]
    );
    // the filter on the local listener knows that they are counted, and tells the access log all the same
    let counted = chat
        .envoy
        .sum("envoy_spectral_bridge_gen_ai_tokens_total", "")
        .await
        .unwrap();
    assert_eq!(counted, 0.0);
    let line = chat.envoy.process().line("[turn]", DEADLINE).await.unwrap();
    assert!(line.contains("model=demo tokens=8 "), "{line}");
}
