use super::*;
use crate::doctor::report::Status;

#[test]
fn releases_are_read_from_what_envoy_says() {
    for (said, seen) in [
        (
            "\nenvoy  version: ab12/1.40.0/Clean/RELEASE/BoringSSL\n",
            Some((1, 40, 0)),
        ),
        (
            "envoy version: ab/1.41.0-dev/Modified/DEBUG/BoringSSL",
            Some((1, 41, 0)),
        ),
        ("true (GNU coreutils) 9.1", None),
        ("version: x", None),
        ("", None),
    ] {
        assert_eq!(version(said), seen, "{said}");
    }
    assert_eq!(first_line("\n\n  usage: x\nmore"), "usage: x");
}

#[test]
fn a_required_function_that_is_missing_fails_and_an_optional_one_is_told() {
    let missing = compared(&["envoy_dynamic_module_callback_log"], &[]);
    assert_eq!(missing.code.as_deref(), Some("symbols_missing"));
    assert!(
        missing.detail.contains("envoy_dynamic_module_callback_log"),
        "{}",
        missing.detail
    );
    let older = compared(&[], &["envoy_dynamic_module_callback_log_v2"]);
    assert_eq!(older.status, Status::Ok);
    assert!(older.advice.unwrap().contains("log_v2"));
    assert_eq!(
        compared(&[], &["envoy_dynamic_module_callback_get_log_level"]).advice,
        None
    );
}

#[test]
fn what_each_optional_function_costs_is_known() {
    let silent = ["get_log_level", "http_set_dynamic_metadata_struct"];
    for callback in all_callbacks().iter().filter(|callback| !callback.is_required()) {
        let name = callback.name().strip_prefix(CALLBACK).unwrap();
        assert_eq!(cost(name).is_none(), silent.contains(&name), "{name}");
    }
}

#[test]
fn a_module_is_compared_with_an_envoy() {
    let module = Elf {
        machine: 62,
        exports: [ENTRY_INIT.to_owned()].into(),
        ..Elf::default()
    };
    let mut envoy = Elf {
        machine: 62,
        exports: all_callbacks()
            .iter()
            .map(|callback| callback.name().to_owned())
            .collect(),
        ..Elf::default()
    };
    assert_eq!(
        symbols(&module, Some(&envoy)),
        Finding::ok("Envoy exports every function that the module needs")
    );
    assert_eq!(symbols(&module, None).status, Status::Ok);
    envoy.machine = 183;
    assert_eq!(symbols(&module, Some(&envoy)).code.as_deref(), Some("module_machine"));
    assert_eq!(
        symbols(&Elf::default(), Some(&envoy)).code.as_deref(),
        Some("module_foreign")
    );
}

#[test]
fn glibc_is_compared_with_what_is_needed() {
    let host = host_glibc();
    assert!(host.is_some(), "tests run on glibc");
    assert_eq!(satisfied(host, &[("a", host), ("b", None)]).status, Status::Ok);
    assert_eq!(satisfied(None, &[("a", host)]).code.as_deref(), Some("glibc_missing"));
    assert_eq!(satisfied(None, &[("a", None)]).status, Status::Ok);
}
