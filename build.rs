//! Tells the linker what Cargo has no setting for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        // Functions with the same code once: the API's kinds have many of them.
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
