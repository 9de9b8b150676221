//! tare-e2e
