//! Proxies that a test can run behind: ours, and those that people have, configured from the same options.
//!
//! Deliberately absent: installing them. Tests of installed programs belong to a make target of their own.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{ConnectProxy, IdleEnd, Process, ProxyOptions, Scratch, command, eventually, free_address};
use crate::failed::{Failed, Result};

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProgram {
    /// [`ConnectProxy`], in the test's own process.
    Own,
    /// Debian's `tinyproxy`.
    Tinyproxy,
    /// Debian's `squid`.
    Squid,
}

/// A proxy at work; it ends with this value.
#[derive(Debug)]
pub struct RunningProxy {
    address: SocketAddr,
    _own: Option<ConnectProxy>,
    process: Option<Process>,
    /// Squid's name for its shared memory, which it leaves behind when it is killed.
    squid: Option<String>,
}

impl ProxyProgram {
    /// Starts it with its files in `scratch`.
    ///
    /// # Errors
    /// It is not installed, does not listen, or cannot do what `options` ask for.
    pub async fn start(self, scratch: &Scratch, options: ProxyOptions) -> Result<RunningProxy> {
        match self {
            Self::Own => {
                let own = ConnectProxy::start(options).await?;
                Ok(RunningProxy {
                    address: own.address(),
                    _own: Some(own),
                    process: None,
                    squid: None,
                })
            }
            Self::Tinyproxy => {
                let address = free_address()?;
                let config = scratch.write("tinyproxy.conf", tinyproxy(address, &options)?)?;
                let mut program = command("tinyproxy");
                program.arg("-d").arg("-c").arg(config);
                RunningProxy::external(Process::start("tinyproxy", &mut program)?, address, None).await
            }
            Self::Squid => {
                let address = free_address()?;
                let config = scratch.write("squid.conf", squid(scratch.path(), address, &options)?)?;
                // Started by root, it gives up root, and still has its helper to read.
                fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711))?;
                let name = format!("e2e{}", address.port());
                let mut program = command("squid");
                program.args(["-N", "-d1", "-n", &name, "-f"]).arg(config);
                program.env("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin");
                RunningProxy::external(Process::start("squid", &mut program)?, address, Some(name)).await
            }
        }
    }
}

impl RunningProxy {
    async fn external(process: Process, address: SocketAddr, squid: Option<String>) -> Result<Self> {
        let listens = eventually("the proxy listens", LISTENS, || async {
            tokio::net::TcpStream::connect(address).await.ok()
        });
        match listens.await {
            Ok(_) => Ok(Self {
                address,
                _own: None,
                process: Some(process),
                squid,
            }),
            Err(late) => Err(late.during(&process.output())),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        drop(self.process.take());
        if let Some(name) = &self.squid {
            for segment in ["metadata", "queues", "readers"] {
                // It may have cleaned up itself.
                drop(fs::remove_file(format!("/dev/shm/{name}-cf__{segment}.shm")));
            }
        }
    }
}

fn tinyproxy(address: SocketAddr, options: &ProxyOptions) -> Result<String> {
    if options.tls.is_some() {
        return Err(Failed::new("tinyproxy speaks no TLS"));
    }
    let mut text = format!(
        "Listen {}\nPort {}\nMaxClients 20\nLogLevel Connect\nTimeout {}\n",
        address.ip(),
        address.port(),
        idle_seconds(options)?.unwrap_or(600)
    );
    if let Some(credentials) = &options.credentials {
        writeln!(text, "BasicAuth {}", credentials.replace(':', " "))?;
    }
    if let Some(port) = options.only_port {
        writeln!(text, "ConnectPort {port}")?;
    }
    Ok(text)
}

fn squid(files: &Path, address: SocketAddr, options: &ProxyOptions) -> Result<String> {
    let mut text = match &options.tls {
        None => format!("http_port {address}\n"),
        Some(tls) => format!(
            "https_port {address} tls-cert={} tls-key={}\n",
            tls.cert.display(),
            tls.key.display()
        ),
    };
    text.push_str(
        "cache_effective_user proxy\nvisible_hostname proxy.test\npid_filename none\npinger_enable off\n\
         cache deny all\naccess_log none\ncache_log /dev/null\nshutdown_lifetime 1 seconds\n",
    );
    writeln!(text, "coredump_dir {}", files.display())?;
    if let Some(port) = options.only_port {
        writeln!(text, "acl allowed_port port {port}\nhttp_access deny !allowed_port")?;
    }
    match &options.credentials {
        None => text.push_str("http_access allow all\n"),
        Some(credentials) => {
            let helper = files.join("squid-credentials.sh");
            let script = format!(
                "while read -r user password; do\n\
                 if [ \"$user:$password\" = '{credentials}' ]; then echo OK; else echo ERR; fi\ndone\n"
            );
            fs::write(&helper, script)?;
            writeln!(text, "auth_param basic program /bin/sh {}", helper.display())?;
            text.push_str("auth_param basic children 1\nacl known proxy_auth REQUIRED\nhttp_access allow known\n");
            text.push_str("http_access deny all\n");
        }
    }
    if let Some(seconds) = idle_seconds(options)? {
        writeln!(text, "read_timeout {seconds} seconds")?;
    }
    Ok(text)
}

fn idle_seconds(options: &ProxyOptions) -> Result<Option<u64>> {
    match options.idle {
        None => Ok(None),
        Some((limit, IdleEnd::Closed)) => Ok(Some(limit.as_secs())),
        Some((_, IdleEnd::Forgotten)) => Err(Failed::new("only our own proxy forgets its tunnels")),
    }
}

/// How long a program may take to start.
const LISTENS: Duration = Duration::from_secs(20);
