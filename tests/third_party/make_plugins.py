"""Small outside distributions, written as wheels: one for each natural mistake, and one for each hook used well."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

HEAD = """\
from infimed_core import *
from infimed_core import hookimpl
"""
SCORER = """
class Even(Scorer):
    "Half for all."
    dimensions = ("half",)
    def score(self, samples, media):
        return [Score(value=0.5, parts={"half": 0.5}) for _ in samples]
"""


@dataclass(frozen=True)
class Outside:
    """A distribution. ``told`` is what its one line holds, beside its name; nothing where it is not told."""

    name: str
    source: str
    told: tuple[str, ...] = ()
    entry: str = ""
    plugin: str = ""
    requires: tuple[str, ...] = ("infimed",)
    head: str = HEAD

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def plugin_name(self) -> str:
        return self.plugin or self.name

    def write(self, folder: Path, version: str = "1.0") -> Path:
        """The wheel."""
        info = f"{self.module}-{version}.dist-info"
        metadata = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {version}"]
        files = {
            f"{self.module}/__init__.py": self.head + self.source,
            f"{info}/METADATA": "\n".join([*metadata, *(f"Requires-Dist: {name}" for name in self.requires)]) + "\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[infimed]\n{self.plugin_name} = {self.entry or self.module}\n",
        }
        files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        path = folder / f"{self.module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return path


def hook(name: str, body: str, arguments: str = "") -> str:
    return f"\n@hookimpl\ndef infimed_{name}({arguments}): {body}\n"


EVEN = SCORER + hook("scorers", "return {'%s': Even}")
BROKEN = (
    Outside("raises-at-import", "raise RuntimeError('not today')", ("cannot be imported", "not today", "mend it")),
    Outside("leaves-at-import", "import sys\nsys.exit('bye')", ("sys.exit('bye')", "may not end the program")),
    Outside("speaks-at-import", "print('good morning')\n" + EVEN % "speaks", ("wrote 'good morning'", "remove")),
    Outside("warns-at-import", "import sys\nsys.stderr.write('psst')\n" + EVEN % "warns", ("wrote 'psst'",)),
    Outside("sleeps-at-import", "import time\ntime.sleep(2.1)\n" + EVEN % "sleeps", ("its import takes", "inside")),
    Outside("syntax-error", "def nothing(:\n", ("SyntaxError", "__init__.py:3")),
    Outside("typo", SCORER + hook("scorrers", "return {}"), ("'infimed_scorrers'", "did you mean 'infimed_scorers'?")),
    Outside("no-such-hook", hook("telephones", "return {}"), ("'infimed_telephones'", "hooks there are")),
    Outside(
        "argument", hook("models", "return {}", "settings"),
        ("infimed_models must take (), not (settings)", "correct its parameters"),
    ),
    Outside(
        "listener-argument", hook("run_event", "pass", "happened"),
        ("infimed_run_event must take (event), not (happened)",),
    ),
    Outside("hook-raises", hook("packers", "raise KeyError('gone')"), ("infimed_packers raised KeyError", "gone")),
    Outside("hook-exits", hook("selectors", "raise SystemExit(4)"), ("infimed_selectors raised SystemExit",)),
    Outside("hook-lists", SCORER + hook("scorers", "return [Even]"), ("infimed_scorers returned list", "table")),
    Outside("hook-forgets", SCORER + hook("scorers", "{'x': Even}"), ("infimed_scorers returned None", "table")),
    Outside("hook-instance", SCORER + hook("scorers", "return {'i': Even()}"), ("'i'", "without brackets")),
    Outside("hook-async", "\n@hookimpl\nasync def infimed_scorers(): return {}\n", ("not a plain function",)),
    Outside("hook-wraps", "\n@hookimpl(wrapper=True)\ndef infimed_metrics():\n    yield\n", ("is a wrapper",)),
    Outside("unmarked", SCORER + "\ndef infimed_scorers(): return {'u': Even}\n", ("not marked", "@hookimpl above")),
    Outside("offers-nothing", "here = 1\n", ("offers nothing", "@hookimpl")),
    Outside(
        "names-a-class", "class Plugin:\n    @hookimpl\n    def infimed_scorers(self): return {}\n",
        ("a class", 'names-a-class = "names_a_class"'), entry="names_a_class:Plugin",
    ),
    Outside("names-nothing", "", ("'names_nothing.hooks', which is not there", "correct"), entry="names_nothing.hooks"),
    Outside("aa-twin", EVEN % "first-twin", plugin="twin"),
    Outside("bb-twin", EVEN % "second-twin", ("bb-twin 1.0", "aa-twin 1.0", "uninstall one"), plugin="twin"),
    Outside(
        "lacks-method", "class Mute(Scorer):\n    'Says nothing.'" + hook("scorers", "return {'mute': Mute}"),
        ("lacks the method 'score'", "define"),
    ),
    Outside(
        "method-argument",
        "class Few(Scorer):\n    'x'\n    def score(self, samples): return []\n"
        + hook("scorers", "return {'few': Few}"),
        ("Few.score must take (self, samples, media), not (self, samples)",),
    ),
    Outside(
        "needs-setting",
        "class Deep(Modality):\n    'x'\n    depth: int\n    def probe(self, media): return (1, 1)\n"
        "    def load(self, media, at_most=None): return None\n" + hook("modalities", "return {'deep': Deep}"),
        ("depth: Field required", "default"),
    ),
    Outside(
        "wrong-kind",
        "class Lot(Metric):\n    'x'\n    def compute(self, scores): return 1.0\n"
        + hook("readers", "return {'lot': Lot}"),
        ("is no Reader: Lot", "infimed_metrics"),
    ),
    Outside("unannotated", SCORER.replace("def", "limit = 3\n    def"), ("cannot be imported", "limit = 3")),
    Outside("needs-module", "import surely_not_there\n", ("'surely_not_there'", "needs-module 1.0 should say which")),
    Outside(
        "needs-extra", "import surely_not_there.deep\n", ("pip install 'needs-extra[deep]'",),
        requires=("infimed", 'surely-not-there>=2; extra == "deep"'),
    ),
    Outside(
        "newer", EVEN % "newer", ("requires infimed>=7", "0.", "pip install 'infimed>=7'"), requires=("infimed>=7",)
    ),
    Outside(
        "no-such-class", hook("scorers", "return {'n': 'no_such_class:Gone'}"), ("there is no 'Gone' in", "correct")
    ),
    Outside("odd-name", SCORER + hook("scorers", "return {'a/b': Even}"), ("the name 'a/b'",)),
    Outside("command-raises", hook("commands", "raise OSError('disk')"), ("infimed_commands raised OSError: disk",)),
    Outside(
        "command-type", "def weigh(sizes: dict): 'x'\n" + hook("commands", "return {'weigh': weigh}"),
        ("'weigh'", "'sizes' is of type dict"),
    ),
    Outside(
        "command-taken", "def check(): 'x'; print('not yours')\n" + hook("commands", "return {'check': check}"),
        ("offers 'check'", "which is taken", "infimed command-taken/check"),
    ),
    Outside(
        "defaults", hook("defaults", "return {'solver': 'mine'}"), ("InfiMed's own plugins alone",),
    ),
    Outside("listener-raises", hook("run_event", "raise ValueError('deaf')", "event")),
    Outside(
        "same-names",
        dedent("""
        class M(Metric):
            "x"
            def compute(self, scores): return 0.123
        class S(Solver):
            "x"
            def solve(self, samples, ask, generation): return []
        class F(DatasetFilter):
            "x"
            def check(self, samples, benchmarks, media, executor): return FilterResult()
        class E(Executor):
            "x"
            def map(self, function, items): return iter(())
        class I(Modality):
            "x"
            def probe(self, media): raise DataError("mine", "mine")
            def load(self, media, at_most=None): raise DataError("mine", "mine")
        """)
        + hook("metrics", "return {'accuracy': M}") + hook("solvers", "return {'direct': S}")
        + hook("filters", "return {'contamination': F}") + hook("executors", "return {'processes': E}")
        + hook("modalities", "return {'image': I}")
        + hook("benchmark_groups", "return {'demo-text': lambda settings: [{'use': 'nothing'}]}"),
        ("stays InfiMed's", "same-names/"),
    ),
)  # fmt: skip
"""By what is wrong with them."""

UNUSABLE = Outside(
    "unusable",
    SCORER
    + """
