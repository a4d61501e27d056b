//! Every reader on changed inputs: none may panic, end the process, take much memory or much time.
//!
//! Inputs are read in blocks, each by a process of its own, so that a stack overflow, an abort or a kill is seen too, and
//! with it the input. `make fuzz MINUTES=` reads new inputs for as long; the tests read a few thousand.

mod corpus;
mod mutations;
mod targets;
mod web;

use std::any::Any;
use std::fs;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::fuzz::mutations::mutated;
use crate::fuzz::targets::{TARGETS, Target};

/// Name of the variable that says which block a process reads: reader, first seed, number of inputs, folder.
const BLOCK: &str = "FUZZ_BLOCK";
/// How much more memory than before an input may take, in bytes. They have 64 KiB at most.
const MOST_MEMORY: u64 = 512 << 20;
/// How much processor time an input may take in a long run.
const MOST_TIME: Duration = Duration::from_secs(2);
/// After this time without a next input a block is ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much address space a block may take in bytes, so that an absurd allocation fails on any machine.
const ADDRESS_SPACE: u64 = 64 << 30;

/// One input that a reader did not stand.
struct Fault {
    target: &'static str,
    seed: u64,
    what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fault { target, seed, what } = self;
        write!(
            formatter,
            "{target}, seed {seed}: {what}\n  again: {BLOCK}='{target} {seed} 1 target/fuzz' cargo test --release --test \
             it fuzz::block -- --exact --ignored --nocapture"
        )
    }
}

/// Reads one block of inputs, as the variable says; writes `seed`, the input that is being read, and `faults`.
#[test]
#[ignore = "a process of the other tests"]
fn block() {
    let Ok(block) = std::env::var(BLOCK) else {
        return;
    };
    let words: Vec<&str> = block.split(' ').collect();
    let &[name, first, count, folder] = &words[..] else {
        panic!("{BLOCK}: expected a reader, a seed, a number and a folder");
    };
    let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let (inputs, folder) = (corpus::inputs(name), Path::new(folder));
    let input = folder.join("input");
    fs::create_dir_all(&input).unwrap();
    let mut faults = String::new();
    let mut highest = peak_memory();
    // What panics say goes to the list of faults.
    std::panic::set_hook(Box::new(|_| ()));
    for seed in first..first + count {
        let path = input.join(target.file);
        fs::write(&path, mutated(&inputs, seed)).unwrap();
        fs::write(folder.join("seed"), seed.to_string()).unwrap();
        let start = processor_time();
        let result = catch_unwind(AssertUnwindSafe(|| (target.read)(&path)));
        let time = processor_time() - start;
        let peak = peak_memory();
        for what in [
            result.as_ref().err().map(|panic| said(&**panic)),
            result
                .ok()
                .and_then(|result| wordless(target, &path, &result)),
            (peak > highest + MOST_MEMORY).then(|| format!("took {} MiB", (peak - highest) >> 20)),
            (time > MOST_TIME && count > SHORT).then(|| format!("took {time:?}")),
        ]
        .into_iter()
        .flatten()
        {
            faults += &format!("{seed} {}\n", what.replace('\n', " "));
        }
        highest = highest.max(peak);
    }
    fs::write(folder.join("faults"), faults).unwrap();
}

/// An error that does not name its file, or is too long for anyone to read.
fn wordless(target: &Target, path: &Path, result: &Result<(), String>) -> Option<String> {
    let error = result.as_ref().err()?;
    let folder = path.parent()?.to_str()?;
    let names = error.contains(target.file) || error.contains(folder);
    if !names {
        return Some(format!("an error without the file's name: {error}"));
    }
    (error.len() > 1 << 16).then(|| format!("an error of {} bytes", error.len()))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or_default())
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    peak_of("self")
}

