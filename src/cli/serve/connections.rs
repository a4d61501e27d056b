//! Open connections of `serve`: who keeps the server waiting, and who is closed for another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What the server keeps of an open connection.
pub(super) struct Client {
    /// Since when the client has to send or to read; `None` while the model works for it.
    pub(super) waiting_since: Cell<Option<Instant>>,
    /// Bytes of a body that is being received.
    pub(super) received: Cell<usize>,
}

/// Open connections, and the tasks that serve them.
#[derive(Default)]
pub(super) struct Connections(RefCell<Vec<(Rc<Client>, JoinHandle<()>)>>);

impl Connections {
    pub(super) fn add(&self, client: Rc<Client>, task: JoinHandle<()>) {
        self.0.borrow_mut().push((client, task));
    }

    pub(super) fn count(&self) -> usize {
        let mut open = self.0.borrow_mut();
        open.retain(|(_, task)| !task.is_finished());
        open.len()
    }

    pub(super) fn received(&self) -> usize {
        let open = self.0.borrow();
        open.iter().map(|(client, _)| client.received.get()).sum()
    }

    /// Closes the connection that has kept the server waiting longest among those for which `may_close` holds; whether
    /// there was one.
    pub(super) fn close_longest_waiting(&self, may_close: impl Fn(&Rc<Client>) -> bool) -> bool {
        let mut open = self.0.borrow_mut();
        let waiting = open.iter().enumerate().filter_map(|(index, (client, _))| {
            let since = client.waiting_since.get().filter(|_| may_close(client))?;
            Some((since, index))
        });
        let Some((_, index)) = waiting.min() else {
            return false;
        };
        let (_, task) = open.swap_remove(index);
        task.abort();
        true
    }
}
