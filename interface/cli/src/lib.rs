//! tare-cli
