"""``infimed validate-scorer``: damage lowers the right dimension, any scorer can be asked, people are compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from infimed_core import DataError, InfimedError, MediaLoader, Sample, Score, Scorer
from infimed_plugins.quality import clean, installed, sample_corruptions, validation_command
from infimed_plugins.quality.agreement import agreement, krippendorff_alpha, quadratic_kappa, read_labels, spearman
from infimed_plugins.quality.ladder import ERROR, FLAG_BELOW, auroc, validate

pytestmark = pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")


@pytest.fixture(scope="module")
def media() -> MediaLoader:
    return installed.media_loader()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return clean.clean_samples(per_modality=2)


def command(*arguments: str) -> dict[str, Any]:
    import typer

    app = typer.Typer()
    app.command()(validation_command.validate_scorer_command)
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else {"text": result.output}


class WordCount(Scorer):
    """A third party's: one number, no dimension; 1 for a text of ten words or more that ends with a full stop."""

    def score(self, samples: Any, media: MediaLoader) -> list[Score]:
        texts = [" ".join(turn.text for turn in sample.turns if turn.role == "assistant") for sample in samples]
        return [Score(value=min(1.0, len(text.split()) / 10) * (1.0 if text.endswith(".") else 0.5)) for text in texts]


class Flagging(Scorer):
    """Flags everything."""

    def score(self, samples: Any, media: MediaLoader) -> list[Score]:
        return [Score(value=0.4) for _ in samples]


class Crashing(Scorer):
    """Notices a broken file and nothing else."""

    dimensions: ClassVar[tuple[str, ...]] = ("image_quality",)

    def score(self, samples: Any, media: MediaLoader) -> list[Score]:
        out = []
        for sample in samples:
            try:
                for item in sample.media:
                    media.load(item)
                out.append(Score(value=0.0, parts={"image_quality": 0.0}))
            except DataError as error:
                out.append(Score(status="error", note=str(error)))
        return out


def test_the_shipped_scorer_sees_what_it_can_and_the_report_says_what_it_cannot() -> None:
    names = "noise,cut_file,cut_text,non_medical_text,other_side,negated,wrong_key,identity_text,identity_header"
    result = command("--json", "--corruptions", names, "--severities", "3", "--limit", "70")
    found = {name: row["auroc"]["3"] for name, row in result["corruptions"].items()}
    assert set(found) == set(names.split(","))
    assert min(found[name] for name in set(found) - {"negated", "other_side"}) >= 0.9, found
    assert found["other_side"] > 0.5, "a side that contradicts the tag is seen"
    assert found["negated"] == 0.5, "no CPU rule sees that a finding is denied"
    assert all(row["num_samples"] > 0 for row in result["corruptions"].values())
    assert {"auroc_at_3", "monotone_share", "crosstalk", "false_flags"} == set(result["summary"]["completeness"])


def test_any_scorer_can_be_validated_by_its_whole_value(samples: list[Sample], media: MediaLoader) -> None:
    report = validate(WordCount(), samples, media, (1, 3), ("blur",), ("cut_text",), ("other_caption",))
    assert report["corruptions"]["cut_text"]["dimension"] == "value"
    assert report["corruptions"]["cut_text"]["auroc"]["3"] > 0.9 > 0.6 > report["corruptions"]["blur"]["auroc"]["3"]
    assert report["corruptions"]["blur"]["crosstalk"] == {} and "value" in report["false_flags"]


def test_an_error_ranks_under_every_value(samples: list[Sample], media: MediaLoader) -> None:
    report = validate(Crashing(), samples, media, (3,), ("cut_file",), ())
    assert report["corruptions"]["cut_file"]["auroc"]["3"] == 1.0 and ERROR < 0.0
    assert auroc([0.0], [0.0]) == 0.5 and auroc([], [0.1]) is None


def test_damage_is_done_where_it_fits_the_same_every_time_and_worse_with_severity(
    samples: list[Sample], media: MediaLoader
) -> None:
    for name, (_, damage) in sample_corruptions.SAMPLE_CORRUPTIONS.items():
        once, again = damage(samples, 2, media), damage(samples, 2, media)
        assert once == again and len(once) == len(samples), name
        changed = [(a, b) for a, b in zip(samples, once, strict=True) if b is not None]
        assert changed and all(a != b and a.id == b.id for a, b in changed), name
        harder = damage(samples, 5, media)
        assert [a is None for a in once] == [b is None for b in harder] or name == "other_caption"


