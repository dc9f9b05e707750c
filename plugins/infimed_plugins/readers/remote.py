"""Files at a URL (https://, s3://, hf://, gs:// ...) through fsspec: each fetched once, and again when it changed."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import Any

from infimed_core import DataError

CACHE = "INFIMED_REMOTE_CACHE"
"""Environment variable that names the folder for what was fetched."""
TRIES = 4
FIRST_WAIT = 0.5


def is_remote(path: str | None) -> bool:
    """Whether a path is a URL of another place than this machine's files."""
    return path is not None and "://" in path and not path.startswith("file://")


def cache_root() -> Path:
    """The folder that holds what was fetched, laid out as the URLs are."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE) or Path(home) / "infimed" / "remote").absolute()


def place_of(url: str) -> Path:
    """Where a URL's file lies once it is fetched.

    Raises:
        DataError: ``bad_url``: it holds a user or password, or steps upwards.
    """
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    if "@" in host:
        raise DataError("bad_url", f"{scheme}://...: a URL holds no user or password; set the variables of its service")
    parts = PurePosixPath(path).parts
    if ".." in parts or not host or host in (".", ".."):
        raise DataError("bad_url", f"{url}: names no file below a host or bucket")
    return cache_root().joinpath(scheme, host, *parts)


def url_of(place: Path) -> str | None:
    """The URL whose file lies at ``place``; ``None`` for a file that is no fetched one."""
    try:
        scheme, host, *parts = place.relative_to(cache_root()).parts
    except ValueError:
        return None
    return f"{scheme}://{host}/{'/'.join(parts)}"


def problem_of(url: str) -> str:
    """Why a URL cannot be opened, as far as it is known without the network; "" where nothing is known."""
    try:
        place_of(url)
        import fsspec

        fsspec.get_filesystem_class(url.partition("://")[0])
    except DataError as error:
        return str(error)
    except ImportError as error:
        return f"{url}: {error}; pip install 'infimed[remote]', and for s3:// 'infimed[s3]'"
    except ValueError as error:
        return f"{url}: {error}; fsspec knows https, s3, gs, hf and others"
    return ""


def matching(url: str) -> list[str]:
    """The URLs that a pattern matches, sorted; the URL itself where it is none.

    Raises:
        DataError: ``missing_file``: there are none, or the place cannot be reached.
    """
    if not any(mark in url for mark in "*?["):
        return [url]
    scheme = url.partition("://")[0]
    found = [str(name) for name in _asked(url, lambda files, path: files.glob(path))]
    names = [name if "://" in name else f"{scheme}://{name.lstrip('/')}" for name in found]
    if not names:
        raise DataError("missing_file", f"{url}: nothing matches; check the source's path")
    return sorted(names)


def version_of(url: str) -> str:
    """Digest of what the place says of the file: its size and its tag or time, whatever it has.

    Raises:
        DataError: ``missing_file``: it is not there, or cannot be reached.
    """
    info = _asked(url, lambda files, path: files.info(path))
    kept = {key: str(info[key]) for key in sorted(info) if key in _TELLING and info[key] is not None}
    return hashlib.sha256(repr(kept).encode()).hexdigest()


_TELLING = (
    "size",
    "ETag",
    "etag",
    "Content-MD5",
    "Digest",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
    "blob_id",
    "lfs",
    "generation",
)


def fetched(url: str) -> Path:
    """The file on this machine; fetched where it is not there, or the place has another one now.

    Raises:
        DataError: ``missing_file``: it is not there, or cannot be reached after a few tries.
    """
    place = place_of(url)
    note, version = place.with_name(f".{place.name}.version"), version_of(url)
    if place.is_file() and note.is_file() and note.read_text(encoding="ascii") == version:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        _asked(url, lambda files, path: files.get_file(path, str(temporary)))
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    note.write_text(version, encoding="ascii")
    return place


def forget(place: Path) -> None:
    """Remove a fetched file, so that a data set larger than the disk can be read file by file."""
    place.unlink(missing_ok=True)
    place.with_name(f".{place.name}.version").unlink(missing_ok=True)


def _asked(url: str, ask: Any) -> Any:
    import fsspec

    for number in range(1, TRIES + 1):
        try:
            files, path = fsspec.core.url_to_fs(url, **_options(url))
            return ask(files, path)
        except FileNotFoundError:
            raise DataError("missing_file", f"{url}: no such file; check the source's path") from None
        except Exception as error:  # every service has errors of its own
            if number == TRIES or isinstance(error, (ImportError, PermissionError, ValueError)):
                reason = " ".join(str(error).split())[:300]
                text = f"{url}: cannot be fetched ({type(error).__name__}: {reason})"
                raise DataError("missing_file", text) from None
            time.sleep(FIRST_WAIT * 2 ** (number - 1))
    raise AssertionError


def _options(url: str) -> dict[str, Any]:
    """A listing is not kept: what changed there is seen."""
    return {} if urllib.parse.urlsplit(url).scheme == "memory" else {"use_listings_cache": False}
