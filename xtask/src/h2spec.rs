//! `h2spec`, which the tests ask whether every kind of listener keeps to HTTP/2.

use std::path::PathBuf;

use anyhow::Result;

use crate::go::{self, Program};

/// Names the program to the tests.
pub(crate) const VARIABLE: &str = "MESH_H2SPEC";

const H2SPEC: Program = Program {
    name: "h2spec",
    module: "h2spec",
    package: "github.com/summerwind/h2spec/cmd/h2spec",
    sources: &["go.mod", "go.sum"],
    links: &[],
    linker_flags: |_manifest| String::new(),
    cache: "mesh-h2spec",
};

/// The program, built where it is missing.
pub(crate) fn provide() -> Result<PathBuf> {
    Ok(go::build(&H2SPEC)?.join(H2SPEC.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_pinned() {
        let module = crate::cargo::workspace_root().join("xtask/h2spec");
        go::key(&module, H2SPEC.sources).unwrap();
        let manifest = std::fs::read_to_string(module.join("go.mod")).unwrap();
        assert!(manifest.contains("summerwind/h2spec v"), "{manifest}");
    }
}
