"""Which addresses are this machine, so that what is sent there stays here."""

from __future__ import annotations

import ipaddress
import socket
import urllib.parse


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
