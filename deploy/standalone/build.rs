//! Has the linker write the program's relocations in their short form (RELR), a megabyte less. The C
//! library that loads it must know that form: glibc 2.36 and later, of Debian 12.
#![expect(clippy::disallowed_methods, reason = "the environment is how cargo speaks to it")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Elsewhere the linker may be another one, which does not know the option.
    if std::env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
