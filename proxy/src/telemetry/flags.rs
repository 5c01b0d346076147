//! Response flags: why a request ended the way it did, in the two or three letters that people
//! search access logs and metrics for.

use std::fmt;

use mesh_api::route::FailureFlag;

/// One reason. The order of the variants is the order in which several are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ResponseFlag {
    /// `UH`: the cluster has no endpoint that may be used.
    NoHealthyUpstream,
    /// `UT`: the upstream did not answer in time.
    UpstreamTimeout,
    /// `LR`: this proxy reset the upstream stream.
    LocalReset,
    /// `UR`: the upstream reset the stream.
    UpstreamReset,
    /// `UF`: no connection to the upstream.
    ConnectFailure,
    /// `UC`: the upstream closed the connection mid-request.
    UpstreamClosed,
    /// `UO`: a circuit breaker is at its limit.
    Overflow,
    /// `NR`: no route.
    NoRoute,
    /// `DI`: a delay was injected.
    DelayInjected,
    /// `FI`: an abort was injected.
    FaultInjected,
    /// `RL`: rate limited.
    RateLimited,
    /// `UAEX`: denied by the external authorization service.
    ExternallyDenied,
    /// `RLSE`: the rate limit service failed.
    RateLimitServiceError,
    /// `DC`: the client went away.
    DownstreamDisconnect,
    /// `URX`: the last permitted retry or connection attempt failed.
    RetriesExhausted,
    /// `SI`: the stream was idle for too long.
    StreamIdle,
    /// `IH`: a header that must be strict was not.
    InvalidHeader,
    /// `DPE`: the client broke the protocol.
    DownstreamProtocolError,
    /// `UMSDR`: the upstream stream lived too long.
    StreamTooLong,
    /// `NFCF`: configuration of a filter is missing.
    NoFilterConfig,
    /// `DT`: a connection or stream reached its maximum duration.
    DurationTimeout,
    /// `NC`: the route leads to a cluster that does not exist.
    NoCluster,
    /// `OM`: this proxy is overloaded.
    Overload,
    /// `NE`: asked for protection this mesh cannot enforce, therefore refused.
    NotEnforceable,
}

impl ResponseFlag {
    /// Every flag, in printing order.
    pub const ALL: [Self; 24] = [
        Self::NoHealthyUpstream,
        Self::UpstreamTimeout,
        Self::LocalReset,
        Self::UpstreamReset,
        Self::ConnectFailure,
        Self::UpstreamClosed,
        Self::Overflow,
        Self::NoRoute,
        Self::DelayInjected,
        Self::FaultInjected,
        Self::RateLimited,
        Self::ExternallyDenied,
        Self::RateLimitServiceError,
        Self::DownstreamDisconnect,
        Self::RetriesExhausted,
        Self::StreamIdle,
        Self::InvalidHeader,
        Self::DownstreamProtocolError,
        Self::StreamTooLong,
        Self::NoFilterConfig,
        Self::DurationTimeout,
        Self::NoCluster,
        Self::Overload,
        Self::NotEnforceable,
    ];

    /// The letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamTimeout => "UT",
            Self::LocalReset => "LR",
            Self::UpstreamReset => "UR",
            Self::ConnectFailure => "UF",
            Self::UpstreamClosed => "UC",
            Self::Overflow => "UO",
            Self::NoRoute => "NR",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::RateLimited => "RL",
            Self::ExternallyDenied => "UAEX",
            Self::RateLimitServiceError => "RLSE",
            Self::DownstreamDisconnect => "DC",
            Self::RetriesExhausted => "URX",
            Self::StreamIdle => "SI",
            Self::InvalidHeader => "IH",
            Self::DownstreamProtocolError => "DPE",
            Self::StreamTooLong => "UMSDR",
            Self::NoFilterConfig => "NFCF",
            Self::DurationTimeout => "DT",
            Self::NoCluster => "NC",
            Self::Overload => "OM",
            Self::NotEnforceable => "NE",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<FailureFlag> for ResponseFlag {
    fn from(flag: FailureFlag) -> Self {
        match flag {
            FailureFlag::NoCluster => Self::NoCluster,
            FailureFlag::NoRoute => Self::NoRoute,
            FailureFlag::NotEnforceable => Self::NotEnforceable,
        }
    }
}

/// Any number of flags; prints as `UF,URX`, or `-` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The set with `flag` in it as well.
    #[must_use]
    pub const fn with(self, flag: ResponseFlag) -> Self {
        Self(self.0 | flag.bit())
    }

    /// Puts `flag` in.
    pub fn insert(&mut self, flag: ResponseFlag) {
        *self = self.with(flag);
    }

    /// Takes `flag` out.
    pub fn remove(&mut self, flag: ResponseFlag) {
        self.0 &= !flag.bit();
    }

    /// Whether `flag` is in.
    pub const fn contains(self, flag: ResponseFlag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// Whether no flag is in.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags, in printing order.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        ResponseFlag::ALL
            .into_iter()
            .filter(move |flag| self.contains(*flag))
    }
}

impl From<ResponseFlag> for ResponseFlags {
    fn from(flag: ResponseFlag) -> Self {
        Self::NONE.with(flag)
    }
}

impl FromIterator<ResponseFlag> for ResponseFlags {
    fn from_iter<I: IntoIterator<Item = ResponseFlag>>(flags: I) -> Self {
        flags.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, flag) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_a_dash_or_letters_in_order() {
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
        let flags: ResponseFlags = [ResponseFlag::RetriesExhausted, ResponseFlag::ConnectFailure]
            .into_iter()
            .collect();
        assert_eq!(flags.to_string(), "UF,URX");
        let mut fewer = flags;
        fewer.remove(ResponseFlag::ConnectFailure);
        assert_eq!(fewer.to_string(), "URX");
        assert!(!fewer.contains(ResponseFlag::ConnectFailure));
    }

    #[test]
    fn every_flag_has_a_bit_and_letters_of_its_own() {
        let all: ResponseFlags = ResponseFlag::ALL.into_iter().collect();
        assert_eq!(all.iter().count(), ResponseFlag::ALL.len());
        let letters: std::collections::BTreeSet<&str> = ResponseFlag::ALL
            .into_iter()
            .map(ResponseFlag::as_str)
            .collect();
        assert_eq!(letters.len(), ResponseFlag::ALL.len());
        assert!(ResponseFlag::ALL.is_sorted());
    }
}
