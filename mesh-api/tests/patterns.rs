//! What all regular expressions of a process may take together. Alone in its process, since it uses
//! all of it up.

use mesh_api::route::matcher::{InvalidPattern, Pattern};

#[test]
fn all_that_came_over_the_wire_are_bounded_together() {
    let mut held = Vec::new();
    let refused =
        (0..600).find_map(
            |index| match Pattern::received(true, &format!(r"{index}\pL{{24}}")) {
                Ok(pattern) => {
                    held.push(pattern);
                    None
                }
                Err(error) => Some(error),
            },
        );
    assert_eq!(refused, Some(InvalidPattern::TooMany));
    let sum: usize = held.iter().map(Pattern::cost).sum();
    assert!(sum <= Pattern::PROCESS_LIMIT, "{sum}");
    drop(held);
    Pattern::received(true, r"\pL{23}").unwrap();
}
