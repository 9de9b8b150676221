//! tare-reference
