use serde_json::json;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn service(replicas: u64) -> Value {
    json!({"ID": "svc", "Spec": {"Mode": {"Replicated": {"Replicas": replicas}}}})
}

fn task(slot: i64, state: &str) -> Value {
    json!({"Slot": slot, "NodeID": "n1", "DesiredState": "running", "Status": {"State": state}})
}

fn nodes() -> Vec<Value> {
    vec![json!({"ID": "n1", "Status": {"State": "ready"}})]
}

/// Runs polls (service, tasks, seconds) and returns what a pipe would show of each.
fn polls(polls: &[(Value, Vec<Value>, i64)]) -> (Vec<String>, Result<Verdict, ProgressError>) {
    let mut reducer = Reducer::new("web");
    let mut screen = Screen::new(None);
    let mut shown = Vec::new();
    let mut verdict = Ok(Verdict::Continue);
    for (service, tasks, second) in polls {
        let mut lines = Vec::new();
        verdict = reducer.on_service(service, second * SECOND, &mut lines);
        if verdict == Ok(Verdict::Continue) {
            verdict = reducer.on_tasks(service, tasks, &nodes(), second * SECOND, &mut lines);
        }
        shown.push(lines.iter().map(|line| screen.draw(line)).collect());
        if verdict != Ok(Verdict::Continue) {
            break;
        }
    }
    (shown, verdict)
}

#[test]
fn a_replicated_service_converges_and_is_verified() {
    let running = vec![task(1, "running"), task(2, "running")];
    let (shown, verdict) = polls(&[
        (service(2), vec![task(1, "preparing")], 0),
        (service(2), vec![task(1, "running"), task(2, "starting")], 1),
        (service(2), running.clone(), 2),
        (service(2), running.clone(), 6),
        (service(2), running, 7),
    ]);
    assert_eq!(verdict, Ok(Verdict::Done));
    assert_eq!(
        shown,
        [
            "overall progress: 0 out of 2 tasks\n1/2:  \n2/2:  \noverall progress: 0 out of 2 tasks\n",
            "overall progress: 1 out of 2 tasks\n",
            "overall progress: 2 out of 2 tasks\n\
             verify: Waiting 5 seconds to verify that tasks are stable...\n",
            "verify: Waiting 1 seconds to verify that tasks are stable...\n",
            "verify: Service web converged\n",
        ]
    );
}

#[test]
fn a_failure_while_verifying_starts_the_clock_again() {
    let failed = json!({"Slot": 1, "NodeID": "n1", "DesiredState": "shutdown",
                        "Status": {"State": "failed", "Err": "task: non-zero exit (1)"}});
    let (shown, _) = polls(&[
        (service(1), vec![task(1, "running")], 0),
        (service(1), vec![failed], 1),
        (service(1), vec![task(1, "running")], 2),
    ]);
    assert_eq!(
        shown[1],
        "1/1: task: non-zero exit (1)\noverall progress: 0 out of 1 tasks\n\
         verify: Detected task failure\n"
    );
    assert!(shown[2].contains("verify: Waiting 5 seconds"));
}

#[test]
fn the_update_status_decides_the_end() {
    let with = |state: &str| {
        let mut service = service(1);
        service["UpdateStatus"] = json!({"State": state, "Message": "why"});
        service
    };
    let (_, verdict) = polls(&[(with("completed"), vec![], 0)]);
    assert_eq!(verdict, Ok(Verdict::Done));
    let (_, verdict) = polls(&[(with("paused"), vec![], 0)]);
    assert_eq!(
        verdict.unwrap_err().to_string(),
        "service update paused: why"
    );
    let (_, verdict) = polls(&[(with("rollback_paused"), vec![], 0)]);
    assert_eq!(
        verdict.unwrap_err().to_string(),
        "service rollback paused: why"
    );
    let (shown, _) = polls(&[(with("rollback_started"), vec![], 0)]);
    assert!(
        shown[0].starts_with(
            "rollback: why\noverall progress: rolling back update: 0 out of 1 tasks\n"
        )
    );
    let done = vec![task(1, "running")];
    let (shown, _) = polls(&[
        (with("rollback_completed"), done.clone(), 0),
        (with("rollback_completed"), done, 5),
    ]);
    assert_eq!(shown[1], "verify: Service web converged\nrollback: why\n");
}

