//! The index of containers: by ID, by unique ID prefix, by name (a link's alias path is a name too).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::Container;
use crate::error::{Error, Result};

/// Length of a full ID in characters.
const ID_LEN: usize = 64;

/// All containers. Names are stored without the leading slash.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_id: BTreeMap<String, Arc<Container>>,
    by_name: HashMap<String, String>,
}

impl Index {
    /// Docker's lookup order: full ID, exact name, unique ID prefix.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        if reference.is_empty() {
            return Err(Error::invalid("invalid name or ID supplied: \"\""));
        }
        if reference.len() == ID_LEN
            && let Some(container) = self.by_id.get(reference)
        {
            return Ok(Arc::clone(container));
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(container) = self.by_name.get(name).and_then(|id| self.by_id.get(id)) {
            return Ok(Arc::clone(container));
        }
        let mut matches = self
            .by_id
            .range::<str, _>((Bound::Included(reference), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(Error::invalid(format!("multiple IDs found with provided prefix: {reference}"))),
            _ => Err(Error::no_such_container(reference)),
        }
    }

    /// The container that holds a name.
    pub(crate) fn name_holder(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// Reserves a name before its container exists, so that two creations cannot both get it.
    pub(crate) fn reserve_name(&mut self, name: &str, id: &str) -> Result<()> {
        if let Some(holder) = self.by_name.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to \
                 remove (or rename) that container to be able to reuse that name."
            )));
        }
        self.by_name.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Gives a name back if `id` holds it.
    pub(crate) fn release_name(&mut self, name: &str, id: &str) {
        if self.by_name.get(name).is_some_and(|holder| holder == id) {
            self.by_name.remove(name);
        }
    }

    /// Every name that a container holds, sorted: its own and those links gave it (`parent/alias`).
    pub(crate) fn names_of(&self, id: &str) -> Vec<String> {
        let mut names: Vec<_> =
            self.by_name.iter().filter(|(_, holder)| *holder == id).map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    pub(crate) fn insert(&mut self, container: Arc<Container>) {
        self.by_id.insert(container.id.clone(), container);
    }

    /// Removes a container, every name it holds, and the names its links gave to others.
    pub(crate) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
        let own = self.by_name.iter().filter(|(name, holder)| *holder == id && !name.contains('/'));
        let links: Vec<_> = own.map(|(name, _)| format!("{name}/")).collect();
        self.by_name.retain(|name, holder| holder != id && !links.iter().any(|link| name.starts_with(link)));
    }

    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.by_id.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_container_takes_the_names_of_its_links_along() {
        let mut index = Index::default();
        for (name, id) in [("db", "1"), ("site", "2"), ("site/mysql", "1"), ("site2/mysql", "1")] {
            index.reserve_name(name, id).unwrap();
        }
        index.remove("2");
        assert_eq!(index.names_of("1"), ["db", "site2/mysql"]);
        index.reserve_name("site/mysql", "1").unwrap();
        index.remove("1");
        assert!(index.by_name.is_empty());
    }
}
