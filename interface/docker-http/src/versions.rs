//! What differs between API versions, as functions over the documents: [`requests`] of old clients are brought to the newest
//! form, [`responses`] of the newest form are brought to what old clients know.

pub mod requests;
pub mod responses;
