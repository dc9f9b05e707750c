"""Python commands as processes of their own, forked from one that has imported torch and transformers already.

Tests of kills, ranks and resumes start many processes, and each would spend seconds importing what the one before it
imported. A process that ``start`` gives has its own memory, environment, signals and end, as every process has. It
shares with its siblings only what an import leaves, the pictures that the demo makes of installed packages, and the
seed of Python's hashes, so that a file of tests compares with at least one process that was started in full.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import site
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

IMPORTED = (
    "infimed_core.cli",
    "PIL.Image",
    "jinja2",
    "jsonschema",
    "httpx",
    "rich.console",
    "typer.rich_utils",
    "tqdm",
)
FOR_TRAINING = (
    "torch",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.qwen3_vl.modeling_qwen3_vl",
    "transformers.models.qwen3_vl.processing_qwen3_vl",
    "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
    "scipy.stats",
    "scipy.ndimage",
    "cv2",
    "pydicom",
    "nibabel",
    "ftfy",
)
"""Imported in this environment alone: few commands in another one train."""
OURS = ("infimed_core", "infimed_plugins")
"""Packages of which every module is imported, too."""
LONGEST_MESSAGE = 1 << 20
SECONDS_BETWEEN_LOOKS = 0.02


class Forked:
    """A process that ``start`` gave, with the words of ``subprocess.Popen``; what it says lies in a file."""

    def __init__(self, pid: int, output: Path, server: socket.socket) -> None:
        self.pid, self.output, self.server = pid, output, server
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask(self.server, {"poll": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float = 300.0) -> int:
        limit = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired(str(self.pid), timeout, self.output.read_bytes())
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return code

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def lines(self) -> Iterator[str]:
        """Every line as it is said, to the end of the process."""
        with self.output.open(encoding="utf-8") as stream:
            part = ""
            while True:
                ended = self.poll() is not None
                while line := stream.readline():
                    part += line
                    if part.endswith("\n"):
                        yield part
                        part = ""
                if ended:
                    return
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def send_signal(self, which: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, which)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Files whose path ends as ``pattern`` says, although another process may remove or rename folders meanwhile."""
    return [path for place, _, names in os.walk(folder) for name in names if (path := Path(place, name)).match(pattern)]


def start(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
    errors: Path | None = None,
    folder: Path | None = None,
    python: Path | None = None,
) -> Forked:
    """What ``python ARGUMENTS`` does (``-m MODULE``, ``-c CODE`` or a file, and what follows), with one thread.

    Both streams are appended to ``output``, a new file where none is given; what is an error to ``errors``, if given.
    ``python`` is the interpreter of another environment: its processes have what is installed there.
    """
    output = output or _new_file()
    body = {
        "arguments": [str(argument) for argument in arguments],
        "environment": {**(os.environ if environment is None else environment), "OMP_NUM_THREADS": "1"},
        "output": str(output.absolute()),
        "errors": str((errors or output).absolute()),
        "folder": str(folder or Path.cwd()),
        "is_elsewhere": python is not None,
    }
    server = _server(python or Path(sys.executable))
    return Forked(_ask(server, body)["pid"], output, server)


