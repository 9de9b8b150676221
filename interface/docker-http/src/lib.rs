//! tare-docker-http