#[test]
fn per_slot_the_task_furthest_from_its_end_counts_and_down_nodes_do_not() {
    let old = json!({"Slot": 1, "NodeID": "n1", "DesiredState": "shutdown",
                     "Status": {"State": "running"}});
    let gone = json!({"Slot": 2, "NodeID": "n2", "DesiredState": "running",
                      "Status": {"State": "running"}});
    let (shown, _) = polls(&[(service(2), vec![old, task(1, "ready"), gone], 0)]);
    assert!(
        shown[0].ends_with("overall progress: 0 out of 2 tasks\n"),
        "{shown:?}"
    );
}

#[test]
fn a_global_service_waits_for_its_tasks() {
    let service = json!({"Spec": {"Mode": {"Global": {}}, "UpdateConfig": {"Monitor": SECOND}}});
    let (shown, verdict) = polls(&[
        (service.clone(), vec![], 0),
        (service.clone(), vec![task(0, "running")], 1),
        (service, vec![task(0, "running")], 2),
    ]);
    assert_eq!(verdict, Ok(Verdict::Done));
    assert_eq!(
        shown,
        [
            "overall progress: waiting for new tasks\n",
            "overall progress: 0 out of 1 tasks\noverall progress: 1 out of 1 tasks\n\
             verify: Waiting 1 seconds to verify that tasks are stable...\n",
            "verify: Service web converged\n",
        ]
    );
}

#[test]
fn a_job_ends_without_verification() {
    let service = json!({"JobStatus": {"JobIteration": {}},
        "Spec": {"Mode": {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 2}}}});
    let job = |slot: i64, state: &str| {
        let mut task = task(slot, state);
        task["JobIteration"] = json!({});
        task
    };
    let (shown, verdict) = polls(&[
        (
            service.clone(),
            vec![job(0, "running"), job(1, "running")],
            0,
        ),
        (service, vec![job(0, "complete"), job(1, "complete")], 1),
    ]);
    assert_eq!(verdict, Ok(Verdict::Done));
    // The same lines as the captured run of a real client.
    assert_eq!(
        shown.concat(),
        "active tasks: 0 out of 2 tasks\n1/2:  \n2/2:  \nactive tasks: 2 out of 2 tasks\n\
         active tasks: 0 out of 0 tasks\njob complete\n"
    );
}

#[test]
fn unknown_modes_are_errors() {
    let (_, verdict) = polls(&[(json!({"Spec": {"Mode": {}}}), vec![], 0)]);
    assert_eq!(verdict, Err(ProgressError::Mode));
}

#[test]
fn a_screen_redraws_its_rows() {
    let mut screen = Screen::new(Some(120));
    let draw = |screen: &mut Screen, line: Line| screen.draw(&line);
    assert_eq!(
        draw(
            &mut screen,
            Line::new("overall progress", "0 out of 1 tasks")
        ),
        "\n\x1b[1A\x1b[2K\roverall progress: 0 out of 1 tasks \r\x1b[1B"
    );
    let bar = Line {
        bar: Some((9, 9)),
        ..Line::new("1/1", "running  ")
    };
    let full = "=".repeat(50);
    assert_eq!(
        draw(&mut screen, bar.clone()),
        format!("\n\x1b[1A\x1b[2K\r1/1: running   [{full}>] \r\x1b[1B")
    );
    assert_eq!(
        draw(
            &mut screen,
            Line::new("overall progress", "1 out of 1 tasks")
        ),
        "\x1b[2A\x1b[2K\roverall progress: 1 out of 1 tasks \r\x1b[2B"
    );
    assert_eq!(
        draw(&mut screen, Line::lasting("", "job complete")),
        "job complete\n"
    );
    let mut narrow = Screen::new(Some(80));
    assert_eq!(
        draw(&mut narrow, bar),
        "\n\x1b[1A\x1b[2K\r1/1: running   \r\x1b[1B"
    );
}
