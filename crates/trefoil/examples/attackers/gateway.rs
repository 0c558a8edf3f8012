//! Readers of content over HTTP, and pages in the operator's browser.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};
use trefoil_content::{ContentId, ResourceKind};

use crate::{
    arena::Arena,
    content,
    http::{self, CLOSE, get},
    manners, wire,
};

const PAUSE: Duration = Duration::from_millis(10);
/// Places in what the victim shares: a file, a page, a directory.
const FILE: usize = 0;
const PAGE: usize = 1;
const DIRECTORY: usize = 2;

manners! {
    "active-content" "H2" "a page that was shared, opened at the gateway" {crowd: 2} active;
    "pages-of-other-sites" "M" "what another site's page can have the operator's browser ask"
        {crowd: 2} other_sites;
    "hosts-foreign" "-" "requests under a foreign name (DNS rebinding)" {crowd: 2} foreign_hosts;
    "admin-guesses" "-" "POST /admin with tokens that are guessed" {} guesses;
    "bodies-unread" "H6" "an 8 MiB file, not read" {crowd: 60} |arena, _| read(arena, FILE, "", false);
    "bodies-read-slowly" "-" "the same, a byte each half second" {crowd: 60}
        |arena, _| read(arena, FILE, "", true);
    "ranges-by-the-thousand" "-" "a thousand ranges in each request" {}
        |arena, n| ranges(arena, n, many_ranges);
    "ranges-absurd" "-" "ranges beyond the end, reversed, and of 2^64" {}
        |arena, n| ranges(arena, n, absurd_range);
    "directories-open" "-" "listings of a directory of 1,000 files" {}
        |arena, n| paths(arena, n, |_| String::new());
    "paths-absurd" "-" "names with .., escapes, and 8,000 letters" {} |arena, n| paths(arena, n, absurd_path);
    "searches-by-pages" "-" "what nobody has, asked for as by a page" {crowd: 128}
        |arena, _| search(arena, "Sec-Fetch-Site: cross-site\r\n");
    "searches-by-users" "-" "what nobody has, asked for as by the operator" {crowd: 128}
        |arena, _| search(arena, "Sec-Fetch-Site: none\r\n");
    "files-by-the-thousand" "-" "each file of a directory, on a connection of its own" {} files;
}

async fn path(arena: &Arc<Arena>, which: usize) -> io::Result<String> {
    Ok(format!("/content/{}", content::shared(arena).await?[which]))
}

async fn active(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let request = get(&path(&arena, PAGE).await?, CLOSE);
    let answer = http::exchange(arena.rpc(), &request).await?;
    let (head, _) = http::parts(&answer).ok_or(io::ErrorKind::InvalidData)?;
    let wanted =
        ["content-security-policy: sandbox", "x-content-type-options: nosniff", ": attachment"];
    for missing in wanted.iter().filter(|line| head.contains(" 200") && !head.contains(**line)) {
        arena.broken(format!("a page that was shared is served without {missing:?}"));
    }
    sleep(PAUSE).await;
    Ok(())
}

async fn other_sites(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let evil =
        "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n";
    let file = http::exchange(arena.rpc(), &get(&path(&arena, FILE).await?, evil)).await?;
    let (head, _) = http::parts(&file).ok_or(io::ErrorKind::InvalidData)?;
    if head.contains("access-control-allow-origin") {
        arena.broken("a page of another site may read content");
    }
    let number = http::body("eth_blockNumber", &serde_json::json!([]));
    let answer = http::exchange(arena.rpc(), &http::post(&number, evil)).await?;
    let (head, _) = http::parts(&answer).ok_or(io::ErrorKind::InvalidData)?;
    if arena.target.kind.has_members() && head.contains(" 200") {
        arena.broken("a page of another site may use the RPC of a network of members");
    }
    sleep(PAUSE).await;
    Ok(())
}

