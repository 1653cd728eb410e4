"""How much memory a kernel and its children hold, and whether they were killed for it."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_CGROUPS = Path("/sys/fs/cgroup")
_PERIOD = 0.25
_PERIOD_WITH_LIMIT = 0.1
_FAMILY_PERIOD = 1.0
_NEAR = 0.85


class MemoryWatch(threading.Thread):
    """Samples the memory of a process and its children; ends it when that is too much.

    Args:
        pid: the kernel's process.
        limit: bytes; None watches only.
        kill: called once when the limit is passed.
    """

    def __init__(self, pid: int, limit: int | None, kill: Callable[[], None]) -> None:
        super().__init__(name="memory watch", daemon=True)
        self.now = 0
        self.peak = 0
        self.exceeded = 0
        self._pid = pid
        self._limit = limit
        self._kill = kill
        self._ended = threading.Event()
        self._family: list[Any] = []
        self._family_known_until = 0.0

    def run(self) -> None:
        """Sample until told to end or the process is gone."""
        psutil: Any = import_module("psutil")
        period = _PERIOD if self._limit is None else _PERIOD_WITH_LIMIT
        while not self._ended.is_set():
            try:
                self._sample(psutil)
            except psutil.Error:
                return
            if self.exceeded:
                self._kill()
                return
            self._ended.wait(period)

    def end(self) -> None:
        """Take the highest mark the system itself kept, and stop."""
        self._ended.set()
        with suppress(OSError, ValueError):
            status = Path(f"/proc/{self._pid}/status").read_text()
            if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
                self.peak = max(self.peak, int(found[1]) * 1024)
        if self.ident is not None and self is not threading.current_thread():
            self.join()

    def _sample(self, psutil: Any) -> None:
        if time.monotonic() >= self._family_known_until:
            kernel = psutil.Process(self._pid)
            self._family = [kernel, *kernel.children(recursive=True)]
            self._family_known_until = time.monotonic() + _FAMILY_PERIOD
        used = self._sum(psutil, lambda process: process.memory_info().rss)
        over = self._limit is not None and used > self._limit
        if over and len(self._family) > 1:
            # Forked children share pages with the kernel, which RSS counts for each.
            with suppress(AttributeError):
                used = self._sum(psutil, lambda process: process.memory_full_info().pss)
        self.now = used
        self.peak = max(self.peak, used)
        if self._limit is not None and used > self._limit:
            self.exceeded = used

    def _sum(self, psutil: Any, of: Callable[[Any], int]) -> int:
        total = 0
        for process in self._family:
            with suppress(psutil.Error):
                total += of(process)
        return total


class OomCounter:
    """Tells whether Linux killed something in a process's control group for want of memory.

    Args:
        pid: the process; its group is looked up now.
    """

    def __init__(self, pid: int) -> None:
        self._files, self._limits = _group_files(pid)
        self._before = self._count()

    def has_counted(self) -> bool:
        """Whether there was such a kill since this was made."""
        return self._count() > self._before

    def room(self) -> int:
        """Give the bytes the process could have at most: its group's limit or the machine's."""
        psutil: Any = import_module("psutil")
        rooms = [int(psutil.virtual_memory().total)]
        for file in self._limits:
            with suppress(OSError, ValueError):
                rooms.append(int(file.read_text()))
        return min(rooms)

    def is_near_room(self, peak: int) -> bool:
        """Whether so many bytes are about all there is."""
        return peak >= _NEAR * self.room()

    def _count(self) -> int:
        total = 0
        for file in self._files:
            with suppress(OSError):
                if found := re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE):
                    total += int(found[1])
        return total


def _group_files(pid: int) -> tuple[list[Path], list[Path]]:
    """Give the files with the counts of kills and with the limits, of cgroup v1 and v2."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return [], []
    counts, limits = [], []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, count, limit = _CGROUPS, "memory.events", "memory.max"
        elif "memory" in controllers.split(","):
            mount = _CGROUPS / "memory"
            count, limit = "memory.oom_control", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path is that of the host, and its own group is the mount's root.
        group = mount / path.lstrip("/")
        group = group if group.is_dir() else mount
        counts.append(group / count)
        limits += [
            folder / limit
            for folder in (group, *group.parents)
            if mount in folder.parents or folder == mount
        ]
    return counts, limits
