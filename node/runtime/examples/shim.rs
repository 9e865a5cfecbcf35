//! The shim as a program of its own, for the tests of this crate: in the product it is `trireme
//! shim`.

fn main() {
    std::process::exit(runtime::shim::main(std::env::args_os().skip(1)));
}
