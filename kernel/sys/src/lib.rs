//! tare-sys
