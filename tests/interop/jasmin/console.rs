//! jcli, the console through which an operator configures Jasmin.

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long an answer to a line may take.
const ANSWER: Duration = Duration::from_secs(60);

/// A session.
pub(super) struct Console {
    stream: TcpStream,
    /// The output that was not looked at yet.
    unread: String,
}

impl Console {
    pub(super) async fn at(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut console = Self { stream, unread: String::new() };
        console.hears("Session ref").await;
        console
    }

    /// Configures a route to the SMSC on `network_port` for numbers that begin with +1555, one that is down for
    /// +1777, and none for others; a route from phones to the ingress at `url`; and users with different rights.
    pub(super) async fn configures(&mut self, url: &str, network_port: u16) {
        self.adds("group", &["gid staff"]).await;
        for (name, right) in [
            ("postern", ""),
            ("slow", "mt_messaging_cred quota http_throughput 0.001"),
            ("limited", "mt_messaging_cred authorization dlr_level no"),
            ("poor", "mt_messaging_cred quota balance 0.5"),
        ] {
            let (uid, username) = (format!("uid {name}"), format!("username {name}"));
            let lines = [&uid, &username, "password hush", "gid staff", right];
            let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            self.adds("user", &lines).await;
        }
        let port = format!("port {network_port}");
        let common =
            ["host 127.0.0.1", "username u", "password p", "submit_throughput 0", "con_fail_delay 1"];
        for (cid, port) in [("cid smsc", &*port), ("cid away", "port 9"), ("cid gone", "port 9")] {
            self.adds("smppccm", &[&[cid, port], &common[..]].concat()).await;
        }
        let url = format!("url {url}/backends/jasmin");
        self.adds("httpccm", &["cid postern", &url, "method POST"]).await;
        self.adds("morouter", &["type DefaultRoute", "connector http(postern)"]).await;
        for (fid, begin) in [("known", r"^\+?1555"), ("away", r"^\+?1777")] {
            let (fid, begin) = (format!("fid {fid}"), format!("destination_addr {begin}"));
            self.adds("filter", &[&fid, "type DestinationAddrFilter", &begin]).await;
        }
        let known = ["type StaticMTRoute", "order 20", "filters known", "connector smppc(smsc)", "rate 1.0"];
        self.adds("mtrouter", &known).await;
        let away = [
            "type FailoverMTRoute",
            "order 10",
            "filters away",
            "connectors smppc(away);smppc(gone)",
            "rate 0.0",
        ];
        self.adds("mtrouter", &away).await;
        self.says("smppccm -1 smsc", "Successfully").await;
    }

    async fn adds(&mut self, what: &str, lines: &[&str]) {
        self.says(&format!("{what} -a"), "> ").await;
        for line in lines {
            self.says(line, "> ").await;
        }
        self.says("ok", "Successfully").await;
        self.hears("jcli : ").await;
    }

    /// Types a line, and waits for `answer`.
    async fn says(&mut self, line: &str, answer: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.hears(answer).await;
    }

    async fn hears(&mut self, answer: &str) {
        while !self.unread.contains(answer) {
            let mut buffer = [0; 4096];
            let read = timeout(ANSWER, self.stream.read(&mut buffer)).await;
            let read =
                read.unwrap_or_else(|_| panic!("jcli does not say {answer:?}: {:?}", self.unread)).unwrap();
            assert_ne!(read, 0, "jcli hung up before {answer:?}: {:?}", self.unread);
            self.unread.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        let (_, rest) = self.unread.split_once(answer).unwrap();
        self.unread = rest.to_owned();
    }
}
