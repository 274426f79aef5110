//! A virtual host of a node, which one test has for itself.

use crate::{rabbit::Rabbit, tap::Tap};
use std::sync::Arc;

/// A queue as the broker knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// `rabbit_quorum_queue`, `rabbit_classic_queue` …
    pub kind: String,
    /// Whether it survives a restart of the node.
    pub durable: bool,
}

/// A virtual host of a node. Clones are the same virtual host. It is deleted with the last of them, because even
/// an idle one costs the node time.
#[derive(Debug, Clone)]
pub struct Vhost(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    rabbit: Rabbit,
    name: String,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.rabbit.forget_vhost(&self.name);
    }
}

impl Vhost {
    pub(crate) fn new(rabbit: Rabbit, name: String) -> Self {
        Self(Arc::new(Owned { rabbit, name }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its address, for `broker.url`.
    pub fn url(&self) -> String {
        self.url_for("guest", "guest")
    }

    /// Like [`Self::url`]; the virtual host then stays until its node ends.
    pub fn into_url(self) -> String {
        std::mem::ManuallyDrop::new(self).url()
    }

    /// Like [`Self::url`], for another user, who need not exist.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/{}", self.port(), self.name())
    }

    /// The port of 127.0.0.1 that its node accepts connections on.
    pub fn port(&self) -> u16 {
        self.0.rabbit.port()
    }

    /// Like [`Self::url`], at another port, such as a [`Proxy`](crate::Proxy)'s.
    pub fn url_at(&self, port: u16) -> String {
        self.url().replace(&format!(":{}/", self.port()), &format!(":{port}/"))
    }

    /// Creates it again after [`delete`](Self::delete).
    pub fn make(&self) {
        let name = self.name();
        let made = self.0.rabbit.eval(&format!("rabbit_vhost:add(<<\"{name}\">>, <<\"tests\">>)"));
        assert_eq!(made, "ok", "making a virtual host");
        self.admit("guest");
    }

    /// Deletes it and all that is in it, as an operator would.
    pub fn delete(&self) {
        let name = self.name();
        let deleted = self.0.rabbit.eval(&format!("rabbit_vhost:delete(<<\"{name}\">>, <<\"tests\">>)"));
        assert_eq!(deleted, "ok", "deleting a virtual host");
    }

    /// Declares a durable classic queue.
    pub fn declare_classic(&self, queue: &str) {
        let name = self.name();
        let declared = self.0.rabbit.eval(&format!(
            "element(1, rabbit_amqqueue:declare(rabbit_misc:r(<<\"{name}\">>, queue, <<\"{queue}\">>), true, \
             false, [], none, <<\"tests\">>))"
        ));
        assert_eq!(declared, "new", "declaring a queue");
    }

    /// Changes a user's password. Open connections stay open.
    pub fn change_password(&self, user: &str, password: &str) {
        let changed = self.0.rabbit.eval(&format!(
            "rabbit_auth_backend_internal:change_password(<<\"{user}\">>, <<\"{password}\">>, <<\"tests\">>)"
        ));
        assert_eq!(changed, "ok", "changing a password");
    }

    /// Adds a user with all permissions in this virtual host. Users belong to the whole node: choose a name that
    /// no other test uses.
    pub fn add_user(&self, user: &str, password: &str) {
        let made = self.0.rabbit.eval(&format!(
            "rabbit_auth_backend_internal:add_user(<<\"{user}\">>, <<\"{password}\">>, <<\"tests\">>)"
        ));
        assert_eq!(made, "ok", "making a user");
        self.admit(user);
    }

    /// Closes all connections to it, as an operator would.
    pub fn close_connections(&self) {
        let name = self.name();
        let closed = self.0.rabbit.eval(&format!(
            "rabbit_connection_tracking:close_connections(rabbit_connection_tracking:list(<<\"{name}\">>), \"a test\", 0)"
        ));
        assert_eq!(closed, "ok", "closing the connections to a virtual host");
    }

    /// The channels that have a consumer, as the broker prints them.
    pub fn consuming_channels(&self) -> String {
        self.0.rabbit.eval(&format!(
            "[proplists:get_value(channel_pid, It) || It <- rabbit_amqqueue:consumers_all(<<\"{}\">>)]",
            self.name()
        ))
    }

    /// The channels that are open in it, as the node prints them.
    pub fn channels(&self) -> String {
        let mine = format!("{{vhost, <<\"{}\">>}}", self.name());
        self.0.rabbit.eval(&format!(
            "lists:sort([P || [{{pid, P}}, {mine}] <- rabbit_channel:info_all([pid, vhost])])"
        ))
    }

    fn admit(&self, user: &str) {
        self.permit(user, ".*");
    }

    /// Lets a user configure and read everything, and publish to the exchanges whose names match the regular
    /// expression `write`.
    pub fn permit(&self, user: &str, write: &str) {
        let rights = format!("<<\".*\">>, <<\"{write}\">>, <<\".*\">>, <<\"tests\">>");
        let given = self.0.rabbit.eval(&format!(
            "rabbit_auth_backend_internal:set_permissions(<<\"{user}\">>, <<\"{}\">>, {rights})",
            self.name()
        ));
        assert_eq!(given, "ok", "giving the permissions for a virtual host");
    }

    /// A configuration: `[broker]` with its address, and then `rest`.
    pub fn config(&self, rest: &str) -> String {
        format!("[broker]\nurl = \"{}\"\n\n{rest}", self.url())
    }

    /// A connection to it, as an application has one.
    pub async fn tap(&self) -> Tap {
        Tap::connect(&self.url()).await.keeping(self.clone())
    }

    /// Its queues, by name.
    pub fn queues(&self) -> Vec<QueueInfo> {
        let told = self.0.rabbit.eval(&format!(
            "[iolist_to_binary(io_lib:format(\"~s ~s ~s\", [element(4, amqqueue:get_name(Q)), \
             amqqueue:get_type(Q), amqqueue:is_durable(Q)])) || Q <- rabbit_amqqueue:list(<<\"{}\">>)]",
            self.name()
        ));
        let mut queues: Vec<_> = told
            .split('"')
            .filter_map(|text| {
                let [name, kind, durable] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
                Some(QueueInfo { name: name.to_owned(), kind: kind.to_owned(), durable: durable == "true" })
            })
            .collect();
        queues.sort();
        queues
    }
}
