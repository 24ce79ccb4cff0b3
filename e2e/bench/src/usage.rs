//! What a process and its children used: CPU time and resident memory, as the kernel counts them.

use std::fs;
use std::time::Duration;

use e2e::failed::{Failed, Result};

/// The processes to look at, by who they belong to.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// What is measured: their whole trees count.
    pub client: Vec<u32>,
    /// The model.
    pub model: Vec<u32>,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// CPU time of the client's processes.
    pub client: Duration,
    /// CPU time of the model.
    pub model: Duration,
    /// CPU time of the load generator, which is this process.
    pub load: Duration,
    /// Most resident memory of the client's processes since [`Meter::forget_peaks`], in bytes.
    pub peak: u64,
}

impl Used {
    /// What was used since `before`.
    pub fn since(self, before: &Self) -> Self {
        Self {
            client: self.client.saturating_sub(before.client),
            model: self.model.saturating_sub(before.model),
            load: self.load.saturating_sub(before.load),
            peak: self.peak,
        }
    }
}

impl Meter {
    /// Reads the counts.
    ///
    /// # Errors
    /// A process has ended.
    pub fn read(&self) -> Result<Used> {
        let sum = |roots: &[u32], of: fn(u32) -> Result<u64>| -> Result<u64> {
            let mut sum = 0;
            for process in roots.iter().flat_map(|root| tree(*root)) {
                sum += of(process)?;
            }
            Ok(sum)
        };
        Ok(Used {
            client: Duration::from_nanos(sum(&self.client, cpu_nanos)?),
            model: Duration::from_nanos(sum(&self.model, cpu_nanos)?),
            load: Duration::from_nanos(cpu_nanos(std::process::id())?),
            peak: sum(&self.client, |process| status(process, "VmHWM:"))?,
        })
    }

    /// Lets the peaks be counted from now.
    pub fn forget_peaks(&self) {
        for process in self.client.iter().flat_map(|root| tree(*root)) {
            // where the kernel does not allow it, the peak is that of the whole life: more, never less
            drop(fs::write(format!("/proc/{process}/clear_refs"), "5"));
        }
    }

    /// Resident memory of the client's processes now, in bytes.
    ///
    /// # Errors
    /// A process has ended.
    pub fn resident(&self) -> Result<u64> {
        let mut sum = 0;
        for process in self.client.iter().flat_map(|root| tree(*root)) {
            sum += status(process, "VmRSS:")?;
        }
        Ok(sum)
    }
}

/// `root` and all its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    found
}

/// The scheduler's count, which has nanoseconds; `stat` has hundredths of a second.
fn cpu_nanos(process: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        // a thread may end between the two looks
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        sum += text
            .split_whitespace()
            .next()
            .and_then(|nanos| nanos.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(sum)
}

fn status(process: u32, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| Failed::new(format!("process {process} has no {field}")))
}
