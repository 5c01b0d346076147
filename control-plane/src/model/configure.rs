//! What changes for the objects there are when something they are read in the light of changes:
//! the settings of the mesh, or where a node stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::workload::Locality;

use super::change::Affected;
use super::kept::{Before, Formers, hold};
use super::service::Service;
use super::visibility::Visibility;
use super::workload::WorkloadInfo;
use super::workload::identity::locality_of_labels;
use super::{MeshSettings, World};
use crate::crd::Kind;
use crate::meta::ObjectKey;
use crate::source::MeshReading;

impl World {
    /// Takes in the settings of the mesh and says what they may have altered.
    pub fn configure(&mut self, reading: &MeshReading) -> Affected {
        let mut affected = Affected::default();
        if self.kept.settings.as_ref() != Some(&reading.kept) {
            Arc::make_mut(&mut self.kept).settings = Some(reading.kept.clone());
        }
        let settings = self
            .started_with
            .configured(&reading.config, &reading.not_acted_on);
        if *self.settings == settings {
            return affected;
        }
        let before = Before::of(self);
        let former = std::mem::replace(&mut self.settings, Arc::new(settings));
        affected.config = true;
        if former.exports.services != self.settings.exports.services {
            self.show_services(&mut affected);
        }
        self.settle(&before);
        self.generation += 1;
        affected
    }

    /// Takes in which objects count in a former form, because nobody can read their newest, if
    /// they are others than before. Returns whether they are.
    pub fn hold_formers(&mut self, formers: Option<&Formers>) -> bool {
        let news = formers.filter(|formers| self.kept.formers != **formers);
        if let Some(formers) = news {
            let kept = Arc::make_mut(&mut self.kept);
            kept.formers.clone_from(formers);
        }
        news.is_some()
    }

    /// Decides which form of each virtual service is in effect.
    pub(super) fn settle(&mut self, before: &Before) {
        let held = hold(self, before);
        self.missing = Arc::new(held.missing);
        self.held_back = Arc::new(held.back);
        if *self.kept != held.kept {
            self.kept = Arc::new(held.kept);
        }
    }

    /// Gives services that do not say who sees them the visibility the mesh has for those.
    fn show_services(&mut self, affected: &mut Affected) {
        let mut by_object: BTreeMap<ObjectKey, Vec<Service>> = BTreeMap::new();
        for service in self.services.written() {
            if service.default_visibility {
                let mut service = Service::clone(service);
                service.visibility = default_visibility(&self.settings, &service);
                by_object
                    .entry(service.key.clone())
                    .or_default()
                    .push(service);
            }
        }
        for (key, services) in by_object {
            self.replace_services(&key, services, affected);
        }
    }

    /// Takes in where a node stands (`None`: it is gone), and moves the workloads that run on it.
    pub(super) fn place_node(
        &mut self,
        name: &str,
        place: Option<&Locality>,
        affected: &mut Affected,
    ) {
        let nodes = Arc::make_mut(&mut self.nodes);
        let former = match place {
            Some(place) => nodes.insert(name.to_owned(), place.clone()),
            None => nodes.remove(name),
        };
        if former.as_ref() == place {
            return;
        }
        let moved: Vec<WorkloadInfo> = self
            .workloads
            .iter()
            .filter(|one| one.is_pod && one.node.as_deref() == Some(name))
            .map(|one| {
                let mut moved = WorkloadInfo::clone(one);
                moved.locality = locality_of_labels(&moved.labels, place);
                moved
            })
            .collect();
        for workload in moved {
            let id = &workload.id;
            let key = ObjectKey::new(Kind::Pod, id.namespace.to_string(), id.name.to_string());
            self.replace_workload(&key, Some(workload), affected);
        }
    }
}

fn default_visibility(settings: &MeshSettings, service: &Service) -> Visibility {
    let namespace = Arc::from(service.namespace());
    Visibility::of(&[], &settings.exports.services, &namespace)
}

#[cfg(test)]
mod tests;
