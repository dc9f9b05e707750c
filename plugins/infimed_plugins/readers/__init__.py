"""The plugin `readers`: samples from the file formats that people have."""

from __future__ import annotations

from infimed_core import Reader, hookimpl


@hookimpl
def infimed_readers() -> dict[str, type[Reader]]:
    """``jsonl``, ``llava``, ``parquet``, ``webdataset``, ``huggingface`` and ``directory``."""
    from infimed_plugins.readers.directory import Directory
    from infimed_plugins.readers.huggingface import HuggingFace
    from infimed_plugins.readers.jsonl import Jsonl
    from infimed_plugins.readers.llava import Llava
    from infimed_plugins.readers.parquet import Parquet
    from infimed_plugins.readers.webdataset import WebDataset

    return {
        "jsonl": Jsonl,
        "llava": Llava,
        "parquet": Parquet,
        "webdataset": WebDataset,
        "huggingface": HuggingFace,
        "directory": Directory,
    }
