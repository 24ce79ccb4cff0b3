//! Which web pages may ask from a browser.

use hyper::{Method, StatusCode};

use super::world::{JSON, World, chat};

const PAGE: &str = "https://app.example.com";

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_and_no_other() {
    let world = World::start().await;
    for (origin, allowed) in [
        (PAGE, true),
        ("https://app.example.com.evil.example", false),
        ("http://app.example.com", false),
        ("null", false),
    ] {
        for path in ["/v1/chat/completions", "/v1/models"] {
            let preflight = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                (
                    "access-control-request-headers",
                    "authorization, content-type, x-stainless-os",
                ),
            ];
            // a browser sends no token with it
            let reply = world.send_bare(Method::OPTIONS, path, &preflight, "").await;
            assert_eq!(reply.status, StatusCode::OK, "{origin}");
            let header = |name| reply.headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(
                header("access-control-allow-origin"),
                allowed.then_some(PAGE),
                "{origin}"
            );
            if allowed {
                assert_eq!(header("access-control-allow-methods"), Some("GET, POST"));
                assert_eq!(
                    header("access-control-allow-headers"),
                    Some("authorization, content-type, x-stainless-os")
                );
            }
        }
        let asks = [JSON, ("origin", origin)];
        let body = chat("demo").to_string();
        let reply = world
            .send(Method::POST, "/v1/chat/completions", &asks, body.clone())
            .await;
        assert_eq!(reply.status, StatusCode::OK);
        let seen = reply.headers.get("access-control-allow-origin");
        assert_eq!(seen.is_some(), allowed, "{origin}");
        // a page can read why it was refused
        let reply = world.send_bare(Method::POST, "/v1/chat/completions", &asks, body).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            reply.headers.get("access-control-allow-origin").is_some(),
            allowed,
            "{origin}"
        );
    }
    for asked in world.primary.ledger().exchanges() {
        assert_eq!(asked.method, Method::POST, "no preflight reached a model");
    }
    // what only looks like a preflight needs a token like everything else
    let reply = world
        .send_bare(Method::OPTIONS, "/v1/models", &[("origin", PAGE)], "")
        .await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}
