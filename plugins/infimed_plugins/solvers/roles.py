"""The specialists of a panel, from a YAML file or from the roles that come with InfiMed."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from infimed_core import DataError, Row, parse_value, read_named

BUILT_IN = Path(__file__).with_name("roles.yaml")


class Specialist(Row):
    """A member of the panel: a name for the transcript, the prompt that makes a model speak for it, and which model."""

    name: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    model: str | None = Field(
        default=None, min_length=1, description="Name in the run file's 'models:'; the model that is graded without it."
    )


class Roles(Row):
    """A panel: its specialists, in speaking order, and the chair that decides."""

    specialists: tuple[Specialist, ...] = Field(min_length=1)
    chair: Specialist


def read_roles(path: Path | None) -> Roles:
    """Read the roles of a panel; ``None`` is the built-in panel.

    Raises:
        DataError: the file is missing, no YAML, or not of the documented shape; the message names the place in it.
    """
    import yaml

    path = path or BUILT_IN
    text = ""
    try:
        text = read_named(path).decode("utf-8", "replace")
        roles = Roles.model_validate(parse_value(text))
    except FileNotFoundError:
        raise DataError("missing_file", f"{path}: no such roles file; leave 'roles' out for the built-in") from None
    except OSError as error:
        raise DataError("missing_file", f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{min(mark.line + 1, len(text.splitlines()))}" if mark else ""  # not the line behind the last
        raise DataError("bad_roles", f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            "bad_roles",
            f"{path}: {place}: {first['msg']}; 'specialists' and 'chair' have name and prompt each",
        ) from None
    names = [*(specialist.name for specialist in roles.specialists), roles.chair.name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError("bad_roles", f"{path}: '{twice[0]}' is named twice; give each role its own name")
    return roles
