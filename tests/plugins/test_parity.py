"""A trainer and its server side by side: real servers with planted differences, each found and named."""

from __future__ import annotations

import importlib.machinery
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import typer
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from test_endpoint_serve import Served, make_checkpoint

from infimed_core import Answer, InfimedError, load_plugins
from infimed_core.cli import application
from infimed_core.testing import make_image
from infimed_plugins.checkpoints.parity import Pair, diagnose
from infimed_plugins.checkpoints.places import make_model
from infimed_plugins.checkpoints.probes import make_probes


def run(*arguments: str, stdin: str | None = None):
    registry = load_plugins()
    return CliRunner().invoke(application(registry, arguments[0]), list(arguments), input=stdin)


# -- what is told of counts and answers alone --------------------------------------------------------------------

PROBES = make_probes(8, with_images=True)


def pairs_of(there=lambda probe, here: {}):
    pairs = []
    for number, probe in enumerate(PROBES):
        here = Answer(
            sample_id=probe.name, text=f"answer {number}", num_prompt_tokens=20 + number, finish_reason="stop"
        )
        pairs.append(Pair(probe, here, here.model_copy(update=there(probe, here))))
    return pairs


def kinds(pairs, base=None, types=None):
    return [finding.kind for finding in diagnose(pairs, base, types or {})]


def with_text(text):
    return lambda: {probe.name: Answer(sample_id=probe.name, text=text(probe)) for probe in PROBES}


def test_equal_answers_and_counts_are_no_finding():
    assert kinds(pairs_of()) == []


def test_a_template_shows_in_prompts_of_text_and_is_told_alone():
    constant = pairs_of(lambda probe, here: {"num_prompt_tokens": here.num_prompt_tokens + 9, "text": "other"})
    (finding,) = diagnose(constant, None, {})
    assert finding.kind == "template" and "every prompt has 9 tokens more" in finding.seen
    by_turns = pairs_of(
        lambda probe, here: {"num_prompt_tokens": here.num_prompt_tokens - len(probe.request.turns), "text": "x"}
    )
    assert kinds(by_turns) == ["template"]


def test_image_sizes_show_in_prompts_with_images_alone():
    larger = pairs_of(lambda probe, here: {"num_prompt_tokens": here.num_prompt_tokens + 100 * probe.num_images})
    assert kinds(larger) == ["image size"]


def test_a_server_that_gives_the_answers_of_the_base_has_not_loaded_the_adapter():
    pairs = pairs_of(lambda probe, here: {"text": f"base says {probe.name}"})
    base = with_text(lambda probe: f"base says {probe.name}")
    assert kinds(pairs, base) == ["adapter not loaded"]
    assert kinds(pairs, with_text(lambda probe: "something else")) == ["weights"]


def test_types_ends_pixels_and_weights_are_told_apart():
    rounding = pairs_of(lambda probe, here: {"text": "rounded"} if "image" in probe.name else {})
    types = {"bfloat16": with_text(lambda probe: "rounded" if "image" in probe.name else "x")}
    del types["bfloat16"]
    assert kinds(rounding) == ["image processing"]
    here = {pair.probe.name: pair.here.text for pair in pairs_of()}
    as_server = {"bfloat16": with_text(lambda probe: "rounded" if "image" in probe.name else here[probe.name])}
    assert kinds(rounding, None, as_server) == ["dtype"]
    assert kinds(pairs_of(lambda probe, here: {"text": f"{here.text} and on"})) == ["end token"]
    assert kinds(pairs_of(lambda probe, here: {"text": "other"})) == ["weights"]


def test_a_refusal_is_told_with_its_reason():
    (finding,) = diagnose(pairs_of(lambda probe, here: {"text": None, "error": "no such model"}), None, {})
    assert finding.kind == "refused" and "no such model" in finding.seen


# -- a real server -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("transformers cannot serve here: pip install 'transformers[serving]'")
    directory = tmp_path_factory.mktemp("served")
    served = Served(make_checkpoint(directory), directory / "server.log", pinned=False)
    served.start()
    try:
        served.wait_until_ready()
        yield served
    finally:
        served.kill()


def edit(directory: Path, name: str, change) -> None:
    file = directory / name
    body = json.loads(file.read_text(encoding="utf-8"))
    change(body)
    file.write_text(json.dumps(body), encoding="utf-8")


def system_in_template(copy: Path) -> None:
    file = copy / "chat_template.jinja"
    file.write_text("<|im_start|>system\nYou help.<|im_end|>\n" + file.read_text(encoding="utf-8"), encoding="utf-8")


