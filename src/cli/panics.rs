//! What a user sees of a panic: one line and a hint, not a C++ stack.

use hypertransformer::report::console::say;
use hypertransformer::report::is_handled_panic;

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
        let text = text.replace("\\n", "\n");
        say(format!(
            "error: internal fault: {}",
            text.lines().next().unwrap_or_default()
        ));
        if let Some(place) = place {
            say(format!(
                "hint: this is a bug ({place}); please report it with the command you ran"
            ));
        }
    }));
}
