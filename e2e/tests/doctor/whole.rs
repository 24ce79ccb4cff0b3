//! Everything at once, as a person would run it.

use e2e::model::{Model, ModelOptions};
use e2e::otlp::{Protocol, Sink};
use e2e::relay::{Relay, RelayOptions, Version};
use e2e::world::site::KEY;
use e2e::world::{Certificates, Scratch, free_address};

use crate::{Doctor, RELAY};

struct World {
    relay: Relay,
    model: Model,
    sink: Sink,
    certificates: Certificates,
    _scratch: Scratch,
}

impl World {
    /// A good one: TLS everywhere, and a model with a key of its own.
    async fn new() -> Self {
        let scratch = Scratch::new().unwrap();
        let certificates = Certificates::make(&scratch).unwrap();
        let mut options = RelayOptions::new(Version::V2, KEY);
        options.tls = Some(certificates.server.clone());
        let model = ModelOptions {
            key: Some(MODEL_KEY.into()),
            tls: Some(certificates.server.clone()),
            ..ModelOptions::default()
        };
        Self {
            relay: Relay::start(options).await.unwrap(),
            model: Model::start_with(model).await.unwrap(),
            sink: Sink::start().await.unwrap(),
            certificates,
            _scratch: scratch,
        }
    }

    fn doctor(&self) -> Doctor {
        let ca = self.certificates.ca.display().to_string();
        let target = format!("https://localhost:{}", self.model.address().port());
        let port = free_address().unwrap().port().to_string();
        Doctor::new(&["--relay-url", &self.relay.connect_url(), "--ca-file", &ca])
            .with(&[
                "--target",
                &target,
                "--target-ca-file",
                &ca,
                "--target-key-env",
                "MODEL_KEY",
            ])
            .with(&["--status-port", &port])
            .env("MODEL_KEY", MODEL_KEY)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", self.sink.endpoint(Protocol::Grpc))
    }
}

#[tokio::test]
async fn a_good_place_passes_every_check_and_nothing_is_left_behind() {
    let world = World::new().await;
    let said = world.doctor().says().await;
    said.is_well(&RELAY);
    said.is_well(&[
        "settings",
        "key",
        "secrets",
        "envoy",
        "module",
        "glibc",
        "config",
        "adapter",
        "collector",
    ]);
    assert_eq!(said.check("tls")["relay"], "default");
    let detail = |id: &str| said.check(id)["detail"].as_str().unwrap().to_owned();
    assert!(detail("tls").starts_with("TLS 1.3"), "{}", detail("tls"));
    assert_eq!(detail("protocol"), "version 2");
    assert!(detail("module").contains("every function"), "{}", detail("module"));
    assert!(detail("adapter").contains("(model demo)"), "{}", detail("adapter"));
    assert!(!said.json.to_string().contains(MODEL_KEY));

    // one short connection, left with 1000; one request for one token; empty batches
    assert_eq!(world.relay.journal().closes(), [Some(1000)]);
    assert_eq!(world.relay.journal().acks(), [] as [&str; 0]);
    let asked: Vec<_> = world.model.ledger().exchanges();
    let last = asked.last().unwrap();
    assert_eq!((asked.len(), last.path.as_str()), (2, "/v1/chat/completions"));
    let body: serde_json::Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(body["max_tokens"], 1);
    assert_eq!(world.sink.arrivals().len(), 3);
    assert!(world.sink.spans().is_empty() && world.sink.metrics().is_empty() && world.sink.logs().is_empty());
}

#[tokio::test]
async fn people_read_lines_without_colour_where_there_is_no_terminal() {
    let world = World::new().await;
    let mut doctor = world.doctor();
    let mut plain = tokio::process::Command::new(doctor.0.as_std().get_program());
    let arguments = doctor.0.as_std().get_args().filter(|argument| *argument != "--json");
    plain.args(arguments).envs(
        doctor
            .0
            .as_std()
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    doctor.0 = plain;
    let (code, text) = doctor.text().await;
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("OK       settings   relay wss://localhost:"), "{text}");
    assert!(text.ends_with("\nAll is well.\n") && !text.contains('\x1b'), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("OK ")).count(),
        15,
        "{text}"
    );
}

const MODEL_KEY: &str = "models-own-key-0123456789";
