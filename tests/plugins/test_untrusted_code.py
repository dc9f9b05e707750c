"""Nothing that a checkpoint or a task file brings is run unless the run file says so."""

import ast
import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from infimed_core import DataError, InfimedError
from infimed_plugins.embedding.encoder import open_encoder
from infimed_plugins.lm_eval.benchmark import LmEvalTask
from infimed_plugins.vlm.assemble import Assemble
from infimed_plugins.vlm.checkpoint import Transformers, read_config

ROOT = Path(__file__).parents[2]
OPENING = ("from_pretrained", "from_config", "_from_config", "LLM")
"""Calls that can run code of what they open, where it brings some."""


def unsaid(source: str) -> list[int]:
    """Lines of calls that open a checkpoint and do not say ``trust_remote_code``, or say it by a constant True."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in OPENING:
            continue
        said = {keyword.arg: keyword.value for keyword in node.keywords}.get("trust_remote_code")
        off = isinstance(said, ast.Constant) and said.value is False
        setting = getattr(said, "attr", getattr(said, "id", "")) == "trust_remote_code"
        if not (off or setting):
            found.append(node.lineno)
    return found


def test_whatever_opens_a_checkpoint_says_by_a_setting_whether_its_code_is_run() -> None:
    files = [*(ROOT / "infimed_core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    assert {f"{file}:{line}" for file in files for line in unsaid(file.read_text(encoding="utf-8"))} == set()


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("A.from_pretrained(p)", [1]), ("A.from_pretrained(p, trust_remote_code=True)", [1]),
        ("A.from_config(c, **k)", [1]), ("\nvllm.LLM(model=m)", [2]),
        ("A.from_pretrained(p, trust_remote_code=x)", [1]),
        ("A.from_pretrained(p, trust_remote_code=False)", []),
        ("A.from_pretrained(p, trust_remote_code=self.trust_remote_code)", []),
    ],
)  # fmt: skip
def test_a_new_call_that_says_nothing_of_code_is_found(source: str, lines: list[int]) -> None:
    assert unsaid(source) == lines


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Questions on standard input, each answered with a yes."""
    questions: list[str] = []

    def yes(prompt: str = "") -> str:
        questions.append(prompt)
        return "y"

    monkeypatch.setattr(builtins, "input", yes)
    monkeypatch.setattr("transformers.dynamic_module_utils.TIME_OUT_REMOTE_CODE", 15)
    return questions