def test_the_text_for_people_names_every_corruption_and_mistakes_are_told_in_one_line() -> None:
    text = command("--corruptions", "noise,cut_text", "--severities", "3", "--limit", "40")["text"]
    assert "noise" in text and "cut_text" in text and "clean samples under 0.5" in text
    for arguments, told in (
        (["--scorer", "five"], "no scorer is named 'five'; installed: .*five-dimension"),
        (["--with", "profil=x"], "--with: profil: "),
        (["--corruptions", "fog"], "there is no 'fog'"),
        (["--severities", "9"], "give numbers from 1 to 5"),
    ):
        with pytest.raises(Exception, match=told):
            command(*arguments)


def test_labels_of_people_are_compared_by_the_command(tmp_path, samples: list[Sample]) -> None:
    from infimed_core import Turn
    from infimed_core.store.dataset import write_samples

    def row(identity: str, text: str) -> Sample:
        turns = (Turn(role="user", content=("Describe it.",)), Turn(role="assistant", content=(text,)))
        return Sample(id=identity, turns=turns, tags={"task_type": "captioning"})

    rows = [row(f"whole-{number}", text) for number, (_, text) in enumerate(clean.CAPTIONS[:8])]
    cut = [row(f"cut-{number}", "The") for number in range(8)]
    write_samples(tmp_path / "samples.jsonl", [*rows, *cut])
    lines = ["id,rater,completeness,note"]
    for rater in ("a", "b"):
        lines += [f"{row.id},{rater},2,fine" for row in rows] + [f"{row.id},{rater},0," for row in cut]
    lines += ["gone,a,1,", "gone,b,,"]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    result = command(
        "--json", "--no-ladder", "--reader", "jsonl", "--reader-with", f"path={tmp_path}/samples.jsonl",
        "--labels", str(tmp_path / "labels.csv"),
    )  # fmt: skip
    found = result["agreement"]["completeness"]
    assert (found["num_samples"], found["num_not_among_the_samples"], found["num_raters"]) == (16, 1, 2)
    assert found["levels"] == [0.0, 1.0, 2.0] and found["quadratic_kappa"] == 1.0
    assert found["krippendorff_alpha_of_raters"] == 1.0 and found["quadratic_kappa_between_raters"] == 1.0
    assert (
        found["spearman"] > 0.8 and found["spearman_interval"][0] <= found["spearman"] <= found["spearman_interval"][1]
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
def test_kappa_with_quadratic_weights_is_one_minus_the_ratio_of_squares(pairs: list[tuple[int, int]]) -> None:
    first, second = (list(side) for side in zip(*pairs, strict=True))
    found = quadratic_kappa(first, second, 4)
    by_chance = np.mean([(a - b) ** 2 for a in first for b in second])
    if by_chance == 0:
        assert found is None
    else:
        assert found == pytest.approx(1 - np.mean([(a - b) ** 2 for a, b in pairs]) / by_chance)
        assert quadratic_kappa(first, first, 4) in (None, 1.0)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=12))
def test_alpha_is_one_minus_observed_over_expected_disagreement_by_its_definition(units: list[list[int]]) -> None:
    paired = [unit for unit in units if len(unit) >= 2]
    values = [label for unit in paired for label in unit]
    found = krippendorff_alpha(units)
    if not values or len(set(values)) == 1:
        assert found is None
        return
    num = len(values)
    observed = sum(
        sum((a - b) ** 2 for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j) / (len(unit) - 1)
        for unit in paired
    )
    pairs = sum((a - b) ** 2 for i, a in enumerate(values) for j, b in enumerate(values) if i != j)
    assert found == pytest.approx(1 - (num - 1) * observed / pairs)


def test_alpha_of_the_published_example() -> None:
    # Krippendorff 2011, the reliability data of four observers on twelve units; interval metric: 0.849
    nan = None
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    units = [[float(row[unit]) for row in rows if row[unit] is not None] for unit in range(12)]
    assert krippendorff_alpha(units) == pytest.approx(0.849, abs=5e-4)


