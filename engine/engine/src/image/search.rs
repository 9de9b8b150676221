//! Searching a registry for images.

use tare_docker_api::filters::Filters;
use tare_docker_api::image::SearchResult;

use super::transfer::{credentials, failed};
use crate::Engine;
use crate::error::{Error, Result};
use crate::options::Credentials;

/// Results of a search that asks for no number, and the most that can be asked for: Docker's.
const SEARCH_RESULTS: usize = 25;
const SEARCH_RESULTS_MAX: usize = 100;

impl Engine {
    /// Searches the registry.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        filters: Filters,
        given: Option<Credentials>,
    ) -> Result<Vec<SearchResult>> {
        filters.validate(&["is-official", "stars"])?;
        let limit = search_limit(limit)?;
        let official =
            if filters.contains("is-official") { Some(filters.bool_or("is-official", false)?) } else { None };
        let mut stars = 0;
        for text in filters.get("stars") {
            let least: i64 = text.parse().map_err(|_| Error::invalid(format!("invalid filter 'stars={text}'")))?;
            stars = stars.max(least);
        }
        let credentials = credentials(given);
        let found = self.distribution().registry().search(term, limit, credentials.as_ref()).await;
        let found = found.map_err(|error| failed(error.into()))?;
        let wanted = found.into_iter().filter(|result| {
            result.star_count >= stars && official.is_none_or(|official| result.is_official == official)
        });
        Ok(wanted
            .map(|result| SearchResult {
                star_count: result.star_count,
                is_official: result.is_official,
                name: result.name,
                is_automated: result.is_automated,
                description: result.description,
            })
            .collect())
    }
}

/// How many results a search is to give.
fn search_limit(asked: usize) -> Result<usize> {
    match asked {
        0 => Ok(SEARCH_RESULTS),
        1..=SEARCH_RESULTS_MAX => Ok(asked),
        more => Err(Error::invalid(format!("limit {more} is outside the range of [1, {SEARCH_RESULTS_MAX}]"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_results() {
        assert_eq!((search_limit(0).unwrap(), search_limit(7).unwrap(), search_limit(100).unwrap()), (25, 7, 100));
        assert_eq!(search_limit(101).unwrap_err().message, "limit 101 is outside the range of [1, 100]");
    }
}
