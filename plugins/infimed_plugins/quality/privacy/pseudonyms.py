"""What stands for a person, a study or a date in a clean copy: the same for the same, and not to be turned back."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re

_UID = re.compile(r"^[0-2](?:\.\d+){3,}$")
_STANDARD = "1.2.840.10008."
MOST_DAYS = 3650


class Pseudonyms:
    """Keyed digests. Without the key nobody can try which name gives which pseudonym."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def number(self, kind: str, value: str, below: int = 10**10) -> int:
        """A number in [0, ``below``) that stands for ``value``."""
        return int.from_bytes(self._digest(kind, value)[:16], "big") % below

    def subject(self, identity: str) -> str:
        """``SUBJECT-`` and ten digits for a patient."""
        return f"SUBJECT-{self.number('subject', identity):010d}"

    def uid(self, uid: str) -> str:
        """Another DICOM UID of the root 2.25; those of the standard itself stay."""
        if uid.startswith(_STANDARD) or not uid:
            return uid
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def name(self, kind: str, value: str) -> str:
        """A name of 16 hexadecimal digits for a file or a tag's value; one is a letter, so that it is no number."""
        digits = self._digest(kind, value).hex()
        return f"{kind}-{next(digits[at : at + 16] for at in range(49) if not digits[at : at + 16].isdigit())}"

    def days(self, identity: str) -> int:
        """By how many days, 1 to 3650, the dates of a patient are moved into the past."""
        return 1 + self.number("days", identity, MOST_DAYS)

    def shifted(self, date: str, identity: str) -> str:
        """A DICOM date (or date and time) moved; "" where it is none."""
        try:
            moved = datetime.date(int(date[:4]), int(date[4:6]), int(date[6:8])) - datetime.timedelta(
                self.days(identity)
            )
        except ValueError:
            return ""
        return f"{moved:%Y%m%d}{date[8:]}" if moved.year >= 1000 else ""


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID and nothing else."""
    return len(text) <= 64 and bool(_UID.match(text))
