//! What is refused before anything starts, and what one relay's misfortune means for the other.

use e2e::world::http::post;
use e2e::world::site::{DEADLINE, chat};
use e2e::world::{eventually, free_address, http, validate};
use hyper::StatusCode;

use super::{EVALUATIONS_KEY, PARTNER_KEY, Plan, url};

fn plan() -> Plan {
    Plan::new("wss://relay.example.com/connect")
}

/// What `--mode validate` says against this plan.
async fn refused(plan: Plan) -> String {
    let config = plan.scratch.write("envoy.yaml", &plan.text).unwrap();
    let said = validate(&config, &plan.variables(), DEADLINE).await.unwrap();
    assert!(!said.status.success(), "{}", said.output);
    for secret in [EVALUATIONS_KEY, PARTNER_KEY] {
        assert!(!said.output.contains(secret), "{}", said.output);
    }
    said.output
}

/// Both relays at the same URL.
fn at_one_url() -> Plan {
    let plan = plan();
    let partner = format!("wss://localhost:{}/connect", plan.partner.port());
    plan.edit(&partner, "wss://relay.example.com/connect")
}

#[tokio::test]
async fn the_file_as_it_is_passes() {
    let plan = plan();
    let config = plan.scratch.write("envoy.yaml", &plan.text).unwrap();
    let said = validate(&config, &plan.variables(), DEADLINE).await.unwrap();
    assert!(said.status.success(), "{}", said.output);
}

#[tokio::test]
async fn relays_that_cannot_be_told_apart_are_refused() {
    let said = refused(plan().edit("- name: partner\n          url", "- name: evaluations\n          url")).await;
    assert!(
        said.contains("relays[1].name: \"evaluations\" is also the name of relays[0]"),
        "{said}"
    );
    let said = refused(at_one_url().edit("env: PARTNER_API_KEY", "env: EVALUATIONS_API_KEY")).await;
    assert!(
        said.contains("relays[1]: the same url and api_key as relays[0]; one relay per key"),
        "{said}"
    );
    let said = refused(at_one_url().variable("PARTNER_API_KEY", EVALUATIONS_KEY)).await;
    let told =
        "relays \"evaluations\" and \"partner\" have the same url and their api_key is the same; one relay per key";
    assert!(said.contains(told), "{said}");
}

#[tokio::test]
async fn bad_settings_of_a_relay_are_refused_with_their_path() {
    for (from, to, told) in [
        (
            "/v1/models]",
            "/v1/models/demo]",
            "relays[1].paths[3]: \"/v1/models/demo\" is not a path that can be opened",
        ),
        (
            "/v1/models]",
            "/v1/models, /v1/models]",
            "relays[1].paths[4]: \"/v1/models\" is there twice",
        ),
        (
            "policy: text_only",
            "policy: text",
            "relays[0].response_policy: \"text\"; passthrough or text_only",
        ),
        (
            "policy: text_only",
            "policy: text_only\n          paths: [/v1/embeddings]",
            "relays[0].paths[0]: \"/v1/embeddings\" has no answers that response_policy text_only could reduce",
        ),
        (
            "team: partnerships",
            "Team: partnerships",
            "relays[1].labels.Team: \"Team\" is not the name of a label",
        ),
        (
            "team: partnerships",
            "team: 7",
            "relays[1].labels.team: 7; a string of 1 to 128 bytes",
        ),
        (
            "# headers: { authorization: { env: PARTNER_MODEL_KEY, prefix: \"Bearer \" } }",
            "headers: { authorization: sk-1 }",
            "relays[1].forward.headers.authorization",
        ),
        (
            "# headers: { authorization: { env: PARTNER_MODEL_KEY, prefix: \"Bearer \" } }",
            "timeout: 3",
            "relays[1].forward.timeout: unknown key",
        ),
    ] {
        let said = refused(plan().edit(from, to)).await;
        assert!(said.contains(told), "{told} is not in {said}");
    }
}

#[tokio::test]
async fn endpoints_whose_answers_or_requests_a_frame_cannot_carry_are_warned_of() {
    let plan = plan().edit("/v1/models]", "/v1/models, /v1/audio/speech, /v1/audio/transcriptions]");
    let config = plan.scratch.write("envoy.yaml", &plan.text).unwrap();
    let said = validate(&config, &plan.variables(), DEADLINE).await.unwrap();
    assert!(said.status.success(), "{}", said.output);
    for told in [
        "/v1/audio/speech answers audio",
        "/v1/audio/transcriptions is asked with multipart/form-data",
    ] {
        assert!(
            said.output.contains(&format!("relays[1].paths: {told}")),
            "{}",
            said.output
        );
    }
}

#[tokio::test]
async fn a_relay_that_refuses_its_key_stops_alone() {
    let address = free_address().unwrap();
    let plan = Plan::new(&format!("wss://localhost:{}/connect", address.port()));
    let _evaluations = plan.relay_at(address, "another key").await;
    let world = plan.start().await;
    eventually("it stopped", DEADLINE, || async {
        (world.status_of("evaluations").await["state"] == "stopped").then_some(())
    })
    .await
    .unwrap();
    let ready = http::get(&format!("http://{}/readyz", world.status)).await.unwrap();
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().contains("relay evaluations stopped"), "{}", ready.text());
    let reply = post(&url(&world.relay, "/v1/chat/completions"), chat("demo"))
        .await
        .unwrap();
    assert_eq!(reply.status, StatusCode::OK);
}
