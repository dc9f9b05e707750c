"""Whether a sample's answers end as sentences do."""

from collections.abc import Sequence

from infimed_core import MediaLoader, Sample, Score, Scorer


class FullStop(Scorer):
    """1 where every answer ends with a full stop, 0 elsewhere; ``None`` without an answer. It has no dimensions."""

    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        scores = []
        for sample in samples:
            answers = [turn.text.strip() for turn in sample.turns if turn.role == "assistant"]
            if answers:
                scores.append(Score(value=float(all(answer.endswith(".") for answer in answers))))
            else:
                scores.append(Score(status="unscored", reasons=("no_answer",)))
        return scores
