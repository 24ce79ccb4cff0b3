//! Promises about mistakes: Envoy refuses with every one of them listed, and `--mode validate` does nothing else.

use std::time::Duration;

use e2e::world::site::{DEADLINE, KEY, Plan, Shipped};
use e2e::world::{Process, command, envoy_binary, library_dir, validate};

const BOTH: [Shipped; 2] = [Shipped::Sidecar, Shipped::MeshFilter];

/// A plan with four mistakes: an unknown key, an inline secret, `ws://` and a forward address that is not loopback.
fn mistaken(shipped: Shipped) -> Plan {
    let plan = Plan::new(shipped).unwrap();
    let relay = format!("wss://localhost:{}/connect", plan.relay.port());
    let socket = format!("to: unix://{}", plan.scratch.path().join("adapter.sock").display());
    let edited = plan.edit(&relay, "ws://relay.example.com/connect").unwrap();
    let edited = edited
        .edit("{ env: SPECTRAL_BRIDGE_API_KEY }", "sk-inline-0123456789")
        .unwrap();
    let edited = edited.edit("# max_in_flight: 512", "max_inflight: 512 #").unwrap();
    edited.edit(&socket, "to: http://192.0.2.7:8080").unwrap()
}

fn assert_lists_every_mistake(output: &str) {
    for mistake in [
        "relays[0].url",
        "relays[0].api_key",
        "relays[0].max_inflight",
        "forward.to",
    ] {
        assert!(output.contains(mistake), "{mistake} is not listed in:\n{output}");
    }
    assert!(output.contains("max_in_flight"), "no hint at the right key:\n{output}");
    assert!(!output.contains("sk-inline"), "the inline secret was echoed:\n{output}");
}

#[tokio::test]
async fn validate_lists_every_mistake() {
    for shipped in BOTH {
        let plan = mistaken(shipped);
        let said = validate(&plan.write().unwrap(), &[], DEADLINE).await.unwrap();
        assert!(!said.status.success());
        assert_lists_every_mistake(&said.output);
    }
}

#[tokio::test]
async fn envoy_refuses_to_start_and_lists_every_mistake() {
    for shipped in BOTH {
        let plan = mistaken(shipped);
        let mut envoy = command(envoy_binary().unwrap());
        envoy.arg("-c").arg(plan.write().unwrap()).arg("--disable-hot-restart");
        envoy.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", library_dir().unwrap());
        let mut process = Process::start("envoy", &mut envoy).unwrap();
        assert!(!process.exited(DEADLINE).await.unwrap().success());
        assert_lists_every_mistake(&process.output_to_end(DEADLINE).await);
    }
}

#[tokio::test]
async fn validate_neither_dials_nor_binds_nor_makes_an_absent_secret_a_mistake() {
    for shipped in BOTH {
        let plan = Plan::new(shipped).unwrap();
        let relay = plan.start_relay(|_| {}).await.unwrap();
        let config = plan.write().unwrap();
        let said = validate(&config, &[], DEADLINE).await.unwrap();
        assert!(said.status.success(), "{}", said.output);
        assert!(
            said.output.contains("SPECTRAL_BRIDGE_API_KEY is not set"),
            "{}",
            said.output
        );
        let with_key = validate(&config, &[("SPECTRAL_BRIDGE_API_KEY", KEY)], DEADLINE)
            .await
            .unwrap();
        assert!(with_key.status.success(), "{}", with_key.output);
        assert!(
            !with_key.output.contains("status server listens"),
            "{}",
            with_key.output
        );
        assert!(relay.journal().entries().is_empty(), "validate dialled the relay");
    }
}

#[tokio::test]
async fn an_unknown_extension_or_filter_name_is_refused_with_the_names_allowed() {
    for (shipped, field) in [
        (Shipped::Sidecar, "extension_name: relay"),
        (Shipped::MeshFilter, "filter_name: relay"),
    ] {
        let plan = Plan::new(shipped)
            .unwrap()
            .edit(field, &field.replace("relay", "rely"))
            .unwrap();
        let said = validate(&plan.write().unwrap(), &[], Duration::from_secs(20))
            .await
            .unwrap();
        assert!(!said.status.success());
        assert!(
            said.output
                .contains("\"rely\" is not known to this module, allowed: \"relay\""),
            "{}",
            said.output
        );
    }
}
