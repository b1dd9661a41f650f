//! Arguments, crypto provider, start.

fn main() {}
