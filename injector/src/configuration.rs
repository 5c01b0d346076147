//! Everything injection depends on but the pod and its namespace: the installation's values, the
//! mesh's settings and the version of the cluster.

use std::fmt;
use std::net::IpAddr;

use mesh_api::mesh_config::MeshConfig;

use crate::values::Values;
use crate::{Home, Selector, Settings};

/// How this injector is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// The installation's values.
    pub values: Values,
    /// The mesh's settings.
    pub mesh: MeshConfig,
    /// The cluster's version.
    pub cluster: ClusterVersion,
    /// What decides which pods get a sidecar; follows from the values.
    pub settings: Settings,
    /// The addresses of the control plane's Service; none: not known.
    pub control_plane_at: Vec<IpAddr>,
}

/// The Service of the control plane, in its namespace.
pub const CONTROL_PLANE_SERVICE: &str = "istiod";

impl Configuration {
    /// Puts it together.
    pub fn new(values: Values, mesh: MeshConfig, cluster: ClusterVersion, home: Home) -> Self {
        let webhook = &values.sidecar_injector_webhook;
        let selectors = |list: &[mesh_api::mesh_config::LabelSelector]| {
            list.iter().map(Selector::from).collect()
        };
        let settings = Settings {
            revision: values.revision.clone(),
            tags: values.revision_tags.iter().cloned().collect(),
            home,
            enable_namespaces_by_default: webhook.enable_namespaces_by_default,
            policy: webhook.policy,
            never_inject: selectors(&webhook.never_inject_selector),
            always_inject: selectors(&webhook.always_inject_selector),
        };
        Self {
            values,
            mesh,
            cluster,
            settings,
            control_plane_at: Vec::new(),
        }
    }

    /// The name by which pods of this cluster find the control plane.
    pub(crate) fn control_plane_host(&self) -> String {
        let namespace = &self.settings.home.control_plane;
        format!("{CONTROL_PLANE_SERVICE}.{namespace}.svc")
    }
}

/// The version of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl ClusterVersion {
    /// The oldest version whose API has everything we write by default.
    pub const CURRENT: Self = Self {
        major: 1,
        minor: 33,
    };

    /// Reads what the API server says, such as `1` and `29+`.
    pub fn read(major: &str, minor: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        Some(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }

    /// Whether init containers may keep running.
    pub fn has_native_sidecars(self) -> bool {
        self >= Self {
            major: 1,
            minor: 29,
        }
    }

    /// Whether a container may sleep before it ends, without a binary for it.
    pub fn has_sleep_action(self) -> bool {
        self >= Self {
            major: 1,
            minor: 30,
        }
    }
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_api_servers_write_them() {
        let read = |minor: &str| ClusterVersion::read("1", minor).unwrap();
        assert!(!read("28").has_native_sidecars());
        assert!(read("29+").has_native_sidecars() && !read("29+").has_sleep_action());
        assert!(read("30-eks-1").has_sleep_action());
        assert_eq!(ClusterVersion::read("1", "x"), None);
        assert_eq!(read("34").to_string(), "1.34");
    }
}
