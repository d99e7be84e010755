//! Waiting for a condition with a deadline. The error names what was waited for and the last
//! reason why it was not there yet; nothing waits longer than needed or for ever.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value; an error from it is "not yet".
pub fn until<T>(
    what: &str,
    at_most: Duration,
    mut condition: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + at_most;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= deadline => {
                return Err(reason)
                    .with_context(|| format!("waited {:.1} s for {what}", at_most.as_secs_f64()));
            }
            Err(_) => thread::park_timeout(PAUSE),
        }
    }
}

/// Waits until `condition` holds.
pub fn until_true(
    what: &str,
    at_most: Duration,
    mut condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    until(what, at_most, || {
        if condition() {
            Ok(())
        } else {
            bail!("it did not happen")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_what_was_waited_for_and_why_it_was_not_there() {
        let error = until::<()>("the sun", Duration::from_millis(1), || bail!("it is night"));
        let text = format!("{:#}", error.unwrap_err());
        assert_eq!(text, "waited 0.0 s for the sun: it is night");
    }

    #[test]
    fn a_condition_that_holds_is_looked_at_once() {
        let mut looks = 0;
        let value = until("now", Duration::ZERO, || {
            looks += 1;
            Ok(looks)
        });
        assert_eq!(value.unwrap(), 1);
    }
}
