//! Requests to stop: Ctrl-C, SIGTERM (Slurm, Kubernetes, `kill`), SIGHUP (the terminal is gone) and SIGUSR1 ([`PLEA`]).

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGBUS, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::base::atomic;

/// Exit code after an interrupt.
pub const INTERRUPTED: u8 = 130;

/// A request that never counts as the second one, which would end the process at once. A program sends it to those that
/// it started: it cannot know whether the user's Ctrl-C or Slurm's SIGTERM has reached them too.
pub const PLEA: i32 = SIGUSR1;

/// Said when a mapped file has become shorter than it was.
const CUT_FILE: &str = "error: a file became shorter while it was read, e.g. a pack that was copied over\n\
                        hint: restore it and start again; a training continues with --resume\n";

/// How long a command that stops by itself is waited for.
const PATIENCE: Duration = Duration::from_millis(900);

static ASKED: AtomicBool = AtomicBool::new(false);
static ANNOUNCED: OnceLock<Stopping> = OnceLock::new();

/// How the running command stops.
struct Stopping {
    message: &'static str,
    /// `None`: as long as it takes.
    patience: Option<Duration>,
}

/// Handles the signals from now on. The first ends the process with code 130, at once or as [`stops_within_a_second`] or
/// [`stops_by_itself`] arranged; the second, unless it is a [`PLEA`], ends it at once. A signal that is ignored at the
/// start, as by `nohup` and for background jobs of scripts, stays ignored. `say` prints a line on stderr.
///
/// # Errors
/// If the system does not allow it.
pub fn handle_signals(say: impl Fn(&str) + Send + 'static) -> io::Result<()> {
    // With a handler, a write beyond the limit on the size of files fails instead of killing the process.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    // SAFETY: the handler only makes two system calls that are allowed in a handler.
    unsafe {
        signal_hook::low_level::register(SIGBUS, || {
            libc::write(
                libc::STDERR_FILENO,
                CUT_FILE.as_ptr().cast(),
                CUT_FILE.len(),
            );
            signal_hook::low_level::exit(1);
        })
    }?;
    let asking = [SIGINT, SIGTERM, SIGHUP, PLEA]
        .into_iter()
        .filter(|&signal| !is_ignored(signal));
    let mut signals = Signals::new(asking)?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut told = false;
            for signal in signals.forever() {
                let counts = signal != PLEA;
                let Some(stopping) = ANNOUNCED.get().filter(|_| !(counts && told)) else {
                    leave();
                };
                told |= counts;
                if ASKED.swap(true, Ordering::Relaxed) {
                    continue;
                }
                say(&format!(
                    "\n{} (press Ctrl-C again to leave at once)",
                    stopping.message
                ));
                if let Some(patience) = stopping.patience {
                    thread::spawn(move || {
                        thread::sleep(patience);
                        leave();
                    });
                }
            }
        })?;
    Ok(())
}

/// Arranges that an interrupt prints `message` and that the command, which checks [`asked`], has a second to stop.
pub fn stops_within_a_second(message: &'static str) {
    announce(message, Some(PATIENCE));
}

/// Arranges that an interrupt prints `message` and that the command, which checks [`asked`], stops when it has saved its
/// state.
pub fn stops_by_itself(message: &'static str) {
    announce(message, None);
}

fn announce(message: &'static str, patience: Option<Duration>) {
    let _ = ANNOUNCED.set(Stopping { message, patience });
}

/// Whether the user has asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// The flag that [`asked`] reads.
pub fn flag() -> &'static AtomicBool {
    &ASKED
}

/// Removes incomplete files and ends the process, whatever its other threads do.
fn leave() -> ! {
    atomic::remove_temporaries();
    signal_hook::low_level::exit(INTERRUPTED.into())
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: an all-zero `sigaction` is a valid value, and with a null pointer for the new action the call only writes the
    // present one to it.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut present) == 0
            && present.sa_sigaction == libc::SIG_IGN
    }
}
