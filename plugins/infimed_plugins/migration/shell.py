"""Words of a command in a shell script: its variables and sums are worked out, without a shell."""

from __future__ import annotations

import ast
import operator
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

_ASSIGNMENT = re.compile(r"^\w+=")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^{}]*))?\})")
_SUM = re.compile(r"\$\(\(([^()$`]*)\)\)|\$\(\s*expr\s+([^()$`]*)\)|`\s*expr\s+([^()$`]*)`")
_END = "\0"
"""Stands for an operator that ends a command: ``;``, ``&``, ``|`` and their doubles."""
_REDIRECTION = re.compile(r"((?:\d*|&)>{1,2}|\d*<{1,3})(&\d|.*)")
_KEYWORDS = frozenset(["then", "do", "else", "exec", "time", "nohup", "sudo", "env", "export"])
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


def commands(text: str) -> list[tuple[list[str], dict[str, str]]]:
    """The words of every line that is no comment, and the variables that are set when it is reached.

    A comment after a command is left out, even where its line goes on; a sign # inside of a word is none
    (``name#count``). What cannot be worked out stays as it is written.

    Raises:
        ValueError: a line cannot be read as a command.
    """
    variables: dict[str, str] = {}
    found = []
    for line in _whole_lines(text.replace("\\\r\n", " ").replace("\\\n", " ")):
        for words in _split(_worked_out(line, variables)):
            # Assignments before a command are its environment; the words of `export A=1 B=2` are variables too.
            others = (n for n, word in enumerate(words) if word not in _KEYWORDS and not _ASSIGNMENT.match(word))
            count = next(others, len(words))
            given = dict(word.split("=", 1) for word in words[:count] if word not in _KEYWORDS)
            if count == len(words):
                variables |= given
            else:
                found.append((words[count:], variables | given))
    return found


def _whole_lines(text: str) -> Iterator[str]:
    """Lines without comments; a quoted text that goes on in the next line (JSON, mostly) is kept in one.

    Raises:
        ValueError: a quote is not closed.
    """
    begun: list[str] = []
    quote = ""
    for line in text.splitlines():
        kept, quote = _without_comment(line, quote)
        begun.append(kept)
        if not quote:
            yield "\n".join(begun)
            begun = []
    if begun:
        raise ValueError("No closing quotation")


def _without_comment(line: str, quote: str) -> tuple[str, str]:
    """A line up to its comment, and the quote that is open behind it; ``quote`` is open before it ("" for none)."""
    is_escaped = False
    for at, sign in enumerate(line):
        if is_escaped:
            is_escaped = False
        elif sign == "\\" and quote != "'":
            is_escaped = True
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in ("'", '"'):
            quote = sign
        elif sign == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at], quote
    return line, quote


def _split(line: str) -> list[list[str]]:
    """The words of each command of a line, without where input and output go."""
    found: list[list[str]] = [[]]
    words = iter(shlex.split(_marked(line)))
    for word in words:
        if word == _END:
            found.append([])
        elif (redirected := _REDIRECTION.fullmatch(word)) is None:
            found[-1].append(word)
        elif not redirected[2]:  # the next word says where to
            next(words, None)
    return [words for words in found if words]


def _marked(line: str) -> str:
    """The line with its operators, where they are not quoted, as words of their own."""
    parts, quote, at = [], "", 0
    while at < len(line):
        letter = line[at]
        if letter == "\\" and quote != "'":
            parts.append(line[at : at + 2])
            at += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in ";|" or (letter == "&" and ">" not in (line[at - 1 : at], line[at + 1 : at + 2])):
            letter = f" {_END} "
        parts.append(letter)
        at += 1
    return "".join(parts)


def left_over(words: Sequence[str]) -> str | None:
    """The first word that only a shell could work out, or none."""
    return next((word for word in words if re.search(r"\$[\w({]|`", word)), None)


def _worked_out(line: str, variables: Mapping[str, str]) -> str:
    def variable(found: re.Match[str]) -> str:
        default = found[3] if found[3] is not None else found[0]
        return variables.get(found[1] or found[2], default)

    return _SUM.sub(lambda found: _sum(found[0], found[1] or found[2] or found[3] or ""), _VARIABLE.sub(variable, line))


def _sum(written: str, terms: str) -> str:
    """The value of whole numbers with + - * / %, or what was written where it is something else."""
    try:
        return str(_value(ast.parse(terms.replace("\\*", "*").strip(), mode="eval").body))
    except (ValueError, SyntaxError, ZeroDivisionError, RecursionError):
        return written


def _value(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("no sum of whole numbers")
