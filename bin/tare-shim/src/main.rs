//! tare-shim
fn main() {}
