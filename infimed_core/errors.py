"""The errors a user can cause, each told in one line without a traceback."""

from __future__ import annotations

from typing import ClassVar


class InfimedError(Exception):
    """Something the user can mend; the command line prints the message alone and exits with ``exit_code``."""

    exit_code: ClassVar[int] = 2


class NoSampleError(InfimedError):
    """A run whose source gives no sample: the run file can be read, and the run has failed."""

    exit_code: ClassVar[int] = 1


class WorkerDiedError(InfimedError):
    """A worker process that died while an executor's ``map`` was at ``item``, counted from 0; those before are done."""

    exit_code: ClassVar[int] = 1

    def __init__(self, item: int, message: str) -> None:
        super().__init__(message)
        self.item = item


class ConfigError(InfimedError):
    """A run file that cannot be used. ``problems`` holds one complete line per mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PluginError(InfimedError):
    """A plugin that is missing, named twice, or broken."""


class ComponentError(PluginError):
    """A component that raised, or that returned what its kind does not allow; names plugin, method and place."""


class DataError(InfimedError):
    """A sample or file that cannot be used.

    ``code`` is a short, stable reason (``missing_file``, ``truncated``, ``too_large`` ...) under
    which the row is counted; the message names the file and the remedy.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str]]:
        return type(self), (self.code, str(self))
