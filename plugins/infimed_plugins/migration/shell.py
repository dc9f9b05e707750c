"""Words of a command in a shell script: its variables and sums are worked out, without a shell."""

from __future__ import annotations

import ast
import operator
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

_ASSIGNMENT = re.compile(r"^\w+=")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^{}]*))?\})")
_SUM = re.compile(r"\$\(\(([^()$`]*)\)\)|\$\(\s*expr\s+([^()$`]*)\)|`\s*expr\s+([^()$`]*)`")
_NEXT = re.compile(r"^(\d*>|&|\||;)")
"""What ends a command's words: where its output goes, or another command."""
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
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        words = shlex.split(_worked_out(re.sub(r"(^|\s)#.*", "", line), variables))
        end = next((n for n, word in enumerate(words) if _NEXT.match(word)), len(words))
        words = words[:end]
        # Assignments before a command are its environment; the words of `export A=1 B=2` are variables too.
        others = (n for n, word in enumerate(words) if word != "export" and not _ASSIGNMENT.match(word))
        count = next(others, len(words))
        given = dict(word.split("=", 1) for word in words[:count] if word != "export")
        if count == len(words):
            variables |= given
        else:
            found.append((words[count:], variables | given))
    return found


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
