"""What a model thinks before it answers, in every family's marks."""

from __future__ import annotations

import re

FAMILIES: dict[str, tuple[str, str]] = {
    "DeepSeek, Qwen, GLM, MiniMax and most others": ("<think>", "</think>"),
    "Anthropic's prompts, Hunyuan": ("<thinking>", "</thinking>"),
    "EXAONE, Gemini's exports": ("<thought>", "</thought>"),
    "models taught on <reasoning> tags": ("<reasoning>", "</reasoning>"),
    "Seed-OSS": ("<seed:think>", "</seed:think>"),
    "MiniMax M3": ("<mm:think>", "</mm:think>"),
    "LongCat": ("<longcat_think>", "</longcat_think>"),
    "Kimi": ("◁think▷", "◁/think▷"),
    "Magistral": ("[think]", "[/think]"),
    "MedGemma": ("<unused94>", "<unused95>"),
    "Gemma 4": ("<|channel>thought", "<channel|>"),
    "OpenThinker, Sky-T1": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "Command A Reasoning": ("<|start_thinking|>", "<|end_thinking|>"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "harmony (gpt-oss)": ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    "HuatuoGPT-o1": ("## thinking\n", "## final response\n"),
    "Granite": ("here is my thought process:", "here is my response:"),
}
"""Family -> the marks (in lower case) before and after a thought."""

_OPEN = {start for start, _ in FAMILIES.values()}
_MARK = re.compile("|".join(re.escape(mark) for pair in FAMILIES.values() for mark in pair), re.IGNORECASE)
_BARE_HARMONY = re.compile(r"\Aanalysis(?=[A-Z\"'<(])")
_TURN = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|return|end|end_of_turn|eot|eos)\|>|</s>|<end_of_turn>|<eos>|"
    r"<turn\|>|<｜end▁of▁sentence｜>|\[EOS\]|<\|im_start\|>|<start_of_turn>|<\|(?:assistant|user|system|human)\|>|\[/?INST\]",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"<\|(?:begin_of_solution|end_of_solution|start|message|channel|bos|start_header_id|end_header_id)\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<s>|<bos>",
    re.IGNORECASE,
)


_END_OF_PART = re.compile(r"<eo[a-z]>")


def without_thoughts(text: str) -> tuple[str, bool]:
    """The text outside thoughts up to the end of the model's turn, and whether a thought never ended.

    A closing mark without an opening one ends a thought that began with the text; one that nothing follows closes
    nothing. Of an unfinished thought nothing is kept.
    """
    unfinished = False
    if text.startswith("analysis") and _BARE_HARMONY.match(text):  # harmony with its special tokens taken out
        _, final, text = text.rpartition("assistantfinal")
        if not final:
            return "", True
    if "<" in text or "◁" in text or "[" in text or "## " in text or "thought process" in text:
        low = text.lower()
        if any(mark in low for pair in FAMILIES.values() for mark in pair):
            text, unfinished = _outside(text)
        if "<" in text or "[EOS]" in text or "INST]" in text:
            text = _turn(text)
    return text.strip(), unfinished


def _outside(text: str) -> tuple[str, bool]:
    kept: list[str] = []
    place, inside, last = 0, False, len(text.rstrip())
    for mark in _MARK.finditer(text):
        opens = mark.group().lower() in _OPEN
        if opens:
            if not inside:
                kept.append(text[place : mark.start()])
            inside = True
        elif inside:
            inside, place = False, mark.end()
        else:
            if mark.end() < last:
                kept = []
            else:
                kept.append(text[place : mark.start()])
            place = mark.end()
    if not inside:
        kept.append(text[place:])
    return "\n".join(part for part in kept if part.strip()), inside


def _turn(text: str) -> str:
    """The first turn that says something: what follows an end-of-turn token is made up."""
    text = _END_OF_PART.sub("\n", _TOKEN.sub("", text))
    parts = _TURN.split(text)
    return next((part for part in parts if part.strip()), "")
