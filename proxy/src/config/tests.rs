//! Tests of the running configuration.
