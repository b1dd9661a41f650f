//! Arguments, crypto provider, start.
