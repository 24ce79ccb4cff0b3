//! A soak: steady load through real Envoy while everything around it fails, in rounds that each end at rest.
//!
//! At every rest nothing may be held, the accounts of callers, module and model must agree, and what the Envoy process
//! occupies is noted. After the warm-up neither its memory nor its descriptors may grow. `make soak MINUTES=10`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::duration;
use e2e::failed::{Failed, Result};
use e2e::model::Model;
use e2e::relay::Relay;
use e2e::world::fault_proxy::{FaultProxy, Weather};
use e2e::world::free_address;
use e2e::world::load::{Account, Callers, Counts, Seen, impatient};
use e2e::world::seed::Seed;
use e2e::world::site::{DEADLINE, Plan, Shipped, Site};
use tokio::time::{Instant, sleep};

/// Steady load with faults; fails when something leaks, is lost or comes twice.
#[derive(Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// How long until everything rests once.
    #[arg(long, value_parser = duration::parse, default_value = "20s")]
    round: Duration,
    /// Requests under way.
    #[arg(long, default_value_t = 32)]
    lanes: usize,
    /// The pause of a caller between two requests.
    #[arg(long, value_parser = duration::parse, default_value = "150ms")]
    pace: Duration,
    /// MiB by which Envoy's memory in use at rest may grow after the warm-up.
    #[arg(long, default_value_t = 4)]
    slack: u64,
    /// MiB by which its resident memory may: the allocator keeps what was freed and settles over hours.
    #[arg(long, default_value_t = 24)]
    resident_slack: u64,
    /// No faults, for comparison.
    #[arg(long)]
    calm: bool,
}

/// What the Envoy process occupies.
#[derive(Debug, Clone, Copy, Default)]
struct Occupied {
    /// Resident.
    kib: u64,
    /// Of that, in use: what Envoy and the module, which share an allocator, have not given back to it.
    live: u64,
    descriptors: usize,
    threads: u64,
}

/// One round: what it did, and what was left.
#[derive(Debug, Clone, Copy)]
struct Round {
    account: Account,
    counts: Counts,
    cuts: u64,
    peak: u64,
    rest: Occupied,
}

