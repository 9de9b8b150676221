//! Events: what `GET /events` streams.

use crate::go::Map;

go_types! {
    /// One event.
    pub struct Message {
        legacy: Option<Legacy> [embed],
        /// `container`, `image`, `network`, `volume`, `daemon`, `builder`.
        kind: String ["Type"],
        /// `start`, `exec_create: sh`, …
        action: String ["Action"],
        actor: Actor ["Actor"],
        /// `local`.
        scope: String ["scope" omitempty],
        /// Unix seconds.
        time: i64 ["time" omitempty],
        /// Unix nanoseconds.
        time_nano: i64 ["timeNano" omitempty],
    }

    /// What the event is about.
    pub struct Actor {
        id: String ["ID"],
        attributes: Map<String> ["Attributes"],
    }

    /// Fields of containers' and images' events below API 1.52.
    pub struct Legacy {
        status: String ["status" omitempty],
        id: String ["id" omitempty],
        from: String ["from" omitempty],
    }
}
