"""The report in a real browser: nothing in the data runs, filters and deep links work, the network is left alone."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infimed_core.testing import run
from infimed_plugins.reporting.page.page import write_report

sys.path.insert(0, str(Path(__file__).parent))

from browser import CHROMIUM, WHY_NOT, Page, open_browser
from report_fixture import write_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)

PAYLOAD = (
    "</script><script>document.documentElement.dataset.hacked='1'</script>"
    "<img src=x onerror=\"document.documentElement.dataset.hacked='1'\">"
    "<a href=\"javascript:document.documentElement.dataset.hacked='1'\">x</a>"
)


CONTRAST = """(() => {
  const part = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map((c) => part(Number(c) / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  return ['h1', '.lead', 'nav a', '.up', '.verdict.w', '.verdict.r'].map((selector) => {
    const text = light(getComputedStyle(document.querySelector(selector)).color);
    return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
  });
})()"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("runs")
    plain = write_run(where / "plain", questions=60)
    hostile = write_run(where / "hostile", questions=12, payload=PAYLOAD)
    return {"plain": write_report(plain), "hostile": write_report(hostile)}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a real run of the demo's benchmarks, as the run itself wrote it."""
    folder = tmp_path_factory.mktemp("real")
    benchmarks = [{"use": "demo-vqa", "with": {"max_samples": 150}}, {"use": "demo-text", "with": {"max_samples": 40}}]
    document = {
        "run": {"name": "real", "seed": 1},
        "model": {"use": "constant", "with": {"text": "Yes"}},
        "evaluation": {"benchmarks": benchmarks},
        "report": [{"use": "html"}],
    }
    run(document, folder)
    return folder / "runs" / "real" / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("browser"), seconds=120) as opened:
        opened.resize(1280, 900)
        yield opened


def text_of(page: Page, selector: str) -> str:
    value = page.evaluate(f"document.querySelector({selector!r}).textContent")
    assert isinstance(value, str)
    return value


def test_no_payload_runs_and_every_text_is_shown_as_text(page: Page, reports: dict[str, Path]) -> None:
    page.problems.clear()
    page.open(reports["hostile"], "#browse?verdict=r")
    page.evaluate(
        "document.querySelectorAll('#list .row')[0].click();"
        "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
    )
    assert "<img src=x onerror=" in text_of(page, "#list .detail")
    # A script that had been let in would have run by the next frame.
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    assert page.evaluate("document.documentElement.dataset.hacked ?? 'clean'") == "clean"
    assert page.evaluate("document.querySelectorAll('img[src=x], a[href^=javascript], [onerror]').length") == 0
    assert page.problems == []


def test_the_browser_itself_would_refuse_a_foreign_script(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["plain"])
    page.evaluate(
        "{const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)}"
    )
    assert page.evaluate("window.ran ?? 'refused'") == "refused"
    assert any("Content Security Policy" in problem for problem in page.problems)
    page.problems.clear()


def test_the_page_loads_without_a_problem_and_asks_for_nothing_but_itself(page: Page, reports: dict[str, Path]) -> None:
    page.problems.clear()
    page.open(reports["plain"])
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:image/"))] == []
    assert len([url for url in page.requests if url.startswith("file:")]) == 1


def test_the_report_of_a_real_run_loads_filters_and_asks_for_nothing(page: Page, real: Path) -> None:
    page.problems.clear()
    page.open(real)
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:image/"))] == []
    total = int(text_of(page, "#found").split(" of ")[1].split()[0])
    counts = {}
    for verdict in "rpwue":
        page.open(real, f"#browse?verdict={verdict}")
        counts[verdict] = int(text_of(page, "#found").split(" of ")[0].replace(",", ""))
    assert sum(counts.values()) == total == 2 * (150 + 40) and counts["r"] and counts["u"]
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.problems == []


def test_charts_take_the_colours_of_the_theme(page: Page, reports: dict[str, Path]) -> None:
    colours = []
    for dark in (False, True):
        page.resize(1280, 900, dark)
        page.open(reports["plain"])
        colours.append(page.evaluate("getComputedStyle(document.querySelector('svg.funnel path')).fill"))
    page.resize(1280, 900)
    assert len(set(colours)) == 2 and all(colour.startswith("rgb") for colour in colours)


def test_a_transcript_is_read_beside_its_answer(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["plain"])
    page.evaluate(
        "{const form = document.getElementById('filters'); form.elements.verdict.value = 'transcript';"
        "form.dispatchEvent(new Event('input'))}"
    )
    page.wait("!document.getElementById('found').textContent.startsWith('720 ')")
    page.evaluate("document.querySelector('#list .row').click()")
    page.evaluate("document.querySelector('#list .detail details').open = true")
    shown = text_of(page, "#list .detail details")
    assert "calls, 2 rounds" in shown and "Round 1radiologyOpinion." in shown and "Round 2chairDecision." in shown
    assert "concludes A" in shown and "prompt tokens 40" in shown and "timed out" in shown


def test_a_deep_link_sets_the_filters_and_opens_the_answer(page: Page, reports: dict[str, Path]) -> None:
    page.open(
        reports["plain"], "#browse?model=base&benchmark=demo-vqa&tag-modality=MR&answer=demo-vqa%7Cbase%7Cquestion-4"
    )
    assert text_of(page, "#found") == "15 of 720 answers"
    assert "Question 4" in text_of(page, '#list .row[aria-expanded="true"]')
    assert page.evaluate("document.querySelectorAll('#list .detail img').length") == 1
    assert page.evaluate("document.querySelectorAll('#list .detail tbody tr').length") == 6


def test_filters_change_the_list_and_the_address(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["plain"])
    assert text_of(page, "#found") == "720 of 720 answers"
    page.evaluate(
        "{const form = document.getElementById('filters'); form.elements.q.value = 'QUESTION 7:';"
        "form.dispatchEvent(new Event('input'))}"
    )
    page.wait("document.getElementById('found').textContent === '12 of 720 answers'")
    assert "q=QUESTION+7" in page.evaluate("location.hash")
    page.evaluate("document.querySelector('#filters [type=reset]').click()")
    page.wait("document.getElementById('found').textContent === '720 of 720 answers'")
    assert page.evaluate("location.hash") == "#browse"


def test_the_counts_of_the_filters_add_up(page: Page, reports: dict[str, Path]) -> None:
    total = 0
    for verdict in "rpwue":
        page.open(reports["plain"], f"#browse?verdict={verdict}")
        total += int(text_of(page, "#found").split(" of ")[0].replace(",", ""))
    assert total == 720


def test_pages_turn_and_keys_work(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["plain"], "#browse?page=2")
    assert text_of(page, "#page") == "page 2 of 18"
    for key, shown in (("n", "page 3 of 18"), ("p", "page 2 of 18")):
        page.evaluate(f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
        assert text_of(page, "#page") == shown
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'j'}))")
    assert page.evaluate("document.activeElement.className") == "row"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(page: Page, reports: dict[str, Path], width: int) -> None:
    page.resize(width, 800)
    try:
        page.open(reports["plain"], "#browse?answer=demo-vqa%7Cbase%7Cquestion-4")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        longer = "one.textContent += ' and a longer name'.repeat(4)"
        page.evaluate(f"document.querySelectorAll('option').forEach((one) => {{ {longer}; }})")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        page.resize(1280, 900)


def test_the_answers_of_the_last_model_of_a_training_come_first(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["plain"], "#browse")
    shown = page.evaluate("[...document.querySelectorAll('#list .row .model')].map((one) => one.textContent)")
    assert set(shown) == {"cross-domain"} and len(shown) == 40


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground_in_light_and_dark(page: Page, reports: dict[str, Path], dark: bool) -> None:
    page.resize(1280, 900, dark)
    try:
        page.open(reports["plain"])
        contrast = page.evaluate(CONTRAST)
        assert min(contrast) >= 4.5
    finally:
        page.resize(1280, 900)
