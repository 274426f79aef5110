//! Plays every file of `corpus/`, and of what a longer run found, without libFuzzer.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says where")]

use std::{fs, path::Path};

fn play(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "the corpus of {name} has only {} files", files.len());
    for file in files {
        println!("{}", file.display());
        target(&fs::read(&file).unwrap());
    }
}

#[test]
fn requests() {
    play("request", postern_fuzz::request);
}

#[test]
fn definitions() {
    play("definition", postern_fuzz::definition);
}

#[test]
fn stores() {
    play("store", postern_fuzz::store);
}
