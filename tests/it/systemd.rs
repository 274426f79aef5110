//! What programs tell systemd: the tests are the service manager at the other end of `NOTIFY_SOCKET`.

use postern_tests::{Answer, Folder, Gate, Launch, Program, Provider, Proxy, Rabbit, eventually};
use serde_json::json;
use std::{
    collections::BTreeSet,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

/// As a unit's `WatchdogSec`: a process that is silent for longer would be restarted.
const WATCHDOG: Duration = Duration::from_secs(2);

/// A service manager that records what it is told.
struct Manager {
    socket: UnixDatagram,
    path: String,
    /// Each line, and when it was read.
    told: Vec<(String, Instant)>,
    _folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), told: Vec::new(), _folder: folder }
    }

    fn supervises(&self, launch: Launch) -> Launch {
        let limit = WATCHDOG.as_micros().to_string();
        launch.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", &limit)
    }

    /// Reads what was told so far.
    fn listen(&mut self) {
        let mut datagram = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            let text = std::str::from_utf8(&datagram[..length]).unwrap();
            self.told.extend(text.lines().map(|line| (line.to_owned(), Instant::now())));
        }
    }

    fn count(&mut self, wanted: impl Fn(&str) -> bool) -> usize {
        self.listen();
        self.told.iter().filter(|(line, _)| wanted(line)).count()
    }

    /// Waits until `number` lines that `wanted` accepts were told.
    async fn hears(&mut self, what: &str, number: usize, wanted: impl Fn(&str) -> bool) {
        eventually(what, async || {
            if self.count(&wanted) >= number { Ok(()) } else { Err(format!("{:?}", self.told)) }
        })
        .await;
    }

    /// The time since the last sign of life.
    fn silence(&mut self) -> Duration {
        self.listen();
        let last = self.told.iter().rev().find(|(line, _)| line == "WATCHDOG=1");
        last.expect("it gave one").1.elapsed()
    }
}

fn is_alive(line: &str) -> bool {
    line == "WATCHDOG=1"
}

/// Starts a program that cannot reach its broker, and waits until `manager` was told so.
async fn start_without_broker(manager: &mut Manager, launch: Launch) -> Program {
    let program = manager.supervises(launch).spawn();
    manager.hears("why it is not ready", 1, |line| line.starts_with("STATUS=broker not connected")).await;
    // It gives signs of life, and has been asked several times.
    manager.hears("signs of life", 5, is_alive).await;
    assert_eq!(program.ready().await.unwrap().status, 503);
    assert_eq!(manager.count(|line| line == "READY=1"), 0, "{:?}", manager.told);
    program
}

#[tokio::test]
async fn a_program_is_started_when_it_is_ready_and_its_state_is_what_readyz_says() {
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(Rabbit::shared().port()).await;
    proxy.refuse(true);
    let config = format!(
        "[broker]\nurl = {:?}\n[ingress]\nspool = false\n[backends.x]\ntype = \"console\"\n",
        vhost.url_at(proxy.port())
    );
    let mut managers = [Manager::new(), Manager::new()];
    let [ingress, dispatcher] = &mut managers;
    let _programs = tokio::join!(
        start_without_broker(ingress, Launch::ingress(&config)),
        start_without_broker(dispatcher, Launch::dispatcher(&config))
    );
    proxy.refuse(false);
    for manager in &mut managers {
        manager.hears("that it is ready", 1, |line| line == "READY=1").await;
        manager.hears("its state", 1, |line| line == "STATUS=ready").await;
    }
    let down = |line: &str| line.starts_with("STATUS=broker ");
    // Counted before the cut: the second program may notice the cut while the first is waited for.
    let seen: Vec<_> = managers.iter_mut().map(|manager| manager.count(down)).collect();
    proxy.refuse(true);
    proxy.cut();
    for (manager, seen) in managers.iter_mut().zip(seen) {
        manager.hears("that the broker is away again", seen + 1, down).await;
        assert_eq!(manager.count(|line| line == "READY=1"), 1, "it is started once: {:?}", manager.told);
    }
}

#[tokio::test]
async fn a_backend_that_pauses_is_in_the_state_without_a_countdown() {
    let provider = Provider::start().await;
    provider.otherwise(|_| Answer::status(503));
    let config = format!(
        "[breaker]\nfailures = 2\npause = \"1m\"\n[retry]\ndelays = [\"100ms\"]\n[backends.x]\ntype = \"http\"\n\
         [backends.x.send]\nurl = \"{}\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url("/send")
    );
    let mut manager = Manager::new();
    let postern = manager.supervises(Launch::gateway().config(&config)).start().await;
    for _ in 0..2 {
        let body = json!({"backend": "x", "to": "+15550001111", "text": "hello"});
        assert_eq!(postern.post_json("/v1/messages", &body).await.status, 202);
    }
    manager.hears("the pause", 1, |line| line.starts_with("STATUS=ready; backend x is paused: ")).await;
    let before = manager.count(is_alive);
    manager.hears("signs of life", before + 3, is_alive).await;
    let states: Vec<_> = manager.told.iter().filter(|(line, _)| line.contains("is paused")).collect();
    let different: BTreeSet<_> = states.iter().map(|(line, _)| line).collect();
    assert!(!states.is_empty(), "{:?}", manager.told);
    assert_eq!(states.len(), different.len(), "each state is told once: {states:?}");
    assert!(!manager.told.iter().any(|(line, _)| line.contains("next message")), "{:?}", manager.told);
    postern.ends_silent(&["+15550001111"]).await;
}

