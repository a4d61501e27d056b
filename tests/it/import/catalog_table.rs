//! The catalogue of data sets against what is written from it and what it names.

use std::collections::BTreeSet;
use std::fs::read_to_string;

use hypertransformer::import::catalog::{self, DATA_SETS};
use hypertransformer::import::data_set::DataSet;
use hypertransformer::settings::file::load;

use crate::common::{hypertransformer, repository};

fn printed(format: &str) -> String {
    let mut program = hypertransformer();
    let output = program.args(["data", "catalog", "--format", format]);
    String::from_utf8(output.output().unwrap().stdout).unwrap()
}

#[test]
fn the_table_in_the_docs_is_that_of_the_catalogue() {
    let page = read_to_string(repository("docs/data.md")).unwrap();
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    let expected = printed("markdown");
    assert!(
        table == expected.lines().collect::<Vec<_>>(),
        "docs/data.md differs from the catalogue: run `make catalog`"
    );
}

#[test]
fn the_variables_of_make_are_those_of_the_catalogue() {
    let file = read_to_string(repository("data-sets.mk")).unwrap();
    assert!(
        file == printed("make"),
        "data-sets.mk differs from the catalogue: run `make catalog`"
    );
}

#[test]
fn default_experiments_read_the_pack_of_their_data_set() {
    for data_set in DATA_SETS {
        let Some(file) = data_set.experiment else {
            continue;
        };
        let experiment = load(&repository(file), &[]).unwrap();
        let pack = format!("data/{}.safetensors", data_set.pack);
        assert!(experiment.data.pack.ends_with(pack), "{file}");
    }
}

#[test]
fn names_of_data_sets_are_unique_and_found() {
    let mut names = BTreeSet::new();
    for data_set in DATA_SETS {
        names.extend([data_set.name, data_set.short_name]);
        for name in [data_set.name, data_set.short_name] {
            assert_eq!(catalog::by_name(name).unwrap().title, data_set.title);
        }
        assert_eq!(
            catalog::by_pack(data_set.pack).unwrap().title,
            data_set.title
        );
    }
    let shortened = |data_set: &&DataSet| data_set.name != data_set.short_name;
    let count = DATA_SETS.len() + DATA_SETS.iter().filter(shortened).count();
    assert_eq!(names.len(), count);
}
