//! What happens in a build, for callers that follow it step by step.

/// Something about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which one, counted from 1 as they begin.
    pub step: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It has begun; its name.
    Started(String),
    /// It was made before.
    Cached,
    /// A part of it goes on.
    Progress {
        /// Tells the parts apart.
        id: String,
        /// For people.
        name: String,
        /// Bytes so far.
        current: i64,
        /// Bytes in all; 0 where that is not known.
        total: i64,
        /// Nothing more comes of this part.
        is_done: bool,
    },
    /// A command said something.
    Log {
        /// On standard error.
        is_error: bool,
        /// As it came.
        text: String,
    },
    /// Something that the caller should know, and that is no reason to fail.
    Warning(String),
    /// It has ended; why it failed, if it did.
    Done(Option<String>),
}
