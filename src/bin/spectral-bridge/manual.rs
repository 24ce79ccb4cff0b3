//! The man page and the shells' completion scripts, made from the command line's own definition.
//!
//! One page for all commands: each has its options and its examples, as `--help` shows them; then what no option tells:
//! environment, files, exit status. Deliberately absent: generated files in the repository, which would fall behind.

use std::io::{self, Write, stdout};
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{API_KEY_ENV, Cli, ENVOY_ENV, LIB_DIR_ENV, RELAY_URL_ENV, STATUS_TOKEN_ENV};

/// Prints the completion script of a shell.
pub fn completion(shell: Shell) -> ExitCode {
    print(script(shell).as_bytes())
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), NAME, &mut script);
    // For bash, clap_complete 4.6.11 takes the hyphen of the program's name for a subcommand where it tells the
    // options, and not where it looks for them.
    String::from_utf8_lossy(&script).replace("spectral__subcmd__bridge", "spectral__bridge")
}

/// The command without what is hidden, which clap_complete would offer, too.
fn shown(command: &Command) -> Command {
    let aliases: Vec<String> = command.get_visible_aliases().map(str::to_owned).collect();
    let mut copy = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()))
        .visible_aliases(aliases)
        .subcommands(command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(shown));
    if let Some(version) = command.get_version() {
        copy = copy.version(version.to_owned());
    }
    match command.get_about() {
        Some(about) => copy.about(about.clone()),
        None => copy,
    }
}

/// Prints the man page, in roff.
pub fn page() -> ExitCode {
    let mut page = Vec::new();
    match render(&mut page) {
        Ok(()) => print(&page),
        Err(_) => ExitCode::FAILURE,
    }
}

/// A reader that has seen enough (`head`) is no failure worth a word.
fn print(text: &[u8]) -> ExitCode {
    match stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn render(out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    commands.to_writer(out)?;
    let mut before: Option<&Command> = None;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        render_command(sub, before.filter(|before| same_options(before, sub)), out)?;
        before = Some(sub);
    }
    if let Some(examples) = command.get_after_help() {
        section("EXAMPLES", out)?;
        literal(&examples.to_string(), out)?;
    }
    table("ENVIRONMENT", &environment(), out)?;
    table("FILES", &FILES, out)?;
    table("EXIT STATUS", &EXIT_STATUS, out)
}

fn same_options(one: &Command, other: &Command) -> bool {
    let own = |command: &Command| command.get_arguments().count() > 1;
    let ids = |command: &Command| command.get_arguments().map(|a| a.get_id().clone()).collect::<Vec<_>>();
    own(one) && ids(one) == ids(other)
}

/// A command's synopsis, what it does, its options unless they are those of `twin`, and what `--help` says after them.
fn render_command(command: &Command, twin: Option<&Command>, out: &mut dyn Write) -> io::Result<()> {
    let usage = command.clone().render_usage().to_string();
    let mut head = Roff::new();
    head.control("SS", [usage.trim_start_matches("Usage: ")]);
    let about = command.get_long_about().or(command.get_about());
    head.text([roman(about.map(ToString::to_string).unwrap_or_default())]);
    for alias in command.get_visible_aliases() {
        head.control("PP", []);
        head.text([bold(alias), roman(" means the same.")]);
    }
    if let Some(twin) = twin {
        head.control("PP", []);
        head.text([roman("Its options are those of "), bold(twin.get_name()), roman(".")]);
    }
    head.to_writer(out)?;
    let own = |argument: &&Arg| argument.get_id() != "help";
    if twin.is_none() && command.get_name() != "help" && command.get_arguments().any(|a| own(&a)) {
        render_options(command, out)?;
    }
    match command.get_after_help() {
        Some(text) => literal(&text.to_string(), out),
        None => Ok(()),
    }
}

/// The options, under the headings that `--help` has; those of clap_mangen are meant for a page of their own.
fn render_options(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let mut options = Vec::new();
    let command = command.clone().mut_arg("help", |help| help.hide(true));
    Man::new(command).render_options_section(&mut options)?;
    for line in options.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b".SH ") {
            Some(b"OPTIONS\n") | None => out.write_all(line.strip_prefix(b".SH OPTIONS\n").unwrap_or(line))?,
            Some(heading) => {
                out.write_all(b".PP\n.B ")?;
                out.write_all(heading)?;
            }
        }
    }
    Ok(())
}

fn section(title: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    roff.to_writer(out)
}