/// A sender blocks its thread, on every thread that sends messages: nothing is sent any more, while the process
/// runs and its admin port answers.
#[tokio::test]
async fn the_watchdog_hears_nothing_while_the_runtime_is_blocked() {
    let folder = Folder::new();
    let file = folder.path().join("sent");
    let config = format!(
        "[backends.x]\ntype = \"fragile\"\n[backends.x.settings]\nfile = {:?}\n",
        file.to_str().unwrap()
    );
    let mut manager = Manager::new();
    let launch = Launch::program("postern-fragile").config(&config);
    let postern = manager.supervises(launch).start().await;
    manager.hears("that it is ready", 1, |line| line == "READY=1").await;
    manager.hears("signs of life", 5, is_alive).await;
    let threads = std::thread::available_parallelism().unwrap().get();
    let recipients: Vec<_> = (0..threads).map(|number| format!("+1555000{number:04}")).collect();
    for recipient in recipients {
        let body = json!({"backend": "x", "to": recipient, "text": "block"});
        let request = postern.request(reqwest::Method::POST, "/v1/messages").json(&body);
        // The last of them may get no answer until the threads are free.
        tokio::spawn(postern_tests::fetch(request));
    }
    eventually("silence", async || {
        let silence = manager.silence();
        if silence > 2 * WATCHDOG { Ok(()) } else { Err(format!("{silence:?}")) }
    })
    .await;
    assert_eq!(postern.admin("/livez").await.unwrap().status, 200, "the process lives");
    let before = manager.count(is_alive);
    std::fs::remove_file(&file).unwrap();
    manager.hears("signs of life again", before + 3, is_alive).await;
    assert_eq!(postern.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_drain_is_told_and_asks_for_the_time_that_it_needs() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    provider.script([Answer::ok("").held(&gate)]);
    let config = format!(
        "[backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"{}\"\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url("/send")
    );
    let mut manager = Manager::new();
    let postern = manager.supervises(Launch::gateway().config(&config)).start().await;
    let body = json!({"backend": "x", "to": "+15550001111", "text": "hello"});
    assert_eq!(postern.post_json("/v1/messages", &body).await.status, 202);
    provider.wait_for(1).await;
    postern.signal("TERM");
    manager.hears("the drain", 1, |line| line == "STOPPING=1").await;
    manager.hears("its state", 1, |line| line.starts_with("STATUS=draining")).await;
    let extends = |line: &str| line.starts_with("EXTEND_TIMEOUT_USEC=");
    manager.hears("that it needs more time, twice", 2, extends).await;
    gate.open();
    assert_eq!(postern.wait().await.code, Some(0));
    assert_eq!(manager.count(|line| line == "STOPPING=1"), 1, "{:?}", manager.told);
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test]
async fn the_manual_pages_name_every_command_and_option() {
    for program in ["postern", "postern-ingress", "postern-dispatcher"] {
        let page = read(&format!("deploy/debian/{program}.1")).replace('\\', "");
        let bold: BTreeSet<&str> = page
            .lines()
            .filter(|line| line.starts_with(".B"))
            .flat_map(|line| line.split([' ', ',', '"']))
            .collect();
        let help = Launch::program(program).arg("--help").run().await.out;
        let commands = help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let options = help.split([' ', '\n']).filter(|word| word.starts_with("--"));
        let named: BTreeSet<_> = commands.chain(options).filter(|name| !name.is_empty()).collect();
        let named: Vec<_> = named.into_iter().filter(|name| !["help", "-h,", "-V,"].contains(name)).collect();
        assert!(named.len() >= 4, "{help}");
        for name in named {
            assert!(bold.contains(name), "{program}.1 does not name {name}");
        }
    }
}

/// If a unit is less confined than the others, it is so by mistake.
#[test]
fn the_units_differ_in_their_program_only() {
    let service = |unit: &str| {
        let text = read(&format!("deploy/systemd/{unit}"));
        let service = text.split("\n[Service]\n").nth(1).unwrap().to_owned();
        let (start, rest): (Vec<_>, Vec<_>) =
            service.lines().map(str::to_owned).partition(|line| line.starts_with("ExecStart="));
        assert_eq!(start.len(), 1, "{unit}");
        rest
    };
    let gateway = service("postern.service");
    assert!(gateway.len() > 40, "{gateway:?}");
    for unit in ["postern-ingress.service", "postern-dispatcher@.service"] {
        assert_eq!(service(unit), gateway, "{unit}");
    }
    let seconds = |key: &str| -> u32 {
        let value = gateway.iter().find_map(|line| line.strip_prefix(&format!("{key}=")));
        value.unwrap().parse().unwrap()
    };
    let builtin: toml::Table = toml::from_str(&read("deploy/default.toml")).unwrap();
    let deadline = builtin["shutdown"]["deadline"].as_str().unwrap().trim_end_matches('s');
    assert!(seconds("TimeoutStopSec") > deadline.parse().unwrap(), "it is killed while it drains");
}
