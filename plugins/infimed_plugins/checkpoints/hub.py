"""A folder on its way to the hub: tried again where the connection drops, and the token in no message."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infimed_core import InfimedError

TRIES = 4
FIRST_WAIT = 1.0


def upload(folder: Path, name: str, private: bool, revision: str | None, say: Callable[[str], None]) -> str:
    """Upload a folder as a model; the address of what was written.

    A file that the hub has already is not sent again, so that a try after a dropped connection goes on where it was.

    Raises:
        InfimedError: the hub refuses, or cannot be reached; the message never holds the token.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise InfimedError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it")
    api = HfApi()
    if api.token is None and _token() is None:
        raise InfimedError("no token for the hub: set HF_TOKEN, or log in with `hf auth login`")

    def work() -> Any:
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        message = "Upload by infimed export"
        return api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message=message)

    done = _with_patience(work, f"{name} at {api.endpoint}", say)
    return str(getattr(done, "commit_url", "") or f"{api.endpoint}/{name}")


def _with_patience(work: Callable[[], Any], where: str, say: Callable[[str], None]) -> Any:
    for number in range(1, TRIES + 1):
        try:
            return work()
        except Exception as error:
            status = next((code for cause in _causes(error) if (code := _status(cause))), None)
            refused = status is not None and 400 <= status < 500 and status not in (408, 429)
            reason = hidden(f"{type(error).__name__}: {error}").strip().splitlines()[0]
            if refused or number == TRIES:
                told = {401: "the token is not accepted", 403: "the token may not write there"}.get(status or 0, reason)
                raise InfimedError(f"{where}: not uploaded: {told}") from None
            say(f"{where}: {reason}; trying again ({number} of {TRIES - 1})")
            time.sleep(FIRST_WAIT * 2 ** (number - 1))
    raise AssertionError


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def hidden(text: str) -> str:
    """A text without the token."""
    for secret in (_token(), os.environ.get("HF_TOKEN")):
        if secret and len(secret) > 3:
            text = text.replace(secret, "***")
    return text
