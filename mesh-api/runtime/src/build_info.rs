//! Which build this is: printed by `--version`, served by admin, and exported as a metric.

use std::fmt;

use serde::Serialize;

use crate::prometheus::ScrapeSection;

/// The stamp of one binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// The binary, as `proxy` or `control-plane`.
    pub component: &'static str,
    /// The workspace's version.
    pub version: &'static str,
    /// The source revision, if the build was told (`MESH_BUILD_REVISION`), else `unknown`.
    pub revision: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// The processor architecture and operating system.
    pub platform: (&'static str, &'static str),
}

impl BuildInfo {
    /// The stamp of the running binary, which calls itself `component`.
    pub const fn of(component: &'static str) -> Self {
        Self {
            component,
            version: env!("CARGO_PKG_VERSION"),
            revision: match option_env!("MESH_BUILD_REVISION") {
                Some(revision) => revision,
                None => "unknown",
            },
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            platform: (std::env::consts::ARCH, std::env::consts::OS),
        }
    }
}

impl fmt::Display for BuildInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (arch, os) = self.platform;
        write!(
            formatter,
            "{} {} ({}, {}, {arch}-{os})",
            self.component, self.version, self.revision, self.profile
        )
    }
}

impl ScrapeSection for BuildInfo {
    fn render(&self, out: &mut String) {
        use fmt::Write as _;
        // Writing to a String cannot fail.
        let _written = write!(
            out,
            "# HELP istio_build Which build this is.\n# TYPE istio_build gauge\n\
             istio_build{{component=\"{}\",tag=\"{}\",revision=\"{}\"}} 1\n",
            self.component, self.version, self.revision
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_exports_itself() {
        let info = BuildInfo::of("proxy");
        assert!(
            info.to_string()
                .starts_with(concat!("proxy ", env!("CARGO_PKG_VERSION"), " ("))
        );
        let mut page = String::new();
        info.render(&mut page);
        assert!(
            page.ends_with("\"} 1\n") && page.contains("component=\"proxy\""),
            "{page}"
        );
    }
}