async fn foreign_hosts(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let number = http::body("eth_blockNumber", &serde_json::json!([]));
    let request = String::from_utf8(http::post(&number, CLOSE)).expect("it is text");
    let request = request.replace("Host: localhost", "Host: evil.example");
    let answer = http::exchange(arena.rpc(), request.as_bytes()).await?;
    if answer.starts_with(b"HTTP/1.1 200") {
        arena.broken("a request under a foreign name was answered");
    }
    sleep(PAUSE).await;
    Ok(())
}

async fn guesses(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let body = http::body("admin_contents", &serde_json::json!([]));
    let token = alloy_primitives::hex::encode(rand::random::<[u8; 32]>());
    let request = http::post(&body, &format!("Authorization: Bearer {token}\r\n{CLOSE}"));
    let request = String::from_utf8(request).expect("it is text").replacen("/ ", "/admin ", 1);
    let answer = http::exchange(arena.rpc(), request.as_bytes()).await?;
    if answer.starts_with(b"HTTP/1.1 200") && !String::from_utf8_lossy(&answer).contains("error") {
        arena.broken("a guessed token was good enough for /admin");
    }
    sleep(PAUSE).await;
    Ok(())
}

async fn read(arena: Arc<Arena>, which: usize, head: &str, slowly: bool) -> io::Result<()> {
    let request = get(&path(&arena, which).await?, head);
    let mut stream = wire::socket(&arena, arena.rpc()).await?;
    stream.write_all(&request).await?;
    arena.count(&arena.written, request.len());
    loop {
        if slowly {
            stream.read_u8().await?;
        }
        sleep(Duration::from_millis(500)).await;
        // Unread bytes hide that the node closed it; a write does not.
        if !slowly {
            stream.write_all(b"G").await?;
        }
    }
}

/// One request on a connection of its own, its answer read.
async fn ask(arena: &Arc<Arena>, request: &[u8]) -> io::Result<()> {
    let answer = http::exchange(arena.rpc(), request).await?;
    arena.count(&arena.connections, 1);
    arena.count(&arena.written, request.len());
    arena.count(&arena.read, answer.len());
    sleep(PAUSE).await;
    Ok(())
}

async fn ranges(arena: Arc<Arena>, n: usize, range: fn(usize) -> String) -> io::Result<()> {
    let path = path(&arena, FILE).await?;
    for turn in n.. {
        let head = format!("Range: bytes={}\r\n{CLOSE}", range(turn));
        ask(&arena, &get(&path, &head)).await?;
    }
    Ok(())
}

fn many_ranges(turn: usize) -> String {
    let ranges: Vec<String> = (0..1_000).map(|n| format!("{n}-{}", n + turn % 9)).collect();
    ranges.join(",")
}

fn absurd_range(turn: usize) -> String {
    let all = ["-18446744073709551616", "9-1", "18446744073709551615-", "-0", "0-0,-1,x", "-"];
    all[turn % all.len()].into()
}

async fn paths(arena: Arc<Arena>, n: usize, name: fn(usize) -> String) -> io::Result<()> {
    let path = path(&arena, DIRECTORY).await?;
    for turn in n.. {
        ask(&arena, &get(&format!("{path}/{}", name(turn)), CLOSE)).await?;
    }
    Ok(())
}

fn absurd_path(turn: usize) -> String {
    let all = [
        "../../node.toml",
        "..%2f..%2fnode.toml",
        "%00",
        "%",
        "//",
        "%2e%2e/%2e%2e/keys/node.json",
    ];
    match turn % 7 {
        6 => "a".repeat(8_000),
        at => all[at].into(),
    }
}

async fn search(arena: Arc<Arena>, head: &str) -> io::Result<()> {
    let id = ContentId { kind: ResourceKind::File, root: rand::random() };
    ask(&arena, &get(&format!("/content/{id}"), &[head, CLOSE].concat())).await
}

async fn files(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let path = path(&arena, DIRECTORY).await?;
    for turn in n.. {
        ask(&arena, &get(&format!("{path}/{}", turn % 1_000), CLOSE)).await?;
    }
    Ok(())
}
