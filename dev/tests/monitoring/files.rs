//! The log file: each process has its own, it is renamed by size, and one that cannot be written costs nothing but its lines.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::*;

/// Breaks when `core/src/telemetry/file.rs`: `rename(&self.path, &self.numbered(1))?;` → `drop(&self.path);`.
#[tokio::test]
async fn each_process_writes_its_own_file_and_renames_it_by_size() {
    let folder = Folder::new();
    let file = folder.path("application.log");
    let settings = [("LOG_FILE", file.as_str()), ("LOG_FILE_MAX_BYTES", "2000"), ("LOG_FILE_BACKUPS", "2")];
    let house = house(&settings).await;
    for _ in 0..40 {
        assert_eq!(house.client().get("/api/auth/").await.unwrap().status, 200);
    }
    until("two renamed files", async || fs::exists(folder.path("application-api.log.2")).unwrap()).await;
    for name in ["application-api.log", "application-api.log.1", "application-api.log.2"] {
        let text = fs::read_to_string(folder.path(name)).unwrap();
        assert!(text.len() <= 2_000, "{name}: {}", text.len());
        assert!(objects(&text).iter().all(|line| line["process"] == "api"), "{text}");
    }
    assert!(!fs::exists(folder.path("application-api.log.3")).unwrap());
    let worker = fs::read_to_string(folder.path("application-worker.log")).unwrap();
    assert!(objects(&worker).iter().all(|line| line["process"] == "worker"), "{worker}");
    assert!(house.stand.api.log().unwrap().lines().count() > 40, "the console has every line");
}

/// Breaks when `core/src/telemetry/file.rs`: `if failed_at.replace(Instant::now()).is_none() {` → `if failed_at.replace(Instant::now()).is_none() || lost > 0 {`.
#[tokio::test]
async fn a_disk_that_is_full_costs_lines_which_are_counted_and_one_line_about_it() {
    let folder = Folder::new();
    // A device that says at each write that no space is left; the worker's folder does not exist at all.
    symlink("/dev/full", folder.path("a-api.log")).unwrap();
    symlink(folder.path("no such folder/a.log"), folder.path("a-worker.log")).unwrap();
    let house = house(&[("LOG_FILE", &folder.path("a.log"))]).await;
    let email = house.registered().await;
    assert_eq!(house.login(&email, PASSWORD).await.status, 200);
    // Longer than the pause between two tries.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    for _ in 0..20 {
        assert_eq!(house.client().get("/api/auth/").await.unwrap().status, 200);
    }
    assert!(!house.mailed(&email, "dbv_").await.is_empty());
    for (ops, log) in [(&house.api_ops, house.stand.api.log().unwrap()), (&house.worker_ops, house.worker_log())] {
        let failures = scrape(ops).await["doorbook_log_write_failures_total{sink=\"file\"}"];
        assert!(failures >= 1.0);
        let told = objects(&log);
        let told = told.iter().filter(|line| line["target"] == "doorbook::log").count();
        assert_eq!(told, 1, "{log}");
    }
}
