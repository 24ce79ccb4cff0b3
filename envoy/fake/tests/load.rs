//! Loading: the version string, missing functions, refusals, and what a module can learn about its process.
#![forbid(unsafe_code)]

use envoy_fake::FakeEnvoy;
use envoy_proxy_dynamic_modules_rust_sdk::{
    BootstrapExtension, BootstrapExtensionConfig, EnvoyBootstrapExtension, EnvoyBootstrapExtensionConfig, EnvoyRelease,
    Factories, all_callbacks, declare_all_init_functions, envoy_release, get_server_concurrency, is_validation_mode,
    required_callbacks,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

declare_all_init_functions!(|| true, bootstrap: new_bootstrap);

struct Quiet;

impl BootstrapExtensionConfig for Quiet {
    fn new_bootstrap_extension(&self, _: &mut dyn EnvoyBootstrapExtension) -> Box<dyn BootstrapExtension> {
        Box::new(Quiet)
    }
}

impl BootstrapExtension for Quiet {}

static SEEN_VALIDATION: AtomicBool = AtomicBool::new(false);
static SEEN_CONCURRENCY: AtomicUsize = AtomicUsize::new(0);

fn new_bootstrap(
    _: &mut dyn EnvoyBootstrapExtensionConfig,
    _: &str,
    _: &[u8],
) -> Option<Box<dyn BootstrapExtensionConfig>> {
    SEEN_VALIDATION.store(is_validation_mode(), Ordering::SeqCst);
    SEEN_CONCURRENCY.store(get_server_concurrency() as usize, Ordering::SeqCst);
    Some(Box::new(Quiet))
}

#[test]
fn each_release_gets_the_version_string_that_it_accepts_silently() {
    for (release, version) in [
        (EnvoyRelease::V1_38, "v0.1.0"),
        (EnvoyRelease::V1_39, "v0.1.0"),
        (EnvoyRelease::V1_40, "v0.2.0"),
    ] {
        let envoy = FakeEnvoy::new(release);
        assert_eq!(envoy.load_entry(envoy_dynamic_module_on_program_init), Some(version));
        assert_eq!(envoy_release(), Some(release));
    }
}

#[test]
fn any_missing_required_function_refuses_the_load() {
    for name in required_callbacks() {
        let envoy = FakeEnvoy::lacking(EnvoyRelease::V1_40, &[name]);
        assert_eq!(envoy.load(|| true, Factories::none()), None, "without {name}");
        assert_eq!(envoy_release(), None, "nothing is half resolved without {name}");
    }
}

#[test]
fn a_missing_optional_function_does_not() {
    for callback in all_callbacks().iter().filter(|callback| !callback.is_required()) {
        let envoy = FakeEnvoy::lacking(EnvoyRelease::V1_40, &[callback.name()]);
        assert!(
            envoy.load(|| true, Factories::none()).is_some(),
            "without {}",
            callback.name()
        );
    }
}

#[test]
fn required_functions_are_listed_by_their_full_symbol() {
    let names: Vec<_> = required_callbacks().collect();
    assert!(names.contains(&"envoy_dynamic_module_callback_log"));
    assert!(names.contains(&"envoy_dynamic_module_callback_http_get_headers"));
    assert!(!names.contains(&"envoy_dynamic_module_callback_log_v2"));
    assert_eq!(names.len() + 3, all_callbacks().len());
}

#[test]
fn an_init_function_that_says_no_or_panics_refuses_the_load() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_40);
    assert_eq!(envoy.load(|| false, Factories::none()), None);
    assert_eq!(envoy.load(|| panic!("no init today"), Factories::none()), None);
    assert!(envoy.logged(4, "no init today"));
    assert!(envoy.logged(4, "panic in the Envoy hook program_init"));
}

#[test]
fn an_extension_point_that_the_module_does_not_offer_is_refused_with_a_reason() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_40);
    assert!(envoy.load(|| true, Factories::none()).is_some());
    assert!(envoy.bootstrap("relay", b"").is_none());
    assert!(envoy.http("usage", b"").is_none());
    assert!(envoy.route("usage", b"").is_none());
    assert!(envoy.logged(4, "offers no bootstrap extension"));
    assert!(envoy.logged(4, "offers no HTTP filter"));
    assert!(envoy.logged(4, "takes no per-route configuration"));
}

#[test]
fn a_factory_knows_validation_mode_and_concurrency() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_39);
    assert!(envoy.load_entry(envoy_dynamic_module_on_program_init).is_some());
    envoy.set_validation_mode(true);
    let validated = envoy.bootstrap("relay", b"");
    assert!(validated.is_some() && SEEN_VALIDATION.load(Ordering::SeqCst));
    envoy.set_validation_mode(false);
    let serving = envoy.bootstrap("relay", b"");
    assert!(serving.is_some() && !SEEN_VALIDATION.load(Ordering::SeqCst));
    assert_eq!(SEEN_CONCURRENCY.load(Ordering::SeqCst), 2);
}
