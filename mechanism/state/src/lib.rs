//! tare-state
