"""Answers that decline, in any form and language."""

from __future__ import annotations

import re

_ENGLISH = (
    r"\b(?:i(?:'m| am) (?:so |very |really |truly )?sorry|sorry,? (?:but )?i\b|my apologies|i apologi[sz]e|"
    r"(?:i|we)(?:'m| am|'re| are)? (?:simply |just |currently |really |also )?(?:can(?:no|')?t|can not|cannot|"
    r"could(?:n't| not)|unable to|not able to|not in a position to|"
    r"won't|will not|not allowed to|not permitted to|not qualified to|not comfortable|do(?:n't| not) (?:have "
    r"(?:access|the (?:ability|image|picture)|enough|sufficient)|know|see (?:any|an|the) (?:image|picture|"
    r"attach)|wish to|feel)|"
    r"must decline|decline to|refuse to|would rather not|have no (?:idea|way|access))|"
    r"as an? (?:ai|artificial intelligence|language model|large language|text[- ]based)|"
    r"(?:is|it's|it is) (?:not possible|impossible) (?:for me )?to (?:determine|say|tell|answer|identify|"
    r"decide|give|provide|make|know)|"
    r"(?:the |this |attached |provided )+image (?:was |is |has |were )?(?:not|n't) (?:been )?(?:provided|"
    r"attached|visible|loaded|included|available)|"
    r"no image (?:was|is|has been|were) (?:provided|attached|given|included|available|uploaded)|"
    r"(?:please|you should) (?:provide|upload|share|attach)\b|"
    r"(?:not|unable|cannot|can't|impossible) (?:to )?(?:be )?(?:determined?|answered?|assessed?|say|said|tell) "
    r"(?:from|based|without|with)|"
    r"i (?:would )?need (?:more|further|additional) \w+|insufficient (?:information|data|context)|not enough "
    r"(?:information|data|context))"
)
_OTHERS = (
    r"无法(?:判断|确定|回答|提供|识别|查看|诊断|给出|看到|解读|分析|从)|不能(?:判断|确定|回答|提供|识别|查看|诊断|给出)|抱歉|对不起|不好意思|我不知道|作为(?:一个|一款|"
    r"一名)?(?:人工智能|AI|语言模型)|"
    r"\b(?:lo siento|no puedo|disculp\w+|como (?:modelo|ia|una ia|asistente)|"
    r"(?:je suis |)d[ée]sol[ée]e?|je ne (?:peux|suis|sais)|en tant qu|"
    r"es tut mir leid|tut mir leid|ich kann (?:\w+ ){0,6}nicht|als ki\b|leider (?:kann|ist)|entschuldig\w+|"
    r"desculpe|sinto muito|n[ãa]o (?:posso|consigo|sou capaz)|como (?:um )?modelo|"
    r"mi dispiace|non (?:posso|sono in grado|riesco)|spiacente|"
    r"het spijt me|ik kan (?:\w+ ){0,4}niet|przykro mi|nie mog[ęe]|üzgünüm)|"
    r"извините|простите|к сожалению|не могу|я не (?:вижу|знаю)|"
    r"申し訳|すみません|できません|わかりません|分かりません|判断できない|죄송|할 수 없|알 수 없|모르겠|"
    r"عذر|آسف|لا أستطيع|لا يمكنني|क्षमा|माफ|xin lỗi|ขออภัย"
)
_HINTS = (
    "sorry",
    "apolog",
    "i can",
    "we can",
    "i could",
    "unable",
    "not able",
    "won't",
    "will not",
    "i'm ",
    "i am ",
    "i do",
    "decline",
    "refuse",
    "rather not",
    "no idea",
    "no way",
    "no access",
    "as an a",
    "language model",
    "possible",
    "image",
    "consult",
    "please",
    "insufficient",
    "not enough",
    "determine",
    "seek",
    "should",
    "siento",
    "puedo",
    "disculp",
    "peux",
    "suis",
    "sais",
    "leid",
    "kann",
    "leider",
    "posso",
    "dispiace",
    "spiacente",
    "riesco",
    "spijt",
    "przykro",
    "desculpe",
    "entschuldig",
    "non ",
    "modelo",
    "kan ",
    "tant",
    "als ki",
    "need more",
)
_HINT = re.compile("|".join(_HINTS))
_REFUSAL = re.compile(f"{_ENGLISH}|{_OTHERS}", re.IGNORECASE)

NO_CHOICE = re.compile(
    r"^\W*(?:not (?:listed|given|provided|among|present|available|applicable|included|one of|in the)|none\b|no "
    r"(?:correct |right |valid |suitable |such |good |matching |single )*"
    r"(?:answer|option|choice|match|letter|correct)|neither\b|nothing\b|unknown|unclear|undetermined|uncertain|"
    r"indeterminate|insufficient|n/?a\b|cannot|can't|can not|could not|unable|not (?:enough|possible|sure|"
    r"certain|clear|determin\w+|known)|"
    r"i (?:do not|don't|cannot|can't|am not|am unable)|there is no|the correct (?:answer|option|choice|value) "
    r"is (?:not|missing)|blank|\?+$|[_\W]*$|\$|无|没有|以上都不|都不|[^\n。]{0,8}(?:都不|均不|没有正确)|"
    r"未列出|不确定|无法)",
    re.IGNORECASE,
)
"""The beginning of an answer that names no option."""


def is_refusal(text: str) -> bool:
    """Whether the text declines to answer: at its beginning or end, if it is long."""
    text = text if len(text) <= 900 else f"{text[:400]}\n{text[-450:]}"
    low = text.lower()
    if text.isascii() and not _HINT.search(low):
        return False
    return _REFUSAL.search(text) is not None or (len(text) < 120 and _ADVICE.search(text) is not None)


_ADVICE = re.compile(
    r"^(?:i'd|i would|please|you should|kindly|it is best to)\b[^.]{0,30}\b(?:consult|see|seek|speak|talk|contact|"
    r"ask|recommend)\b",
    re.IGNORECASE,
)
"""Advice and nothing else; after an answer it takes nothing back."""
