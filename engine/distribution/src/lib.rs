//! tare-distribution
