//! The grid: each combination of values with each seed is a run.

use std::str::FromStr;

use serde_yaml::Value;
use thiserror::Error;

use crate::run::facts::SEED;
use crate::run::sweep::names::{named, short_names};

/// Largest number of runs.
pub const MOST_RUNS: usize = 10_000;

/// A grid that makes no sweep.
#[derive(Debug, Error, PartialEq)]
pub enum GridError {
    /// A setting is named twice.
    #[error("--grid {0} is given twice\nhint: write all its values into one, --grid {0}=A,B")]
    Twice(String),
    /// A setting is both varied and set.
    #[error("{0} is both in --grid and in --set\nhint: leave one out")]
    Set(String),
    /// The seed is set as if it were another setting.
    #[error("{SEED} is set by a sweep\nhint: name the seeds with --seeds, e.g. --seeds 0,3,7")]
    Seed,
    /// There are too many runs.
    #[error("the grid has more than {MOST_RUNS} runs\nhint: divide it into several sweeps")]
    TooMany,
}

/// Values of a setting: `KEY=A,B,…`, with values in YAML as those of `--set`.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The dotted name of the setting.
    pub key: String,
    values: Vec<Value>,
}

impl Axis {
    /// Its values, each as it is written after `KEY=`.
    fn texts(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(on_one_line)
    }

    /// Whether groups of runs can be told apart by this setting: a section is no setting but several.
    pub fn is_setting(&self) -> bool {
        !self.values.iter().any(Value::is_mapping)
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Axis, String> {
        let expected = "expected KEY=A,B, e.g. cnn.channels=4,8";
        let (key, values) = text
            .split_once('=')
            .filter(|(key, _)| key.split('.').all(|part| !part.is_empty()))
            .ok_or(expected)?;
        let values: Vec<Value> = serde_yaml::from_str(&format!("[{values}]"))
            .map_err(|error| format!("{expected}: {error}"))?;
        if values.is_empty() {
            return Err(format!("it names no value, {expected}"));
        }
        Ok(Axis {
            key: key.to_owned(),
            values,
        })
    }
}

/// Seeds: `N`, which stands for 0 to N − 1, or a list such as `0,3,7`; `3,` is the seed 3 alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Seeds(Vec<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let expected = || format!("expected a number from 1 to {MOST_RUNS} or a list as 0,3,7");
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| expected());
        let Some((_, last)) = text.rsplit_once(',') else {
            return match number(text)? {
                count if (1..=MOST_RUNS as u64).contains(&count) => Ok(Seeds((0..count).collect())),
                _ => Err(expected()),
            };
        };
        let list = match last.trim().is_empty() {
            true => &text[..text.len() - last.len() - 1],
            false => text,
        };
        let seeds: Vec<u64> = list.split(',').map(number).collect::<Result<_, _>>()?;
        let mut sorted = seeds.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("the seed {} is named twice", pair[0])),
            None => Ok(Seeds(seeds)),
        }
    }
}

/// A run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Name of its folder, which no other run of any sweep of these settings has.
    pub name: String,
    /// What `--set` changes for it, `KEY=VALUE`, the seed last.
    pub settings: Vec<String>,
}

/// The runs of a sweep, all combinations with the first seed first. `set` are the settings that all of them have.
///
/// # Errors
/// If settings are named twice, or if there are too many runs.
pub fn points(axes: &[Axis], seeds: &Seeds, set: &[String]) -> Result<Vec<Point>, GridError> {
    let key_of = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    let set: Vec<String> = set.iter().map(|text| key_of(text)).collect();
    for (index, axis) in axes.iter().enumerate() {
        if axes[..index].iter().any(|other| other.key == axis.key) {
            return Err(GridError::Twice(axis.key.clone()));
        }
        if set.contains(&axis.key) {
            return Err(GridError::Set(axis.key.clone()));
        }
    }
    let mut keys = set.iter().chain(axes.iter().map(|axis| &axis.key));
    if keys.any(|key| key == SEED) {
        return Err(GridError::Seed);
    }
    let runs = axes
        .iter()
        .try_fold(seeds.0.len(), |runs, axis| {
            runs.checked_mul(axis.values.len())
        })
        .filter(|&runs| runs <= MOST_RUNS);
    if runs.is_none() {
        return Err(GridError::TooMany);
    }
    let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
    for axis in axes {
        combinations = combinations
            .iter()
            .flat_map(|before| {
                axis.texts()
                    .map(move |value| [&before[..], &[value]].concat())
            })
            .collect();
    }
    let keys: Vec<&str> = axes.iter().map(|axis| axis.key.as_str()).collect();
    let short = short_names(&keys);
    let point = |values: &[String], seed: u64| {
        let settings = keys.iter().zip(values);
        let mut settings: Vec<String> = settings
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let name = named(&short, values, &settings, seed);
        settings.push(format!("{SEED}={seed}"));
        Point { name, settings }
    };
    let seeds = seeds.0.iter();
    Ok(seeds
        .flat_map(|&seed| combinations.iter().map(move |values| (values, seed)))
        .map(|(values, seed)| point(values, seed))
        .collect())
}

