//! tare-shim-protocol
