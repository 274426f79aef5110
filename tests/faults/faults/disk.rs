//! A disk that is full to the last byte: a small tmpfs.

use super::broker::CONNECTION_LOST;
use crate::{
    field::{ECHOED, Field, IN_HAND, Setup},
    load::UNDER_WAY,
    table::{Allowance, Row},
};
use postern_tests::{Proxy, Rabbit, SmallDisk};

/// The size of the disk.
pub(crate) const MEBIBYTES: u32 = 192;
/// The number of requests refused before there is room again.
const REFUSED: usize = 20;

/// Fills the disk under an embedded broker, and makes room again.
pub(crate) async fn fill(field: &mut Field, disk: &SmallDisk) {
    field.strike().await;
    disk.fill();
    field.refuses(REFUSED).await;
    field.calm();
    disk.clear();
    field.recovers().await;
}

/// Fills the disk under an embedded broker, and kills the process while the disk is full.
pub(crate) async fn fill_and_kill(field: &mut Field, disk: &SmallDisk) {
    field.strike().await;
    disk.fill();
    field.refuses(REFUSED).await;
    field.front.kill();
    field.calm();
    disk.clear();
    field.front.restart().await;
    field.recovers().await;
}

/// Fills the disk under the spool while the broker is away.
pub(crate) async fn fill_spool(field: &mut Field, disk: &SmallDisk, proxy: &Proxy) {
    field.strike().await;
    proxy.refuse(true);
    proxy.cut();
    field.spools(30.0).await;
    disk.fill();
    field.refuses(REFUSED).await;
    field.calm();
    // The broker comes back first, so that forwarded messages cannot be removed from the spool.
    proxy.refuse(false);
    field.front_metric("postern_broker_connected", |connected| connected == 1.0).await;
    disk.clear();
    field.recovers().await;
    field.spool_empties().await;
}

pub(crate) async fn full_under_embedded(name: &'static str, times: usize) -> Row {
    let disk = match SmallDisk::mount(MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return Row::skipped(name, format!("no tmpfs can be mounted: {why}")),
    };
    let url = format!("embedded:{}", disk.path().join("data").display());
    let mut field = Field::gateway(Setup::new(&url).echo()).await;
    for time in 0..times {
        // Every other time, the process is killed meanwhile.
        if time % 2 == 0 {
            fill_and_kill(&mut field, &disk).await;
        } else {
            fill(&mut field, &disk).await;
        }
    }
    field.settle(name, Allowance { doubled: IN_HAND + ECHOED, repeated: UNDER_WAY }).await
}

pub(crate) async fn full_under_spool(name: &'static str, times: usize) -> Row {
    let disk = match SmallDisk::mount(MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return Row::skipped(name, format!("no tmpfs can be mounted: {why}")),
    };
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let spool = format!("spool = {:?}", disk.path().join("spool"));
    let mut field = Field::pair(Setup::new(&vhost.url_at(proxy.port())).ingress(&spool)).await;
    for _ in 0..times {
        fill_spool(&mut field, &disk, &proxy).await;
    }
    field.settle(name, CONNECTION_LOST).await
}
