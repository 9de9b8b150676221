//! tare-docker-client
