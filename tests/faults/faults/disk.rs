//! A disk without room, to the last byte: a small tmpfs.

use crate::{
    field::{ECHOED, FORWARDED, Field, IN_HAND},
    load::UNDER_WAY,
    table::{Allowance, Row},
};
use postern_tests::{Proxy, Rabbit, SmallDisk};

const MEBIBYTES: u32 = 192;
/// So many requests are refused before there is room again.
const REFUSED: usize = 20;

pub(crate) async fn full_under_embedded(name: &'static str, times: usize) -> Row {
    let disk = match SmallDisk::mount(MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return Row::skipped(name, format!("no tmpfs can be mounted: {why}")),
    };
    let mut field = Field::gateway(&format!("embedded:{}", disk.path().join("data").display()), "").await;
    for time in 0..times {
        field.strike().await;
        disk.fill();
        field.refuses(REFUSED).await;
        // Every other time it is killed like that.
        if time % 2 == 0 {
            field.front.kill();
        }
        field.calm();
        disk.clear();
        if time % 2 == 0 {
            field.front.restart().await;
        }
        field.recovers().await;
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
    let mut field = Field::pair(&vhost.url_at(proxy.port()), &spool).await;
    for _ in 0..times {
        field.strike().await;
        proxy.refuse(true);
        proxy.cut();
        field.spools(30.0).await;
        disk.fill();
        field.refuses(REFUSED).await;
        field.calm();
        // The broker comes back first: what is forwarded cannot be removed from the spool.
        proxy.refuse(false);
        field.front_metric("postern_broker_connected", |connected| connected == 1.0).await;
        disk.clear();
        field.recovers().await;
        field.spool_empties().await;
    }
    let doubled = UNDER_WAY + FORWARDED + IN_HAND;
    field.settle(name, Allowance { doubled, repeated: UNDER_WAY }).await
}