/// Lines as they are.
fn literal(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("PP", []).control("nf", []);
    for line in text.lines() {
        match line.trim() {
            "" => roff.control("sp", []),
            _ => roff.text([roman(line)]),
        };
    }
    roff.control("fi", []);
    roff.to_writer(out)
}

fn table(title: &str, rows: &[(&str, &str)], out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, text) in rows {
        roff.control("TP", []).text([bold(*term)]).text([roman(*text)]);
    }
    roff.to_writer(out)
}

fn environment() -> [(&'static str, &'static str); 9] {
    [
        (
            API_KEY_ENV,
            "The relay's API key, unless --api-key-file names a file that has it. No option takes the key itself: a command line shows in the process list.",
        ),
        (RELAY_URL_ENV, "The relay's URL when --relay-url is not given."),
        (ENVOY_ENV, "The Envoy binary when --envoy is not given."),
        (LIB_DIR_ENV, "The directory of libspectral_bridge.so."),
        (STATUS_TOKEN_ENV, "The token that pause and resume show."),
        (
            "HTTPS_PROXY, ALL_PROXY, NO_PROXY",
            "The proxy to the relay, read as curl reads them.",
        ),
        (
            "SSL_CERT_FILE",
            "PEM roots instead of the system's, for the relay and for an https target.",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "Where metrics, traces and logs go by OTLP, with the other OTEL_ variables; without it nowhere.",
        ),
        (
            "XDG_RUNTIME_DIR",
            "Where start and doctor make the private directory of Envoy's bootstrap and sockets; else TMPDIR, else /tmp.",
        ),
    ]
}

const NAME: &str = "spectral-bridge";

const FILES: [(&str, &str); 4] = [
    (
        "libspectral_bridge.so",
        "The module that Envoy loads: in SPECTRAL_BRIDGE_LIB_DIR, else next to this program, else in ../lib.",
    ),
    (
        "$XDG_RUNTIME_DIR/spectral-bridge.PID.N/",
        "While start runs: envoy.yaml, adapter.sock and admin.sock, for this user only.",
    ),
    (
        "/run/spectral-bridge/",
        "The sockets' directory in what config prints. It must exist before Envoy starts.",
    ),
    (
        "/etc/ssl/certs/ca-certificates.crt",
        "The system's roots, here or where other systems have them.",
    ),
];

const EXIT_STATUS: [(&str, &str); 5] = [
    (
        "0",
        "Success. Of start: Envoy stopped cleanly. Of status: every relay is connected.",
    ),
    ("1", "Failure, said on standard error. Of status: running, not ready."),
    (
        "2",
        "A mistake on the command line. Of status, pause, resume and drain: nothing answers.",
    ),
    (
        "3 to 10",
        "Of doctor: the kind of the first check that failed, as told there.",
    ),
    (
        "128+N",
        "Of start: signal N ended Envoy. Other codes of start are Envoy's own.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let mut page = Vec::new();
        render(&mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn the_page_has_every_option_and_no_hidden_one() {
        let page = text().replace("\\-", "-");
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands() {
            for option in sub
                .get_arguments()
                .filter_map(|a| Some((a.get_long()?, a.is_hide_set())))
            {
                let (name, hidden) = option;
                if name != "help" && !sub.is_hide_set() {
                    assert_eq!(page.contains(&format!("--{name}\\f")), !hidden, "{name}\n{page}");
                }
            }
        }
        assert!(!page.contains("run-envoy"), "{page}");
    }

    #[test]
    fn the_page_has_the_sections_that_readers_look_for() {
        let page = text();
        let at = |title: &str| {
            page.find(&format!(".SH {title}\n"))
                .or_else(|| page.find(&format!(".SH \"{title}\"\n")))
                .unwrap_or_else(|| panic!("{title}\n{page}"))
        };
        let order = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "COMMANDS",
            "EXAMPLES",
            "ENVIRONMENT",
            "FILES",
            "EXIT STATUS",
        ];
        assert!(order.map(at).is_sorted(), "{page}");
        assert_eq!(page.matches("\n.SH ").count(), order.len(), "{page}");
    }

    #[test]
    fn every_shell_completes_the_commands_and_nothing_hidden() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for word in ["start-relay", "relay-url", "api-key-file", "version"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            for sub in Cli::command().get_subcommands().filter(|sub| !sub.is_hide_set()) {
                assert!(script.contains(sub.get_name()), "{shell}: {}", sub.get_name());
            }
            for word in ["run-envoy", "insecure-adapter"] {
                assert!(!script.contains(word), "{shell}: {word}");
            }
        }
    }
}
