"""The plugin `readers`: samples from the file formats that people have."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_readers() -> dict[str, str]:
    """``jsonl``, ``llava``, ``csv``, ``parquet``, ``webdataset``, ``huggingface``, ``directory``, ``studies`` ..."""
    return {
        "jsonl": "infimed_plugins.readers.jsonl:Jsonl",
        "llava": "infimed_plugins.readers.llava:Llava",
        "csv": "infimed_plugins.readers.tables:Csv",
        "parquet": "infimed_plugins.readers.parquet:Parquet",
        "webdataset": "infimed_plugins.readers.webdataset:WebDataset",
        "huggingface": "infimed_plugins.readers.huggingface:HuggingFace",
        "studies": "infimed_plugins.readers.studies:Studies",
        "directory": "infimed_plugins.readers.directory:Directory",
        "medevalkit": "infimed_plugins.readers.medevalkit:MedEvalKit",
    }


@hookimpl(optionalhook=True)
def infimed_commands() -> dict[str, str]:
    """Offer ``infimed init``."""
    return {"init": "infimed_plugins.readers.command:init_command"}
