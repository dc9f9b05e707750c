"""The report's promises that need no browser: one file, nothing in it can run or ask a network, everything is told."""

import base64
import hashlib
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import InfimedError, load_plugins
from infimed_core.records import open_run
from infimed_core.store.record import read_record
from infimed_plugins.reporting.page import answers, charts
from infimed_plugins.reporting.page.answers import read_tables
from infimed_plugins.reporting.page.figures import cut_inside, printable
from infimed_plugins.reporting.page.page import safe_json, write_report
from infimed_plugins.reporting.page.tables import cell_matrices, forgetting, funnel
from infimed_plugins.reporting.page.thumbnails import Thumbnails
from infimed_plugins.reporting.summary import summary_text

sys.path.insert(0, str(Path(__file__).parent))

from report_fixture import write_run

KINDS = ("score", "filter", "select", "plan", "train", "evaluate")
PAYLOAD = "<script>document.title='1'</script><img src=x onerror=\"document.title='1'\">'&{{7*7}}</script>"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts.append((self.found[-1][1], data))
        if self.cdata_elem == "style":
            self.styles.append(data)


def policy(elements: Elements) -> str:
    return next(
        a["content"] or ""
        for tag, a in elements.found
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    plain = write_run(tmp_path_factory.mktemp("plain") / "run", questions=24)
    hostile = write_run(tmp_path_factory.mktemp("hostile") / "run", questions=24, payload=PAYLOAD)
    return {"plain": write_report(plain).read_text(), "hostile": write_report(hostile).read_text()}


def test_nothing_in_the_data_becomes_an_element(pages: dict[str, str]) -> None:
    plain, hostile = Elements(pages["plain"]), Elements(pages["hostile"])
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]
    assert not [a for _, attributes in hostile.found for a in attributes if a.startswith("on")]
    assert "{{7*7}}" in pages["hostile"]


def test_scripts_and_styles_run_only_by_their_hash(pages: dict[str, str]) -> None:
    elements = Elements(pages["hostile"])
    rules = dict(rule.strip().split(" ", 1) for rule in policy(elements).split(";"))
    executed = [text for attributes, text in elements.scripts if attributes.get("type") != "application/json"]
    assert len(executed) == 1 and len(elements.styles) == 1

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert rules["script-src"] == digest(executed[0])
    assert rules["style-src"] == digest(elements.styles[0])
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert rules["base-uri"] == "'none'" and rules["form-action"] == "'none'"
    assert not [1 for _, attributes in elements.found if "style" in attributes]


def test_the_page_refers_to_nothing_outside_itself(pages: dict[str, str]) -> None:
    for tag, attributes in Elements(pages["hostile"]).found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert not attributes.get("src")
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in pages["plain"] and "url(" not in pages["plain"]


def test_the_data_of_the_page_are_those_of_the_answer_files(pages: dict[str, str]) -> None:
    blocks: dict[str, list[Any]] = {}
    for attributes, text in Elements(pages["hostile"]).scripts:
        if attributes.get("type") == "application/json":
            assert "<" not in text
            blocks.setdefault(attributes["data-block"] or "", []).append(json.loads(text))
    head = blocks["head"][0]
    questions = [one for block in blocks["questions"] for one in block]
    answers = [one for block in blocks["answers"] for one in block]
    assert (head["numQuestions"], head["numAnswers"]) == (len(questions), len(answers)) == (48, 48 * 6)
    assert head["models"] == ["base", "pretrain", "general", "medical", "cross-domain", "most-common-answer"]
    assert questions[0][2] == [["user", f"[image 1] Question 0: which plane is shown?{PAYLOAD}"]]
    assert answers[0][2].endswith(PAYLOAD)


def test_images_over_the_limit_are_linked_and_the_page_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a run", questions=12, images=12)
    text = write_report(run, max_thumbnails=7).read_text()
    assert "7 of 12 images" in text
    head = json.loads(re.findall(r'data-block="head">(.*?)</script>', text)[0])
    pictures = json.loads(re.findall(r'data-block="pictures">(.*?)</script>', text)[0])
    assert sum(one is not None for one in pictures) == 7
    assert sorted(head["links"])[0] == "./images/0.png" and all(link.startswith("./images/") for link in head["links"])


