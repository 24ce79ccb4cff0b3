//! What relays may have of their own: endpoints, a response policy, a forward address, labels.

use super::*;

#[test]
fn paths_can_be_widened_to_each_known_endpoint_with_its_caveat() {
    let all = [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/models",
    ];
    let config = accepted(&with_relay(json!({ "paths": all })));
    assert_eq!(config.relays[0].paths, all);
    let warnings = config.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (warning, path) in warnings
        .iter()
        .zip(["/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/edits"])
    {
        assert!(warning.starts_with(&format!("relays[0].paths: {path} ")), "{warning}");
    }
}

#[test]
fn text_only_allows_the_endpoints_whose_answers_it_knows() {
    let relay = first_relay(json!({"response_policy": "text_only"}));
    assert_eq!(relay.response_policy, ResponsePolicy::TextOnly);
    assert_eq!(relay.paths, ["/v1/chat/completions", "/v1/responses"]);
    assert_eq!(
        first_relay(json!({"response_policy": "passthrough"})).response_policy,
        ResponsePolicy::Passthrough
    );
    refused(
        &with_relay(json!({"response_policy": "text_only", "paths": ["/v1/completions", "/v1/embeddings", "/v2"]})),
        &[
            "relays[0].paths[1]: \"/v1/embeddings\" has no answers that response_policy text_only could reduce; \
             some of /v1/chat/completions, /v1/responses, /v1/completions",
            "relays[0].paths[2]: \"/v2\" is not a path that can be opened; \
             some of /v1/chat/completions, /v1/responses, /v1/completions",
        ],
    );
    for (value, shown) in [
        (json!("text-only"), "\"text-only\""),
        (json!(true), "true"),
        (json!([]), "an array"),
    ] {
        refused(
            &with_relay(json!({ "response_policy": value })),
            &[&format!("relays[0].response_policy: {shown}; passthrough or text_only")],
        );
    }
    let both = with_relay(json!({"response_policy": "text_only", "response_headers": ["x-a"]}));
    assert_eq!(
        accepted(&both).warnings(),
        ["relays[0].response_headers: response_policy text_only passes none of them"]
    );
}

#[test]
fn a_forward_of_its_own_takes_what_it_does_not_say_from_the_common_one() {
    let second = json!({"name": "b", "url": "wss://b.example.com/connect", "api_key": {"env": "B"}});
    let with = |own: Value, common: Value| {
        let mut second = second.clone();
        overlay(&mut second, json!({ "forward": own }));
        json!({"relays": [relay(json!({"name": "a"})), second], "forward": common})
    };
    let common = json!({"to": "http://127.0.0.1:1000", "headers": {"authorization": {"env": "COMMON"}}});
    let forward = |own: Value| {
        let config = accepted(&with(own, common.clone()));
        assert_eq!(config.relays[0].forward_or(&config.forward), &config.forward);
        config.relays[1].forward_or(&config.forward).clone()
    };
    let other = forward(json!({"to": "unix:///run/b.sock"}));
    assert_eq!(
        (other.to, &*other.authority),
        (ForwardTo::Unix("/run/b.sock".into()), "localhost")
    );
    assert_eq!(other.headers[0].value, SecretSource::Env("COMMON".into()));
    let keyed = forward(json!({"authority": "b.internal", "headers": {"x-key": {"file": "/b"}}}));
    assert_eq!(
        keyed.to,
        ForwardTo::Tcp {
            host: "127.0.0.1".into(),
            port: 1000
        }
    );
    assert_eq!((&*keyed.authority, keyed.headers.len()), ("b.internal", 1));
    assert_eq!(keyed.headers[0].value, SecretSource::File("/b".into()));
    assert!(forward(json!({"headers": {}})).headers.is_empty());
    let config = accepted(&with(json!({"headers": {"x-key": {"file": "/b"}}}), common.clone()));
    let secrets: Vec<_> = config.secrets().cloned().collect();
    assert!(
        secrets.contains(&SecretSource::Env("COMMON".into())) && secrets.contains(&SecretSource::File("/b".into()))
    );
    let report = report(&with(
        json!({"to": "http://10.0.0.1", "headers": {"x-key": "sk-secret"}, "x": 1}),
        json!({}),
    ));
    assert_eq!(report.len(), 3, "{report:?}");
    assert!(
        report
            .iter()
            .all(|line| line.starts_with("relays[1].forward.") && !line.contains("sk-secret"))
    );
}

#[test]
fn a_distant_forward_is_warned_of_where_it_is_said() {
    let far = json!({"to": "http://10.0.0.7:8000", "insecure_forward": true});
    let common = with_top("forward", far.clone());
    assert_eq!(accepted(&common).warnings().len(), 1);
    let mut own = with_relay(json!({ "forward": far }));
    let warnings = accepted(&own).warnings();
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("relays[0].forward.to: 10.0.0.7:8000"),
        "{warnings:?}"
    );
    overlay(
        &mut own,
        json!({ "forward": json!({"to": "http://10.0.0.7:8000", "insecure_forward": true}) }),
    );
    assert_eq!(accepted(&own).warnings().len(), 1);
}

#[test]
fn labels_are_few_and_plain() {
    let eight: serde_json::Map<_, _> = (0..8).map(|n| (format!("l{n}"), json!("x".repeat(128)))).collect();
    assert_eq!(first_relay(json!({ "labels": eight })).labels.len(), 8);
    let relay = first_relay(json!({"labels": {"team.name_1-x": "Grüße", "a": "1"}}));
    assert_eq!(
        relay.labels,
        [
            ("a".to_owned(), "1".to_owned()),
            ("team.name_1-x".to_owned(), "Grüße".to_owned())
        ]
    );
    let nine: serde_json::Map<_, _> = (0..9).map(|n| (format!("l{n}"), json!("x"))).collect();
    refused(
        &with_relay(json!({ "labels": nine })),
        &["relays[0].labels: 9 labels; at most 8"],
    );
    for name in ["", "Team", "1a", "a b", "a\u{e9}", ".a", &"a".repeat(65)] {
        assert_eq!(
            report(&with_relay(json!({ "labels": {name: "x"} }))).len(),
            1,
            "{name:?}"
        );
    }
    for value in [
        json!(""),
        json!("a\nb"),
        json!("x".repeat(129)),
        json!(1),
        json!({}),
        json!(null),
    ] {
        assert_eq!(
            report(&with_relay(json!({ "labels": {"a": value} }))).len(),
            1,
            "{value}"
        );
    }
    assert_eq!(report(&with_relay(json!({ "labels": ["a"] }))).len(), 1);
    // each mistake
    assert_eq!(
        report(&with_relay(json!({ "labels": {"A": "x", "b": "", "c": "ok"} }))).len(),
        2
    );
}
