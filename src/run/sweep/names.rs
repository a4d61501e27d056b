//! Names of the folders of a sweep. They depend on a run's own settings alone, so that a larger grid finds the runs of a
//! smaller one.

/// Length in bytes of the longest part of a name that tells the settings; file systems allow 255 bytes in all.
const LONGEST: usize = 160;

/// Number of digits of a hash that stands for what a name does not show.
const DIGITS: usize = 8;

/// The last part of each dotted name, or all of it where another has the same last part.
pub(super) fn short_names<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let is_shared = |key| keys.iter().filter(|other| last(other) == last(key)).count() > 1;
    let short = keys.iter().map(|&key| match is_shared(key) {
        true => key,
        false => last(key),
    });
    short.collect()
}

/// The name of a run: `key=value,…-seedN`. A value is shown with `+` for a blank. What cannot be shown, or would be too
/// long, is replaced by a hash of the `settings`.
pub(super) fn named(keys: &[&str], values: &[String], settings: &[String], seed: u64) -> String {
    if keys.is_empty() {
        return format!("seed{seed}");
    }
    let (mut parts, mut is_whole) = (Vec::new(), true);
    for (key, value) in keys.iter().zip(values) {
        let (value, is_shown) = shown(value);
        let key = shown(key).0;
        parts.push(format!("{key}={value}"));
        is_whole &= is_shown;
    }
    let mut name = parts.join(",");
    if !is_whole || name.len() > LONGEST {
        // The name is ASCII, so that it can be cut anywhere.
        name.truncate(LONGEST);
        let hash = blake3::hash(settings.join("\n").as_bytes()).to_hex();
        name = format!("{name}-{}", &hash[..DIGITS]);
    }
    format!("{name}-seed{seed}")
}

/// A text of letters that every file system and shell takes as they are, and whether it shows all of `text`.
fn shown(text: &str) -> (String, bool) {
    let (mut found, mut gap) = (String::new(), false);
    for letter in text.chars() {
        let letter = match letter {
            ' ' => '+',
            letter => letter,
        };
        if letter.is_ascii_alphanumeric() || "._-+".contains(letter) {
            if gap && !found.is_empty() {
                found.push('-');
            }
            gap = false;
            found.push(letter);
        } else {
            gap = true;
        }
    }
    match found == text.replace(' ', "+") && !text.contains('+') {
        true => (found, true),
        false => (found.replace("-+", "-").replace("+-", "-"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str, value: &str) -> String {
        named(&[key], &[value.to_owned()], &[format!("{key}={value}")], 0)
    }

    #[test]
    fn keys_are_short_unless_two_would_look_alike() {
        let keys = ["cnn.layers", "generator.layers", "cnn.channels"];
        let expected = ["cnn.layers", "generator.layers", "channels"];
        assert_eq!(short_names(&keys), expected);
    }

    #[test]
    fn what_a_name_cannot_show_has_a_hash() {
        assert_eq!(name("rate", "-0.001"), "rate=-0.001-seed0");
        assert_eq!(name("generates", "last 2"), "generates=last+2-seed0");
        let list = name("block", "[convolution, pool]");
        assert!(list.starts_with("block=convolution-pool-"), "{list}");
        let alike = [
            "[1, 2]", "[1, 2.0]", "[12]", "last+2", "[", "]", "é", "../../x", "a/b",
        ];
        let names: std::collections::BTreeSet<String> =
            alike.iter().map(|value| name("key", value)).collect();
        assert_eq!(names.len(), alike.len(), "{names:?}");
        for name in names {
            assert!(!name.contains(['/', ' ', '[']) && name.is_ascii(), "{name}");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let [one, other] = ["a", "b"].map(|end| name("key", &("x".repeat(500) + end)));
        assert!(one != other && one.len() < 200);
    }
}