def test_a_picture_that_cannot_be_opened_is_told_beside_its_sample(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=8, images=4)
    (run / "images" / "2.png").write_bytes(b"no picture")
    text = write_report(run).read_text()
    head = json.loads(re.findall(r'data-block="head">(.*?)</script>', text)[0])
    assert list(head["faults"]) == ["2"] and "3 of 4 images" in text


def test_an_unreadable_answer_line_is_counted_and_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=5, images=1)
    with (run / "answers" / "demo-vqa--base.jsonl").open("a") as file:
        file.write('{"sample": 3}\nnot json\n[1]\n')
    assert "3 lines of demo-vqa--base.jsonl could not be read" in write_report(run).read_text()


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    record = {"name": "new", "status": "running", "started": "now", "config": {}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    text = write_report(tmp_path).read_text()
    assert "No model has been graded in this run." in text and 'class="status running"' in text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_page_a_run_writes_as_its_last_step_says_done(tmp_path: Path) -> None:
    steps = [
        {"name": "evaluate-base-x", "kind": "evaluate", "status": "done"},
        {"name": "report-html", "kind": "report", "status": "running"},
    ]
    record = {"name": "new", "status": "running", "started": "now", "config": {}, "steps": steps}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert 'class="status done"' in write_report(tmp_path).read_text()


def test_no_run_record_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InfimedError, match=r"run\.json: no such run"):
        write_report(tmp_path)


def test_odd_values_of_foreign_plugins_do_not_stop_the_page(tmp_path: Path) -> None:
    details = {
        "dimensions": {"a": {"histogram": [0, 0], "num_null": 9, "mean": None}, "b": {}},
        "phases": [{"max_visual_tokens": None, "num_samples": 0}],
        "curve": [{"step": 1, "loss": "x"}, 3, {"step": 2, "loss": 1.5}],
        "by_tag": {},
        "reasons": {},
        "worst": [{"sample": {"id": "\ud800\x00"}, "score": {"value": None}}],
    }
    steps = [{"name": f"{kind}-a", "kind": kind, "status": "done", "details": details} for kind in KINDS]
    record = {"name": "odd", "status": "done", "started": "now", "config": {"deep": [{"x": None}]}, "steps": steps}
    (tmp_path / "run.json").write_text(json.dumps(record).replace("\\ud800", "\\ufffd"))
    assert "native" in write_report(tmp_path).read_text()


def test_the_summary_shows_funnel_fill_loss_accuracy_and_the_report(tmp_path: Path) -> None:
    from rich.console import Console

    run = write_run(tmp_path / "run", questions=40, images=1, payload="[red]")
    body = json.loads((run / "run.json").read_text())
    body["comparisons"][0]["num_pairs"] = 7
    (run / "run.json").write_text(json.dumps(body))
    assert ", 7 pairs" in write_report(run).read_text(encoding="utf-8"), "told where these are not all scores"
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary_text(open_run(run)))
    text = console.export_text()
    for expected in ("1,260", "truncated[red]", "0.969", "6.200", "cross-domain", "+0.560", str(run / "report.html")):
        assert expected in text
    (row,) = [line for line in text.splitlines() if line.endswith("  7 ") and "less base" in line]
    assert row.split() == ["less", "base", "+0.560", *row.split()[3:5], "7"], "on one line of its own"


def test_the_summary_shows_the_metrics_that_the_run_file_names(tmp_path: Path) -> None:
    from rich.console import Console

    run = write_run(tmp_path / "run", questions=10, images=0)
    body = json.loads((run / "run.json").read_text())
    name = body["results"][0]["benchmark"]
    own = {"value": 0.625, "low": 0.5, "high": 0.75, "num_scored": 10, "num_unscored": 0}
    for row in body["results"]:
        row["metrics"] |= {"own-metric": own, "another": own}

    def shown(*metrics: str) -> str:
        use = {"use": f"x/{name}", "name": None, "metrics": [{"use": f"mine/{one}", "name": None} for one in metrics]}
        body["config"]["evaluation"] = {"benchmarks": [use, "odd"]} if metrics else {"benchmarks": [{"use": name}]}
        (run / "run.json").write_text(json.dumps(body))
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(summary_text(open_run(run)))
        return console.export_text()

    text = shown("accuracy", "own-metric")
    assert "other metrics" in text and "0.625 [0.500, 0.750]" in text and "another" not in text
    assert "other metrics" not in shown() and "other metrics" not in shown("accuracy")