def other_pad_token(copy: Path) -> None:
    edit(copy, "tokenizer_config.json", lambda body: body.update(pad_token="<|im_start|>"))


def larger_images(copy: Path) -> None:
    """Twice the side: four times the patches, and positions that the tower fills in."""
    from safetensors.torch import load_file, save_file

    name = "processor_config.json" if (copy / "processor_config.json").is_file() else "preprocessor_config.json"

    def change(body):
        body.get("image_processor", body)["size"] = {"height": 96, "width": 96}

    edit(copy, name, change)
    if (copy / "preprocessor_config.json").is_file() and name != "preprocessor_config.json":
        edit(copy, "preprocessor_config.json", lambda body: body.update(size={"height": 96, "width": 96}))
    edit(copy, "config.json", lambda body: body["vision_config"].update(image_size=96))
    weights = load_file(copy / "model.safetensors")
    (position,) = [key for key in weights if key.endswith("position_embedding.weight")]
    weights[position] = weights[position].repeat(4, 1).contiguous()
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})


def in_bfloat16(copy: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = {key: tensor.to(torch.bfloat16) for key, tensor in load_file(copy / "model.safetensors").items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})

    def change(body):
        for part in (body, body.get("text_config", {}), body.get("vision_config", {})):
            part["dtype"] = "bfloat16"

    edit(copy, "config.json", change)


def an_adapter(checkpoint: Path, directory: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    module = AutoModelForImageTextToText.from_pretrained(checkpoint)
    config = LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|up_proj)")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        made = get_peft_model(module, config)
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    made.save_pretrained(directory)
    return directory


PLANTED = {
    "template": (system_in_template, "template"),
    "pad": (other_pad_token, "pad token"),
    "images": (larger_images, "image size"),
    "type": (in_bfloat16, "dtype"),
}


@pytest.mark.slow
def test_a_server_of_the_same_checkpoint_has_no_difference(server):
    result = run("parity", str(server.checkpoint), "--server", server.url, "--model", str(server.checkpoint))
    assert result.exit_code == 0, result.output
    assert "no difference in 9 questions" in result.output
    for step in ("opening", "asking 9 questions here", "asking 9 questions there", "which files it opened"):
        assert step in result.stderr  # none of these steps waits in silence


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_and_named(server, tmp_path, name):
    plant, kind = PLANTED[name]
    copy = tmp_path / "served"
    shutil.copytree(server.checkpoint, copy)
    plant(copy)
    result = run("parity", str(server.checkpoint), "--server", server.url, "--model", str(copy), "--json")
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    found = [finding["kind"] for finding in told["findings"]]
    assert kind in found and set(found) <= {kind, "image processing"}
    assert all(row["prompt_here"] for row in told["questions"])
    if name != "pad":  # it changes no single answer, and shows in the files alone
        nowhere = tmp_path / "nowhere"
        nowhere.mkdir()
        blind = run(
            "parity", str(server.checkpoint), "--server", server.url, "--model", str(copy), "--served", str(nowhere),
            "--json",
        )  # fmt: skip
        assert [finding["kind"] for finding in json.loads(blind.stdout)["findings"]] == [kind]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_that_the_server_did_not_load_is_named(server, tmp_path):
    adapter = an_adapter(server.checkpoint, tmp_path / "adapter")
    result = run("parity", str(adapter), "--server", server.url, "--model", str(server.checkpoint), "--json")
    assert [finding["kind"] for finding in json.loads(result.stdout)["findings"]] == ["adapter not loaded"]
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    blind = run(
        "parity", str(adapter), "--server", server.url, "--model", str(server.checkpoint), "--served", str(nowhere),
        "--json",
    )  # fmt: skip
    assert [finding["kind"] for finding in json.loads(blind.stdout)["findings"]] == ["adapter not loaded"]