/// Everything that runs.
struct Soak {
    site: Site,
    relay: Relay,
    model: Model,
    proxy: FaultProxy,
    callers: Callers,
    process: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match soak(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(arguments: &Arguments) -> Result<()> {
    let seed = Seed::given_or_new()?;
    let mut soak = Soak::start(seed, arguments).await?;
    let before = Occupied::at_rest(&soak.site, soak.process).await?;
    println!("SEED={seed}; Envoy before the load: {before}\n{HEADER}");
    let rounds = arguments.rounds();
    let (mut done, mut counted) = (Vec::new(), Counts::default());
    for number in 0..rounds {
        let round = soak.round(number, arguments, counted).await;
        let round = round.map_err(|e| e.during(&format!("round {number}")))?;
        counted = Counts::of(&soak.site).await?;
        println!("{number:5} {round}");
        done.push(round);
    }
    let end = soak.stop().await?;
    summary(before, &done, end);
    judge(&done, arguments)
}

impl Arguments {
    fn rounds(&self) -> usize {
        let rounds = Duration::from_secs(60 * u64::from(self.minutes)).as_millis() / self.round.as_millis().max(1);
        usize::try_from(rounds).unwrap_or(usize::MAX).max(LEAST_ROUNDS)
    }
}

impl Soak {
    async fn start(seed: Seed, arguments: &Arguments) -> Result<Self> {
        let plan = Plan::new(Shipped::Sidecar)?.edit(
            "# keepalive: { interval: 30s, timeout: 10s }",
            "keepalive: { interval: 2s, timeout: 2s } #",
        )?;
        let hidden = free_address()?;
        let relay = plan
            .start_relay(|options| {
                options.public = hidden;
                options.journal = false;
                // What is not answered within this is lost.
                options.request_timeout = Duration::from_secs(60);
            })
            .await?;
        let proxy = FaultProxy::start(plan.relay, relay.public(), seed).await?;
        let model = plan.start_model().await?;
        let mut site = plan.start().await?;
        relay.connected(1, DEADLINE).await?;
        let callers = Callers::new(&relay, &["default"], 256..=64 * 1024, seed)
            .asking(&MODELS)
            .paced(arguments.pace);
        let process = site.envoy.process().id();
        Ok(Self {
            site,
            relay,
            model,
            proxy,
            callers,
            process,
        })
    }

    /// Load and faults, then rest.
    async fn round(&mut self, number: usize, arguments: &Arguments, before: Counts) -> Result<Round> {
        let Self {
            site,
            relay,
            model,
            proxy,
            callers,
            process,
        } = self;
        let cuts = proxy.cuts();
        let mut peak = 0;
        if !arguments.calm {
            proxy.set(Weather {
                cut_after: Some(16 * 1024..=8 * 1024 * 1024),
                ..Weather::CALM
            });
        }
        let end = Instant::now() + arguments.round;
        let load = async {
            tokio::select! {
                () = callers.run(arguments.lanes, || Instant::now() < end) => Ok(()),
                failed = faults(number, arguments, relay, model, proxy, callers) => failed,
                failed = watch(*process, &mut peak) => failed,
            }
        };
        let round = async {
            load.await?;
            proxy.set(Weather::CALM);
            Counts::at_rest(site).await
        };
        let counts = tokio::select! {
            counts = round => counts?.since(before),
            never = impatient(site) => match never? {},
        };
        let seen: Vec<_> = model.ledger().exchanges().iter().map(Seen::from).collect();
        let account = Account::settle(&callers.take_records(), &seen)?;
        counts.agree(&account)?;
        let rest = Occupied::at_rest(site, *process).await?;
        // A new ledger, so that this process does not grow instead.
        model.stop().await;
        *model = site.plan.start_model().await?;
        Ok(Round {
            account,
            counts,
            cuts: proxy.cuts() - cuts,
            peak,
            rest,
        })
    }

    /// Ends Envoy as its users do; gives how long that took.
    async fn stop(mut self) -> Result<Duration> {
        let start = Instant::now();
        let process = self.site.envoy.process();
        process.terminate()?;
        let status = process.exited(DEADLINE).await?;
        match status.success() {
            true => Ok(start.elapsed()),
            false => Err(Failed::new(format!("Envoy ended with {status}"))),
        }
    }
}

/// What goes wrong in a round besides the cuts: something else in each, so that there are rounds in which the accounts
/// of all sides must be equal to the last request.
async fn faults(
    number: usize,
    arguments: &Arguments,
    relay: &mut Relay,
    model: &mut Model,
    proxy: &FaultProxy,
    callers: &Callers,
) -> Result<()> {
    if !arguments.calm {
        sleep(arguments.round / 3).await;
        match number % 5 {
            0 => relay
                .slot("default")
                .ok_or_else(|| Failed::new("no slot"))?
                .close(4003, "rotation"),
            1 => {
                model.stop().await;
                sleep(DOWN).await;
                model.restart().await?;
            }
            2 => proxy.silence(),
            3 => {
                callers.pause();
                relay.kill().await;
                sleep(DOWN).await;
                relay.restart().await?;
                callers.resume();
            }
            _ => {
                proxy.pause();
                sleep(DOWN).await;
                proxy.resume();
            }
        }
    }
    std::future::pending().await
}

/// Keeps the largest memory seen.
async fn watch(process: u32, peak: &mut u64) -> Result<()> {
    loop {
        *peak = (*peak).max(Occupied::by(process)?.kib);
        sleep(BETWEEN_SAMPLES).await;
    }
}

impl Occupied {
    async fn at_rest(site: &Site, process: u32) -> Result<Self> {
        let memory = site.envoy.admin("/memory").await?.json();
        let allocated = memory
            .get("allocated")
            .and_then(|text| text.as_str()?.parse::<u64>().ok());
        Ok(Self {
            live: allocated.ok_or_else(|| Failed::new(format!("no allocated in {memory}")))? / 1024,
            ..Self::by(process)?
        })
    }

    fn by(process: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let missing = || Failed::new(format!("no VmRSS and Threads in {status}"));
        Ok(Self {
            kib: number("VmRSS:").ok_or_else(missing)?,
            live: 0,
            threads: number("Threads:").ok_or_else(missing)?,
            descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))?.count(),
        })
    }
}

