"""Chat templates of checkpoints are programs of others: what they may take of time and memory has bounds."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, cast

# This module is imported where a template is about to be rendered, and not before.
from jinja2 import Template, TemplateError, nodes  # noqa: TID253
from jinja2.runtime import LoopContext  # noqa: TID253
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: TID253

MOST_SECONDS = 5.0
"""Of this thread's processor time, for one conversation; real templates take milliseconds for a thousand turns."""
MOST_LETTERS = 20_000_000
"""Of any text or list that a template makes, and of what it writes."""
MOST_PADDING = 1_000_000
_WIDE = re.compile(r"%[^a-z%]{0,20}([0-9]{6,}|\*)|\{[^{}]*(:[^{}]*[0-9]{6,}[^{}]*\}|\{)")
"""A width of a million or more in a format, or one that an argument gives."""
_PADDING = (
    "center",
    "ljust",
    "rjust",
    "zfill",
    "expandtabs",
    "indent",
    "batch",
    "slice",
    "wordwrap",
    "truncate",
    "tojson",
)
_FILTERS = (*_PADDING, "format", "replace", "join", "sum")
_spent = threading.local()


class LimitError(TemplateError):  # type: ignore[misc]
    """A template took more than it may."""


class _BoundedTemplate(Template):  # type: ignore[misc]
    """As Jinja's, with a clock that starts at every rendering."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        """The text; raises ``LimitError`` where a bound is passed."""
        _spent.until = time.thread_time() + MOST_SECONDS
        pieces, size = [], 0
        try:
            for piece in self.root_render_func(self.new_context(dict(*args, **kwargs))):
                tick()
                pieces.append(piece)
                size = _fits(size + len(piece))
        finally:
            _spent.until = float("inf")
        return "".join(pieces)


class BoundedEnvironment(ImmutableSandboxedEnvironment):  # type: ignore[misc]
    """The sandbox of transformers' templates, which looks at the clock in every loop, call and filter.

    What happens between two looks is bounded by the size of texts and lists.
    """

    template_class = _BoundedTemplate
    intercepted_binops = frozenset({"+", "*", "**", "%", "//"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.globals.pop("lipsum", None)  # writes as much as it is asked for

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        for known in _FILTERS:
            if known in self.filters and not hasattr(self.filters[known], "bounded"):
                self.filters[known] = _bounded(known, self.filters[known])
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = _call("counted", [cast("nodes.Expr", loop.iter)])
        for filtered in list(tree.find_all(nodes.Filter)):
            if filtered.node is not None:
                filtered.node = _call("sized", [filtered.node])
        for compared in list(tree.find_all(nodes.Operand)):
            if compared.op in ("in", "notin"):
                compared.expr = _call("sized", [compared.expr])
        for owner in list(tree.find_all(nodes.Node)):
            _replace_concatenations(owner)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse results that are too large before they are made."""
        tick()
        if operator == "**" and not (abs(left) <= MOST_PADDING and abs(right) <= 64):
            raise LimitError("it raises numbers to large powers")
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if hasattr(one, "__len__") and isinstance(other, int):
                    _fits(len(one) * other)
        if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _fits(len(left) + len(right))
        if operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise LimitError("it pads texts without end")
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Look at the clock, and at what is called: methods of texts can make a long one of a short one."""
        tick()
        if isinstance(__obj, LoopContext) and args:
            args = (__self.counted(args[0]), *args[1:])
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            _check_arguments(method.__name__, (owner, *args, *kwargs.values()))
        made = super().call(__context, __obj, *args, **kwargs)
        return __self.sized(made) if isinstance(made, str) else made

    def counted(self, values: Iterable[Any]) -> Any:
        """The values of a loop, with a look at the clock before each; a list stays one, its length may be asked."""
        return _Counted(values) if hasattr(values, "__len__") else _ticking(values)

    def sized(self, value: Any) -> Any:
        """A value that something goes through from its beginning to its end."""
        tick()
        if isinstance(value, str | list | tuple):
            _fits(len(value))
        return value

    def joined(self, *values: Any) -> str:
        """``a ~ b``."""
        tick()
        texts = [str(value) for value in values]
        _fits(sum(map(len, texts)))
        return "".join(texts)


class _Counted:
    """A list, text or table that a loop goes through."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return _ticking(self._values)


def bound_templates() -> None:
    """Let transformers compile every chat template of this process in the bounded environment."""
    from transformers.utils import chat_template_utils

    if getattr(chat_template_utils, "ImmutableSandboxedEnvironment", None) is not BoundedEnvironment:
        setattr(chat_template_utils, "ImmutableSandboxedEnvironment", BoundedEnvironment)  # noqa: B010
        chat_template_utils._compile_jinja_template.cache_clear()


def tick() -> None:
    """Raise where the time of this rendering is over."""
    if time.thread_time() > getattr(_spent, "until", float("inf")):
        raise LimitError(f"it takes more than {MOST_SECONDS:g} seconds")


def _ticking(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        tick()
        yield value


def _fits(size: int) -> int:
    if size > MOST_LETTERS:
        raise LimitError(f"it makes a text or list of more than {MOST_LETTERS:,} letters or items")
    return size


def _check_arguments(name: str, values: Iterable[Any]) -> None:
    """Arguments of a method or filter that pads, repeats, joins or replaces."""
    given = list(values)
    texts = [value for value in given if isinstance(value, str)]
    lists = [value for value in given if isinstance(value, list | tuple)]
    wide = name in _PADDING and any(isinstance(value, int) and abs(value) > MOST_PADDING for value in given)
    wide |= name in ("format", "format_map") and any(_WIDE.search(text) for text in texts[:1])
    if wide:
        raise LimitError("it pads texts without end")
    if name == "replace" and len(texts) > 2:
        _fits((texts[0].count(texts[1]) if texts[1] else len(texts[0]) + 1) * len(texts[2]))
    if name == "join" and (lists or texts):
        between = max(map(len, texts), default=0)
        _fits(sum(len(item) if isinstance(item, str) else 1 for items in lists for item in items))
        _fits(between * max(map(len, (*lists, *texts)), default=0) if between > 100 else 0)
    if name == "sum" and lists[1:]:
        raise LimitError("it adds up lists")


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(name, (*args, *kwargs.values()))
        return function(*args, **kwargs)

    run.bounded = True  # type: ignore[attr-defined]
    return run


def _call(name: str, values: list[nodes.Expr]) -> nodes.Call:
    call = nodes.Call(nodes.EnvironmentAttribute(name), values, [], None, None)
    return cast("nodes.Call", call.set_lineno(values[0].lineno))


def _replace_concatenations(owner: nodes.Node) -> None:
    for field, value in owner.iter_fields():
        if isinstance(value, nodes.Concat):
            setattr(owner, field, _call("joined", value.nodes))
        elif isinstance(value, list):
            value[:] = [_call("joined", one.nodes) if isinstance(one, nodes.Concat) else one for one in value]
