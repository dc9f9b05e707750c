"""A real `transformers serve`, asked over HTTP, against the same checkpoint asked in this process."""

import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request

import forked
import pytest

from infimed_core import Generation, Media, MediaLoader, Request, Turn
from infimed_core.models.answer_cache import AnswerCache
from infimed_core.testing import make_image
from infimed_plugins.endpoint.model import OpenAICompatible
from infimed_plugins.image.modality import Image as ImageModality
from infimed_plugins.vlm.assemble import Assemble
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.vocabulary import CHAT_TEMPLATE, train_tokenizer

pytestmark = pytest.mark.slow

MEDIA = MediaLoader({"image": ImageModality()})
WORDS = (
    "axial", "coronal", "sagittal", "slice", "brain", "liver", "chest", "plane", "organ", "left", "right", "upper",
    "lower", "bright", "dark", "lesion",
)  # fmt: skip
SIDE = 48


def make_checkpoint(directory):
    """A LLaVA-type model of a tiny SigLIP and a tiny Qwen3, with random weights and everything a server needs."""
    import torch
    import transformers

    torch.set_num_threads(1)
    tokenizer = train_tokenizer([f"Which {word} is this? {word} or {WORDS[0]}" for word in WORDS] * 4, 600)
    tokenizer.chat_template = CHAT_TEMPLATE
    language = transformers.Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, initializer_range=0.2,
    )  # fmt: skip
    vision = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
        patch_size=16, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.Qwen3ForCausalLM(language).save_pretrained(directory / "language")
        transformers.SiglipVisionModel(vision).save_pretrained(directory / "vision")
    tokenizer.save_pretrained(directory / "language")
    pixels = transformers.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    pixels.save_pretrained(directory / "vision")
    parts = {"vision": str(directory / "vision"), "language": str(directory / "language")}
    model = Assemble(**parts, projector={"pool": None}, device="cpu")
    return model.prepare(directory / "model", list, 0)


class Served:
    """`transformers serve` as a process of its own, on one port, started and killed at will."""

    def __init__(self, checkpoint, log, pinned=True):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.checkpoint, self.log, self.process, self.pinned = checkpoint, log, None, pinned
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def start(self):
        command = ["-m", "transformers.cli.transformers", "serve", *([self.checkpoint] if self.pinned else [])]
        command += ["--host", "127.0.0.1", "--port", self.port, "--device", "cpu"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = forked.start(command, environment, self.log)

    def wait_until_ready(self):
        for _ in range(3000):
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("transformers cannot serve here: pip install 'transformers[serving]'")
    directory = tmp_path_factory.mktemp("serve")
    server = Served(make_checkpoint(directory), directory / "server.log")
    server.start()
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


def make_requests(count):
    """Questions of different lengths with no, one or two images, before, between and after the text."""
    images = [Media(data=make_image(40 + 7 * n, 90 - 5 * n, seed=n)) for n in range(8)]
    shapes = [("{}",), (0, "{}"), ("{}", 0), (0, "{}", 1)]
    requests = []
    for number in range(count):
        word, other = WORDS[number % len(WORDS)], WORDS[number * 7 // 3 % len(WORDS)]
        text = f"Question {number}: which {word} is this?" + f" {other} or {word}?" * (number % 5)
        content = tuple(part.format(text) if isinstance(part, str) else part for part in shapes[number % len(shapes)])
        media = (images[number % 8], images[(number * 3 + 1) % 8])
        requests.append(
            Request(
                sample_id=str(number),
                turns=(Turn(role="user", content=content),),
                media=media,
                generation=Generation(max_new_tokens=6),
            )
        )
    return requests


def local_answers(checkpoint, requests):
    loaded = Transformers(checkpoint=str(checkpoint), device="cpu", answer_batch_size=32).load(checkpoint)
    return {answer.sample_id: answer for answer in loaded.answer(requests, MEDIA)}


def endpoint(served, **settings):
    patient = {
        "max_retries": 600,
        "first_wait_seconds": 0.2,
        "longest_wait_seconds": 0.5,
    }  # a loaded machine starts slowly
    return OpenAICompatible(base_url=served.url, model=str(served.checkpoint), **{**patient, **settings}).load(None)


def test_200_questions_at_concurrency_16_equal_the_local_back_end(served):
    requests = make_requests(200)
    remote = {answer.sample_id: answer for answer in endpoint(served).answer(requests, MEDIA)}
    local = local_answers(served.checkpoint, requests)
    assert len(remote) == len(local) == 200
    assert [answer.error for answer in (*remote.values(), *local.values()) if answer.error] == []
    assert {name: answer.text for name, answer in remote.items()} == {name: a.text for name, a in local.items()}
    assert {name: answer.num_prompt_tokens for name, answer in remote.items()} == {
        name: answer.num_prompt_tokens for name, answer in local.items()
    }
    assert len({answer.text for answer in local.values()}) > 50  # the questions and images matter


def test_a_server_killed_in_the_middle_and_started_again_loses_nothing_and_answers_nothing_twice(served, tmp_path):
    requests = make_requests(200)
    done = 0
    half_way, started = threading.Event(), threading.Event()

    def kill_and_restart():
        assert half_way.wait(300)
        served.kill()
        answered.append(done)
        served.start()
        started.set()

    answered = []
    nurse = threading.Thread(target=kill_and_restart)
    nurse.start()

    def progress(count):
        nonlocal done
        done += count
        if done == 60:
            half_way.set()

    cache = AnswerCache(tmp_path / "cache.jsonl", "served")
    answers = cache.ask(endpoint(served), MEDIA, requests, progress)
    nurse.join()
    assert started.is_set() and 60 <= answered[0] < 200 and served.process.poll() is None
    assert [answer.error for answer in answers if answer.error] == []
    local = local_answers(served.checkpoint, requests)
    assert [answer.text for answer in answers] == [local[request.sample_id].text for request in requests]
    keys = [json.loads(line)["key"] for line in (tmp_path / "cache.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 200
    again = AnswerCache(tmp_path / "cache.jsonl", "served")
    assert again.ask(endpoint(served), MEDIA, requests, lambda count: None) == answers
    assert (again.num_asked, again.num_reused) == (0, 200)
