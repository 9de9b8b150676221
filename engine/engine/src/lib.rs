//! tare-engine
