//! Rules on rooms, the top-level modules of a crate: each stands on a floor, and uses only what
//! lies on the floors under it. Whatever follows that cannot go in a circle.
//!
//! The floors are drawn in `ARCHITECTURE.md`, in blocks that begin with "```floors FOLDER":
//! a floor a line, the highest first, each with its name and its rooms. `a+b` are rooms that know
//! each other and count as one. Tests are held to the same rule as the code they are part of.

mod uses;

use super::Violation;
use super::tree::Tree;
use uses::Use;

/// Where the floors are drawn.
const DRAWING: &str = "ARCHITECTURE.md";
/// What opens a drawing; the folder follows.
const OPENS: &str = "```floors ";

/// The floors of one crate.
#[derive(Debug)]
struct Building<'t> {
    /// The folder whose modules are the rooms.
    folder: &'t str,
    /// The line the drawing begins at.
    line: usize,
    rooms: Vec<Room<'t>>,
}

/// A room's place in the drawing.
#[derive(Clone, Copy, Debug)]
struct Room<'t> {
    name: &'t str,
    floor: &'t str,
    /// The line it is drawn at; of two floors the one with the greater line is lower.
    line: usize,
    /// Rooms of one floor with the same place know each other.
    place: usize,
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(text) = tree.text(DRAWING) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for building in drawings(text) {
        drawn(&building, tree, &mut found);
        for (path, text) in tree.under(building.folder) {
            if let Some(own) = building.room_of(path) {
                let uses = uses::of(&module_of(&building, path), text);
                let bad = uses.iter().filter_map(|used| building.judge(own, used));
                found.extend(bad.map(|(line, advice)| Violation::new(path, line, "floor", advice)));
            }
        }
    }
    found
}

/// The drawings of a document.
fn drawings(text: &str) -> Vec<Building<'_>> {
    let mut found: Vec<Building<'_>> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(folder) = line.strip_prefix(OPENS) {
            open = true;
            found.push(Building {
                folder: folder.trim().trim_end_matches('/'),
                line: index + 1,
                rooms: Vec::new(),
            });
        } else if line.starts_with("```") {
            open = false;
        } else if let (true, Some(building)) = (open, found.last_mut()) {
            let mut words = line.split_whitespace();
            let Some(floor) = words.next() else { continue };
            for (place, together) in words.enumerate() {
                building.rooms.extend(together.split('+').map(|name| Room {
                    name,
                    floor,
                    line: index + 1,
                    place,
                }));
            }
        }
    }
    found
}

/// Whether the drawing and the folder have the same rooms.
fn drawn(building: &Building<'_>, tree: &Tree, found: &mut Vec<Violation>) {
    let mut complain = |path: &str, line, advice| {
        found.push(Violation::new(path, line, "floor", advice));
    };
    let folder = building.folder;
    for (index, room) in building.rooms.iter().enumerate() {
        let earlier = building.rooms.iter().take(index);
        if earlier.clone().any(|other| other.name == room.name) {
            let advice = format!("`{}` stands on one floor only", room.name);
            complain(DRAWING, room.line, advice);
        }
        if !tree.has(&format!("{folder}/{}.rs", room.name)) {
            let advice = format!("`{folder}` has no room `{}`; draw what is there", room.name);
            complain(DRAWING, room.line, advice);
        }
    }
    for (path, _) in tree.under(folder) {
        let name = path
            .strip_prefix(folder)
            .and_then(|rest| rest.trim_start_matches('/').strip_suffix(".rs"));
        let Some(name) = name.filter(|name| !name.contains('/') && !is_root(name)) else {
            continue;
        };
        if building.room(name).is_none() {
            let advice = format!(
                "room `{name}` is on no floor; draw it in {DRAWING}, line {} and following",
                building.line
            );
            complain(path, 1, advice);
        }
    }
}

/// Whether a file is the crate's own root, which is above every floor.
fn is_root(name: &str) -> bool {
    name == "lib" || name == "main"
}

/// The path of the module a file holds, below the crate's root.
fn module_of<'p>(building: &Building<'_>, path: &'p str) -> Vec<&'p str> {
    let inside = path.get(building.folder.len() + 1..).unwrap_or_default();
    inside.trim_end_matches(".rs").split('/').collect()
}

impl<'t> Building<'t> {
    fn room(&self, name: &str) -> Option<Room<'t>> {
        self.rooms.iter().copied().find(|room| room.name == name)
    }

    /// The room a source file is part of.
    fn room_of(&self, path: &str) -> Option<Room<'t>> {
        let is_rust = path.rsplit_once('.').is_some_and(|(_, end)| end == "rs");
        let module = module_of(self, path);
        self.room(module.first().filter(|_| is_rust)?)
    }

    /// What is wrong with a use of `used` in `own`.
    fn judge(&self, own: Room<'_>, used: &Use) -> Option<(usize, String)> {
        let Some(other) = self.room(&used.room) else {
            let advice = format!(
                "`{}` is no room of `{}`; name the room in which it is",
                used.room, self.folder
            );
            return Some((used.line, advice));
        };
        let itself = own.line == other.line && own.place == other.place;
        if itself || other.line > own.line {
            return None;
        }
        let (verb, way_out) = if own.line == other.line {
            ("beside it", "rooms of one floor do not know each other")
        } else {
            ("above it", "what is used stands lower")
        };
        let advice = format!(
            "`{}` (floor {}) uses `{}` (floor {}), {verb}; {way_out}: move what both need to a \
             floor under them, hand it over as an argument, or draw {DRAWING} anew if the floors \
             teach the wrong thing",
            own.name, own.floor, other.name, other.floor
        );
        Some((used.line, advice))
    }
}

#[cfg(test)]
mod tests;
