"""The part of a new plugin that differs from kind to kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """The part of a plugin that differs from kind to kind; ``Name`` and ``NAME`` stand for the component's name.

    Attributes:
        component: the class.
        uses: names of ``infimed_core`` that it needs.
        imports: other lines of imports.
        function: the same as a decorated function, where the kind allows one, for a plugin that is one file.
        made: in the test, what the check is called with.
        setup: in the test, lines before the check.
        in_run_file: where a run file names it.
    """

    component: str
    uses: str
    in_run_file: str
    imports: str = ""
    function: str = ""
    function_uses: str = ""
    made: str = "Name()"
    setup: str = ""
