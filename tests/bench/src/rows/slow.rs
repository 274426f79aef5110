//! Sent messages a second to a slow provider: as many as the concurrency allows, without a thread for each.

use crate::{
    rig::Bench,
    table::{Row, Table, Target},
};
use anyhow::Result;
use std::time::Duration;

const DELAY: Duration = Duration::from_millis(300);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let waves = match bench.effort.load.as_secs() {
        0..=1 => 4,
        seconds => seconds * 3,
    };
    for concurrency in [64, 256, 600, 1200] {
        if concurrency > 64 && bench.effort.load.as_secs() <= 1 {
            continue;
        }
        let room = bench.room().await?;
        let config = bench.backends(1, usize::try_from(concurrency)?);
        room.dispatcher(&config).await.terminate().await;
        let messages = concurrency * waves;
        room.queues.fill("postern.outbound", "bench", messages).await?;
        let seen = bench.provider.expect(messages, DELAY);
        let dispatcher = room.dispatcher(&config).await;
        seen.reach(messages).await?;
        let threads = std::fs::read_dir(format!("/proc/{}/task", dispatcher.id()))?.count();
        room.queues.depth_becomes("postern.reports", messages).await?;
        dispatcher.terminate().await;
        // Messages come in waves: from the start of the second wave to the start of the last.
        let took = seen.at(messages - concurrency).duration_since(seen.at(concurrency));
        let rate = (messages - 2 * concurrency) as f64 / took.as_secs_f64();
        let what = format!("sent, provider takes 300 ms, {concurrency} in flight ({threads} threads)");
        let possible = concurrency as f64 / DELAY.as_secs_f64();
        let row = Row::new(what, "messages/s", rate, "in flight / 0.3 s", possible);
        table.add(row.judged_by(Target::AtLeast(0.95)));
    }
    Ok(())
}
