//! tare-network
