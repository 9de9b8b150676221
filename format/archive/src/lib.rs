//! tare-archive