def checkpoint_with_code(folder: Path, **config: Any) -> tuple[Path, Path]:
    """A checkpoint whose configuration, model, tokenizer and processor are code; and the file that this code writes."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "code-was-run"
    (folder / "evil.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom transformers import PreTrainedConfig, PreTrainedModel\n"
        "class Config(PreTrainedConfig):\n    model_type = 'evil'\n"
        "class Model(PreTrainedModel):\n    config_class = Config\n"
    )
    names = {name: f"evil.{'Config' if name == 'AutoConfig' else 'Model'}" for name in (
        "AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoImageProcessor",
    )}  # fmt: skip
    body = {"model_type": "evil", "auto_map": names, **config}
    (folder / "config.json").write_text(json.dumps(body))
    (folder / "preprocessor_config.json").write_text(json.dumps({"auto_map": names}))
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Model", "evil.Model"]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder, mark


def test_an_embedding_checkpoint_with_code_is_refused_and_nobody_is_asked(tmp_path: Path, asked: list[str]) -> None:
    folder, mark = checkpoint_with_code(tmp_path / "evil")
    with pytest.raises(InfimedError, match="custom code"):
        open_encoder(str(folder), None, 4, "cpu")
    assert not mark.exists() and asked == []


@pytest.mark.parametrize("part", ["vision", "language"])
def test_parts_with_code_are_not_assembled_and_nobody_is_asked(tmp_path: Path, asked: list[str], part: str) -> None:
    evil, mark = checkpoint_with_code(tmp_path / "evil")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text(json.dumps({"model_type": "siglip_vision_model"}))
    parts = {"vision": str(plain), "language": str(plain)} | {part: str(evil)}
    with pytest.raises((DataError, ValueError, OSError)):
        Assemble(**parts).prepare(tmp_path / "made", list, 0)
    assert not mark.exists() and asked == []


def test_a_model_with_code_is_opened_only_where_the_run_file_trusts_it(tmp_path: Path, asked: list[str]) -> None:
    folder, mark = checkpoint_with_code(tmp_path / "evil")
    with pytest.raises(DataError, match="custom code"):
        Transformers(checkpoint=str(folder)).load(folder)
    assert not mark.exists() and asked == []
    assert read_config(folder, trust_remote_code=True).model_type == "evil"
    assert mark.exists() and asked == []


TASK = """\
task: trap
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: {question}
doc_to_target: "x"
"""


@pytest.mark.parametrize("question", ["!function trap.question", '"{{ cycler.__init__.__globals__.os.mkdir(mark) }}"'])
def test_task_files_of_a_folder_are_read_only_where_the_run_file_trusts_them(tmp_path: Path, question: str) -> None:
    mark, data = tmp_path / "code-was-run", tmp_path / "data.json"
    data.write_text(json.dumps({"mark": str(mark)}))
    (tmp_path / "trap.py").write_text(f"open({str(mark)!r}, 'w').close()\ndef question(doc):\n    return ''\n")
    (tmp_path / "trap.yaml").write_text(TASK.format(data=data, question=question))
    task = LmEvalTask(task="trap", include_path=str(tmp_path))
    assert "trust_code: true" in task.problems({})["include_path"]
    assert "!function" in task.problems({})["include_path"]
    with pytest.raises(DataError, match="trust_code: true"):
        list(task.samples())
    assert not mark.exists()
    assert LmEvalTask(task="trap", include_path=str(tmp_path), trust_code=True).problems({}) == {}


@pytest.mark.parametrize("name", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("chosen", ["evil/kernels", "eager", {"": "evil/kernels"}])
@pytest.mark.parametrize("place", ["whole", "parts"])
def test_a_checkpoint_cannot_choose_the_code_of_its_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chosen: object, place: str
) -> None:
    from transformers import CLIPConfig, CLIPModel

    fetched: list[str] = []
    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", lambda *a, **k: fetched.append(a[0]))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 8, "bos_token_id": 1, "eos_token_id": 2}
    vision = {**small, "image_size": 16, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for where in (config["text_config"], config["vision_config"]) if place == "parts" else (config,):
        where[name] = chosen
    path.write_text(json.dumps(config))

    opened: list[Any] = []
    real = CLIPModel.from_pretrained
    monkeypatch.setattr(CLIPModel, "from_pretrained", lambda *a, **k: opened.append(real(*a, **k)) or opened[-1])
    with pytest.raises(InfimedError):  # there is no processor beside it
        open_encoder(str(tmp_path), None, 4, "cpu")
    used = {part.config._attn_implementation for part in opened[0].modules() if hasattr(part, "config")}
    assert used == {"sdpa"} and fetched == []
    found = read_config(tmp_path)
    assert {c._attn_implementation for c in (found, found.text_config, found.vision_config)} == {None}


LOOKING = ("find_spec", "import_module", "__import__", "resolve_name", "run_path", "run_module", "exec", "eval")
"""Calls that import, or import the package that holds a dotted name."""
NAMED_IN_CODE = {
    "infimed_core/__init__.py", "infimed_core/api/component.py", "infimed_core/plugin_loading.py",
    "plugins/infimed_plugins/demo/sources.py", "plugins/infimed_plugins/metrics/external.py",
    "plugins/infimed_plugins/migration/transformers_arguments.py", "plugins/infimed_plugins/quality/privacy/pixels.py",
    "plugins/infimed_plugins/sft/kernels.py", "plugins/infimed_plugins/vlm/attention.py",
}  # fmt: skip
"""Files where such a call is given a name that stands in the code, or in a run file; data and models name none."""


def test_what_is_imported_by_a_name_is_named_by_code_or_a_run_file() -> None:
    found = set()
    for file in (*(ROOT / "infimed_core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in LOOKING and node.args and not isinstance(node.args[0], ast.Constant):
                found.add(file.relative_to(ROOT).as_posix())
    assert found == NAMED_IN_CODE
