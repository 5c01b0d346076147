//! From what users write in `host` to the full, lower-case name it means.

use std::net::IpAddr;
use std::sync::Arc;

/// The full name of a host written in an object of `namespace`.
///
/// A name without a dot is short for a Kubernetes service of that namespace; `*` and literal
/// addresses are left alone, and a name with any dot counts as full.
pub fn resolve(host: &str, namespace: &str, cluster_domain: &str) -> Arc<str> {
    let lower = host.trim().trim_end_matches('.').to_ascii_lowercase();
    if lower.is_empty()
        || lower.contains('.')
        || lower.starts_with('*')
        || lower.parse::<IpAddr>().is_ok()
    {
        return Arc::from(lower);
    }
    service_host(&lower, namespace, cluster_domain)
}

/// The full name of a Kubernetes service.
pub fn service_host(name: &str, namespace: &str, cluster_domain: &str) -> Arc<str> {
    Arc::from(format!("{name}.{namespace}.svc.{cluster_domain}").to_ascii_lowercase())
}

/// The namespace of everything that Kubernetes calls by a name below `NAMESPACE.svc.DOMAIN`.
pub fn namespace_of<'n>(name: &'n str, cluster_domain: &str) -> Option<&'n str> {
    let name = name.strip_suffix(cluster_domain)?.strip_suffix(".svc.")?;
    let (_, namespace) = name.rsplit_once('.')?;
    Some(namespace)
}

/// The name nearest to `wanted` among `known`, if one is near enough to be a misspelling.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(score, name)| *score >= 0.85 && *name != wanted)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_belong_to_the_objects_namespace() {
        let resolve = |host| resolve(host, "shop", "cluster.local");
        assert_eq!(&*resolve("Backend"), "backend.shop.svc.cluster.local");
        assert_eq!(&*resolve("reviews.default"), "reviews.default");
        assert_eq!(&*resolve("*"), "*");
        assert_eq!(&*resolve("*.Example.com"), "*.example.com");
        assert_eq!(&*resolve("10.0.0.1"), "10.0.0.1");
        assert_eq!(&*resolve("::1"), "::1");
        assert_eq!(&*resolve("a.b.svc.cluster.local."), "a.b.svc.cluster.local");
    }

    #[test]
    fn names_of_the_cluster_belong_to_namespaces() {
        for (name, namespace) in [
            ("backend.shop.svc.cluster.local", Some("shop")),
            ("web-0.web.shop.svc.cluster.local", Some("shop")),
            ("*.shop.svc.cluster.local", Some("shop")),
            ("*.svc.cluster.local", None),
            ("shop.svc.cluster.local", None),
            ("backend.shop.svc", None),
            ("api.example.com", None),
        ] {
            assert_eq!(namespace_of(name, "cluster.local"), namespace, "{name}");
        }
    }

    #[test]
    fn near_names_only() {
        let known = [
            "backend.shop.svc.cluster.local",
            "store.shop.svc.cluster.local",
        ];
        assert_eq!(
            nearest("bakend.shop.svc.cluster.local", known),
            Some("backend.shop.svc.cluster.local")
        );
        assert_eq!(nearest("v3", ["v1", "v2"]), None);
        assert_eq!(nearest("canray", ["canary", "stable"]), Some("canary"));
    }
}
