//! Lists the files of `shared/providers/`, so that adding a provider touches nothing but its file.
#![expect(clippy::disallowed_methods, reason = "the environment is how cargo speaks to it")]

use std::{env, fs, io::Write, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../providers");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../providers").canonicalize()?;
    let mut files: Vec<_> = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut list = fs::File::create(Path::new(&env::var("OUT_DIR")?).join("providers.rs"))?;
    writeln!(list, "&[")?;
    for path in files.iter().map(fs::DirEntry::path).filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        println!("cargo:rerun-if-changed={}", path.display());
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(list, "    ({name:?}, include_str!({:?})),", path.display().to_string())?;
    }
    writeln!(list, "]")?;
    Ok(())
}
