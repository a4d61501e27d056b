//! Finds libtorch, checks its version before the long compilation of its bindings, and links it such that the program
//! starts without LD_LIBRARY_PATH and finds CUDA if libtorch has it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of libtorch that tch 0.26 supports.
const SUPPORTED: &str = "2.13.";

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    for file in [".libtorch", ".git/HEAD", ".git/refs/heads"] {
        if Path::new(file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    let libtorch = find_libtorch();
    let version = version(&libtorch);
    if !version.starts_with(SUPPORTED) {
        stop(&format!(
            "libtorch at {} has version {version}, expected {SUPPORTED}*\nhint: set LIBTORCH to a supported version, or \
             unset it and run `make setup`",
            libtorch.display()
        ));
    }
    let cuda = link(&libtorch);
    let set_variable =
        |name: &str, value: &str| println!("cargo:rustc-env=HYPERTRANSFORMER_{name}={value}");
    set_variable("LIBTORCH", &libtorch.display().to_string());
    set_variable("LIBTORCH_VERSION", &version);
    set_variable("LINKED_CUDA", if cuda { "yes" } else { "no" });
    set_variable("GIT_COMMIT", &git_commit());
}

fn stop(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1)
}

fn find_libtorch() -> PathBuf {
    let Some(value) = std::env::var_os("LIBTORCH") else {
        stop(
            "the variable LIBTORCH is not set\nhint: run `make setup`, or set LIBTORCH to an unpacked libtorch 2.13",
        )
    };
    match Path::new(&value).canonicalize() {
        Ok(path) if path.join("lib/libtorch_cpu.so").exists() => path,
        _ => stop(&format!(
            "LIBTORCH is {}, but that folder has no lib/libtorch_cpu.so\nhint: run `make setup`, or set LIBTORCH to an \
             unpacked libtorch 2.13",
            Path::new(&value).display()
        )),
    }
}

/// Reads the version from `build-version` (an unpacked libtorch) or `version.py` (a Python wheel).
fn version(libtorch: &Path) -> String {
    if let Ok(text) = std::fs::read_to_string(libtorch.join("build-version")) {
        return text.trim().to_owned();
    }
    let text = std::fs::read_to_string(libtorch.join("version.py")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("__version__ = "))
        .map_or_else(
            || "unknown".to_owned(),
            |value| value.trim_matches(['\'', '"']).to_owned(),
        )
}

/// Prints the link arguments; returns whether CUDA is linked.
fn link(libtorch: &Path) -> bool {
    let lib = libtorch.join("lib");
    let mut folders = vec![lib.clone()];
    // A Python wheel has NVIDIA's libraries in separate packages next to torch.
    if let Some(packages) = libtorch.parent().map(|site| site.join("nvidia"))
        && let Ok(entries) = packages.read_dir()
    {
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path().join("lib"))
            .filter(|path| path.is_dir())
            .collect();
        found.sort();
        folders.extend(found);
    }
    let argument = |text: String| println!("cargo:rustc-link-arg={text}");
    argument("-Wl,--disable-new-dtags".to_owned());
    for folder in &folders {
        argument(format!("-Wl,-rpath,{}", folder.display()));
    }
    let holds = |folder: &PathBuf, prefix: &str| {
        folder.read_dir().is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            })
        })
    };
    // No symbol refers to libtorch_cuda, so the linker would drop it and libtorch would not find CUDA. If it is linked
    // but NVIDIA's libraries are missing, the program cannot start.
    let cuda = lib.join("libtorch_cuda.so").exists()
        && folders.iter().any(|folder| holds(folder, "libcudnn"));
    if cuda {
        argument(format!("-L{}", lib.display()));
        argument("-Wl,--no-as-needed".to_owned());
        argument("-ltorch_cuda".to_owned());
        argument("-Wl,--as-needed".to_owned());
    }
    cuda
}

fn git_commit() -> String {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
