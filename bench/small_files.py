#!/usr/bin/env python3
"""A directory of many small files, from `trefoil share` to `trefoil fetch` over loopback.

    bench/small_files.py [--files 100000] [--binary target/release/trefoil] [--work DIR]

Files have 40 to 2,039 bytes. Counted is the time from starting `fetch` to its end, by which
every file is verified and in its place. What came is compared with what was shared.
"""
import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path


def fill(directory, files):
    for number in range(files):
        place = directory / f"{number % 100:02}" / f"{number // 100 % 10}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_bytes(os.urandom(40 + number % 2_000))


def resident_mb(pid):
    """The most that a process had in memory so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) // 1024 if found else 0


def fetch(binary, work, link, peer):
    began, most = time.time(), 0
    command = [binary, "fetch", link, "--from", peer, "--listen", "127.0.0.1:0"]
    command += ["--dir", work / "fetcher", "-o", work / "out"]
    fetching = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while fetching.poll() is None:
        most = max(most, resident_mb(fetching.pid))
        time.sleep(0.02)
    assert fetching.returncode == 0, "the fetch failed"
    return time.time() - began, most


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--binary", default="target/release/trefoil")
    parser.add_argument("--work")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        work = Path(work)
        fill(work / "src", args.files)
        command = [args.binary, "share", work / "src", "--listen", "127.0.0.1:0"]
        sharing = subprocess.Popen(
            [*command, "--dir", work / "sharer"], stdout=subprocess.PIPE, text=True
        )
        try:
            lines = iter(sharing.stdout.readline, "")
            found = (re.search(r"fetch '([^']+)' --from (\S+)", line) for line in lines)
            link, peer = next(match for match in found if match).groups()
            seconds, most = fetch(args.binary, work, link, peer)
            print(f"{args.files} files in {seconds:.1f} s at a load of {os.getloadavg()[0]:.1f};"
                  f" resident: fetch {most} MB, share {resident_mb(sharing.pid)} MB")
            subprocess.run(["diff", "-r", work / "src", work / "out"], check=True)
        finally:
            sharing.terminate()
            sharing.wait()


if __name__ == "__main__":
    main()
