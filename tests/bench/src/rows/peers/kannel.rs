//! Kannel 1.4: bearerbox and smsbox, with either `fakesmsc` or an HTTP provider behind them.

use super::process::Process;
use crate::load::Request;
use anyhow::Result;
use postern_tests::{Folder, free_port};
use std::{path::Path, time::Duration};

/// The path of `fakesmsc` in Debian's package kannel-extras.
const FAKESMSC: &str = "/usr/lib/kannel/test/fakesmsc";
/// How long the boxes need to find each other; neither reports it.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Kannel {
    // Dropped in this order.
    _network: Option<Process>,
    _smsbox: Process,
    _bearerbox: Process,
    _folder: Folder,
    port: u16,
}

impl Kannel {
    /// Starts one whose messages go to a telephone network that accepts all of them.
    pub(super) async fn to_a_network() -> Result<Self> {
        let port = free_port();
        let smsc = format!("smsc = fake\nhost = 127.0.0.1\nport = {port}\nconnect-allow-ip = 127.0.0.1\n");
        let mut kannel = Self::start(&smsc).await?;
        let port = port.to_string();
        let arguments = ["-H", "127.0.0.1", "-r", &port, "-v", "4"];
        kannel._network = Some(Process::start(Path::new(FAKESMSC), &arguments, kannel._folder.path(), &[])?);
        tokio::time::sleep(SETTLE).await;
        Ok(kannel)
    }

    /// Starts one whose messages are posted to `provider`.
    pub(super) async fn to_http(provider: &str) -> Result<Self> {
        let port = free_port();
        let smsc = format!(
            "smsc = http\nsystem-type = kannel\nport = {port}\nsend-url = \"{provider}\"\n\
             smsc-username = u\nsmsc-password = p\n"
        );
        Self::start(&smsc).await
    }

    async fn start(smsc: &str) -> Result<Self> {
        let folder = Folder::new();
        let [admin, boxes, port] = [(); 3].map(|()| free_port());
        folder.write(
            "kannel.conf",
            &format!(
                "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = p\n\
                 smsbox-port = {boxes}\nsmsbox-interface = 127.0.0.1\nlog-level = 4\n\n\
                 group = smsc\nsmsc-id = network\n{smsc}\n\
                 group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {port}\n\
                 sendsms-interface = 127.0.0.1\nglobal-sender = 13013\nlog-level = 4\n\n\
                 group = sendsms-user\nusername = tester\npassword = hush\n\n\
                 group = sms-service\nkeyword = default\ntext = \"\"\n"
            ),
        );
        let boxed =
            |path: &str| Process::start(Path::new(path), &["-v", "4", "kannel.conf"], folder.path(), &[]);
        let mut bearerbox = boxed("/usr/sbin/bearerbox")?;
        bearerbox.listens(boxes).await?;
        let mut smsbox = boxed("/usr/sbin/smsbox")?;
        smsbox.listens(port).await?;
        tokio::time::sleep(SETTLE).await;
        Ok(Self { _network: None, _smsbox: smsbox, _bearerbox: bearerbox, _folder: folder, port })
    }

    /// The request that sends a message.
    pub(super) fn sendsms(&self) -> Request {
        let query = "username=tester&password=hush&to=15551234567&text=Your+appointment+is+on+Monday+at+nine.+Answer+1+to+confirm.";
        Request::get(&format!("http://127.0.0.1:{}", self.port), &format!("/cgi-bin/sendsms?{query}"))
    }
}
