//! tare-registry
