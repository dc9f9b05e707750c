"""Names and boxes of a turn in the form in which a model family writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infimed_core import DataError, Region, Turn

_MARK = re.compile("<bbox>|<ref-object>")
FORMS = {
    "marked": ("<|object_ref_start|>{}<|object_ref_end|>", "<|box_start|>({},{}),({},{})<|box_end|>"),
    "listed": ("{}", "[{}, {}, {}, {}]"),
    "tagged": ("<ref>{}</ref>", "<box>[[{}, {}, {}, {}]]</box>"),
}
"""Of Qwen2-VL, of Qwen3-VL, and of InternVL: a name, and a box in thousandths of width and height."""


def with_regions(turns: Sequence[Turn], form: str) -> Sequence[Turn]:
    """The turns with every mark replaced by what it stands for.

    Raises:
        DataError: ``no_box_form``: there are regions, and the family has no form for them; ``bad_row``: not as many
            regions as marks.
    """
    if not any(turn.regions for turn in turns):
        return turns
    if form not in FORMS:
        raise DataError(
            "no_box_form",
            "the family writes no boxes, or in pixels of the resized image, whose digits a plan cannot count; "
            "use qwen2_vl, qwen3_vl or internvl, or set ignore: [objects]",
        )
    return [_written(turn, form) if turn.regions else turn for turn in turns]


def _written(turn: Turn, form: str) -> Turn:
    waiting = iter(turn.regions)

    def replace(mark: re.Match[str]) -> str:
        region = next(waiting, None)
        if region is None or (region.box is None) == (mark.group() == "<bbox>"):
            raise DataError("bad_row", f"a turn has {len(turn.regions)} regions, and other marks")
        return _text(region, form)

    content = tuple(_MARK.sub(replace, part) if isinstance(part, str) else part for part in turn.content)
    if next(waiting, None) is not None:
        raise DataError("bad_row", f"a turn has {len(turn.regions)} regions, and fewer marks")
    return turn.model_copy(update={"content": content, "regions": ()})


def _text(region: Region, form: str) -> str:
    name, box = FORMS[form]
    if region.box is None:
        return name.format(region.name)
    return box.format(*(round(1000 * share) for share in region.box))
