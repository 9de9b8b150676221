//! tare-logs