/// A value as YAML that `--set` reads back.
fn on_one_line(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        // A text in JSON is one in YAML too.
        Value::String(text) => serde_json::to_string(text).unwrap_or_default(),
        Value::Sequence(values) => {
            let values: Vec<String> = values.iter().map(on_one_line).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Mapping(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", on_one_line(key), on_one_line(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Tagged(tagged) => format!("{} {}", tagged.tag, on_one_line(&tagged.value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => serde_yaml::to_string(value)
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

/// Whether a text without quotes is read as that text, alone and within a list.
fn is_plain(text: &str) -> bool {
    let expected = Value::String(text.to_owned());
    let alone: Option<Value> = serde_yaml::from_str(text).ok();
    let listed: Option<Vec<Value>> = serde_yaml::from_str(&format!("[{text}]")).ok();
    !text.contains('\n') && alone.as_ref() == Some(&expected) && listed == Some(vec![expected])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(texts: &[&str]) -> Vec<Axis> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn of(grid: &[&str], seeds: &str) -> Vec<Point> {
        points(&axes(grid), &seeds.parse().unwrap(), &[]).unwrap()
    }

    #[test]
    fn each_combination_has_each_seed_and_the_first_seed_comes_first() {
        let found = of(&["cnn.channels=4,8", "generator.heads=1,2,4"], "0,7");
        assert_eq!(found.len(), 12);
        assert_eq!(found[1].name, "channels=4,heads=2-seed0");
        let expected = ["cnn.channels=8", "generator.heads=4", "train.seed=7"];
        assert_eq!(found[11].settings, expected);
        let mut names: Vec<&String> = found.iter().map(|point| &point.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 12);
    }

    #[test]
    fn without_a_grid_the_seeds_are_the_runs() {
        let names: Vec<String> = of(&[], "3").into_iter().map(|point| point.name).collect();
        assert_eq!(names, ["seed0", "seed1", "seed2"]);
        assert_eq!(of(&[], "3,")[0].settings, ["train.seed=3"]);
    }

    #[test]
    fn values_are_yaml_and_read_back_as_they_were() {
        for (text, expected) in [
            ("last 2, all", &["last 2", "all"][..]),
            ("1e-3,0.5", &["0.001", "0.5"]),
            ("~,null,true", &["null", "null", "true"]),
            ("[a, b],[c]", &["[a, b]", "[c]"]),
            (
                "{2: {allocation: spatial}}, {}",
                &["{2: {allocation: spatial}}", "{}"],
            ),
            (
                "'4', \"a,b\", 'x: y', '---'",
                &["\"4\"", "\"a,b\"", "\"x: y\"", "\"---\""],
            ),
            ("\"two\\nlines\", ''", &["\"two\\nlines\"", "\"\""]),
            (".inf, [-.inf]", &[".inf", "[-.inf]"]),
        ] {
            let axis: Axis = format!("key={text}").parse().unwrap();
            let texts: Vec<String> = axis.texts().collect();
            assert_eq!(texts, expected, "{text}");
            let read: Vec<Value> = texts
                .iter()
                .map(|text| serde_yaml::from_str(text).unwrap())
                .collect();
            assert_eq!(read, axis.values, "{text}");
        }
    }

    #[test]
    fn faults_are_told() {
        for text in [
            "", "a", "=1", "a.=1", "a=", "a=1,,2", "a=[1", "a=1]", "a=1], [2",
        ] {
            assert!(text.parse::<Axis>().is_err(), "{text}");
        }
        for text in ["", "0", "-1", "1.5", "x", "1,1", "1,,2", ",", "10001"] {
            assert!(text.parse::<Seeds>().is_err(), "{text}");
        }
        let seeds: Seeds = "2".parse().unwrap();
        let fault = |grid: &[&str], set: &[&str]| {
            let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
            points(&axes(grid), &seeds, &set).unwrap_err()
        };
        assert_eq!(
            fault(&["a=1", "a=2"], &[]),
            GridError::Twice("a".to_owned())
        );
        assert_eq!(fault(&["a=1"], &["a=2"]), GridError::Set("a".to_owned()));
        assert_eq!(fault(&["train.seed=1"], &[]), GridError::Seed);
        assert_eq!(fault(&[], &["train.seed=1"]), GridError::Seed);
        let hundred = vec!["1"; 100].join(",");
        let [a, b] = ["a", "b"].map(|key| format!("{key}={hundred}"));
        assert_eq!(fault(&[&a, &b], &[]), GridError::TooMany);
    }
}
