//! The faults of both services with a RabbitMQ node and a network in between. The dispatcher writes the message
//! log.

use super::{Fault, LOG, Outcome, Stage, THINKING, fault};
use crate::{
    faults::{
        broker::{self, BLOCKED_BROKER, CONNECTION_LOST},
        commands::{self, Command},
        disk,
        network::{self, DIRECTIONS, HEARTBEAT},
        processes::{self, End, HELD, UNANSWERED},
        spool::{self, TWICE},
    },
    field::{Field, Setup},
    table::Allowance,
};
use postern_tests::{Alarm, Folder, HarmedRabbit, Postgres, Proxy, Rabbit, SmallDisk};

/// The node and the network in front of it.
struct Server {
    rabbit: HarmedRabbit,
    proxy: Proxy,
}

/// The broker, or the connection to it, is lost.
const LOST: &[&str] = &[
    "ingress → RabbitMQ",
    "spool → RabbitMQ",
    "dispatcher → RabbitMQ",
    "RabbitMQ → dispatcher",
    "dispatcher → webhook, callbacks",
    "an application repeats itself",
    "the provider repeats itself",
];
/// The dispatcher is killed.
const DISPATCHER: &[&str] = &["dispatcher → provider", "dispatcher → webhook, callbacks"];
/// The dispatcher is killed during a command. While RabbitMQ is slow to confirm, messages go through the spool.
const PAUSED: &[&str] =
    &["dispatcher → provider", "dispatcher → webhook, callbacks", "ingress → RabbitMQ", "spool → RabbitMQ"];
const CANCELLED: &[&str] = &[
    "postern cancel",
    "dispatcher → provider",
    "dispatcher → webhook, callbacks",
    "ingress → RabbitMQ",
    "spool → RabbitMQ",
];
const MOVED: &[&str] = &[
    "postern queue move",
    "dispatcher → provider",
    "dispatcher → webhook, callbacks",
    "ingress → RabbitMQ",
    "spool → RabbitMQ",
];

const FAULTS: &[Fault<Server>] = &[
    fault!(
        "kill -9 of the broker",
        |stage, _| broker::kill(&mut stage.field, &stage.broker.rabbit),
        CONNECTION_LOST,
        LOST
    ),
    fault!(
        "kill -9 of the ingress",
        |stage, _| processes::end_front(&mut stage.field, End::Kill),
        UNANSWERED,
        &["an application repeats itself", "the provider repeats itself"]
    ),
    fault!(
        "kill -9 of the dispatcher",
        |stage, _| processes::end_dispatcher(&mut stage.field, End::Kill),
        HELD,
        DISPATCHER
    ),
    fault!(
        "kill -9 of the broker, the ingress and the dispatcher at once",
        |stage, _| broker::cut_power(&mut stage.field, &stage.broker.rabbit),
        CONNECTION_LOST,
        LOST
    ),
    fault!(
        "the broker's memory alarm",
        |stage, _| broker::raise(&mut stage.field, &stage.broker.rabbit, Alarm::Memory),
        BLOCKED_BROKER,
        &["ingress → RabbitMQ", "dispatcher → RabbitMQ"]
    ),
    fault!(
        "the broker's disk alarm",
        |stage, _| broker::raise(&mut stage.field, &stage.broker.rabbit, Alarm::Disk),
        BLOCKED_BROKER,
        &["ingress → RabbitMQ", "dispatcher → RabbitMQ"]
    ),
    fault!(
        "SIGTERM to the ingress",
        |stage, _| processes::end_front(&mut stage.field, End::Drain),
        Allowance::NONE,
        &[]
    ),
    fault!(
        "SIGTERM to the dispatcher",
        |stage, _| processes::end_dispatcher(&mut stage.field, End::Drain),
        Allowance::NONE,
        &[]
    ),
    fault!(
        "the network cuts every connection to the broker",
        |stage, _| network::cut_all(&mut stage.field, &stage.broker.proxy),
        CONNECTION_LOST,
        LOST
    ),
    fault!(
        "the network closes one direction",
        |stage, time| network::half_close(&mut stage.field, &stage.broker.proxy, DIRECTIONS[time % 2]),
        CONNECTION_LOST,
        LOST
    ),
    fault!(
        "the network goes silent",
        |stage, _| network::silence(&mut stage.field, &stage.broker.proxy),
        CONNECTION_LOST,
        LOST
    ),
    fault!(
        "the network is slow",
        |stage, _| network::slow_down(&mut stage.field, &stage.broker.proxy),
        Allowance::NONE,
        &[]
    ),
    fault!(
        "full disk under the spool",
        |stage, _| disk::fill_spool(&mut stage.field, &stage.disk, &stage.broker.proxy),
        CONNECTION_LOST,
        LOST
    ),
    fault!(
        "kill -9 of the ingress with a spool that is not empty",
        |stage, _| spool::kill(&mut stage.field, &stage.broker.proxy),
        TWICE,
        LOST
    ),
    fault!(
        "a pause, and kill -9 of the dispatcher",
        |stage, time| commands::interrupt(&mut stage.field, time, Command::Pause),
        Command::Pause.allowance(false),
        PAUSED
    ),
    fault!(
        "kill -9 during a cancellation",
        |stage, time| commands::interrupt(&mut stage.field, time, Command::Cancel),
        Command::Cancel.allowance(false),
        CANCELLED
    ),
    fault!(
        "kill -9 during a move",
        |stage, time| commands::interrupt(&mut stage.field, time, Command::Move),
        Command::Move.allowance(false),
        MOVED
    ),
];

/// With the message log in SQLite.
pub(super) async fn with_sqlite(name: &'static str, messages: usize) -> Outcome {
    let folder = Folder::new();
    run(name, messages, &format!("sqlite:{}", folder.path().join("log").display())).await
}

/// With the message log in PostgreSQL.
pub(super) async fn with_postgres(name: &'static str, messages: usize) -> Outcome {
    let server = Postgres::shared();
    run(name, messages, &server.database()).await
}

async fn run(name: &'static str, messages: usize, log: &str) -> Outcome {
    let disk = match SmallDisk::mount(disk::MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return Outcome::failed(name, format!("no tmpfs can be mounted: {why}")),
    };
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let setup = Setup::new(&(vhost.url_at(proxy.port()) + HEARTBEAT))
        .ingress(&format!("spool = {:?}", disk.path().join("spool")))
        .backend("y")
        .sections(&format!("{LOG}url = \"{log}\"\n"))
        .logged()
        .thinking(THINKING);
    let stage = Stage { field: Field::pair(setup).await, disk, broker: Server { rabbit, proxy } };
    super::run(name, messages, stage, FAULTS).await
}

#[cfg(test)]
pub(super) fn windows() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().flat_map(|fault| fault.windows.iter().copied())
}
