//! What a user sees of a panic: one line, not a C++ stack.

/// What printing fails with when nobody reads on, as after `| head`: no fault; a shell gives such a program 141.
const BROKEN_PIPE: &str = "os error 32";

/// Libtorch reports faults as panics with C++ stacks; a user sees the first line.
pub(super) fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location();
        if place.is_some_and(|place| place.file().contains("tensorboard-rs")) {
            // It cannot write, which the report of the run tells.
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
        let first_line = text.lines().next().unwrap_or(text).replace("\\n", "\n");
        eprintln!(
            "error: internal fault: {}",
            first_line.lines().next().unwrap_or_default()
        );
        if let Some(place) = place {
            eprintln!("hint: this is a bug ({place}); please report it with the command you ran");
        }
    }));
}
