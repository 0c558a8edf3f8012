#!/usr/bin/env python3
"""Many small files, or a large sparse one, from `trefoil share` to `trefoil fetch` over loopback.

    bench/one_to_one.py [--files 100000 | --gib 20] [--binary target/release/trefoil] [--work DIR]

Small files have 40 to 2,039 bytes; of each GiB of a large one 1 MiB is not a hole. Counted is
the time from starting `fetch` to its end, by which every file is verified and in its place.
What came is compared with what was shared.
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


def fill_sparse(path, gib):
    with path.open("wb") as file:
        for at in range(gib):
            file.seek(at << 30)
            file.write(os.urandom(1 << 20))
        file.truncate(gib << 30)


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
    parser.add_argument("--gib", type=int, help="one sparse file of this size instead")
    parser.add_argument("--binary", default="target/release/trefoil")
    parser.add_argument("--work")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        work = Path(work)
        if args.gib:
            fill_sparse(work / "src", args.gib)
        else:
            fill(work / "src", args.files)
        began = time.time()
        command = [args.binary, "share", work / "src", "--listen", "127.0.0.1:0"]
        sharing = subprocess.Popen(
            [*command, "--dir", work / "sharer"], stdout=subprocess.PIPE, text=True
        )
        try:
            lines = iter(sharing.stdout.readline, "")
            found = (re.search(r"fetch '([^']+)' --from (\S+)", line) for line in lines)
            link, peer = next(match for match in found if match).groups()
            hashed = time.time() - began
            seconds, most = fetch(args.binary, work, link, peer)
            what = f"{args.gib} GiB" if args.gib else f"{args.files} files"
            print(f"{what}: hashed in {hashed:.1f} s, fetched in {seconds:.1f} s at a load of"
                  f" {os.getloadavg()[0]:.1f}; resident: fetch {most} MB, share"
                  f" {resident_mb(sharing.pid)} MB")
            subprocess.run(["diff", "-r", work / "src", work / "out"], check=True)
            disk = subprocess.run(["du", "-sm", work / "out"], capture_output=True, text=True)
            print(f"{disk.stdout.split()[0]} MiB on disk")
        finally:
            sharing.terminate()
            sharing.wait()


if __name__ == "__main__":
    main()
