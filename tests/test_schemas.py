"""The committed JSON Schemas are those of the types, and what is on disk obeys them."""

import json
from pathlib import Path

import jsonschema
import yaml

from infimed_plugins.reporting.catalogue import NAMES, write_schemas

ROOT = Path(__file__).parents[1]


def test_committed_schemas_are_fresh(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    for name in NAMES:
        fresh, committed = (place / f"{name}.schema.json" for place in (tmp_path, ROOT / "schemas"))
        assert committed.read_text() == fresh.read_text(), "run `infimed schema --write schemas`"


def test_schemas_are_schemas_and_examples_obey_the_run_schema() -> None:
    for name in NAMES:
        jsonschema.Draft202012Validator.check_schema(json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text()))
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / "schemas" / "run.schema.json").read_text()))
    for file in (ROOT / "examples").rglob("*.yaml"):
        assert list(validator.iter_errors(yaml.safe_load(file.read_text()))) == [], file