def hidden():
    class Hidden(Even):
        "x"
    return Hidden
class Silent(Even):
    "x"
    rule: object = lambda sample: 0.5
class Lost(Even):
    "x"
    def score(self, samples, media): return []
class Endless(Even):
    "x"
    def score(self, samples, media): return [Score(value=0.5, parts={"half": float("nan")}) for _ in samples]
class Torn(Executor):
    "x"
    def map(self, function, items): yield from [function(item) for item in items][:-1]
class Again(Executor):
    "x"
    def map(self, function, items):
        for item in items: yield from [function(item)] * 2
class Turned(Solver):
    "x"
    def solve(self, samples, ask, generation): return [Answer(sample_id=s.id, text="A") for s in samples][::-1]
class Skewed(Metric):
    "x"
    def compute(self, scores): return 0.25
    def values(self, scores): return np.ones(len(scores))
class NoNumber(Metric):
    "x"
    def compute(self, scores): return float("nan")
class Mute(DatasetFilter):
    "x"
    def check(self, samples, benchmarks, media, executor): return FilterResult(rejected={samples[0].id: ()})
class Silence(Selector):
    "x"
    def select(self, candidates):
        return Selection(kept=tuple(c.id for c in candidates[1:]), rejected={candidates[0].id: ()})
class Nowhere(Reporter):
    "x"
    def write(self, run, directory): return [directory / "nowhere.txt"]
