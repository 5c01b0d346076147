//! How much is logged: one level for our own code, others for single modules or libraries.
//!
//! Levels go by the words Envoy and `istioctl` have. Libraries log at `error` unless one is named:
//! what they have to say below that is often said once per frame a peer sends.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Our crates, by the names their modules log under.
const OURS: [&str; 9] = [
    "control_plane",
    "examples",
    "injector",
    "mesh_api",
    "mesh_kubernetes",
    "mesh_resources",
    "mesh_runtime",
    "proxy",
    "shop",
];

/// Says once more, and without saying what about, what whoever uses it says anyway: the client of
/// an API server writes a line per failed request. Silent unless named.
const QUIET: &str = "kube_client";

/// Libraries whose lines can be asked for.
const LIBRARIES: [&str; 12] = [
    "h2",
    "hyper",
    "hyper_util",
    "kube",
    "kube_client",
    "kube_runtime",
    "rustls",
    "tokio",
    "tokio_rustls",
    "tokio_util",
    "tonic",
    "tower",
];

/// Whether what logs under that name is a module of ours.
pub(super) fn is_ours(target: &str) -> bool {
    OURS.contains(&target.split("::").next().unwrap_or(target))
}

/// How severe a line must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What may be wrong.
    Warning,
    /// What is wrong.
    Error,
    /// The most severe lines there are; those of [`Level::Error`], since none of ours is worse.
    Critical,
    /// Nothing.
    Off,
}

impl Level {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Trace, "trace"),
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Warning, "warning"),
        (Self::Error, "error"),
        (Self::Critical, "critical"),
        (Self::Off, "off"),
    ];

    fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
            Self::Off => LevelFilter::OFF,
        }
    }
}

impl FromStr for Level {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Self, LevelsError> {
        let word = text.to_ascii_lowercase();
        // As Rust programs have it.
        let word = if word == "warn" { "warning" } else { &word };
        let known = Self::ALL.iter().find(|(_, name)| *name == word);
        known
            .map(|(level, _)| *level)
            .ok_or_else(|| LevelsError::Level(text.to_owned()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::ALL.iter().find(|(level, _)| level == self);
        formatter.write_str(known.map_or("off", |(_, name)| name))
    }
}

/// A part of a program that can be asked for by a name users know from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The name.
    pub name: &'static str,
    /// The modules and libraries that are meant.
    pub targets: &'static [&'static str],
}

/// Why nobody knows how much should be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelsError {
    /// The level is none.
    #[error(
        "{0:?} is no log level: use trace, debug, info, warning, error, critical or off, alone or \
         as NAME=LEVEL after it, such as info,proxy=debug"
    )]
    Level(String),
    /// Nothing here logs under that name.
    #[error("nothing here logs as {name:?}: use one of {known}, or a module of one of ours")]
    Name {
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
}

/// How much is logged, of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// Of our own code.
    all: Level,
    /// Of single modules and libraries.
    of: BTreeMap<String, Level>,
}

impl Default for Levels {
    fn default() -> Self {
        Self::all(Level::Info)
    }
}

impl Levels {
    /// This level for all our own code.
    pub fn all(all: Level) -> Self {
        Self {
            all,
            of: BTreeMap::new(),
        }
    }

    /// Reads a level, or a list such as `info,proxy=debug`. Names are those of `scopes`, modules of
    /// our crates, and libraries.
    pub fn parse(text: &str, scopes: &[Scope]) -> Result<Self, LevelsError> {
        let mut levels = Self::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => levels.all = part.parse()?,
                Some((name, level)) => levels.set(name.trim(), level.trim().parse()?, scopes)?,
            }
        }
        Ok(levels)
    }

    /// Sets the level of one part.
    pub fn set(&mut self, name: &str, level: Level, scopes: &[Scope]) -> Result<(), LevelsError> {
        if let Some(scope) = scopes.iter().find(|scope| scope.name == name) {
            let targets = scope.targets.iter();
            self.of
                .extend(targets.map(|target| ((*target).to_owned(), level)));
            return Ok(());
        }
        let first = name.split("::").next().unwrap_or(name);
        if OURS.contains(&first) || LIBRARIES.contains(&first) {
            self.of.insert(name.to_owned(), level);
            return Ok(());
        }
        let names = scopes.iter().map(|scope| scope.name);
        let known: Vec<&str> = names.chain(OURS).chain(LIBRARIES).collect();
        Err(LevelsError::Name {
            name: name.to_owned(),
            known: known.join(", "),
        })
    }

    /// The level a part has. A scope has that of the first module it stands for.
    pub fn of(&self, scope: &Scope) -> Level {
        let target = scope.targets.first().copied().unwrap_or_default();
        let known = self.of.iter();
        let nearest = known
            .filter(|(name, _)| target.starts_with(name.as_str()))
            .max_by_key(|(name, _)| name.len());
        let ours = is_ours(target);
        match nearest {
            Some((_, level)) => *level,
            None if ours => self.all,
            None => self.libraries(),
        }
    }

    fn libraries(&self) -> Level {
        if self.all == Level::Off {
            Level::Off
        } else {
            Level::Error
        }
    }

    pub(super) fn filter(&self) -> Targets {
        let ours = OURS.iter().map(|name| ((*name).to_owned(), self.all));
        let single = self.of.iter().map(|(name, level)| (name.clone(), *level));
        Targets::new()
            .with_default(self.libraries().filter())
            .with_target(QUIET, LevelFilter::OFF)
            .with_targets(
                ours.chain(single)
                    .map(|(name, level)| (name, level.filter())),
            )
    }
}

