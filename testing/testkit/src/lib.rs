//! tare-testkit
