"""Several options named by their own words in one list, where a question allows several."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.context_modifiers import denied_after, denied_before, is_considered
from infimed_plugins.medevalkit.answers.named_options import LABEL, NAME, Options
from infimed_plugins.medevalkit.answers.resolving import Resolved, set_of
from infimed_plugins.medevalkit.answers.sentence_bounds import sentence_start

_ITEM = r"[\ue000-\ue019\ue100-\ue119]"
_ITEMS = re.compile(_ITEM)
_LIST = re.compile(rf"{_ITEM}(?:(?:[,、;/&+\n ]|\band\b|plus|和|与|及|以及)+(?:the )?{_ITEM})+[.。 ]*")


def list_alone(text: str, options: Options) -> Resolved | None:
    """A text that lists options and says nothing else; all of them in their order repeat the question."""
    if _LIST.fullmatch(text) is None:
        return None
    found = [ord(char) - (LABEL if ord(char) >= LABEL else NAME) for char in _ITEMS.findall(text)]
    return None if found == list(range(len(options))) else set_of(found, options, True)


def list_named(text: str, options: Options) -> Resolved | None:
    """The options that a text names in one list and nowhere else ("the triad is fever, rash and cough")."""
    found = _LIST.search(text)
    if found is None or len(_ITEMS.findall(text)) != len(_ITEMS.findall(found.group())):
        return None
    before = text[sentence_start(text, found.start()) : found.start()]
    if denied_before(before) or is_considered(before) or denied_after(text[found.end() :]):
        return None
    return list_alone(found.group(), options)