impl std::fmt::Display for Occupied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kib,
            live,
            descriptors,
            threads,
        } = self;
        write!(
            f,
            "{:.1} MiB resident, {:.1} MiB of it in use, {descriptors} descriptors, {threads} threads",
            mib(*kib),
            mib(*live)
        )
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Account {
            asked,
            answered,
            unavailable,
            not_sent,
            relay_gone,
            seen,
            duplicates,
        } = self.account;
        let Counts {
            requests,
            responses,
            connections,
            ..
        } = self.counts;
        write!(
            f,
            "{asked:7} {answered:8} {unavailable:7} {not_sent:8} {relay_gone:5} | {requests:8} {responses:9} \
             {connections:5} {:5} | {seen:7} {duplicates:5} | {:8.1} {:8.1} {:8.1} {:5} {:7}",
            self.cuts,
            mib(self.peak),
            mib(self.rest.kib),
            mib(self.rest.live),
            self.rest.descriptors,
            self.rest.threads,
        )
    }
}

fn summary(before: Occupied, rounds: &[Round], end: Duration) {
    let mut account = Account::default();
    rounds.iter().for_each(|round| account += round.account);
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
    println!("{account}");
    println!(
        "{} cuts, {} connections; {} requests recognised as known, {} responses sent again; Envoy ended in {end:.1?}",
        sum(|round| round.cuts),
        sum(|round| round.counts.connections),
        sum(|round| round.counts.duplicate_requests),
        sum(|round| round.counts.resent_responses),
    );
    if let Some(last) = rounds.last() {
        println!("Envoy before the load: {before}; at the last rest: {}", last.rest);
    }
}

/// After the warm-up, the last third of the rests against the first.
fn judge(rounds: &[Round], arguments: &Arguments) -> Result<()> {
    let warm = rounds.get(rounds.len() / 5..).unwrap_or_default();
    let third = (warm.len() / 3).max(1);
    let (early, late) = (warm.iter().take(third), warm.iter().rev().take(third));
    let mean = |rests: &mut dyn Iterator<Item = &Round>, of: fn(&Round) -> u64| {
        let rests: Vec<_> = rests.map(of).collect();
        rests.iter().sum::<u64>() / rests.len().max(1) as u64
    };
    let change = |of: fn(&Round) -> u64| (mean(&mut early.clone(), of), mean(&mut late.clone(), of));
    let (first, last) = change(|round| round.rest.live);
    let (resident_first, resident_last) = change(|round| round.rest.kib);
    let (open_first, open_last) = change(|round| round.rest.descriptors as u64);
    println!(
        "at rest, after the warm-up and at the end: {:.1} and {:.1} MiB in use (slack {}), {:.1} and {:.1} MiB resident \
         (slack {}), {open_first} and {open_last} descriptors",
        mib(first),
        mib(last),
        arguments.slack,
        mib(resident_first),
        mib(resident_last),
        arguments.resident_slack,
    );
    if last > first + arguments.slack * 1024 || resident_last > resident_first + arguments.resident_slack * 1024 {
        return Err(Failed::new("Envoy's memory grows"));
    }
    // Idle connections between module and listener, both ends in this process, may come up to the callers' number.
    if open_last > open_first + 2 * arguments.lanes as u64 {
        return Err(Failed::new("Envoy's descriptors grow"));
    }
    println!("soak: nothing lost, nothing twice, nothing leaked");
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // for people
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Mostly quick ones, some slow, some large.
const MODELS: [&str; 16] = [
    "demo",
    "demo",
    "demo",
    "demo",
    "demo",
    "demo",
    "demo",
    "demo",
    "chunked",
    "demo",
    "delay-50ms",
    "delay-50ms",
    "delay-300ms",
    "delay-2s",
    "bytes-100000",
    "bytes-1000000",
];

/// Below it nothing can be said about growth.
const LEAST_ROUNDS: usize = 5;

/// How long what is down stays down.
const DOWN: Duration = Duration::from_millis(300);

const BETWEEN_SAMPLES: Duration = Duration::from_millis(250);

const HEADER: &str = concat!(
    "                    callers                   |            module             |     model     |       Envoy process\n",
    "round   asked answered unavail not-sent  gone | requests responses conns  cuts |    seen twice |  MiB max MiB rest   in use   fds threads",
);
