"""Many questions to one server: never more at a time than allowed, answers as they come, an end when it is gone."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from infimed_core import Answer, DataError, MediaLoader, Request
from infimed_plugins.endpoint.messages import Asking, make_body, read_reply
from infimed_plugins.endpoint.pictures import Pictures
from infimed_plugins.http.addresses import doubt_of
from infimed_plugins.http.transport import CallError, Patience, Server

HOPELESS = ("not_allowed", "not_found", "redirected", "certificate", "not_this_machine")
"""Failures that every question will meet as well, if none has been answered yet."""
ABSENT = ("connection_refused", "unknown_host")
"""Failures that, at the end of patience, mean that there is no server, whatever it was asked."""
LOST_IN_A_ROW = 3
"""Questions that lose their patience to other failures, with no answer in between, before the rest is not asked.

One alone may be the question's own doing.
"""


@dataclass(frozen=True)
class AskingOptions:
    """How a server is asked: the settings of the body, how many at a time, how long, and whom to keep from it."""

    asking: Asking
    patience: Patience
    concurrency: int
    allow_identified: bool


@dataclass
class Standing:
    """What a server showed when it was asked before: one that was gone is tried without patience until it answers.

    Otherwise every benchmark of a run would wait for it as long as the first did.
    """

    is_gone: bool = False


def ask_all(
    options: AskingOptions,
    server: Server,
    model: str,
    requests: Sequence[Request],
    media: MediaLoader,
    standing: Standing,
) -> Iterator[Answer]:
    """One answer per request, in the order in which they come."""
    asked = _Questions(options, server, model, requests, media, standing)
    for number in range(min(options.concurrency, len(requests))):
        # daemons: a user who stops the run does not wait for answers that nobody will read
        threading.Thread(target=asked.work, name=f"endpoint-{number}", daemon=True).start()
    try:
        for _ in requests:
            yield asked.answers.get()
    finally:
        asked.stopped.set()


class _Questions:
    """The questions of one call, shared by the threads that ask them."""

    def __init__(
        self,
        options: AskingOptions,
        server: Server,
        model: str,
        requests: Sequence[Request],
        media: MediaLoader,
        standing: Standing,
    ) -> None:
        self._server, self._model, self._standing = server, model, standing
        self._asking, self._patience = options.asking, options.patience
        self._pictures = Pictures(media, self._asking.max_image_side, self._asking.image_format)
        self._guarded = not options.allow_identified and not server.is_own
        self._waiting = iter(requests)
        self._lock = threading.Lock()
        self._answered = False
        self._lost = 0
        self._given_up: str | None = None
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.stopped = threading.Event()

    def work(self) -> None:
        """Ask one question after the other until none waits."""
        while not self.stopped.is_set():
            with self._lock:
                request = next(self._waiting, None)
            if request is None:
                return
            try:
                answer = self._ask(request)
            except (CallError, DataError) as error:
                told = str(error) if isinstance(error, CallError) else f"{error.code}: {error}"
                answer = Answer(sample_id=request.sample_id, error=told)
            except Exception as error:
                answer = Answer(sample_id=request.sample_id, error=f"{type(error).__name__}: {error}")
            self.answers.put(self._without_key(answer))

    def _without_key(self, answer: Answer) -> Answer:
        """The answer as it may be kept: pieces that were harmless apart may be the key together."""
        if not self._server.secret.is_known:
            return answer
        said = answer.model_dump(exclude={"sample_id"})
        return Answer.model_validate({"sample_id": answer.sample_id, **self._server.secret.hide_in(said)})

    def _ask(self, request: Request) -> Answer:
        doubt = doubt_of(request.tags)
        if self._guarded and doubt is not None:
            raise DataError(
                "identified",
                f"the sample is tagged identity={doubt} and {self._server.base_url} is another machine, so it was "
                "not sent; take it out, ask a local server, or set allow_identified: true if you may send it",
            )
        if self._given_up is not None:
            raise CallError("not_asked", self._given_up)
        body = make_body(request, self._model, self._asking, self._pictures)
        empty: list[Answer] = []
        try:
            patience = replace(self._patience, max_retries=0) if self._standing.is_gone else self._patience
            return patience.call(lambda: self._exchange(body, request, empty), self.stopped)
        except CallError as error:
            if empty and error.code == "empty_answer":
                return empty[-1]  # it stays so: that is what the model says
            self._consider(error)
            raise

    def _exchange(self, body: dict[str, object], request: Request, empty: list[Answer]) -> Answer:
        """One try; an answer that is empty for no reason that it tells goes to ``empty`` and is a fault."""
        if self._given_up is not None:
            raise CallError("not_asked", self._given_up)
        answer = read_reply(self._server.exchange("/chat/completions", body), request)
        with self._lock:
            self._answered, self._lost, self._standing.is_gone = True, 0, False
        is_empty = not (answer.text or answer.transcript or answer.log_likelihoods)
        if is_empty and answer.finish_reason in (None, "stop"):
            empty.append(answer)
            raise CallError("empty_answer", "the server replied with an empty answer", retry=True)
        return answer

    def _consider(self, error: CallError) -> None:
        """Give up on the rest where it would fail as well, instead of waiting out the patience of each."""
        with self._lock:
            self._lost += error.retry
            hopeless = error.code in HOPELESS and not self._answered
            gone = self._lost >= (1 if error.code in ABSENT else LOST_IN_A_ROW)
            if (hopeless or gone) and error.code != "not_asked":
                self._given_up = str(error)
                self._standing.is_gone = not error.reached
