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
            let news = known.as_ref() != Some(kept);
            if news {
                *known = Some(Arc::clone(kept));
            }
            news
        });
    }
}
