//! The bootstrap extension's hooks against the fake Envoy.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

use envoy_fake::{Bootstrap, FakeEnvoy};
use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_metrics_result as MetricsResult;
use envoy_proxy_dynamic_modules_rust_sdk::host::MetricKind;
use envoy_proxy_dynamic_modules_rust_sdk::{
    BootstrapExtension, BootstrapExtensionConfig, CompletionCallback, EnvoyBootstrapExtension,
    EnvoyBootstrapExtensionConfig, EnvoyBootstrapExtensionConfigScheduler, EnvoyBootstrapExtensionTimer,
    EnvoyCounterVecId, EnvoyGaugeId, EnvoyRelease, Factories,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a test wants to reach from outside of the extension.
#[derive(Default)]
struct Outside {
    scheduler: Option<Arc<dyn EnvoyBootstrapExtensionConfigScheduler>>,
    completion: Option<CompletionCallback>,
    timer: Option<Box<dyn EnvoyBootstrapExtensionTimer>>,
    seen: Vec<String>,
}

static OUTSIDE: Mutex<Option<Outside>> = Mutex::new(None);

fn outside<T>(look: impl FnOnce(&mut Outside) -> T) -> T {
    look(
        OUTSIDE
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .get_or_insert_default(),
    )
}

fn saw(what: impl Into<String>) {
    outside(|outside| outside.seen.push(what.into()));
}

fn seen() -> Vec<String> {
    outside(|outside| std::mem::take(&mut outside.seen))
}

/// Panics in the hook that its configuration names, and records the others.
struct Module {
    config: String,
    events: EnvoyCounterVecId,
    up: EnvoyGaugeId,
}

fn factory(
    envoy: &mut dyn EnvoyBootstrapExtensionConfig,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn BootstrapExtensionConfig>> {
    let config = String::from_utf8_lossy(config).into_owned();
    saw(format!("factory {name} {config}"));
    envoy.register_admin_handler("/page", "help", true, false);
    envoy.register_admin_handler("/fixed", "help", false, true);
    assert_ne!(config, "panic in config_new", "as asked");
    if config == "refuse" {
        return None;
    }
    let events = envoy.define_counter_vec("events", &["kind"]).ok()?;
    let up = envoy.define_gauge("up").ok()?;
    let timer = envoy.new_timer();
    timer.enable(Duration::from_millis(1500));
    envoy.signal_init_complete();
    envoy.signal_init_complete();
    outside(|outside| {
        outside.scheduler = Some(Arc::from(envoy.new_scheduler()));
        outside.timer = Some(timer);
    });
    Some(Box::new(Module { config, events, up }))
}

impl Module {
    fn enter(&self, hook: &str) {
        saw(hook);
        assert!(self.config != format!("panic in {hook}"), "as asked");
    }
}

impl BootstrapExtensionConfig for Module {
    fn new_bootstrap_extension(&self, _: &mut dyn EnvoyBootstrapExtension) -> Box<dyn BootstrapExtension> {
        self.enter("new");
        Box::new(Module {
            config: self.config.clone(),
            events: self.events,
            up: self.up,
        })
    }

    fn on_scheduled(&self, envoy: &mut dyn EnvoyBootstrapExtensionConfig, event_id: u64) {
        self.enter("scheduled");
        saw(format!("event {event_id}"));
        assert_eq!(envoy.increment_counter_vec(self.events, &["scheduled"], 2), Ok(()));
        assert_eq!(
            envoy.increment_counter_vec(self.events, &["a", "b"], 1),
            Err(MetricsResult::InvalidLabels)
        );
        assert_eq!(envoy.set_gauge(self.up, 7), Ok(()));
        assert_eq!(envoy.decrease_gauge(self.up, 2), Ok(()));
        assert_eq!(envoy.define_counter("late"), Err(MetricsResult::Frozen));
    }

    fn on_timer_fired(&self, envoy: &mut dyn EnvoyBootstrapExtensionConfig, timer: &dyn EnvoyBootstrapExtensionTimer) {
        self.enter("timer_fired");
        saw(format!(
            "{:?} {:?}",
            envoy.get_counter_value("known"),
            envoy.get_gauge_value("known")
        ));
        let same = outside(|outside| outside.timer.as_ref().map(|own| own.id() == timer.id()));
        saw(format!("own timer: {same:?}, runs: {}", timer.enabled()));
        timer.enable(Duration::from_secs(9));
    }

    fn on_file_changed(&self, _: &mut dyn EnvoyBootstrapExtensionConfig, path: &str, events: u32) {
        self.enter("file_changed");
        saw(format!("{path} {events}"));
    }

    fn on_admin_request(
        &self,
        _: &mut dyn EnvoyBootstrapExtensionConfig,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> (u32, String) {
        self.enter("admin_request");
        (202, format!("{method} {path} {}", body.len()))
    }
}

impl BootstrapExtension for Module {
    fn on_server_initialized(&mut self, envoy: &mut dyn EnvoyBootstrapExtension) {
        self.enter("server_initialized");
        saw(format!(
            "{:?} {:?}",
            envoy.get_counter_value("known"),
            envoy.get_gauge_value("known")
        ));
    }

    fn on_worker_thread_initialized(&mut self, _: &mut dyn EnvoyBootstrapExtension) {
        self.enter("worker_thread_initialized");
    }

    fn on_drain_started(&mut self, _: &mut dyn EnvoyBootstrapExtension) {
        self.enter("drain_started");
    }

    fn on_shutdown(&mut self, _: &mut dyn EnvoyBootstrapExtension, completion: CompletionCallback) {
        self.enter("shutdown");
        match self.config.as_str() {
            "drop completion" => drop(completion),
            "keep completion" => outside(|outside| outside.completion = Some(completion)),
            _ => completion.done(),
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        saw("dropped");
        // A second panic while the first unwinds would abort, which is the language's rule, not a hook's.
        assert!(self.config != "panic in drop" || std::thread::panicking(), "as asked");
    }
}

fn envoy() -> FakeEnvoy {
    envoy_of(EnvoyRelease::V1_40)
}

fn envoy_of(release: EnvoyRelease) -> FakeEnvoy {
    let envoy = FakeEnvoy::new(release);
    drop(OUTSIDE.lock().unwrap_or_else(|poison| poison.into_inner()).take());
    assert!(envoy.load(|| true, Factories::none().bootstrap(factory)).is_some());
    envoy
}

fn extension(envoy: &FakeEnvoy, config: &str) -> Bootstrap {
    let bootstrap = envoy.bootstrap("relay", config.as_bytes()).unwrap();
    seen();
    bootstrap
}

#[test]
fn the_hooks_reach_the_module_in_envoys_order() {
    let envoy = envoy();
    envoy.set_stat(MetricKind::Counter, "known", 5);
    let bootstrap = envoy.bootstrap("relay", b"{}").unwrap();
    bootstrap.worker_thread_initialized();
    bootstrap.server_initialized();
    bootstrap.drain_started();
    bootstrap.file_changed(b"/a/b", 2);
    bootstrap.shutdown();
    drop(bootstrap);
    let expected = [
        "factory relay {}",
        "new",
        "worker_thread_initialized",
        "server_initialized",
        "Some(5) None",
        "drain_started",
        "file_changed",
        "/a/b 2",
        "shutdown",
        "dropped",
        "dropped",
    ];
    assert_eq!(seen(), expected);
}

#[test]
fn initialisation_completes_once() {
    let envoy = envoy();
    let bootstrap = extension(&envoy, "");
    assert_eq!(bootstrap.init_completions(), 1, "two calls, one signal");
}

#[test]
fn a_refused_configuration_is_null_and_leaves_no_admin_page_that_can_go() {
    let envoy = envoy();
    for config in ["refuse", "panic in config_new"] {
        assert!(envoy.bootstrap("relay", config.as_bytes()).is_none());
        assert!(
            !envoy.admin_handlers().iter().any(|handler| handler.path == "/page"),
            "{config}"
        );
    }
    assert!(envoy.logged(4, "panic in the Envoy hook bootstrap_extension_config_new"));
    assert!(envoy.logged(4, "panicked at"));
}

#[test]
fn null_is_empty_and_a_name_is_text() {
    let envoy = envoy();
    assert!(envoy.bootstrap_raw(None, None).is_some());
    assert_eq!(seen()[0], "factory  ");
    assert!(envoy.bootstrap_raw(Some(b"\xff\xfe"), Some(b"{}")).is_none());
    assert!(envoy.logged(4, "not UTF-8"));
}

#[test]
fn every_hook_survives_its_panic() {
    let envoy = envoy();
    type Call = fn(&Bootstrap);
    let hooks: [(&str, Call); 8] = [
        ("server_initialized", |bootstrap| bootstrap.server_initialized()),
        ("worker_thread_initialized", |bootstrap| {
            bootstrap.worker_thread_initialized()
        }),
        ("drain_started", |bootstrap| bootstrap.drain_started()),
        ("shutdown", |bootstrap| bootstrap.shutdown()),
        ("scheduled", |bootstrap| bootstrap.scheduled(1)),
        ("timer_fired", |bootstrap| bootstrap.fire_timers()),
        ("file_changed", |bootstrap| bootstrap.file_changed(b"/x", 1)),
        ("admin_request", |bootstrap| {
            assert_eq!(bootstrap.admin("GET", "/page", b""), (500, String::new()))
        }),
    ];
    for (hook, call) in hooks {
        let bootstrap = extension(&envoy, &format!("panic in {hook}"));
        call(&bootstrap);
        assert_eq!(seen()[0], hook, "the hook ran");
        assert!(
            envoy
                .logs()
                .iter()
                .any(|line| line.level == 4 && line.message.contains(&format!("{hook} was caught"))),
            "{hook}"
        );
        bootstrap.shutdown();
        assert_eq!(
            bootstrap.shutdown_completions(),
            if hook == "shutdown" { 2 } else { 1 },
            "{hook}: later hooks work"
        );
    }
}

#[test]
fn a_module_that_panics_when_dropped_is_gone_all_the_same() {
    let envoy = envoy();
    drop(extension(&envoy, "panic in drop"));
    assert!(envoy.logged(4, "bootstrap_extension_destroy was caught"));
    assert!(envoy.logged(4, "bootstrap_extension_config_destroy was caught"));
}

#[test]
fn an_extension_that_was_not_made_still_completes_the_shutdown() {
    let envoy = envoy();
    let bootstrap = extension(&envoy, "panic in new");
    assert!(!bootstrap.has_extension());
    bootstrap.server_initialized();
    bootstrap.shutdown();
    assert_eq!(bootstrap.shutdown_completions(), 1);
}

#[test]
fn the_shutdown_completes_exactly_once() {
    let envoy = envoy();
    for config in ["", "drop completion", "panic in shutdown"] {
        let bootstrap = extension(&envoy, config);
        bootstrap.shutdown();
        assert_eq!(bootstrap.shutdown_completions(), 1, "{config:?}");
    }
    let bootstrap = extension(&envoy, "keep completion");
    bootstrap.shutdown();
    assert_eq!(bootstrap.shutdown_completions(), 0, "Envoy waits");
    let completion = outside(|outside| outside.completion.take()).unwrap();
    std::thread::spawn(move || completion.done()).join().unwrap();
    assert_eq!(bootstrap.shutdown_completions(), 1);
}

#[test]
fn admin_pages_answer_and_are_gone_before_the_shutdown_hook() {
    let envoy = envoy();
    let bootstrap = extension(&envoy, "keep completion");
    let paths = |envoy: &FakeEnvoy| {
        envoy
            .admin_handlers()
            .into_iter()
            .map(|handler| handler.path)
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&envoy), ["/page", "/fixed"]);
    assert_eq!(
        bootstrap.admin("POST", "/page?x=1", b"abc"),
        (202, "POST /page?x=1 3".to_owned())
    );
    assert_eq!(
        bootstrap.admin_raw(b"GET", b"/page", None),
        (202, "GET /page 0".to_owned())
    );
    assert_eq!(bootstrap.admin_raw(b"GET", b"/\xff", None).0, 400);
    bootstrap.shutdown();
    assert_eq!(paths(&envoy), ["/fixed"]);
}

#[test]
fn an_event_crosses_threads_and_after_the_end_it_does_nothing() {
    let envoy = envoy();
    let bootstrap = extension(&envoy, "");
    let scheduler = outside(|outside| outside.scheduler.clone()).unwrap();
    let elsewhere = Arc::clone(&scheduler);
    std::thread::spawn(move || elsewhere.commit(42)).join().unwrap();
    assert_eq!(envoy.run_events(&bootstrap), 1);
    assert_eq!(seen(), ["scheduled", "event 42"]);
    assert_eq!(envoy.metric("events", &["scheduled"]), Some(2));
    assert_eq!(envoy.metric("up", &[]), Some(5));
    assert!(!envoy.logged(4, "panic"), "the assertions in the hook held");
    drop(bootstrap);
    scheduler.commit(43);
    assert!(envoy.pending_events().is_empty());
    assert_eq!(envoy.schedulers(), 1);
    outside(|outside| outside.scheduler.take());
    drop(scheduler);
    assert_eq!(envoy.schedulers(), 0, "the last handle deletes the scheduler");
}

#[test]
fn a_timer_runs_on_its_thread_only() {
    let envoy = envoy();
    envoy.set_stat(MetricKind::Gauge, "known", 7);
    let bootstrap = extension(&envoy, "");
    assert_eq!(bootstrap.running_timers(), [1500]);
    bootstrap.fire_timers();
    assert_eq!(
        seen(),
        ["timer_fired", "None Some(7)", "own timer: Some(true), runs: false"]
    );
    assert_eq!(bootstrap.running_timers(), [9000], "the hook started it anew");
    let timer = outside(|outside| outside.timer.take()).unwrap();
    let timer = std::thread::spawn(move || {
        timer.enable(Duration::from_secs(1));
        timer
    });
    let timer = timer.join().unwrap();
    assert_eq!(bootstrap.running_timers(), [9000]);
    assert!(envoy.logged(4, "on another thread"));
    timer.disable();
    assert_eq!(bootstrap.running_timers(), []);
    drop(timer);
    assert_eq!(bootstrap.timers(), 0);
}

#[test]
fn the_extension_works_on_every_release() {
    for release in [EnvoyRelease::V1_38, EnvoyRelease::V1_39, EnvoyRelease::V1_40] {
        let envoy = envoy_of(release);
        let bootstrap = extension(&envoy, "");
        bootstrap.server_initialized();
        bootstrap.scheduled(1);
        bootstrap.shutdown();
        assert_eq!(bootstrap.shutdown_completions(), 1, "{release:?}");
    }
}
