//! The hooks that Envoy calls for a bootstrap extension. All 17 must be exported; all run on the main thread.
//!
//! Each goes through the guard. The pointers that Envoy passes back are those that `config_new` and `new` returned; Envoy never uses one
//! after its destroy hook, and passes null where `new` returned null (before 1.40).

use super::envoy::{EnvoyConfig, EnvoyExtension, Shared};
use super::traits::{BootstrapExtension, BootstrapExtensionConfig, CompletionCallback};
use crate::abi::{Buffer, EnvoyPtr, EventCb, Header, LogLevel, ModulePtr};
use crate::buffer::EnvoyBuffer;
use crate::callbacks::callbacks;
use crate::entry::{checked_name, factories, learn_process_facts};
use crate::guard::{guard, run};
use crate::log;
use std::cell::RefCell;
use std::ptr::null;
use std::rc::Rc;

/// The object behind Envoy's pointer to the module's configuration.
struct Config {
    user: Box<dyn BootstrapExtensionConfig>,
    shared: Rc<Shared>,
}

/// The object behind Envoy's pointer to the module's extension.
struct Extension {
    /// Borrowed while one of its hooks runs, so that a hook called from within a hook cannot alias it.
    user: RefCell<Box<dyn BootstrapExtension>>,
    shared: Rc<Shared>,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_config_new(
    envoy_config: EnvoyPtr,
    name: Buffer,
    config: Buffer,
) -> ModulePtr {
    // SAFETY: Envoy's text, valid until this hook returns.
    let name = unsafe { EnvoyBuffer::from_raw(name) };
    // SAFETY: as above.
    let config = unsafe { EnvoyBuffer::from_raw(config) };
    let body = || {
        let config = new_config(envoy_config, name.as_slice(), config.as_slice());
        config.map_or(null(), |config| Box::into_raw(config).cast_const().cast())
    };
    guard("bootstrap_extension_config_new", body, null)
}

fn new_config(envoy_config: EnvoyPtr, name: &[u8], config: &[u8]) -> Option<Box<Config>> {
    let envoy = callbacks()?;
    learn_process_facts();
    let name = checked_name("bootstrap extension", name)?;
    let Some(factory) = factories().bootstrap else {
        log::write(
            LogLevel::Error,
            "this module offers no bootstrap extension",
            file!(),
            line!(),
        );
        return None;
    };
    let shared = Rc::new(Shared::new(envoy, envoy_config));
    let user = run("bootstrap_extension_config_new", || {
        factory(&mut EnvoyConfig(&shared), name, config)
    })
    .flatten();
    if user.is_none() {
        shared.remove_admin_handlers();
    }
    Some(Box::new(Config { user: user?, shared }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_config_destroy(config: ModulePtr) {
    let body = || {
        if !config.is_null() {
            // SAFETY: the box of `config_new`; Envoy gives it back once.
            drop(unsafe { Box::from_raw(config.cast_mut().cast::<Config>()) });
        }
    };
    guard("bootstrap_extension_config_destroy", body, || ());
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_new(
    config: ModulePtr,
    envoy_extension: EnvoyPtr,
) -> ModulePtr {
    let body = || {
        // SAFETY: the box of `config_new`, not destroyed yet.
        let Some(config) = (unsafe { config.cast::<Config>().as_ref() }) else {
            return null();
        };
        let user = config
            .user
            .new_bootstrap_extension(&mut config.shared.extension(envoy_extension));
        config.shared.remember_extension(Some(envoy_extension));
        let extension = Extension {
            user: RefCell::new(user),
            shared: Rc::clone(&config.shared),
        };
        Box::into_raw(Box::new(extension)).cast_const().cast()
    };
    guard("bootstrap_extension_new", body, null)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_destroy(extension: ModulePtr) {
    let body = || {
        if !extension.is_null() {
            // SAFETY: the box of `new`; Envoy gives it back once.
            let extension = unsafe { Box::from_raw(extension.cast_mut().cast::<Extension>()) };
            // Envoy destroys its own object with this one
            extension.shared.remember_extension(None);
            drop(extension);
        }
    };
    guard("bootstrap_extension_destroy", body, || ());
}

/// Runs one hook of the extension.
///
/// # Safety
///
/// `extension` is null or the box of `new`, not destroyed yet; `envoy_extension` is Envoy's counterpart.
unsafe fn with_extension(
    hook: &'static str,
    envoy_extension: EnvoyPtr,
    extension: ModulePtr,
    call: impl FnOnce(&mut dyn BootstrapExtension, &mut EnvoyExtension),
) {
    let body = || {
        // SAFETY: the caller vouches for the pointer.
        let Some(extension) = (unsafe { extension.cast::<Extension>().as_ref() }) else {
            return;
        };
        let Ok(mut user) = extension.user.try_borrow_mut() else {
            return;
        };
        call(&mut **user, &mut extension.shared.extension(envoy_extension));
    };
    guard(hook, body, || ());
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_server_initialized(
    envoy_extension: EnvoyPtr,
    extension: ModulePtr,
) {
    let hook = "bootstrap_extension_server_initialized";
    // SAFETY: both from Envoy, see the module's doc.
    unsafe {
        with_extension(hook, envoy_extension, extension, |user, envoy| {
            user.on_server_initialized(envoy)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_worker_thread_initialized(
    envoy_extension: EnvoyPtr,
    extension: ModulePtr,
) {
    let hook = "bootstrap_extension_worker_thread_initialized";
    // SAFETY: both from Envoy, see the module's doc.
    unsafe {
        with_extension(hook, envoy_extension, extension, |user, envoy| {
            user.on_worker_thread_initialized(envoy)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_drain_started(
    envoy_extension: EnvoyPtr,
    extension: ModulePtr,
) {
    let hook = "bootstrap_extension_drain_started";
    // SAFETY: both from Envoy, see the module's doc.
    unsafe {
        with_extension(hook, envoy_extension, extension, |user, envoy| {
            user.on_drain_started(envoy)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_shutdown(
    envoy_extension: EnvoyPtr,
    extension: ModulePtr,
    done: EventCb,
    context: EnvoyPtr,
) {
    // Owned from the first line on: whatever happens below, its drop completes.
    // SAFETY: both belong to this call of the hook.
    let completion = unsafe { CompletionCallback::new(done, context) };
    let body = || {
        // A handler that is still registered at exit can crash Envoy 1.38 and 1.39.
        // SAFETY: null or the box of `new`, not destroyed yet.
        if let Some(extension) = unsafe { extension.cast::<Extension>().as_ref() } {
            extension.shared.remove_admin_handlers();
        }
    };
    guard("bootstrap_extension_shutdown", body, || ());
    let hook = "bootstrap_extension_shutdown";
    // SAFETY: both from Envoy, see the module's doc.
    unsafe {
        with_extension(hook, envoy_extension, extension, |user, envoy| {
            user.on_shutdown(envoy, completion)
        })
    }
}

/// Runs one hook of the configuration.
///
/// # Safety
///
/// `config` is null or the box of `config_new`, not destroyed yet.
unsafe fn with_config<T>(
    hook: &'static str,
    config: ModulePtr,
    call: impl FnOnce(&Config, &mut EnvoyConfig<'_>) -> T,
    answer: impl Fn() -> T,
) -> T {
    let body = || {
        // SAFETY: the caller vouches for the pointer.
        let Some(config) = (unsafe { config.cast::<Config>().as_ref() }) else {
            return answer();
        };
        call(config, &mut EnvoyConfig(&config.shared))
    };
    guard(hook, body, &answer)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_config_scheduled(
    _envoy_config: EnvoyPtr,
    config: ModulePtr,
    event: u64,
) {
    let call = |config: &Config, envoy: &mut EnvoyConfig<'_>| config.user.on_scheduled(envoy, event);
    // SAFETY: from Envoy, see the module's doc.
    unsafe { with_config("bootstrap_extension_config_scheduled", config, call, || ()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_timer_fired(
    _envoy_config: EnvoyPtr,
    config: ModulePtr,
    timer: EnvoyPtr,
) {
    let call = |config: &Config, envoy: &mut EnvoyConfig<'_>| {
        config.user.on_timer_fired(envoy, &config.shared.borrowed_timer(timer));
    };
    // SAFETY: from Envoy, see the module's doc.
    unsafe { with_config("bootstrap_extension_timer_fired", config, call, || ()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_file_changed(
    _envoy_config: EnvoyPtr,
    config: ModulePtr,
    path: Buffer,
    events: u32,
) {
    // SAFETY: Envoy's text, valid until this hook returns.
    let path = unsafe { EnvoyBuffer::from_raw(path) };
    let call = |config: &Config, envoy: &mut EnvoyConfig<'_>| {
        config
            .user
            .on_file_changed(envoy, &String::from_utf8_lossy(path.as_slice()), events);
    };
    // SAFETY: from Envoy, see the module's doc.
    unsafe { with_config("bootstrap_extension_file_changed", config, call, || ()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_bootstrap_extension_admin_request(
    _envoy_config: EnvoyPtr,
    config: ModulePtr,
    method: Buffer,
    path: Buffer,
    body: Buffer,
) -> u32 {
    // SAFETY: Envoy's bytes, valid until this hook returns.
    let method = unsafe { EnvoyBuffer::from_raw(method) };
    // SAFETY: as above.
    let path = unsafe { EnvoyBuffer::from_raw(path) };
    // SAFETY: as above.
    let body = unsafe { EnvoyBuffer::from_raw(body) };
    let call = |config: &Config, envoy: &mut EnvoyConfig<'_>| {
        let (Ok(method), Ok(path)) = (str::from_utf8(method.as_slice()), str::from_utf8(path.as_slice())) else {
            return 400;
        };
        let (status, answer) = config.user.on_admin_request(envoy, method, path, body.as_slice());
        config.shared.set_admin_response(&answer);
        status
    };
    // SAFETY: from Envoy, see the module's doc.
    unsafe { with_config("bootstrap_extension_admin_request", config, call, || 500) }
}

/// The hooks of what this crate never asks for. Envoy demands that they exist.
macro_rules! unused_hooks {
    ($($name:ident($($ty:ty),*);)+) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($(_: $ty),*) {})+
    };
}

unused_hooks! {
    envoy_dynamic_module_on_bootstrap_extension_http_callout_done(EnvoyPtr, ModulePtr, u64, u32, *const Header, usize, *const Buffer, usize);
    envoy_dynamic_module_on_bootstrap_extension_cluster_add_or_update(EnvoyPtr, ModulePtr, Buffer);
    envoy_dynamic_module_on_bootstrap_extension_cluster_removal(EnvoyPtr, ModulePtr, Buffer);
    envoy_dynamic_module_on_bootstrap_extension_listener_add_or_update(EnvoyPtr, ModulePtr, Buffer);
    envoy_dynamic_module_on_bootstrap_extension_listener_removal(EnvoyPtr, ModulePtr, Buffer);
}
