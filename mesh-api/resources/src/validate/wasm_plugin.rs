//! Rules of a WasmPlugin and of a TrafficExtension.

use super::request_authentication::check_targets;
use super::{Checker, Validate};
use crate::traffic_extension::TrafficExtensionSpec;
use crate::wasm_plugin::{TrafficSelector, ValueSource, VmConfig, WasmPluginSpec};

const SCHEMES: [&str; 4] = ["oci", "file", "http", "https"];
const DIGEST_DIGITS: usize = 64;

impl Validate for WasmPluginSpec {
    fn validate(&self, check: &mut Checker) {
        check_targets(
            check,
            self.selector.as_ref(),
            self.target_ref.as_ref(),
            &self.target_refs,
        );
        source(check, &self.url, self.sha256.as_deref());
        environment(check, self.vm_config.as_ref());
        traffic(check, &self.matches);
    }
}

impl Validate for TrafficExtensionSpec {
    fn validate(&self, check: &mut Checker) {
        check_targets(check, self.selector.as_ref(), None, &self.target_refs);
        if self.wasm.is_some() == self.lua.is_some() {
            check.error_hint("needs exactly one extension", "set one of wasm and lua");
        }
        check.optional("wasm", self.wasm.as_ref(), |check, program| {
            source(check, &program.url, program.sha256.as_deref());
            environment(check, program.vm_config.as_ref());
        });
        check.optional("lua", self.lua.as_ref(), |check, script| {
            if script.inline_code.is_empty() {
                check.field("inlineCode", |check| check.error("is required"));
            }
        });
        traffic(check, &self.matches);
    }
}

fn source(check: &mut Checker, url: &str, digest: Option<&str>) {
    check.field("url", |check| {
        let scheme = url.split_once("://").map_or("oci", |(scheme, _)| scheme);
        if url.is_empty() {
            check.error("is required");
        } else if !SCHEMES.contains(&scheme) {
            check.error_hint(
                format!("{scheme:?} is not a scheme programs are fetched by"),
                "use oci://, file://, http:// or https://",
            );
        }
    });
    check.optional("sha256", digest.as_ref(), |check, digest| {
        if digest.len() != DIGEST_DIGITS || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            check.error("is not a digest of 64 hexadecimal digits");
        }
    });
}

fn environment(check: &mut Checker, config: Option<&VmConfig>) {
    check.optional("vmConfig", config, |check, config| {
        check.each("env", &config.env, |check, variable| {
            if variable.name.is_empty() {
                check.field("name", |check| check.error("is required"));
            }
            if variable.value_from == ValueSource::Host && !variable.value.is_empty() {
                check.field("value", |check| {
                    check.error_hint("is not used with valueFrom: HOST", "remove one of the two");
                });
            }
        });
    });
}

fn traffic(check: &mut Checker, selectors: &[TrafficSelector]) {
    check.each("match", selectors, |check, selector| {
        check.each("ports", &selector.ports, |check, port| {
            check.field("number", |check| check.port(port.number));
        });
    });
}
