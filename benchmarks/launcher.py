"""Starts one program from a process of its own small size and tells its time and memory.

A child's peak memory (``ru_maxrss``) begins at its parent's size, which on Linux the call to exec does not reset.
So the parent must be smaller than anything measured: this file runs alone, with the standard library's core.
"""

import json
import os
import sys
import time


def main(stdout: str, stderr: str, *command: str) -> None:
    """Run a command with its output in two files; print wall and CPU seconds, peak KiB and exit status as JSON."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, number, path, flags, 0o600) for number, path in ((1, stdout), (2, stderr))]
    start = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - start
    print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
