"""Write the tables of ``docs/moving-in.md`` from those that ``infimed convert`` uses: ``python docs/moving_in.py``."""

from __future__ import annotations

from pathlib import Path

from infimed_plugins.migration import llama_factory, swift
from infimed_plugins.migration.table import table_of

DOCUMENT = Path(__file__).with_name("moving-in.md")


def main() -> None:
    """Replace what follows each heading of a table, up to the next."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for heading, module in (("## Keys of LLaMA-Factory", llama_factory), ("## Keys of ms-swift", swift)):
        before, _, after = text.partition(heading + "\n")
        _, mark, rest = after.partition("\n## ")
        text = f"{before}{heading}\n\n{table_of(module.TABLE)}" + (mark + rest if mark else "")
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