def test_spearman_equals_scipys_and_needs_three_pairs() -> None:
    from scipy.stats import spearmanr

    first, second = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.1, 0.4, 0.2, 0.3])
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman(first[:2], second[:2]) is None and spearman(np.ones(4), second) is None


def test_a_label_that_is_no_number_is_told_by_line_and_column(tmp_path) -> None:
    (tmp_path / "l.csv").write_text("id,completeness\na,1\nb,good\n")
    with pytest.raises(DataError, match=r"l\.csv:3: completeness: 'good' is no number"):
        read_labels(tmp_path / "l.csv")
    (tmp_path / "l.csv").write_text("sample,completeness\na,1\n")
    with pytest.raises(DataError, match="needs the column id"):
        read_labels(tmp_path / "l.csv")
    assert agreement({"a": Score(value=None)}, {"value": {"a": {"r": 1.0}}})["value"]["num_not_scored"] == 1


def test_a_scorer_that_asks_a_model_is_validated_through_a_real_server() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from test_quality_judge import Judge, verdict

    def behave(body: dict[str, Any], count: int) -> tuple[int, str]:
        said = json.dumps(body["messages"][-1]["content"])
        return 200, verdict(compliance={"level": 0 if "@" in said or "MRN" in said else 2})

    with Judge(behave) as server:
        result = command(
            "--json", "--scorer", "quality-judge", "--model-with", f"base_url={server.url}", "--model-with", "model=m",
            "--corruptions", "identity_text,markup_text", "--severities", "5", "--limit", "60",
        )  # fmt: skip
        assert len(server.bodies) > 60
    found = {name: row["auroc"]["5"] for name, row in result["corruptions"].items()}
    assert found["identity_text"] > 0.7 and found["markup_text"] == 0.5, found
    assert result["corruptions"]["identity_text"]["dimension"] == "compliance"


def test_a_validation_says_what_it_does_keeps_what_is_done_and_goes_on_there(
    tmp_path: Path, samples: list[Sample], media: MediaLoader
) -> None:
    told: list[str] = []

    class Stopping(WordCount):
        def score(self, samples: Any, media: MediaLoader) -> list[Score]:
            if "markup_text" in told[-1]:
                raise KeyboardInterrupt
            return super().score(samples, media)

    file = tmp_path / "done.json"
    asked = {"scorer": "word-count", "severities": "3"}
    names = ("cut_text", "markup_text")
    with pytest.raises(KeyboardInterrupt):
        validate(
            Stopping(), samples, media, (5,), (), names, (), None, told.append, validation_command.Finished(file, asked)
        )
    assert any("1 of 2: cut_text" in line for line in told) and list(json.loads(file.read_text())["corruptions"]) == [
        "cut_text"
    ]
    told.clear()
    report = validate(
        WordCount(), samples, media, (5,), (), names, (), None, told.append, validation_command.Finished(file, asked)
    )
    assert "1 of 2: cut_text: done before" in told and list(report["corruptions"]) == list(names)
    assert validation_command.Finished(file, {**asked, "severities": "1"}) == {}, "other degrees are other results"
    for other in ("[1, 2]", '{"notes": "of mine"}', "no JSON"):
        file.write_text(other)
        with pytest.raises(InfimedError, match="holds no results"):
            validation_command.Finished(file, asked)
        assert file.read_text() == other, "what is no result is not written over"


def test_a_damage_that_does_not_apply_says_why_and_what_is_noticed_is_what_the_scorer_flags(
    samples: list[Sample], media: MediaLoader
) -> None:
    long = [sample for sample in samples if len(sample.turns[-1].text.split()) > 8][:6]
    texts = [sample.model_copy(update={"media": ()}) for sample in long]
    report = validate(WordCount(), texts, media, (3,), ("blur",), ("cut_text",), ("wrong_key",))
    rows = report["corruptions"]
    assert rows["blur"]["left_out"] == {"no picture": 6} and rows["blur"]["num_samples"] == 0
    assert rows["wrong_key"]["left_out"] and rows["cut_text"]["left_out"] == {}
    every = validate(Flagging(), texts, media, (3,), (), ("cut_text",), ())["corruptions"]["cut_text"]
    assert every["noticed"] == {"3": 1.0} and Flagging().score(texts[:1], media)[0].value < FLAG_BELOW
