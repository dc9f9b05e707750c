"""Addresses of servers: what is one, which are this machine, and which samples may be sent to another."""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
import urllib.parse
from collections.abc import Mapping

CLEAR = "clear"
"""The one value of the tag ``identity`` with which a sample may leave this machine; any other is a doubt."""


def base_url_of(value: str) -> str:
    """An address that requests can be sent below, without what stands behind it: ``http://127.0.0.1:8000/v1``.

    Raises:
        ValueError: it is no http or https address, or holds a user, a password or a query.
    """
    value = value.strip().rstrip("/").removesuffix("/chat/completions")
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError("must be an http or https address such as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("must hold no user, password or query; the key goes into the environment variable")
    if parts.port == 0:  # asking for the port refuses what is no number up to 65535
        raise ValueError("must name a port from 1 to 65535, or none")
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise ValueError("must name a host that can be looked up; a part of its name is empty or too long") from None
    return value


class NotThisMachineError(OSError):
    """A name that should be this machine's led to another."""


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine: an address of its own, or `localhost` where it leads to such ones alone."""
    host = (urllib.parse.urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return bool(found) and all(is_own_address(str(entry[4][0])) for entry in found)
    return is_own_address(host)


def is_own_address(address: str) -> bool:
    """Whether a numeric address is of this machine."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def doubt_of(tags: Mapping[str, str]) -> str | None:
    """What keeps a sample on this machine: a value of its tag ``identity`` that is not ``clear``; else ``None``."""
    doubts = (value for name, value in tags.items() if _reads_as(name) == "identity")
    return next((value for value in doubts if value != CLEAR), None)


def _reads_as(name: str) -> str:
    """The letters of a tag's name as a person reads them, whatever their case, width, and what is put between them."""
    letters = unicodedata.normalize("NFKC", name).casefold().replace("\u0131", "i")
    return "".join(letter for letter in letters if letter.isalpha())
