//! What a user sees of a panic: one line and a hint, not a C++ stack.

use hypertransformer::report::is_handled_panic;

/// Printing fails with this error when the reader has closed the pipe, as `| head` does. That is no fault; a shell
/// reports such a program with code 141.
const BROKEN_PIPE: &str = "os error 32";

/// Prints only the first line of each panic. Libtorch reports its errors as panics that carry a C++ stack.
pub(super) fn print_panics_briefly() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location();
        if place.is_some_and(is_handled_panic) {
            return;
        }
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown fault");
        if text.starts_with("failed printing to") && text.contains(BROKEN_PIPE) {
            std::process::exit(141);
        }
        let text = text.replace("\\n", "\n");
        eprintln!(
            "error: internal fault: {}",
            text.lines().next().unwrap_or_default()
        );
        if let Some(place) = place {
            eprintln!("hint: this is a bug ({place}); please report it with the command you ran");
        }
    }));
}
