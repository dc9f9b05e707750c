"""A verifier that is a real checkpoint, loaded here or behind a real server process, is asked and read alike."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_endpoint_serve import MEDIA, endpoint, served  # noqa: F401  (a fixture)

from infimed_core import Answer, ComponentRef, Sample, Score, Turn
from infimed_plugins.medevalkit.judging import judge_open
from infimed_plugins.medevalkit.verifier import Verifier

pytestmark = pytest.mark.slow

SHORT = "{question} {reference} {answer} Judgement:"
"""As long as the small model's context takes."""
OPEN = [
    ("What is seen?", "pneumonia", "The lung is hazy, which may be pneumonia or fluid."),
    ("Where is the lesion?", "liver", "It lies below the diaphragm, on the right."),
    ("What organ is this?", "kidney", "A bean-shaped organ of the abdomen."),
]


def test_a_local_checkpoint_and_a_server_decide_alike(served):  # noqa: F811
    local = {"use": "transformers", "with": {"checkpoint": str(served.checkpoint), "device": "cpu"}}
    remote = {
        "use": "openai-compatible",
        "with": {"base_url": served.url, "model": str(served.checkpoint), "max_retries": 600},
    }
    asked, scores = [], []
    for model in (local, remote):
        loaded = Verifier(model=ComponentRef.model_validate(model), format="xverify", prompt=SHORT).load(
            served.checkpoint
        )
        replies = []

        def ask(requests, model=None, loaded=loaded, replies=replies):
            by_id = {answer.sample_id: answer for answer in loaded.answer(requests, MEDIA)}
            replies += [by_id[request.sample_id].text for request in requests]
            return [by_id[request.sample_id] for request in requests]

        samples = [
            Sample(
                id=str(number), turns=(Turn(role="user", content=(question,)),),
                meta={"record": {"question": question, "answer": reference}},
            )
            for number, (question, reference, _) in enumerate(OPEN)
        ]  # fmt: skip
        answers = [Answer(sample_id=str(number), text=text) for number, (_, _, text) in enumerate(OPEN)]
        ruled = [Score(status="unscored", reasons=("needs_judge",)) for _ in OPEN]
        scores.append(judge_open([True] * len(OPEN), samples, answers, ruled, ask))
        asked.append(replies)
    assert asked[0] and asked[0] == asked[1] and scores[0] == scores[1]
    for score in scores[0]:  # a model of random weights seldom gives a verdict: then the answer stays unscored
        assert score.value in (0.0, 1.0) or score.reasons == ("bad_verdict",)
    assert json.dumps(asked[0])