class Vandal(Reporter):
    "x"
    def write(self, run, directory):
        (directory / "run.json").write_text("{}")
        return []
"""
    + hook("scorers", "return {'hidden': hidden(), 'silent': Silent, 'lost': Lost, 'endless': Endless}")
    + hook("executors", "return {'torn': Torn, 'again': Again}")
    + hook("solvers", "return {'turned': Turned}")
    + hook("metrics", "return {'skewed': Skewed, 'no-number': NoNumber}")
    + hook("filters", "return {'mute': Mute}")
    + hook("selectors", "return {'silence': Silence}")
    + hook("reporters", "return {'nowhere': Nowhere, 'vandal': Vandal}"),
    head="import numpy as np\n" + HEAD,
)
"""Offers what only shows that it is broken when it is named."""

GOOD = (
    Outside(
        "good-reader",
        dedent("""
        class Lines(Reader):
            "A sample a line."
            path: str
            def read(self, shard):
                for number, line in enumerate(open(self.path)):
                    yield Sample(id=str(number), turns=(Turn(role="user", content=(line.strip(),)),
                                                        Turn(role="assistant", content=("yes",))))
        """) + hook("readers", "return {'good-lines': Lines}"),
    ),
    Outside("good-scorer", EVEN % "good-even"),
    Outside("good-lazy-scorer", SCORER + hook("scorers", "return {'good-lazy': 'good_lazy_scorer:Even'}")),
    Outside(
        "good-selector",
        dedent("""
        class All(Selector):
            "Everything."
            def select(self, candidates): return Selection(kept=tuple(c.id for c in candidates), rejected={})
        """) + hook("selectors", "return {'good-all': All}"),
    ),
    Outside(
        "good-old-filter",
        dedent("""
        from infimed_core import Gate, Gated
        class First(Gate):
            "Without the first."
            def check(self, samples, benchmarks, media, executor): return Gated(rejected={samples[0].id: ("first",)})
        """) + hook("gates", "return {'good-first': First}"),
        ("infimed_gates is called infimed_filters now", "rename"),
    ),
    Outside(
        "good-executor",
        "class Here(Executor):\n    'x'\n    def map(self, function, items): return map(function, items)\n"
        + hook("executors", "return {'good-here': Here}"),
    ),
    Outside(
        "good-model",
        dedent("""
        class Loaded(LoadedModel):
            identity = "yes"
            def answer(self, requests, media):
                for request in requests: yield Answer(sample_id=request.sample_id, text="yes")
        class Yes(Model):
            "Says yes."
            trainable = False
            def prepare(self, directory, texts, seed): return None
            def load(self, checkpoint): return Loaded()
        """) + hook("models", "return {'good-yes': Yes}"),
    ),
    Outside(
        "good-benchmark",
        dedent("""
        class Three(Benchmark):
            "Three questions."
            num: int = 3
            def samples(self):
                for n in range(self.num):
                    yield Sample(id=str(n), turns=(Turn(role="user", content=("Yes?",)),), references=("yes",))
            def grade(self, sample, answer, scoring): return Score(value=float(answer.text == "yes"))
        """) + hook("benchmarks", "return {'good-three': Three}")
        + "def both(settings): return [{'use': 'good-three', 'name': name} for name in ('x', 'y')]\n"
        + hook("benchmark_groups", "return {'good-both': both}"),
    ),
    Outside(
        "good-solver",
        dedent("""
        class Plain(Solver):
            "Asks once."
            def solve(self, samples, ask, generation):
                return ask([Request(sample_id=s.id, turns=s.turns, generation=generation) for s in samples])
        """) + hook("solvers", "return {'good-plain': Plain}"),
    ),
    Outside(
        "good-metric",
        "class Half(Metric):\n    'x'\n    def compute(self, scores): return 0.5\n"
        + hook("metrics", "return {'good-half': Half}"),
    ),
    Outside(
        "good-modality",
        dedent("""
        class Dot(Modality):
            "A white dot."
            def probe(self, media): return (1, 1)
            def load(self, media, at_most=None): return np.full((1, 1, 3), 255, dtype=np.uint8)
        """) + hook("modalities", "return {'good-dot': Dot}"),
        head="import numpy as np\n" + HEAD,
    ),
    Outside(
        "good-listener",
        hook("run_event", "open(os.environ.get('HEARD', os.devnull), 'a').write(event.kind + '\\n')", "event"),
        head="import os\n" + HEAD,
    ),
    Outside(
        "good-command",
        "def greet(name: str = 'you'):\n    'Says hello.'\n    print('hello', name)\n"
        "def fail():\n    'Fails.'\n    raise KeyError('lost')\n"
        + hook("commands", "return {'greet': greet, 'fail': fail}"),
    ),
)  # fmt: skip
"""One for each hook that works without training; the offered names begin with ``good-``."""
