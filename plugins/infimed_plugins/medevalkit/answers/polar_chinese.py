"""Chinese yes-or-no questions that a statement answers: what is asked stands in the answer, said or denied."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.other_values import conflict
from infimed_plugins.medevalkit.answers.sentences import read_sentences

_ASKING = re.compile(r"(?P<before>.*?)(?:是否|有没有|有无|是不是|能不能|能否|可否|会不会|存不存在)(?P<topic>.+)")
_ASKING_LAST = re.compile(r"(?P<before>.*?)(?P<topic>(?:有|存在|是|可见|显示|包含|患有|属于)?[^,有存是]+?)吗$")
_WITHOUT = re.compile(
    r"^(?:有|存在|是|为|可见|可以|能|看到|看见|见到|显示|出现|包含|包括|含有|患有|属于|发生|观察到|任何|明显|的|了|一个|一张|在)+"
)
_TAIL = re.compile(r"(?:的(?:迹象|表现|证据|征象|情况)?|迹象|征象|吗|呢|存在)+$")
_STOPS = re.compile(r"[,，。.;；!！\n]|但|然而")
_DENYING = re.compile(r"没有|没|未|无(?!法)|不(?!仅|只|但|同|均|规则|清|适|足|良)|并非|非(?=[^常])|否认")
_DOUBTING = re.compile(r"(?<!最)可能|也许|或许|无法|不确定|疑似|不能确定|难以|如果|是否|不排除")
_OPPOSITES = (
    ("正常", "异常"),
    ("健康", "异常"),
    ("正常", "不正常"),
    ("左", "右"),
    ("良性", "恶性"),
    ("对称", "不对称"),
)
_NORMAL_SIZE = ("增大", "扩大", "肿大", "扩张", "增宽", "增厚", "移位")
"""What is asked of a thing that is called normal."""
_NOT_ASKED = re.compile(r"不|无|没|未|还是|哪|什么|多少|几|谁|如何|怎")


def by_chinese(text: str, question: str) -> tuple[str, str]:
    """("yes" | "no" | "", the clause): what the text says of the very thing that the question asks."""
    topic, subject = _topic(question)
    if not topic or _NOT_ASKED.search(topic):
        return "", ""
    found: dict[str, str] = {}
    for clause in _STOPS.split(text):
        if _DOUBTING.search(clause):
            continue
        if said := _said_of(topic, clause, subject):
            found.setdefault(said, clause.strip())
    if len(found) != 1:
        return "", ""
    said, clause = next(iter(found.items()))
    return said, clause[:300]


def of_topic(gold: str, question: str) -> str:
    """yes or no, where a reference says of the question's topic that it holds ("正常" to "...正常吗"), or not."""
    topic, _ = _topic(question)
    if not topic or len(gold) > 6:
        return ""
    return (
        _said_of(topic, gold, "") if topic in gold or topic.endswith(("正常", "异常", "对称", "良性", "恶性")) else ""
    )


def _topic(question: str) -> tuple[str, str]:
    """What a yes-or-no question asks about, and of what, without the words of asking; "" for another question."""
    question = re.sub(r"[??。\s]+$", "", question.strip())
    asked = _ASKING.search(question) or _ASKING_LAST.search(question)
    if asked is None:
        return "", ""
    return _TAIL.sub("", _WITHOUT.sub("", asked["topic"].strip())), asked["before"].strip()[-2:]


def _said_of(topic: str, clause: str, subject: str) -> str:
    at = clause.find(topic)
    if at >= 0:
        denied = _DENYING.search(clause[:at]) or re.match(r"(?:并?不|未|没)", clause[at + len(topic) :])
        return "no" if denied else "yes"
    if topic.endswith(_NORMAL_SIZE) and "正常" in clause and subject and subject in clause:
        return "yes" if _DENYING.search(clause[: clause.find("正常")]) else "no"
    for one, other in (*_OPPOSITES, *((other, one) for one, other in _OPPOSITES)):
        if topic.endswith(one) and other in clause and one not in clause:
            return "yes" if _DENYING.search(clause[: clause.find(other)]) else "no"
    if conflict(topic, list(read_sentences(clause)), "") == "other":
        return "no"  # "MRI?", "this is a CT"
    return ""
