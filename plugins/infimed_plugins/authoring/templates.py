"""What `infimed new` writes for each kind: the class, what it imports beside infimed_core, and how a test makes it."""

from __future__ import annotations

from infimed_plugins.authoring.template import Template
from infimed_plugins.authoring.training_templates import TRAINING

TEMPLATES = {
    "reader": Template(
        component='''
class Name(Reader):
    """Reads a table of questions and answers, separated by tabs."""

    path: Path = Field(description="The file.")

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        with self.path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                question, tab, answer = line.rstrip("\\n").partition("\\t")
                if not tab:
                    place = f"{self.path}:{number}"
                    yield Fault(sample_id=f"{number}", code="no_answer", detail="there is no tab", where=place)
                    continue
                turns = (Turn(role="user", content=(question,)), Turn(role="assistant", content=(answer,)))
                yield Sample(id=f"{self.path.stem}-{number}", turns=turns)
''',
        uses="Fault Reader Sample Turn",
        imports="from collections.abc import Iterator\nfrom pathlib import Path\n\nfrom pydantic import Field",
        setup='(tmp_path / "rows.tsv").write_text("Which plane?\\taxial\\nno answer\\n")',
        made='Name(path=tmp_path / "rows.tsv")',
        in_run_file="data:\n  sources: [{use: NAME, with: {path: rows.tsv}}]",
    ),
    "modality": Template(
        component='''
class Name(Modality):
    """Opens a grey image that is an array of uint8 in a `.npy` file."""

    def probe(self, media: Media) -> tuple[int, ...]:
        return tuple(self._opened(media).shape)

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        return np.repeat(np.asarray(self._opened(media))[:, :, None], 3, axis=2)

    def _opened(self, media: Media) -> NDArray[np.uint8]:
        try:
            return np.load(media.uri or "", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DataError("unreadable", f"{media.uri}: {error}") from None
''',
        uses="DataError Media Modality",
        imports="import numpy as np\nfrom numpy.typing import NDArray",
        setup='np.save(tmp_path / "scan.npy", np.full((20, 30), 7, dtype=np.uint8))',
        made='Name(), Media(kind="NAME", uri=str(tmp_path / "scan.npy"))',
        in_run_file="# used for every medium whose `kind` is NAME",
    ),
    "executor": Template(
        component='''
class Name(Executor):
    """Maps in threads of this process."""

    num_threads: int = Field(default=4, ge=1, description="How many threads.")

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        with ThreadPoolExecutor(self.num_threads) as pool:
            yield from pool.map(function, items)
''',
        uses="Executor",
        imports="from collections.abc import Callable, Iterator, Sequence\n"
        "from concurrent.futures import ThreadPoolExecutor\nfrom typing import TypeVar\n\n"
        'from pydantic import Field\n\nT = TypeVar("T")\nR = TypeVar("R")',
        in_run_file="data:\n  sources: [{use: demo-anatomy}]\n  executor: {use: NAME, with: {num_threads: 2}}",
    ),
    "filter": Template(
        component='''
class Name(DatasetFilter):
    """Leaves out samples whose answer is short."""

    fewest: int = Field(default=3, ge=0, description="Fewest characters of an answer that is kept.")

    def check(
        self,
        samples: Sequence[Sample],
        benchmarks: Mapping[str, Sequence[Sample]],
        media: MediaLoader,
        executor: Executor,
    ) -> FilterResult:
        short = [sample.id for sample in samples if len(sample.turns[-1].text) < self.fewest]
        return FilterResult(rejected=dict.fromkeys(short, ("short_answer",)))
''',
        uses="DatasetFilter Executor FilterResult MediaLoader Sample",
        imports="from collections.abc import Mapping, Sequence\n\nfrom pydantic import Field",
        function='''
@dataset_filter
def NAME_(sample):
    """Leaves out samples whose answer is short: gives the reason, or None."""
    return "short_answer" if len(sample.turns[-1].text) < 3 else None
''',
        function_uses="dataset_filter",
        in_run_file="data:\n  sources: [{use: demo-anatomy}]\n  filters: [{use: NAME}]",
    ),
    "scorer": Template(
        component='''
class Name(Scorer):
    """Scores how much the last answer says: 1 from a number of words on."""

    dimensions = ("words",)

    enough: int = Field(default=8, ge=1, description="Words of an answer that scores 1.")

    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        values = [min(1.0, len(sample.turns[-1].text.split()) / self.enough) for sample in samples]
        return [Score(value=value, parts={"words": value}) for value in values]
''',
        uses="MediaLoader Sample Score Scorer",
        imports="from collections.abc import Sequence\n\nfrom pydantic import Field",
        function='''
@scorer
def NAME_(sample):
    """Scores how much the last answer says: 1 from eight words on."""
    return min(1.0, len(sample.turns[-1].text.split()) / 8)
''',
        function_uses="scorer",
        in_run_file="quality:\n  scorers: [{use: NAME}]",
    ),
    "selector": Template(
        component='''
class Name(Selector):
    """Keeps what scores at least a minimum."""

    minimum: float = Field(default=0.5, ge=0.0, le=1.0, description="Least score that is kept.")

    def select(self, candidates: Sequence[Candidate]) -> Selection:
        low = [one.id for one in candidates if one.score.value is None or one.score.value < self.minimum]
        rejected = dict.fromkeys(low, ("low_score",))
        return Selection(kept=tuple(one.id for one in candidates if one.id not in rejected), rejected=rejected)
''',
        uses="Candidate Selection Selector",
        imports="from collections.abc import Sequence\n\nfrom pydantic import Field",
        in_run_file="quality:\n  scorers: [{use: five-dimension}]\n  select: {use: NAME, with: {minimum: 0.6}}",
    ),
    "synthesizer": Template(
        component='''
class Name(Synthesizer):
    """Asks a model to say each answer in other words, and adds what it says as a sample."""

    model: str = Field(default="writer", description="Which of the run file's models is asked.")

    def models(self) -> Sequence[str]:
        return (self.model,)

    def synthesize(self, samples: Iterable[Sample], context: SynthesisContext) -> Iterator[Sample | Fault]:
        for sample in samples:
            wish = Turn(role="user", content=(f"Say in other words: {sample.turns[-1].text}",))
            (answer,) = context.ask(self.model, [Request(sample_id=sample.id, turns=(wish,))])
            if answer.text is None:
                context.complete = False  # the next run asks again
                yield Fault(sample_id=sample.id, code="not_answered", detail=answer.error or "")
                continue
            turns = (*sample.turns[:-1], Turn(role="assistant", content=(answer.text,)))
            yield sample.model_copy(update={"id": f"{sample.id}-NAME", "turns": turns})
''',
        uses="Fault Request Sample SynthesisContext Synthesizer Turn",
        imports="from collections.abc import Iterable, Iterator, Sequence\n\nfrom pydantic import Field",
        in_run_file="models: {writer: {use: constant}}\nreasoning: {use: NAME, with: {model: writer}}",
    ),
    "model": Template(
        component='''
class Name(Model):
    """Answers with the first word of the question: replace this with a call of your model."""

    trainable = False

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> Path | None:
        return None

    def load(self, checkpoint: Path | None) -> LoadedModel:
        return LoadedName(self.identity())


class LoadedName(LoadedModel):
    """The model in memory."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    @property
    def identity(self) -> str:
        return self._identity

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        for request in requests:
            yield Answer(sample_id=request.sample_id, text=request.turns[-1].text.split(" ")[0])
''',
        uses="Answer LoadedModel MediaLoader Model Request",
        imports="from collections.abc import Callable, Iterable, Iterator, Sequence\nfrom pathlib import Path",
        in_run_file="model: {use: NAME}",
    ),
    "resolution scheduler": Template(
        component='''
class Name(ResolutionScheduler):
    """Small images first, and larger ones for the last part of a stage."""

    share: float = Field(default=0.8, gt=0.0, lt=1.0, description="Share of the samples that are seen small.")
    small: int = Field(default=64, ge=1, description="Most visual tokens of an image at first.")
    large: int = Field(default=256, ge=1, description="Most visual tokens of an image at the end.")

    def plan(self, num_samples: int) -> list[Phase]:
        edge = round(self.share * num_samples)
        return [Phase(0, edge, self.small), Phase(edge, num_samples, self.large)]
''',
        uses="Phase ResolutionScheduler",
        imports="from pydantic import Field",
        in_run_file="resolution: {use: NAME, with: {small: 64, large: 256}}",
    ),
    "packer": Template(
        component='''
class Name(Packer):
    """Neighbours share a row as long as they fit."""

    def group(self, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
        rows: list[list[int]] = []
        room = np.zeros(3, dtype=np.int64)
        for index in np.flatnonzero((costs <= budget).all(axis=1)).tolist():
            if not rows or (costs[index] > room).any():
                rows.append([])
                room = budget.copy()
            rows[-1].append(index)
            room -= costs[index]
        return Packs.from_lists(rows)
''',
        uses="Packer Packs",
        imports="import numpy as np\nfrom numpy.typing import NDArray",
        in_run_file="packing: {use: NAME, with: {row_tokens: 4096}}",
    ),
    "benchmark": Template(
        component='''
class Name(Benchmark):
    """Sums of small numbers; put your own questions here."""

    version = "1"  # raise it when questions or grading change: older answers are then asked for again

    num_questions: int = Field(default=10, ge=1, description="How many questions.")

    def samples(self) -> Iterator[Sample | Fault]:
        for number in range(self.num_questions):
            question = Turn(role="user", content=(f"What is {number} + 2? Answer with the number.",))
            yield Sample(id=f"sum-{number}", turns=(question,), references=(str(number + 2),))

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        numbers = re.findall(r"-?\\d+", answer.text or "")
        if not numbers:
            return Score(status="unscored", reasons=("unreadable",))
        return Score(value=float(numbers[-1] in sample.references))
''',
        uses="Answer Benchmark Fault Sample Score Turn",
        imports="import re\nfrom collections.abc import Iterator\n\nfrom pydantic import Field",
        in_run_file="evaluation:\n  benchmarks: [{use: NAME}]",
    ),
    "solver": Template(
        component='''
class Name(Solver):
    """Asks once, with a sentence before the question."""

    system: str = Field(default="You are a careful radiologist.", description="The sentence.")

    def solve(self, samples: Sequence[Sample], ask: Ask, generation: Any) -> list[Answer]:
        first = Turn(role="system", content=(self.system,))
        rest = {"generation": generation or Generation()}
        return ask([Request(sample_id=s.id, turns=(first, *s.turns), media=s.media, **rest) for s in samples])
''',
        uses="Answer Ask Generation Request Sample Solver Turn",
        imports="from collections.abc import Sequence\nfrom typing import Any\n\nfrom pydantic import Field",
        function='''
@solver
def NAME_(samples, ask, generation):
    """Asks once, with a sentence before the question."""
    first = Turn(role="system", content=("You are a careful radiologist.",))
    rest = {"generation": generation}
    return ask([Request(sample_id=s.id, turns=(first, *s.turns), media=s.media, **rest) for s in samples])
''',
        function_uses="Request Turn solver",
        in_run_file="evaluation:\n  benchmarks: [{use: demo-text, solver: {use: NAME}}]",
    ),
    "baseline": Template(
        component='''
class Name(Baseline):
    """Answers every question with one text."""

    text: str = Field(default="yes", description="The answer.")

    def answers(
        self, benchmark: Benchmark, samples: Sequence[Sample], training: Iterable[Sample]
    ) -> tuple[list[Answer], dict[str, JsonValue]]:
        return [Answer(sample_id=sample.id, text=self.text) for sample in samples], {"answer": self.text}
''',
        uses="Answer Baseline Benchmark Sample",
        imports="from collections.abc import Iterable, Sequence\n\nfrom pydantic import Field, JsonValue",
        setup='benchmark = load_plugins().make("benchmark", "demo-text")',
        made="Name(), benchmark",
        in_run_file="evaluation:\n  benchmarks: [{use: demo-text}]\n  baselines: [NAME]",
    ),
    "metric": Template(
        component='''
class Name(AnswerMetric):
    """The share of answers that are short."""

    counts_unread = True  # an answer that cannot be read is short or long all the same

    most: int = Field(default=20, ge=1, description="Most characters of a short answer.")

    def compute_answers(self, rows: Sequence[GradedAnswer]) -> float | None:
        return float(self.answer_values(rows).mean()) if rows else None

    def answer_values(self, rows: Sequence[GradedAnswer]) -> NDArray[np.float64]:
        return np.array([len(row.answer.text or "") <= self.most for row in rows], dtype=np.float64)
''',
        uses="AnswerMetric GradedAnswer",
        imports="from collections.abc import Sequence\n\nimport numpy as np\nfrom numpy.typing import NDArray\n"
        "from pydantic import Field",
        function='''
@metric
def NAME_(answer):
    """The share of answers that are short."""
    return float(len(answer.answer.text or "") <= 20)
''',
        function_uses="metric",
        in_run_file="evaluation:\n  benchmarks: [{use: demo-text, metrics: [accuracy, NAME]}]",
    ),
    "reporter": Template(
        component='''
class Name(Reporter):
    """Writes a table of the results for a spreadsheet."""

    def write(self, run: Run, directory: Path) -> Sequence[Path]:
        file = directory / "NAME.csv"
        with file.open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["model", "benchmark", "metric", "value", "low", "high"])
            for row in run.results():
                for name, value in row.metrics.items() if not row.group else ():
                    table.writerow([row.model, row.benchmark, name, value.value, value.low, value.high])
        return [file]
''',
        uses="Reporter",
        imports="import csv\nfrom collections.abc import Sequence\nfrom pathlib import Path\n\n"
        "from infimed_core.records import Run",
        in_run_file="report: [{use: NAME}]",
    ),
} | TRAINING
"""By kind; a kind that is added to ``KINDS`` without one fails a test."""
