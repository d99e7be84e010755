//! `service rm`.

use crate::app::App;
use crate::error::{Outcome, join};
use crate::flags::Matches;

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let mut errors = Vec::new();
    for service in &matches.args {
        match app
            .client
            .delete(&format!("/services/{service}"), &[])
            .await
        {
            Ok(()) => app.say(service)?,
            Err(error) => errors.push(error),
        }
    }
    join(errors)
}
