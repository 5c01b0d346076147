//! Who hears what is to be kept, if anybody does.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::Kept;

/// Hears it whenever it is something else.
#[derive(Debug, Default)]
pub(super) struct Keeper(Option<watch::Sender<Option<Arc<Kept>>>>);

impl Keeper {
    pub(super) fn new(keeper: watch::Sender<Option<Arc<Kept>>>) -> Self {
        Self(Some(keeper))
    }

    pub(super) fn tell(&self, kept: &Arc<Kept>) {
        let Some(keeper) = &self.0 else {
            return;
        };
        keeper.send_if_modified(|known| {
            // Most batches leave it alone, and then it is the very same.
            let is_same = |one: &Arc<Kept>| Arc::ptr_eq(one, kept) || one == kept;
            let news = !known.as_ref().is_some_and(is_same);
            if news {
                *known = Some(Arc::clone(kept));
            }
            news
        });
    }
}
