//! The part of a sweep that one process takes.

use std::str::FromStr;

use thiserror::Error;

/// Number of the present task of a Slurm array.
pub const SLURM_TASK: &str = "SLURM_ARRAY_TASK_ID";

/// Every N-th run of a sweep, from the I-th on: `I/N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    count: usize,
}

/// The variables of a Slurm array do not tell which part of it a task is.
#[derive(Debug, Error, PartialEq)]
#[error(
    "{SLURM_TASK} is set, but {0}, so that it is not known which part of the sweep this is\nhint: name it with \
     --shard I/N, or use an array of consecutive numbers, e.g. sbatch --array=1-10"
)]
pub struct SlurmError(String);

impl Shard {
    /// All runs.
    pub const WHOLE: Shard = Shard {
        number: 1,
        count: 1,
    };

    /// Whether it has the run at this place, counted from 0.
    pub fn has(self, index: usize) -> bool {
        index % self.count == self.number - 1
    }

    /// The part that belongs to a task of a Slurm array, whose environment `variable` reads; none outside of an array.
    ///
    /// # Errors
    /// If the array does not have consecutive numbers.
    pub fn of_slurm(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Shard>, SlurmError> {
        if variable(SLURM_TASK).is_none() {
            return Ok(None);
        }
        let number = |name: &str| -> Result<usize, SlurmError> {
            let text = variable(name).ok_or_else(|| SlurmError(format!("{name} is not")))?;
            text.parse()
                .map_err(|_| SlurmError(format!("{name} is `{text}`, which is no number")))
        };
        let [task, first, count] =
            [SLURM_TASK, "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"].map(number);
        let (task, first, count) = (task?, first?, count?);
        let index = task.checked_sub(first).filter(|&index| index < count);
        let index = index.ok_or_else(|| {
            SlurmError(format!(
                "task {task} is not one of {count} consecutive numbers from {first} on"
            ))
        })?;
        Ok(Some(Shard {
            number: index + 1,
            count,
        }))
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parsed = text.split_once('/').and_then(|(number, count)| {
            Some(Shard {
                number: number.parse().ok()?,
                count: count.parse().ok()?,
            })
        });
        parsed
            .filter(|shard| (1..=shard.count).contains(&shard.number))
            .ok_or_else(|| "expected I/N with I from 1 to N, e.g. 1/4".to_owned())
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.number, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_and_complete() {
        for count in 1..8 {
            let shards: Vec<Shard> = (1..=count)
                .map(|number| format!("{number}/{count}").parse().unwrap())
                .collect();
            for index in 0..20 {
                let takers = shards.iter().filter(|shard| shard.has(index));
                assert_eq!(takers.count(), 1);
            }
        }
        for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    fn slurm(task: &str, first: &str, count: &str) -> Result<Option<Shard>, SlurmError> {
        Shard::of_slurm(|name| match name.rsplit('_').next() {
            Some("ID") => Some(task.to_owned()),
            Some("MIN") => Some(first.to_owned()),
            _ => Some(count.to_owned()).filter(|count| !count.is_empty()),
        })
    }

    #[test]
    fn a_task_of_a_slurm_array_is_a_shard() {
        assert_eq!(Shard::of_slurm(|_| None), Ok(None));
        assert_eq!(slurm("0", "0", "4"), Ok("1/4".parse().ok()));
        assert_eq!(slurm("8", "5", "4"), Ok("4/4".parse().ok()));
        // Numbers with gaps, e.g. --array=0-6:2 or 1,5; and no array of Slurm at all.
        for (task, first, count) in [
            ("4", "0", "4"),
            ("5", "1", "2"),
            ("1", "1", ""),
            ("x", "1", "2"),
        ] {
            assert!(slurm(task, first, count).is_err(), "{task} {first} {count}");
        }
    }
}
