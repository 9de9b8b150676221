//! tare-docker-api
