//! The collector: one empty batch of each signal that the environment sends somewhere.

use std::time::Duration;

use spectral_bridge::status::snapshot::ExportSnapshot;
use spectral_bridge::telemetry::Environment;
use spectral_bridge::telemetry::probe::{Tried, collectors};

use super::report::Finding;

/// Tries what the environment asks for.
pub async fn check() -> Finding {
    judge(&collectors(&Environment::from_process(), DEADLINE).await)
}

fn judge(tried: &Tried) -> Finding {
    if !tried.mistakes.is_empty() {
        return Finding::failed(
            "collector_variable",
            tried.mistakes.join("\n"),
            "correct the variable; OBSERVABILITY.md lists them",
        );
    }
    if tried.exports.is_empty() {
        return Finding::skipped("no OTEL_EXPORTER_OTLP_ENDPOINT: nothing is exported");
    }
    let failed = tried.exports.iter().find(|(_, export)| export.batches == 0);
    match failed {
        None => Finding::ok(arrived(&tried.exports)),
        Some((signal, export)) => {
            let (code, message) = match &export.last_error {
                Some(error) => (error.code.as_str(), error.message.as_str()),
                None => ("export", "it did not arrive"),
            };
            Finding::failed(
                &format!("collector_{code}"),
                format!("{signal} to {} ({}): {message}", export.endpoint, export.protocol),
                advice(code, export),
            )
        }
    }
}

fn arrived(exports: &[(&'static str, ExportSnapshot)]) -> String {
    let lines: Vec<String> = exports
        .iter()
        .map(|(signal, export)| format!("{signal} to {} ({})", export.endpoint, export.protocol))
        .collect();
    format!("an empty batch each arrived: {}", lines.join(", "))
}

fn advice(code: &str, export: &ExportSnapshot) -> String {
    let other_port = "gRPC usually has port 4317 and HTTP 4318: does OTEL_EXPORTER_OTLP_PROTOCOL fit the endpoint's?";
    match code {
        "connect" => format!(
            "is the collector running, and is {} its address (OTEL_EXPORTER_OTLP_ENDPOINT)?",
            export.endpoint
        ),
        "tls" => "http:// or https://? The collector's authority is named by OTEL_EXPORTER_OTLP_CERTIFICATE".to_owned(),
        "timeout" => format!("the collector is silent. {other_port}"),
        "http_status" | "grpc_status" => format!(
            "the collector refuses it: are its receiver for this signal and OTEL_EXPORTER_OTLP_HEADERS right? {other_port}"
        ),
        _ => other_port.to_owned(),
    }
}

/// An export may take longer, but who waits for a doctor should not.
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use spectral_bridge::status::snapshot::LastError;

    use super::*;
    use crate::doctor::report::Status;

    fn export(batches: u64, code: &str) -> ExportSnapshot {
        ExportSnapshot {
            endpoint: "http://c:4317".to_owned(),
            protocol: "grpc".to_owned(),
            batches,
            last_error: (!code.is_empty()).then(|| LastError {
                code: code.to_owned(),
                message: "why".to_owned(),
                seconds_ago: 0.0,
            }),
            ..ExportSnapshot::default()
        }
    }

    #[test]
    fn what_does_not_arrive_is_told_with_what_to_look_at() {
        let tried = |exports| Tried {
            mistakes: Vec::new(),
            exports,
        };
        assert_eq!(judge(&tried(Vec::new())).status, Status::Skipped);
        assert_eq!(judge(&tried(vec![("logs", export(1, ""))])).status, Status::Ok);
        for (code, words) in [
            ("connect", "http://c:4317"),
            ("tls", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
            ("timeout", "4318"),
            ("grpc_status", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("network", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ] {
            let finding = judge(&tried(vec![("metrics", export(1, "")), ("logs", export(0, code))]));
            assert_eq!(finding.code, Some(format!("collector_{code}")));
            assert!(
                finding.detail.starts_with("logs to http://c:4317 (grpc): why"),
                "{finding:?}"
            );
            assert!(finding.advice.unwrap().contains(words), "{code}");
        }
        let mistaken = Tried {
            mistakes: vec!["OTEL_X is 1, allowed: 2".to_owned()],
            exports: Vec::new(),
        };
        assert_eq!(judge(&mistaken).code.as_deref(), Some("collector_variable"));
    }
}