impl FromStr for Levels {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Self, LevelsError> {
        Self::parse(text, &[])
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.all)?;
        for (name, level) in &self.of {
            write!(formatter, ",{name}={level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level as Severity;

    use super::*;

    const SCOPES: [Scope; 2] = [
        Scope {
            name: "http",
            targets: &["proxy::http", "proxy::routed"],
        },
        Scope {
            name: "http2",
            targets: &["h2"],
        },
    ];

    fn parse(text: &str) -> Levels {
        Levels::parse(text, &SCOPES).unwrap()
    }

    #[test]
    fn every_word_of_envoy_is_known_and_no_other() {
        for (word, written) in [
            ("trace", Some(Severity::TRACE)),
            ("debug", Some(Severity::DEBUG)),
            ("info", Some(Severity::INFO)),
            ("warning", Some(Severity::WARN)),
            ("warn", Some(Severity::WARN)),
            ("WARNING", Some(Severity::WARN)),
            ("error", Some(Severity::ERROR)),
            ("critical", Some(Severity::ERROR)),
            ("off", None),
        ] {
            let filter = parse(word).filter();
            for severity in [
                Severity::ERROR,
                Severity::WARN,
                Severity::INFO,
                Severity::DEBUG,
                Severity::TRACE,
            ] {
                let expected = written.is_some_and(|most| severity <= most);
                let enabled = filter.would_enable("proxy::app", &severity);
                assert_eq!(enabled, expected, "{word} {severity}");
            }
        }
        for wrong in [
            "",
            "loud",
            "info,",
            "5",
            "info;debug",
            "proxy=",
            "proxy=loud",
        ] {
            let told = Levels::parse(wrong, &SCOPES).unwrap_err().to_string();
            assert!(told.contains("critical or off"), "{wrong}: {told}");
        }
    }

    #[test]
    fn libraries_say_errors_only_unless_asked() {
        let filter = parse("debug").filter();
        for library in ["h2::proto", "hyper", "kube_runtime", "anything"] {
            assert!(filter.would_enable(library, &Severity::ERROR), "{library}");
            assert!(!filter.would_enable(library, &Severity::WARN), "{library}");
        }
        assert!(
            parse("info,h2=debug")
                .filter()
                .would_enable("h2", &Severity::DEBUG)
        );
        assert!(!filter.would_enable("kube_client", &Severity::ERROR));
        assert!(
            parse("info,kube_client=error")
                .filter()
                .would_enable("kube_client", &Severity::ERROR)
        );
        assert!(!parse("off").filter().would_enable("h2", &Severity::ERROR));
    }

    #[test]
    fn scopes_stand_for_modules_and_strange_names_are_refused_with_the_list() {
        let levels = parse("warning,http=debug,proxy::routed::http=trace");
        let filter = levels.filter();
        assert!(filter.would_enable("proxy::http::intake", &Severity::DEBUG));
        assert!(filter.would_enable("proxy::routed::http", &Severity::TRACE));
        assert!(!filter.would_enable("proxy::app", &Severity::INFO));
        assert_eq!(levels.of(&SCOPES[0]), Level::Debug);
        assert_eq!(levels.of(&SCOPES[1]), Level::Error);
        let told = Levels::parse("lua=debug", &SCOPES).unwrap_err().to_string();
        for name in ["\"lua\"", "http2", "proxy", "hyper"] {
            assert!(told.contains(name), "{told}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["info", "warning,h2=off,proxy::app=trace"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn every_crate_of_the_workspace_is_ours() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let members = manifest
            .lines()
            .find_map(|line| line.strip_prefix("members = "))
            .unwrap();
        for member in members.trim_matches(['[', ']']).split(", ") {
            let name = match member.trim_matches('"') {
                "mesh-api/runtime" => "mesh_runtime".to_owned(),
                "mesh-api/kubernetes" => "mesh_kubernetes".to_owned(),
                "mesh-api/resources" => "mesh_resources".to_owned(),
                // It prints.
                "xtask" => continue,
                other => other.replace('-', "_"),
            };
            assert!(OURS.contains(&name.as_str()), "{name}");
        }
    }
}
