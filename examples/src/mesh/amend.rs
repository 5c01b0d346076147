//! Changes to how a part is started: long runs put a relay between a proxy and its control
//! plane, and shorten time limits that would otherwise make a test wait.

use super::Mesh;

impl Mesh {
    /// Sets a flag of a part, in place of the value it has; the next start uses it.
    pub fn set_flag(&mut self, name: &str, flag: &str, value: &str) -> anyhow::Result<()> {
        self.part(name)?;
        for part in self.parts.iter_mut().filter(|part| part.name == name) {
            let place = part.arguments.iter().position(|given| given == flag);
            match place.and_then(|at| part.arguments.get_mut(at + 1)) {
                Some(given) => value.clone_into(given),
                None => part.arguments.extend([flag.to_owned(), value.to_owned()]),
            }
        }
        Ok(())
    }
}
