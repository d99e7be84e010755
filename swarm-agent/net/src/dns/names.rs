//! The names one task can resolve: a list of networks in lookup order, each with its names.
//!
//! Pure data. Who fills it decides what a name means (virtual IP or task addresses); here a
//! name is only looked up: as it is, or qualified with its network (`web.backend`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// What a resolver asks. Names come in lower case without a trailing dot.
pub trait Names: Send + Sync + 'static {
    /// The addresses of a name of ours (possibly none), or `None` if the name is not ours.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>>;
    /// The name an address of ours belongs to.
    fn name_of(&self, address: IpAddr) -> Option<String>;
}

/// The names on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkNames {
    /// Name of the network; `NAME.network` is accepted as well as `NAME`.
    pub network: String,
    /// Lower-case name to addresses: services, `tasks.NAME`, aliases, container names and ids.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Address to the name a reverse lookup gives.
    pub reverse: BTreeMap<IpAddr, String>,
}

/// Everything one task can resolve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameTable {
    /// In lookup order: the first network that has the name wins.
    pub networks: Vec<NetworkNames>,
}

/// A table that is replaced as a whole while resolvers read it.
#[derive(Debug, Default)]
pub struct SharedNames {
    table: RwLock<Arc<NameTable>>,
}

impl NetworkNames {
    /// Adds a name, in any letter case; addresses of an already present name are appended.
    pub fn insert(&mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let entry = self.names.entry(name.to_ascii_lowercase()).or_default();
        for address in addresses {
            if !entry.contains(&address) {
                entry.push(address);
            }
        }
    }

    fn find(&self, name: &str) -> Option<&Vec<IpAddr>> {
        let qualified = || {
            let (short, network) = name.split_at_checked(name.len() - self.network.len())?;
            let ours = network.eq_ignore_ascii_case(&self.network) && !network.is_empty();
            self.names.get(short.strip_suffix('.').filter(|_| ours)?)
        };
        let fits = name.len() > self.network.len();
        self.names
            .get(name)
            .or_else(|| fits.then(qualified).flatten())
    }
}

impl Names for NameTable {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.networks
            .iter()
            .find_map(|network| network.find(name))
            .cloned()
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        self.networks
            .iter()
            .find_map(|network| network.reverse.get(&address))
            .cloned()
    }
}

impl SharedNames {
    pub fn new(table: NameTable) -> Self {
        Self {
            table: RwLock::new(Arc::new(table)),
        }
    }

    /// Replaces the whole table; answers in progress finish with the old one.
    pub fn replace(&self, table: NameTable) {
        // A panic cannot leave an Arc half written, so a poisoned lock is still good.
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    fn current(&self) -> Arc<NameTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Names for SharedNames {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.current().addresses(name)
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        self.current().name_of(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn table() -> NameTable {
        let mut front = NetworkNames {
            network: "front.v1".to_owned(),
            ..Default::default()
        };
        front.insert("Web", [ip("10.0.1.2")]);
        front.insert(
            "tasks.web",
            [ip("10.0.1.3"), ip("10.0.1.4"), ip("10.0.1.3")],
        );
        front
            .reverse
            .insert(ip("10.0.1.3"), "web.1.abc.front.v1".to_owned());
        let mut back = NetworkNames {
            network: "back".to_owned(),
            ..Default::default()
        };
        back.insert("web", [ip("10.0.2.2")]);
        back.insert("db", []);
        NameTable {
            networks: vec![front, back],
        }
    }

    #[test]
    fn first_network_wins_and_a_network_can_be_named() {
        let table = table();
        for (name, expected) in [
            ("web", Some(vec!["10.0.1.2"])),
            ("web.back", Some(vec!["10.0.2.2"])),
            ("web.front.v1", Some(vec!["10.0.1.2"])),
            ("tasks.web", Some(vec!["10.0.1.3", "10.0.1.4"])),
            ("tasks.web.front.v1", Some(vec!["10.0.1.3", "10.0.1.4"])),
            ("db", Some(vec![])),
            ("webback", None),
            (".back", None),
            ("back", None),
            ("web.other", None),
            ("", None),
        ] {
            let expected = expected.map(|list| list.into_iter().map(ip).collect::<Vec<_>>());
            assert_eq!(table.addresses(name), expected, "{name:?}");
        }
    }

    #[test]
    fn a_shared_table_is_replaced_as_a_whole() {
        let shared = SharedNames::new(table());
        assert_eq!(
            shared.name_of(ip("10.0.1.3")).as_deref(),
            Some("web.1.abc.front.v1")
        );
        shared.replace(NameTable::default());
        assert_eq!(shared.addresses("web"), None);
        assert_eq!(shared.name_of(ip("10.0.1.3")), None);
    }
}
