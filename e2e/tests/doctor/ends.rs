//! The far ends: the model and the collector.

use e2e::model::{Model, ModelOptions};
use e2e::otlp::{Fault, Sink};
use e2e::world::{Certificates, Scratch};

use crate::{Doctor, closed, saying, silent};

fn model_at(target: &str) -> Doctor {
    Doctor::new(&["--only", "adapter", "--target", target])
}

#[tokio::test]
async fn a_model_that_is_not_there_or_answers_something_else_is_told() {
    let model = Model::start().await.unwrap();
    let (here, closed) = (format!("http://{}", model.address()), closed());
    model_at(&here).says().await.is_well(&["adapter"]);
    let said = model_at(&format!("http://{closed}")).says().await;
    said.fails(9, "adapter", "adapter_connect", &[&closed.to_string(), "running"]);
    let said = model_at("http://nobody.invalid").says().await;
    said.fails(9, "adapter", "adapter_dns", &["nobody.invalid", "--target"]);
    let said = model_at(&format!("{here}/v1")).says().await;
    said.fails(9, "adapter", "adapter_path", &["404", &format!("use --target {here}")]);
    let said = model_at(&here).with(&["--model", "html-200"]).says().await;
    said.fails(9, "adapter", "adapter_not_json", &["text/html", "base URL"]);
    let said = model_at(&here).with(&["--model", "status-500"]).says().await;
    said.fails(9, "adapter", "adapter_error", &["the model says 500", "log"]);
    let said = model_at(&here).with(&["--model", "close-after-request"]).says().await;
    said.fails(9, "adapter", "adapter_http", &["http://"]);
    let redirect = saying("HTTP/1.1 308 Permanent Redirect\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
    let said = model_at(&format!("http://{redirect}")).says().await;
    said.fails(9, "adapter", "adapter_redirect", &["308", "final URL"]);
}

#[tokio::test]
async fn a_model_that_takes_the_request_and_stays_silent_is_told() {
    let (_listener, address) = silent().await;
    let asked = model_at(&format!("http://{address}")).with(&["--model", "m"]);
    let said = asked.says().await;
    said.fails(
        9,
        "adapter",
        "adapter_timeout",
        &["within 30 s", &address.to_string(), "loaded"],
    );
}

#[tokio::test]
async fn a_models_key_and_its_certificate_are_told_apart() {
    let scratch = Scratch::new().unwrap();
    let certificates = Certificates::make(&scratch).unwrap();
    let options = ModelOptions {
        key: Some("models-own-key".into()),
        tls: Some(certificates.server.clone()),
        ..ModelOptions::default()
    };
    let model = Model::start_with(options).await.unwrap();
    let port = model.address().port();
    let ca = certificates.ca.display().to_string();
    let there = || model_at(&format!("https://localhost:{port}"));
    let trusting = || there().with(&["--target-ca-file", &ca]);

    there()
        .says()
        .await
        .fails(9, "adapter", "adapter_tls", &["--target-ca-file FILE"]);
    let said = trusting().says().await;
    said.fails(9, "adapter", "adapter_key", &["401", "--target-key-env NAME names"]);
    let with_key = |key: &str| trusting().with(&["--target-key-env", "K"]).env("K", key).says();
    let said = with_key("not-the-models-key").await;
    said.fails(
        9,
        "adapter",
        "adapter_key",
        &["correct the variable of --target-key-env"],
    );
    assert!(!said.json.to_string().contains("not-the-models-key"));
    with_key("models-own-key").await.is_well(&["adapter"]);
    // plain HTTP to a port with TLS, and the other way round
    let said = model_at(&format!("http://localhost:{port}")).says().await;
    assert_eq!(said.code, 9, "{said:?}");
    let plain = Model::start().await.unwrap();
    let said = model_at(&format!("https://localhost:{}", plain.address().port())).with(&["--target-ca-file", &ca]);
    said.says()
        .await
        .fails(9, "adapter", "adapter_tls", &["--target http://"]);
}

#[tokio::test]
async fn what_servers_repeat_of_a_key_is_hidden() {
    let echo = saying(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
         {\"error\":{\"message\":\"no: Bearer adapters-own-key for http://u:p@host/x?sig=1\"}}",
    )
    .await;
    let said = model_at(&format!("http://{echo}"))
        .with(&["--target-key-env", "K"])
        .env("K", "adapters-own-key");
    let said = said.says().await;
    said.fails(
        9,
        "adapter",
        "adapter_refused",
        &["no: Bearer [hidden] for http://host/x", "--model"],
    );
}

#[tokio::test]
async fn a_collector_that_is_not_there_refuses_or_speaks_otherwise_is_told() {
    let sink = Sink::start().await.unwrap();
    let closed = closed();
    let exporting = |endpoint: &str, protocol: &str| {
        Doctor::new(&["--only", "collector", "--target", "http://127.0.0.1:1"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=collectors-own-key")
            .says()
    };
    exporting(&sink.grpc(), "grpc").await.is_well(&["collector"]);
    exporting(&sink.http(), "http/protobuf").await.is_well(&["collector"]);
    let arrivals = sink.arrivals();
    assert_eq!(arrivals.len(), 6);
    assert!(
        arrivals
            .iter()
            .all(|arrival| arrival.headers["x-key"] == "collectors-own-key")
    );

    let said = exporting(&format!("http://{closed}"), "grpc").await;
    said.fails(10, "collector", "collector_connect", &[&closed.to_string(), "running"]);
    let said = exporting(&format!("https://{}", sink.grpc().replace("http://", "")), "grpc").await;
    said.fails(10, "collector", "collector_tls", &["http:// or https://"]);
    let said = exporting(&sink.grpc(), "http/json").await;
    said.fails(10, "collector", "collector_variable", &["OTEL_EXPORTER_OTLP_PROTOCOL"]);
    let said = exporting(&sink.grpc(), "http/protobuf").await;
    assert_eq!(said.code, 10, "{said:?}");
    assert!(
        said.check("collector")["advice"]
            .as_str()
            .unwrap()
            .contains("OTEL_EXPORTER_OTLP_PROTOCOL")
    );
    sink.fail(Fault::Refuse);
    let said = exporting(&sink.http(), "http/protobuf").await;
    said.fails(
        10,
        "collector",
        "collector_http_status",
        &["400", "OTEL_EXPORTER_OTLP_HEADERS"],
    );
    assert!(!said.json.to_string().contains("collectors-own-key"));
}