def test_answers_are_counted_by_verdict_and_disagreement(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=50, images=0)
    thumbnails = type("None", (), {"add": lambda self, media: 0})()
    tables = read_tables(open_run(run), thumbnails)
    for (benchmark, model, first, second), pairs in tables.disagreement.items():
        assert (first, second) == ("strict", "kit")
        assert sum(pairs.values()) == 50 == sum(tables.counts[benchmark, model, first].values())
    lines = [json.loads(line) for line in (run / "answers" / "demo-vqa--base.jsonl").read_text().splitlines()]
    right = sum(line["scores"]["strict"]["value"] == 1 for line in lines)
    unscored = sum(line["scores"]["strict"]["value"] is None for line in lines)
    assert tables.counts["demo-vqa", "base", "strict"]["r"] == right
    assert tables.counts["demo-vqa", "base", "strict"]["u"] == unscored


def test_the_matrix_comes_from_the_answers_where_the_record_has_none(tmp_path: Path) -> None:
    record = read_record(write_run(tmp_path / "run", questions=12, images=0))
    whole = record.model_copy(update={"results": tuple(row for row in record.results if not row.group)})
    computed = {("demo-vqa", "base", "MR", "recognition"): [4.0, 3.0, 1.0]}
    (matrix,) = cell_matrices(whole, computed)
    assert matrix.note and matrix.rows[0][1][0].value == 0.75 and matrix.rows[0][1][0].num_unscored == 1
    assert not cell_matrices(record, computed)[0].note


def test_what_is_forgotten_is_read_model_by_model_without_the_constant_baseline(tmp_path: Path) -> None:
    whole, kinds = forgetting(read_record(write_run(tmp_path / "run", questions=12, images=0)))
    assert whole.columns == ("base", "pretrain", "general", "medical", "cross-domain")
    assert len(kinds.rows) == 2 * (4 + 2)


def test_the_funnel_is_a_share_of_the_most_samples_seen(tmp_path: Path) -> None:
    rows = funnel(read_record(write_run(tmp_path / "run", questions=4, images=0)))
    assert [row.step for row in rows[:4]] == ["read", "filter-contamination", "select", "plan-pretrain"]
    assert rows[2].share == pytest.approx(1003 / 1260) and rows[2].lost == pytest.approx(248 / 1260)
    assert all(row.share + row.lost <= 1 + 1e-9 for row in rows)


numbers = st.floats(allow_nan=True, allow_infinity=True)
PARTS = {"svg", "g", "path", "line", "rect", "text", "tspan", "title"}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), max_size=30), st.text())
def test_a_line_chart_takes_any_numbers_and_any_label(points: list[tuple[float, float]], label: str) -> None:
    drawing = charts.line_chart({label: sorted(points, key=lambda point: (point[0] != point[0], point[0]))}, label)
    if drawing:
        assert "NaN" not in drawing.replace(label, "") and "Infinity" not in drawing.replace(label, "")
        assert ElementTree.fromstring(drawing).get("aria-label") is not None


@settings(max_examples=10, deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_no_text_becomes_more_than_text_in_a_chart(name: str) -> None:
    hostile = f"{name}</text><script>1</script><a href='javascript:1'>"
    drawing = charts.intervals([(hostile, 0.5, 0.4, 0.6, "model"), ("b", 0.2, None, None, "constant")], hostile, 0.3)
    root = ElementTree.fromstring(drawing)
    assert {element.tag.split("}")[1] for element in root.iter()} <= PARTS
    assert not [a for element in root.iter() for a in element.attrib if a.startswith("on") or a in ("style", "href")]
    assert any("<script>" in (element.text or "") for element in root.iter())


def test_marks_say_what_they_mean_and_colours_follow_the_theme() -> None:
    drawing = charts.histogram([3, 0, 5], "three bins", 0.4)
    assert "0.67 to 1.00: 5 samples" in drawing and "mean 0.400" in drawing
    assert set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawing)) <= {
        "none", "transparent", *(f"var(--{name})" for name in ("accent", "warm", "soft", "ground", "line", "ink"))
    }  # fmt: skip


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_embedded_json_reads_back_and_ends_no_script(value: Any) -> None:
    text = safe_json(value)
    assert "<" not in text and json.loads(text) == value


