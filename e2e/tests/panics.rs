//! The promise that a panic inside a hook leaves Envoy serving, on a module built to panic (`fixtures/panicking.rs`).

use std::path::PathBuf;

use e2e::world::http::get;
use e2e::world::site::DEADLINE;
use e2e::world::{Envoy, Scratch, free_address, render, workspace};

/// Where cargo puts the examples that it builds along with this test.
fn examples() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples")
}

#[tokio::test]
async fn a_panic_inside_a_hook_leaves_envoy_serving() {
    let scratch = Scratch::new().unwrap();
    let (admin, listener) = (free_address().unwrap(), free_address().unwrap());
    let text = render(
        &workspace().join("e2e/fixtures/panicking.yaml"),
        &[
            ("port_value: 9901", &format!("port_value: {}", admin.port())),
            ("port_value: 10000", &format!("port_value: {}", listener.port())),
        ],
    )
    .unwrap();
    let config = scratch.write("envoy.yaml", text).unwrap();
    let examples = examples();
    let variables = [("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", examples.to_str().unwrap())];
    let mut envoy = Envoy::start(&config, admin, &variables).unwrap();
    envoy.ready(DEADLINE).await.unwrap();
    let page = |path: &str| format!("http://{listener}{path}");

    assert_eq!(get(&page("/panic/request")).await.unwrap().status.as_u16(), 500);
    assert_eq!(get(&page("/panic/response")).await.unwrap().status.as_u16(), 500);
    assert_eq!(envoy.admin("/panic").await.unwrap().status.as_u16(), 500);
    assert_eq!(get(&page("/")).await.unwrap().text(), "served");

    envoy.process().terminate().unwrap();
    let ended = envoy.process().exited(DEADLINE).await.unwrap();
    let output = envoy.process().output_to_end(DEADLINE).await;
    assert_eq!(ended.code(), Some(0), "{output}");
    for hook in [
        "server_initialized",
        "request_headers",
        "response_headers",
        "an admin page",
        "shutdown",
    ] {
        assert!(
            output.contains(&format!("forced in {hook}")),
            "the panic in {hook} is not in the log:\n{output}"
        );
    }
}
