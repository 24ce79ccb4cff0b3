//! `start` and `config`: from options to a bootstrap, and from a bootstrap to a running Envoy.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use spectral_bridge::config::SecretSource;
use spectral_bridge::secret::{Secret, SecretError, describe};

use crate::Refusal;
use crate::bootstrap::{Admin, Bootstrap, system_roots};
use crate::cli::{API_KEY_ENV, StartArgs};
use crate::envoy::{self, Launch};
use crate::logs::{ENVOY_LOG_FORMAT, say};
use crate::private_dir::PrivateDir;
use crate::settings::{Settings, absolute, relay_url_from_env};
use crate::target::Target;

/// Runs Envoy until it ends.
///
/// # Errors
/// It could not be started.
pub fn start(options: &StartArgs) -> Result<ExitCode, Refusal> {
    let directory = PrivateDir::create()?;
    let plan = Plan::make(options, &directory.join("adapter.sock"), directory.join("admin.sock"))?;
    plan.check_secrets(options)?;
    let launch_parts = (envoy::find(options.envoy.envoy.as_deref())?, envoy::find_lib_dir()?);
    let file = directory.join("envoy.yaml");
    write_private(&file, &plan.render()?)?;
    plan.announce(options);
    let (envoy, lib_dir) = launch_parts;
    let launch = Launch {
        envoy,
        args: envoy_args(options, &file),
        lib_dir,
    };
    envoy::run(&launch).map(ExitCode::from)
}

/// Prints the bootstrap, with the paths of a deployment.
///
/// # Errors
/// The options are wrong.
pub fn print_config(options: &StartArgs) -> Result<ExitCode, Refusal> {
    let directory = Path::new(DEPLOYED);
    let plan = Plan::make(options, &directory.join("adapter.sock"), directory.join("admin.sock"))?;
    let _ = std::io::stdout().write_all(plan.render()?.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Everything that the options say, checked.
pub struct Plan {
    /// The module's configuration.
    pub settings: Settings,
    /// The model.
    pub target: Target,
    target_roots: Option<String>,
    admin: Admin,
}

impl Plan {
    /// Checks the options. Envoy will listen on `socket` and `admin_socket`, unless they name other places.
    ///
    /// # Errors
    /// The options are wrong.
    pub fn make(options: &StartArgs, socket: &Path, admin_socket: PathBuf) -> Result<Self, Refusal> {
        let target = Target::parse(&options.target)?;
        let settings = Settings::build(options, relay_url_from_env(), socket)?;
        let target_roots = match &options.envoy.target_ca_file {
            Some(path) => Some(absolute("--target-ca-file", path)?),
            None => system_roots(std::env::var_os("SSL_CERT_FILE").as_deref().map(Path::new)),
        };
        let admin = options
            .envoy
            .admin_port
            .map_or(Admin::Socket(admin_socket), Admin::Port);
        Ok(Self {
            settings,
            target,
            target_roots,
            admin,
        })
    }

    /// Envoy's configuration.
    ///
    /// # Errors
    /// A path is not UTF-8, or an https target has no roots to be verified with.
    pub fn render(&self) -> Result<String, Refusal> {
        let Self {
            settings,
            target,
            admin,
            ..
        } = self;
        Bootstrap {
            settings,
            target,
            target_roots: self.target_roots.as_deref(),
            admin: admin.clone(),
        }
        .render()
    }

    /// An environment variable cannot appear later, so its absence is told now. A file can.
    fn check_secrets(&self, options: &StartArgs) -> Result<(), Refusal> {
        for source in self.settings.config.secrets() {
            match (source, Secret::read(source)) {
                (_, Ok(_)) => {}
                (SecretSource::Env(name), Err(SecretError::Env(_))) if name == API_KEY_ENV => {
                    let or = if options.config.is_none() {
                        ", or name a file that has it with --api-key-file"
                    } else {
                        ""
                    };
                    return Err(format!("set {API_KEY_ENV} to the relay API key{or}"));
                }
                (SecretSource::Env(_), Err(e)) => return Err(e.to_string()),
                (SecretSource::File(_), Err(e)) => say(&format!("warning: {e}")),
            }
        }
        Ok(())
    }

    fn announce(&self, options: &StartArgs) {
        say(&format!("spectral-bridge {} for Envoy", env!("CARGO_PKG_VERSION")));
        for relay in &self.settings.config.relays {
            say(&format!(
                "relay   {} (key from {})",
                relay.url,
                describe(&relay.api_key)
            ));
        }
        say(&format!("target  {}", self.target));
        self.announce_status();
        match &self.admin {
            Admin::Socket(path) => say(&format!(
                "admin   curl --unix-socket {} http://localhost/",
                path.display()
            )),
            Admin::Port(0) => say("admin   on a free port of 127.0.0.1, logged below"),
            Admin::Port(port) => say(&format!("admin   http://127.0.0.1:{port}/")),
        }
        say("stop    Ctrl-C or SIGTERM: requests in flight may finish; twice: at once");
        if options.port.is_some() {
            say("note: --port is ignored, Envoy takes the place of the adapter and needs no port");
        }
        // The configuration's own warnings come from the module.
        if let Some(warning) = self.target.warning() {
            say(&format!("warning: {warning}"));
        }
    }

    fn announce_status(&self) {
        let status = &self.settings.config.status;
        let listen = status.listen;
        if listen.port() == 0 {
            return say("status  on a free port, logged below");
        }
        say(&format!(
            "status  http://{listen}/status, or: spectral-bridge status --address {listen}"
        ));
        if status.inspector.is_some() {
            say(&format!("look    http://{listen}/inspector in a browser"));
        }
    }
}

fn envoy_args(options: &StartArgs, file: &Path) -> Vec<std::ffi::OsString> {
    let module_level = options.envoy.log_level.name();
    let mut components = format!("dynamic_modules:{module_level}");
    if options.envoy.admin_port == Some(0) {
        // The only place where the free port is told.
        components.push_str(",admin:info");
    }
    let concurrency = options.envoy.concurrency.to_string();
    // Two launchers on one host must not meet in the shared memory of hot restart.
    let fixed = [
        "--disable-hot-restart",
        "--log-format",
        ENVOY_LOG_FORMAT,
        "--file-flush-interval-msec",
        "500",
    ];
    let mut args: Vec<std::ffi::OsString> = vec!["-c".into(), file.into()];
    args.extend(fixed.map(Into::into));
    args.extend(["--concurrency", &concurrency].map(Into::into));
    args.extend(
        [
            "-l",
            options.envoy.envoy_log_level.name(),
            "--component-log-level",
            &components,
        ]
        .map(Into::into),
    );
    args
}

fn write_private(path: &Path, text: &str) -> Result<(), Refusal> {
    let open = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Where the shipped configurations and manifests put Envoy's sockets.
const DEPLOYED: &str = "/run/spectral-bridge";
