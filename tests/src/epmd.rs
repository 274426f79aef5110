//! epmd, the port mapper that RabbitMQ needs, and the folder with the cookie that the nodes registered with it
//! share. An epmd that a node starts by itself would outlive the nodes.

use crate::guard::{self, Folder};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// A running port mapper. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Epmd {
    port: u16,
    home: Folder,
    child: Mutex<Child>,
}

impl Epmd {
    /// Starts one on this port of 127.0.0.1.
    pub(crate) fn start(port: u16) -> Self {
        let home = Folder::new();
        let mut command = Command::new("epmd");
        guard::own_group(&mut command).args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| panic!("start epmd, which comes with Erlang: {e}"));
        guard::process(child.id());
        Self { port, home, child: Mutex::new(child) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder in which the first node writes the cookie that the others authenticate with.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Epmd {
    fn drop(&mut self) {
        guard::end(self.child.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}