def test_gates_correlations_kills_judges_and_sources_are_shown_with_their_counts(tmp_path: Path) -> None:
    text = write_report(write_run(tmp_path / "run", questions=40, images=0)).read_text()
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.split('<script type="application/json"')[0]))
    for told in (
        "contamination 1,254 in, 1,251 out",
        "test_question 3",
        "num questions met demo-vqa 60 3",
        "reasons: near image 2",
        "Spearman's rank correlation between dimensions, over 1,254 samples",
        "Low in it alone image quality 40 0",
        "panel and other",
        "0.810",
        "Source Supervised tokens Loss first Loss last atlas 11,000",
        "unlabelled",
    ):
        assert told in shown, told


def test_cost_adds_up_over_stages_that_were_not_graded(tmp_path: Path) -> None:
    record = read_record(write_run(tmp_path / "run", questions=12, images=0))
    graded = tuple(row for row in record.results if row.model not in {"pretrain", "general"})
    (tmp_path / "run" / "run.json").write_text(record.model_copy(update={"results": graded}).model_dump_json())
    titles = re.findall(r"<title>([\w-]+): [\d.]+ at ([\d.]+)</title>", write_report(tmp_path / "run").read_text())
    assert titles == [("base", "0.0"), ("medical", "126.0"), ("cross-domain", "168.0")]


def test_answers_that_a_stage_learned_from_stand_beside_the_image_of_their_question(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=4, images=2)
    record = json.loads((run / "run.json").read_text())
    details = next(step["details"] for step in record["steps"] if step["kind"] == "train")
    answer = {"text": "on the left", "tokens": 3, "reward": 0.9, "advantage": 1.62}
    line = {"step": 1, "question": "Which side is brighter?", "reference": "left", "outcome": "learned from"}
    media = [{"kind": "image", "uri": str(run / "images" / "1.png")}]
    details["rollouts_shown"] = [{**line, "media": media, "rollouts": [answer]}, {**line, "rollouts": [answer]}]
    (run / "run.json").write_text(json.dumps(record))
    text = write_report(run).read_text()
    shown = text[text.index("Some of the answers that it learned from") :].split("</details>")[0]
    (number,) = re.findall(r'data-picture="(\d+)"', shown)
    pictures = json.loads(re.findall(r'data-block="pictures">(.*?)</script>', text)[0])
    assert pictures[int(number)].startswith("data:image/") and shown.count("on the left") == 2 and "1.62" in shown


def test_a_page_of_very_much_text_cuts_each_text_shorter_says_so_and_shows_what_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", questions=30, images=0, letters=3_000)
    whole = write_report(run).read_text(encoding="utf-8")
    monkeypatch.setattr(answers, "PAGE_BYTES", 400_000)
    text = write_report(run).read_text(encoding="utf-8")
    (told,) = re.findall(r"each is cut to ([\d,]+) letters", text)
    limit = int(told.replace(",", ""))
    rows = [row for block in re.findall(r'data-block="answers">(.*?)</script>', text) for row in json.loads(block)]
    assert "each is cut to" not in whole and len(rows) == 30 * 6 * 2
    assert limit > 1_000 and 0.7 * 400_000 < sum(len(row[2]) for row in rows) <= 400_000 + 40 * len(rows)
    for row in rows:
        start, end = row[12]  # the statement stands behind the 3,000 letters, of which the middle is left out
        shown = row[2].encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")
        assert "letters left out" in row[2] and shown in ("right", "other")


@given(st.text(), st.integers(0, 40), st.integers(0, 60), st.integers(0, 60))
def test_a_cut_text_shows_its_ends_and_places_in_them(text: str, limit: int, start: int, end: int) -> None:
    shown = cut_inside(text, limit)
    place = shown.place(start, end)
    if place is not None:
        assert shown.text[place[0] : place[1]] == printable(text[start:end]) and len(text[start:end]) == end - start
    elif len(text) <= limit:
        assert not start < end <= len(text)
    first, last = limit // 2, len(text) - (limit - limit // 2)
    if len(text) > limit and start < end <= len(text):
        assert (place is None) == (end > first and start < last)


def test_the_page_names_no_file_outside_of_the_run(tmp_path: Path) -> None:
    source = tmp_path / "archive" / "SMITH_JOHN" / "CR.1.2.840.20200313.png"
    thumbnails = Thumbnails(tmp_path / "run", load_plugins().media_loader(), at_most=5)
    number = thumbnails.add({"kind": "image", "uri": str(source)})
    thumbnails.make(number)
    assert thumbnails.links == [None] and list(thumbnails.faults) == [number]
    assert not any(piece in thumbnails.faults[number] for piece in ("SMITH", "20200313", str(tmp_path)))
