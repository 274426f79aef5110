//! Ends every process that a test starts and removes every file that it writes when the test binary ends, even
//! if the binary is killed: a shell reads from a pipe that only the test binary holds, and clears up when the
//! pipe closes.

use std::{
    io::Write as _,
    net::TcpListener,
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// Reads lines `process PID`, `server PID`, `ended PID`, `folder PATH` and `mounted PATH`. At the end of its
/// input it kills the processes that have not ended, unmounts and removes the folders. A server is told to quit
/// first.
const CLEAR_UP: &str = r#"
trap '' INT TERM HUP
pids='' servers='' folders='' mounted=''
newline='
'
while read -r verb what; do
    case $verb in
    process) pids="$pids $what" ;;
    server) pids="$pids $what" servers="$servers $what" ;;
    ended)
        rest=''
        for pid in $pids; do [ "$pid" = "$what" ] || rest="$rest $pid"; done
        pids=$rest
        rest=''
        for pid in $servers; do [ "$pid" = "$what" ] || rest="$rest $pid"; done
        servers=$rest ;;
    folder) folders="$folders$what$newline" ;;
    mounted) mounted="$mounted$what$newline" ;;
    esac
done
for pid in $servers; do kill -s QUIT "$pid" 2>/dev/null; done
for pid in $servers; do
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -s 0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
done
for pid in $pids; do kill -s KILL "$pid" 2>/dev/null; done
sleep 0.2
IFS=$newline
for folder in $mounted; do umount -l "$folder" 2>/dev/null; done
for folder in $folders; do rm -rf "$folder"; done
"#;

fn tell(line: &str) {
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| {
        let mut shell = Command::new("/bin/sh");
        own_group(&mut shell).args(["-c", CLEAR_UP]).stdin(Stdio::piped());
        Mutex::new(shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start /bin/sh"))
    });
    let mut shell = shell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pipe = shell.stdin.as_mut().expect("its stdin is a pipe");
    writeln!(pipe, "{line}").expect("the shell that clears up has ended");
}

/// Puts the command into its own process group, so that Ctrl-C at the terminal leaves the clearing up to the
/// guard.
pub(crate) fn own_group(command: &mut Command) -> &mut Command {
    std::os::unix::process::CommandExt::process_group(command, 0)
}

/// Has `pid` killed when the tests end.
pub(crate) fn process(pid: u32) {
    tell(&format!("process {pid}"));
}

/// Has `pid` told to quit when the tests end, and killed only if it does not: a killed server leaves shared
/// memory behind.
pub(crate) fn server(pid: u32) {
    tell(&format!("server {pid}"));
}

/// Reports that `pid` has ended and was waited for; its number may belong to another process now.
pub(crate) fn ended(pid: u32) {
    tell(&format!("ended {pid}"));
}

/// Has the file system at `folder` unmounted when the tests end.
pub(crate) fn mounted(folder: &Path) {
    tell(&format!("mounted {}", folder.display()));
}

/// Kills `child` unless it has ended, and waits for it.
pub(crate) fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
    ended(child.id());
}

/// An empty folder, removed when this value is dropped, or at the latest when the test binary ends.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes one in the system's folder for temporary files.
    #[expect(clippy::new_without_default, reason = "it makes something on the disk")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("postern-test-").tempdir().expect("make a folder");
        tell(&format!("folder {}", folder.path().display()));
        Self(folder)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `text` to the file `name` in it, and returns the file's path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("write a file of the test");
        path
    }
}

/// A port of 127.0.0.1 on which nothing listens now. No other test takes it, not even one in another process.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Several different free ports. None is from the range that the kernel hands out for port 0 and for
/// connections. Otherwise a test's provider could get a port before the program for which it was found binds it,
/// and then receive the requests that ask whether that program is ready.
pub fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| next_free_port())
}

/// Each process takes whole blocks of ports, and listens on the first port of each until it ends. So no other
/// process takes ports from them, not even while a port that was found is not bound.
fn next_free_port() -> u16 {
    /// Below 32768, where Linux's ephemeral ports begin.
    const PORTS: Range<u16> = 12_000..32_000;
    const BLOCK: u16 = 100;
    static HELD: Mutex<(Vec<TcpListener>, Range<u16>)> = Mutex::new((Vec::new(), 0..0));
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let (blocks, ports) = &mut *held;
    loop {
        if let Some(port) = ports.find(|port| bind(*port).is_some()) {
            return port;
        }
        let mut firsts = PORTS.step_by(usize::from(BLOCK));
        let found = firsts.find_map(|first| Some((first, bind(first)?)));
        let (first, block) = found.expect("a block of ports of 127.0.0.1 that no other test has");
        blocks.push(block);
        *ports = first + 1..first + BLOCK;
    }
}