@pytest.mark.slow
def test_ask_gives_the_answer_of_the_checkpoint_and_of_its_server(server, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(make_image(60, 80, seed=2))
    options = ["Which organ is this?", "--image", str(picture), "--max-new-tokens", "6", "--json"]
    local = json.loads(run("ask", str(server.checkpoint), *options).stdout)
    remote = json.loads(run("ask", server.url, *options, "--model", str(server.checkpoint)).stdout)
    assert local["text"] and local["num_prompt_tokens"] > 9
    assert (local["text"], local["num_prompt_tokens"]) == (remote["text"], remote["num_prompt_tokens"])


def test_mistakes_of_ask_are_one_line(tmp_path):
    for arguments, text in (
        (("ask", str(tmp_path / "nowhere"), "hello"), "no such directory"),
        (("ask", str(tmp_path), "hello"), "holds no config.json"),
        (("ask", str(tmp_path), "hello", "--image", str(tmp_path / "x.png")), "no such file"),
    ):
        result = run(*arguments)
        assert text in str(result.exception), result.exception


def test_a_chat_remembers_and_tells_what_it_cannot_do(tmp_path):
    from infimed_core import Generation
    from infimed_core.testing import make_image
    from infimed_plugins.checkpoints.conversation import Conversation

    asked = []

    class Echo:
        def answer(self, requests, media):
            (request,) = requests
            asked.append(request)
            yield Answer(sample_id=request.sample_id, text=f"answer {len(request.turns)}")

    picture = tmp_path / "picture.png"
    picture.write_bytes(make_image(60, 80, seed=2))
    talk = Conversation(Echo(), load_plugins().media_loader(), Generation(), "Be short.")
    import io

    from infimed_plugins.checkpoints import ask_command

    lines = (
        f"/image {picture}\nWhat is this?\n/nonsense\n/image {tmp_path}/none.png\nAnd now?\n/new\nHello\n/quit\nnever\n"
    )
    sys_stdin, sys.stdin = sys.stdin, io.StringIO(lines)
    try:
        ask_command.chat(talk)
    except typer.Exit:
        pass
    finally:
        sys.stdin = sys_stdin
    assert [[turn.role for turn in request.turns] for request in asked] == [
        ["system", "user"], ["system", "user", "assistant", "user"], ["system", "user"],
    ]  # fmt: skip
    assert asked[0].turns[1].content == (0, "What is this?") and len(asked[1].media) == 1
    assert asked[2].media == ()


TERMINAL = """
import time
from infimed_core import Answer, Generation, load_plugins
from infimed_plugins.checkpoints.ask_command import chat
from infimed_plugins.checkpoints.conversation import Conversation

class Echo:
    def answer(self, requests, media):
        (request,) = requests
        if request.turns[-1].content[-1] == "slow":
            print("thinking", flush=True)
            time.sleep(60)
        yield Answer(sample_id="a", text=f"answer to {[turn.content[-1] for turn in request.turns][::2]}")

chat(Conversation(Echo(), load_plugins().media_loader(), Generation()))
print("over")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_a_chat_in_a_terminal_edits_lines_and_a_key_ends_an_answer_but_not_the_chat():
    import fcntl
    import os
    import pty
    import select
    import signal
    import subprocess
    import termios
    import time

    person, terminal = pty.openpty()

    def as_a_terminal_does() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test in the background would hand on that it is ignored

    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        preexec_fn=as_a_terminal_does,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    shown = ""

    def read_until(text: str) -> None:
        nonlocal shown
        end = time.monotonic() + 120
        while text not in shown:
            assert select.select([person], [], [], max(0.0, end - time.monotonic()))[0], shown
            try:
                shown += os.read(person, 4096).decode()
            except OSError:  # the other side is gone
                assert text in shown
        shown = shown.split(text, 1)[1]

    try:
        for keys, wanted in (
            ("helo\x02l\r", "answer to ['hello']"),  # one to the left, and the letter that was left out
            ("\x1b[A\x1b[D\x1b[C again\r", "answer to ['hello', 'hello again']"),
            ("slow\r", "thinking"),
            ("\x03", "(stopped: the question is as if never asked)"),
            ("more\r", "answer to ['hello', 'hello again', 'more']"),
            ("\x04", "over"),
        ):
            if wanted not in ("(stopped: the question is as if never asked)",):
                read_until("> ")
            os.write(person, keys.encode())
            read_until(wanted)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(person)


def test_a_stage_is_found_by_the_name_of_its_run(tmp_path):
    from infimed_core import InfimedError
    from infimed_plugins.checkpoints.places import find_place

    with pytest.raises(InfimedError, match="no such directory"):
        make_model(load_plugins(), str(tmp_path / "run" / "stage"))
    assert find_place("owner/name").name == "owner/name"


class Answering:
    """Stands in for a model: says ``text``, in a checkpoint whose base is ``base``, from files at ``root``."""

    def __init__(self, text: str, checkpoint: Path, base: Path, root: Path | None = None) -> None:
        self.text, self.root = text, root
        self.encoder = SimpleNamespace(checkpoint=checkpoint, base=base, pixels=None)

    def load(self, checkpoint: None) -> Answering:
        return self

    def answer(self, requests: list[Any], media: Any) -> list[Answer]:
        return [
            Answer(sample_id=one.sample_id, text=self.text, num_prompt_tokens=9, finish_reason="length")
            for one in requests
        ]

    def describe(self) -> dict[str, Any]:
        return {"served": {"root": str(self.root)}, "on_this_machine": True} if self.root else {}


@pytest.mark.parametrize(
    ("text", "root", "served", "found"),
    [
        ("adapted", None, True, []),  # the base was named on purpose, and the adapter is on top of it
        ("plain", None, True, ["adapter not loaded"]),
        ("adapted", "base", False, ["adapter not loaded"]),  # an adapter so weak that no answer shows it
        ("adapted", "adapter", False, []),  # as vLLM says it of an adapter's name
    ],
)
def test_the_base_named_as_served_is_no_adapter_left_out(tmp_path, monkeypatch, text, root, served, found):
    from infimed_plugins.checkpoints import parity_command

    adapter, base = tmp_path / "adapter", tmp_path / "base"
    for place in (adapter, base):
        place.mkdir()
        (place / "config.json").write_text("{}", encoding="utf-8")
    made = {
        str(adapter): Answering("adapted", adapter, base),
        str(base): Answering("plain", base, base),
        "http://127.0.0.1:1/v1": Answering(text, base, base, tmp_path / root if root else None),
    }
    monkeypatch.setattr(parity_command, "make_model", lambda registry, name, **settings: made[name])
    arguments = ("parity", str(adapter), "--server", "http://127.0.0.1:1/v1", "--model", "m", "--json")
    result = run(*arguments, *(("--served", str(base)) if served else ()))
    assert [finding["kind"] for finding in json.loads(result.stdout)["findings"]] == found
    assert result.exit_code == bool(found)


# -- an engine in place of a server -----------------------------------------------------------------------------


def test_without_vllm_the_engine_is_one_line_with_the_remedy_and_nothing_is_loaded(tmp_path):
    result = run("parity", str(tmp_path / "nowhere"), "--engine", "vllm")
    assert isinstance(result.exception, InfimedError)
    assert str(result.exception).startswith("--engine vllm: vLLM is not installed here; pip install 'infimed[vllm]'")
    for arguments in ((), ("--engine", "vllm", "--server", "http://127.0.0.1:1/v1")):
        assert "--server URL, or --engine vllm" in str(run("parity", str(tmp_path), *arguments).exception)


class Llm:
    """Stands in for what only a GPU can run: vLLM's engine, here one that answers from the checkpoint itself."""

    given: ClassVar[dict[str, Any]] = {}
    changed = ""

    def __init__(self, **given: Any) -> None:
        type(self).given = given

    def chat(self, messages: list[Any], sampling_params: list[Any], **more: Any) -> list[Any]:
        registry = load_plugins()
        model = make_model(registry, self.given["model"], answer_batch_size=1).load(None)
        probes = {str(conversation): probe for conversation, probe in zip(messages, self.probes, strict=True)}
        answers = model.answer([probe.request for probe in probes.values()], registry.media_loader())
        found = {answer.sample_id: answer for answer in answers}
        return [
            SimpleNamespace(
                prompt_token_ids=[0] * (found[probe.name].num_prompt_tokens or 0),
                outputs=[SimpleNamespace(
                    text=(found[probe.name].text or "") + self.changed, finish_reason="length",
                    token_ids=[0] * (found[probe.name].num_answer_tokens or 0))],
            )
            for probe in probes.values()
        ]  # fmt: skip


@pytest.mark.parametrize("changed", ["", " and more"])
def test_the_engine_is_asked_what_the_trainer_is_and_a_difference_is_named(tmp_path, monkeypatch, changed):
    checkpoint = make_checkpoint(tmp_path / "model")
    vllm, inner = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    vllm.LLM, vllm.SamplingParams, inner.StructuredOutputsParams = Llm, dict, dict
    vllm.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", inner)
    monkeypatch.setattr(Llm, "changed", changed)
    monkeypatch.setattr(Llm, "probes", make_probes(4, with_images=True), raising=False)
    result = run("parity", str(checkpoint), "--engine", "vllm", "--max-new-tokens", "4")
    assert Llm.given["model"] == str(checkpoint) and Llm.given["trust_remote_code"] is False
    assert result.exit_code == (1 if changed else 0), result.output
    assert ("weights:" if changed else "no difference in") in result.output.replace("dtype:", "weights:")