def finish(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    limit: float = 600.0,
    python: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """As ``start``, to its end: the exit code and both streams, in the words of ``subprocess.run``."""
    output, errors = _new_file(), _new_file()
    process = start(arguments, environment, output, errors, folder, python)
    try:
        code = process.wait(limit)
    finally:
        process.kill()
    said = (path.read_text(encoding="utf-8", errors="replace") for path in (output, errors))
    return subprocess.CompletedProcess([str(argument) for argument in arguments], code, *said)


def launch(command: Sequence[str], num_processes: int, limit: float = 120.0) -> None:
    """Start ``command`` (an interpreter comes first) under that many ranks; all must end well in ``limit`` seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        start(command[1:], {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(num_processes)
    ]
    try:
        codes = [process.wait(limit) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(codes), "\n".join(process.said() for process in processes)


def spare() -> None:
    """What costs tests much and shows nothing to them is left out of this process and of those that are forked.

    Runs that ask for no number of worker processes have none of their own: a worker is a fresh interpreter, and to
    start two takes longer than the small data of a test. Tests of executors, of kills and of damage name their number.
    No file is awaited on the disk, for no test cuts the power. What is started in full (``subprocess``) does both.
    """
    from infimed_plugins.executors import local

    if not hasattr(local._num_cpus, "__wrapped__"):
        local._num_cpus = functools.wraps(local._num_cpus)(lambda: 1)
        local._default_processes = lambda: 0  # in this process
        os.fsync = lambda descriptor: None


@functools.cache
def _folder() -> str:
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    atexit.register(folder.cleanup)
    return folder.name


def _new_file() -> Path:
    handle, name = tempfile.mkstemp(dir=_folder())
    os.close(handle)
    return Path(name)


@functools.cache
def _server(python: Path) -> socket.socket:
    """The process of an interpreter that has imported everything; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    is_elsewhere = str(python) != sys.executable
    place = "elsewhere" if is_elsewhere else "here"
    command = [str(python), str(Path(__file__).resolve()), str(theirs.fileno()), place]
    own = {name: value for name, value in os.environ.items() if not (is_elsewhere and name == "PYTHONPATH")}
    environment = {**own, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
    theirs.close()

    def close() -> None:
        ours.close()
        process.kill()  # it has nothing to put away, which on a machine with much to do takes a minute
        process.wait()

    atexit.register(close)
    return ours


def _ask(server: socket.socket, body: Mapping[str, Any]) -> dict[str, Any]:
    server.sendall(json.dumps(body).encode())
    answer = server.recv(LONGEST_MESSAGE)
    assert answer, "the process that forks has ended"
    return json.loads(answer)  # type: ignore[no-any-return]


def _import_all(is_elsewhere: bool) -> None:
    """All that most commands import or make first, and every one alike."""
    for name in (*IMPORTED, *(() if is_elsewhere else FOR_TRAINING)):
        importlib.import_module(name)
    for package in map(importlib.import_module, OURS):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    from infimed_plugins.demo import icd, pictures

    with contextlib.suppress(Exception):  # a package of the extra `demo` is missing: whoever needs it says so
        icd.categories()
        if not is_elsewhere:
            pictures.pictures(128)
    if not is_elsewhere:
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        from infimed_plugins.reporting.page.assets import environment

        environment().get_template("report.html.j2")
        get_checkpoint_conversion_mapping("qwen3_vl")  # makes a table of patterns, which every save and load reads


def _serve(connection: socket.socket, is_elsewhere: bool) -> None:
    """Fork for every message; returns in the children alone, and ends with whoever asks."""
    _import_all(is_elsewhere)
    spare()
    gc.collect()
    gc.freeze()  # no child looks through, and so copies, what all of them have
    while message := connection.recv(LONGEST_MESSAGE):
        body = json.loads(message)
        if "poll" in body:
            pid, status = os.waitpid(body["poll"], os.WNOHANG)
            answer = {"code": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            tasks = Path("/proc/self/task")
            assert not tasks.exists() or len(list(tasks.iterdir())) == 1, "a fork would lose threads"
            if (pid := os.fork()) == 0:
                connection.close()
                _become(**body)
                return
            answer = {"pid": pid}
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(json.dumps(answer).encode())
    os._exit(0)


def _become(
    arguments: list[str], environment: dict[str, str], output: str, errors: str, folder: str, is_elsewhere: bool
) -> None:
    """What the interpreter itself does with its command line; elsewhere packages were installed since it started."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for descriptor, name in ((1, output), (2, errors)):
        stream = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(stream, descriptor)
        os.close(stream)
    if is_elsewhere:
        for packages in site.getsitepackages():
            site.addsitedir(packages)
        importlib.invalidate_caches()
    first, *rest = arguments
    if first in ("-m", "-c"):
        what, *rest = rest
        sys.path[0], sys.argv = "", [first, *rest]
        if first == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0], sys.argv = str(Path(first).parent), arguments
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), is_elsewhere=sys.argv[2] == "elsewhere")
