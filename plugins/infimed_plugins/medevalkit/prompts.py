"""MedEvalKit's prompts at commit 9b12e3b, byte for byte; scores depend on them."""

from __future__ import annotations

from collections.abc import Sequence

from infimed_plugins.medevalkit.answers.named_options import LETTERS

PROMPT_SET = "medevalkit-9b12e3b"

_INSTRUCTIONS = {
    ("choice", "en", False): "Answer with the option's letter from the given choices directly.",
    (
        "choice",
        "en",
        True,
    ): 'Answer with the option\'s letter from the given choices and put the letter in one "\\boxed{}".',
    ("choice", "zh", False): "请直接使用给定选项中的选项字母来回答该问题。",
    ("choice", "zh", True): '请直接使用给定选项中的选项字母来回答该问题,并将答案包裹在"\\boxed{}"里',
    ("judgement", "en", False): "Please output 'yes' or 'no'(no extra output).",
    ("judgement", "en", True): 'Please output "yes" or "no" and put the answer in one "\\boxed{}".',
    ("judgement", "zh", False): "请输出'是'或'否'(不要有任何其它输出)。",
    ("judgement", "zh", True): "请输出'是'或'否'，并将答案放在一个'\\boxed{}'中。",
    ("closed", "en", False): "Answer the question using a single word or phrase.",
    ("closed", "en", True): 'Answer the question using a single word or phrase and put the answer in one "\\boxed{}".',
    ("closed", "zh", False): "请用一个单词或者短语回答该问题。",
    ("closed", "zh", True): "请用一个单词或者短语回答该问题，并将答案放在一个'\\boxed{}'中。",
    ("open", "en", False): "Please answer the question concisely.",
    ("open", "en", True): 'Please answer the question concisely and put the answer in one "\\boxed{}".',
    ("open", "zh", False): "请简要回答该问题。",
    ("open", "zh", True): "请简要回答该问题，并将答案放在一个'\\boxed{}'中。",
}

REPORT = (
    "You are a helpful assistant. Please generate a report for the given images, including both findings and "
    "impressions. Return the report in the following format: Findings: {} Impression: {}."
)


def instruction(kind: str, language: str, reasoning: bool) -> str:
    """The last sentence of a prompt; ``reasoning`` only asks for a box, as upstream."""
    return _INSTRUCTIONS[kind, language, reasoning]


def choice(question: str, options: Sequence[str], language: str = "en", reasoning: bool = False) -> str:
    """A multiple-choice question. ``options`` are shown as given; see ``show``."""
    shown = "\n".join(options)
    body = f"\nQuestion: {question}\nOptions: \n{shown}\n"
    if language == "zh":
        body = f"\n问题： {question}\n选项： \n{shown}\n"
    return body + instruction("choice", language, reasoning)


def next_question(language: str) -> tuple[str, ...]:
    """What only the next prompt of this form says: the line above its options, blank at its end and all."""
    return ("\n选项： \n",) if language == "zh" else ("\nOptions: \n",)


def plain(kind: str, question: str, language: str = "en", reasoning: bool = False) -> str:
    """A yes/no (``judgement``), ``closed`` or ``open`` question."""
    return f"{question}\n{instruction(kind, language, reasoning)}"


def mmmu(question: str, options: Sequence[str], reasoning: bool = False) -> str:
    """An MMMU question; an open one has no options."""
    kind = "choice" if options else "closed"
    shown = "".join(f"({LETTERS[index]}) {option}\n" for index, option in enumerate(options))
    return f"\n{question}\n\n{shown}\n        {instruction(kind, 'en', reasoning)}"


def show(options: Sequence[str], style: str) -> list[str]:
    """Option texts as a prompt shows them: ``A. text``, ``A.text`` or raw."""
    if style == "raw":
        return list(options)
    link = ". " if style == "letter-dot-space" else "."
    return [f"{LETTERS[index]}{link}{option}" for index, option in enumerate(options)]
