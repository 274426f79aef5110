//! Waiting until a condition holds.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How long [`eventually`] waits: far longer than anything takes, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` answers `Ok`, and returns its value.
///
/// # Panics
/// After [`LIMIT`], with `what` was waited for and the last `Err`, which says what was seen instead.
pub async fn eventually<T, E: Display>(what: &str, condition: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(LIMIT, what, condition).await
}

/// Like [`eventually`], with a given limit.
///
/// # Panics
/// After `limit`.
pub async fn within<T, E: Display>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > limit => {
                panic!("waited {limit:?} in vain for {what}; last seen: {seen}")
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_hands_on_the_first_success() {
        let mut tries = 0;
        let got = eventually("three tries", async || {
            tries += 1;
            if tries == 3 { Ok(tries) } else { Err(tries) }
        });
        assert_eq!(got.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for the impossible; last seen: nothing")]
    async fn it_says_what_it_saw() {
        within::<(), _>(Duration::from_millis(20), "the impossible", async || Err("nothing")).await;
    }
}
