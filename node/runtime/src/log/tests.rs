//! Tests of the log files: what goes in comes out.

use super::*;
use bytes::Bytes;
use tokio::sync::mpsc;

fn scratch(name: &str) -> PathBuf {
    let dir =
        std::env::temp_dir().join(format!("trireme-log-{name}-{:08x}", rand::random::<u32>()));
    fs::create_dir_all(&dir).unwrap();
    dir.join("0.log")
}

async fn read(path: &Path, query: Query) -> String {
    let (out, mut pieces) = mpsc::channel::<Bytes>(64);
    follow(path, query, || false, out).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = pieces.recv().await {
        all.extend_from_slice(&piece);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn lines_come_back_as_written_however_they_were_cut() {
    let path = scratch("cut");
    let mut writer = Writer::open(&path, 1 << 20, 5).unwrap();
    writer.write(Stream::Stdout, b"one\ntw").unwrap();
    writer.write(Stream::Stderr, b"err\n").unwrap();
    writer.write(Stream::Stdout, b"o\nno newline").unwrap();
    writer.finish(Stream::Stdout).unwrap();
    assert_eq!(read(&path, Query::default()).await, "one\nerr\ntwo\nno newline");
    let stderr = Query { stream: Some("stderr"), ..Query::default() };
    assert_eq!(read(&path, stderr).await, "err\n");
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_long_line_is_cut_into_records_and_joined_again() {
    let path = scratch("long");
    let mut writer = Writer::open(&path, 1 << 20, 5).unwrap();
    let line = "x".repeat(3 * MAX_RECORD + 5);
    writer.write(Stream::Stdout, format!("{line}\n").as_bytes()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4);
    assert_eq!(read(&path, Query::default()).await, format!("{line}\n"));
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn tail_since_and_limit_choose_the_right_part() {
    let path = scratch("tail");
    let records: String =
        (0..9).map(|n| format!("2026-01-01T00:00:0{n}.000000000Z stdout F line {n}\n")).collect();
    fs::write(&path, records).unwrap();
    let tail = Query { tail: Some(2), ..Query::default() };
    assert_eq!(read(&path, tail).await, "line 7\nline 8\n");
    let none = Query { tail: Some(0), ..Query::default() };
    assert_eq!(read(&path, none).await, "");
    let since = "2026-01-01T00:00:08Z".parse().unwrap();
    let since = Query { since: Some(since), timestamps: true, ..Query::default() };
    assert_eq!(read(&path, since).await, "2026-01-01T00:00:08.000000000Z line 8\n");
    let limit = Query { limit_bytes: Some(8), ..Query::default() };
    assert_eq!(read(&path, limit).await, "line 0\nl");
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_full_file_is_rotated_and_old_ones_go() {
    let path = scratch("rotate");
    let mut writer = Writer::open(&path, 200, 3).unwrap();
    for number in 0..50 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() <= 200);
    assert_eq!(rotated(&path).len(), 2);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_follower_reads_on_through_many_rotations() {
    let path = scratch("follow");
    let mut writer = Writer::open(&path, 200, 100).unwrap();
    writer.write(Stream::Stdout, b"line 0\n").unwrap();
    let (out, mut pieces) = mpsc::channel::<Bytes>(64);
    let running = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (source, more) = (path.clone(), running.clone());
    let query = Query { follow: true, ..Query::default() };
    let follower = tokio::spawn(async move {
        let more = || more.load(std::sync::atomic::Ordering::Relaxed);
        follow(&source, query, more, out).await
    });
    // The first piece says that the first file is open.
    let mut all = pieces.recv().await.unwrap().to_vec();
    for number in 1..50 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
    }
    assert!(rotated(&path).len() > 5);
    running.store(false, std::sync::atomic::Ordering::Relaxed);
    while let Some(piece) = pieces.recv().await {
        all.extend_from_slice(&piece);
    }
    follower.await.unwrap().unwrap();
    let wanted: String = (0..50).map(|number| format!("line {number}\n")).collect();
    assert_eq!(String::from_utf8(all).unwrap(), wanted);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}
