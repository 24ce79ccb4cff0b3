//! Responses that Envoy made itself, told as faults of this client: they are not the adapter's words.

use crate::protocol::Fault;
use crate::protocol::limits::MAX_QUOTED_CHARS;

/// The fault for Envoy's own answer.
pub(crate) fn fault(status: u16, body: &[u8]) -> Fault {
    match status {
        408 | 504 => Fault::AdapterTimeout,
        429 => Fault::OverBudget,
        431 => Fault::HeadersTooLarge("Envoy refused them with 431".into()),
        _ => Fault::AdapterUnavailable(format!("Envoy answered {status} itself{}", quoted(body)).into()),
    }
}

/// Envoy's text names the cause, for example `upstream connect error … connection refused`.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_QUOTED_CHARS / 4)
        .collect();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_own_answers_become_our_codes() {
        let code = |status| fault(status, b"").code();
        assert_eq!(code(503), "adapter_unavailable");
        assert_eq!(code(404), "adapter_unavailable");
        assert_eq!(code(413), "adapter_unavailable");
        assert_eq!((code(504), code(408)), ("adapter_timeout", "adapter_timeout"));
        assert_eq!(code(431), "headers_too_large");
        assert_eq!(code(429), "over_budget");
    }

    #[test]
    fn envoys_text_tells_the_cause() {
        let message = fault(503, b"upstream connect error, reset reason: connection failure\n").to_string();
        assert_eq!(
            message,
            "adapter unavailable: Envoy answered 503 itself: upstream connect error, reset reason: connection failure"
        );
    }
}
