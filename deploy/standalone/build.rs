//! Makes the linker write the program's relocations in their short form (RELR), which saves a megabyte. The
//! C library that loads the program must know that form: glibc 2.36 (Debian 12) or later.
#![expect(clippy::disallowed_methods, reason = "the environment is how cargo speaks to it")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // On other targets, the linker may not know the option.
    if std::env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