/// The most memory that a process has had, in bytes.
fn peak_of(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call only writes to `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Reads inputs of `target` from `first` on in processes of their own; returns the faults.
fn read_inputs(target: &Target, first: u64, count: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (mut next, end) = (first, first + count);
    while next < end {
        let scratch = scratch();
        let mut process = start(target.name, next, end - next, scratch.path());
        let seed = || fs::read_to_string(scratch.path().join("seed")).unwrap_or_default();
        let ended = wait(&mut process, seed);
        let listed = fs::read_to_string(scratch.path().join("faults"));
        let fault = |seed: u64, what: &str| Fault {
            target: target.name,
            seed,
            what: what.to_owned(),
        };
        if let Ok(listed) = listed {
            let line = |line: &str| {
                let (seed, what) = line.split_once(' ').unwrap();
                fault(seed.parse().unwrap(), what)
            };
            faults.extend(listed.lines().map(line));
            break;
        }
        let seed = seed().parse().unwrap_or(next);
        faults.push(fault(seed, &format!("the process ended: {ended}")));
        next = seed + 1;
    }
    faults
}

/// A folder in memory where there is one: inputs are many and short-lived.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn start(target: &str, first: u64, count: u64, folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["fuzz::block", "--exact", "--ignored", "--test-threads=1"])
        .env(
            BLOCK,
            format!("{target} {first} {count} {}", folder.display()),
        )
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let limit = || {
        for (resource, most) in [(libc::RLIMIT_AS, ADDRESS_SPACE), (libc::RLIMIT_CORE, 0)] {
            let most = libc::rlimit {
                rlim_cur: most,
                rlim_max: most,
            };
            // SAFETY: the call only reads `most`.
            unsafe { libc::setrlimit(resource, &raw const most) };
        }
        Ok(())
    };
    // SAFETY: setrlimit may be called between fork and exec.
    unsafe { command.pre_exec(limit) };
    command.spawn().unwrap()
}

/// Waits for a block to end; ends it if its input stays the same for too long.
fn wait(process: &mut Child, seed: impl Fn() -> String) -> String {
    let (mut last, mut since) = (String::new(), Instant::now());
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status.to_string();
        }
        let now = seed();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            process.kill().unwrap();
            process.wait().unwrap();
            return format!("no answer within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Inputs of each reader in the tests.
const SHORT: u64 = 250;

/// Reads blocks of inputs of all readers, or those that the variable READERS names, on all cores until `done` says so;
/// returns the number of inputs and the faults.
fn read_all(first: u64, block: u64, done: impl Fn(usize) -> bool + Sync) -> (u64, Vec<Fault>) {
    let chosen = std::env::var("READERS").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    let mut targets: Vec<&Target> = TARGETS.iter().collect();
    targets.retain(|target| chosen.is_empty() || chosen.contains(&target.name));
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if done(job) {
                break;
            }
            let target = targets[job % targets.len()];
            let seed = first + (job / targets.len()) as u64 * block;
            faults
                .lock()
                .unwrap()
                .extend(read_inputs(target, seed, block));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let jobs = next.into_inner().saturating_sub(threads) as u64;
    (jobs * block, faults.into_inner().unwrap())
}

fn assert_none(faults: &[Fault]) {
    let list: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        list.len(),
        list.join("\n")
    );
}

#[test]
fn no_reader_fails_on_changed_inputs() {
    let (inputs, faults) = read_all(1, SHORT, |job| job >= TARGETS.len());
    assert_eq!(inputs, SHORT * TARGETS.len() as u64);
    assert_none(&faults);
}

/// For `make fuzz MINUTES=`: other inputs each time.
#[test]
#[ignore = "takes as long as one likes: make fuzz MINUTES=10"]
fn long() {
    let minutes = std::env::var("MINUTES")
        .ok()
        .and_then(|text| text.parse().ok());
    let limit = Duration::from_secs_f64(60.0 * minutes.unwrap_or(10.0));
    let first = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        << 20;
    println!("first seed {first}");
    let start = Instant::now();
    let (inputs, faults) = read_all(first, 2_000, |_| start.elapsed() > limit);
    println!(
        "{inputs} inputs in {:.0?}, {} faults",
        start.elapsed(),
        faults.len()
    );
    assert_none(&faults);
    println!("{} requests, 0 faults", web::ask(first, 300));
}
