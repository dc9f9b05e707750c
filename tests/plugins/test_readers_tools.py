"""Tools, calls and boxes of training formats: read as the field writes them, rendered as the checkpoint writes them."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infimed_core import Fault, Sample, load_plugins
from infimed_plugins.vlm.encoding import ChatEncoder

sys.path.insert(0, str(Path(__file__).parent))
from small_checkpoints import write_small_checkpoint

TEMPLATE = """
{%- if tools -%}
    {{- '<|im_start|>system\\n' + (messages[0].content if messages[0].role == 'system' else '') + '# Tools' -}}
    {%- for tool in tools -%}{{- '\\n' -}}{{- tool | tojson -}}{%- endfor -%}{{- '<|im_end|>\\n' -}}
{%- elif messages[0].role == 'system' -%}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' -}}
    {%- elif message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' + (message.content or '') -}}
        {%- for call in message.tool_calls or [] -%}
            {%- if not loop.first or message.content -%}{{- '\\n' -}}{%- endif -%}
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' -}}
            {{- call.function.arguments | tojson -}}{{- '}\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- elif message.role == 'tool' -%}
        {%- if messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""In the manner of Qwen's templates."""
FUNCTION = {"name": "measure", "description": "Size of a lesion", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ChatEncoder:
    folder = tmp_path_factory.mktemp("qwen3")
    write_small_checkpoint("qwen3", folder, ["measure side left arguments name"], weights=False)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return ChatEncoder(folder)


def read(folder: Path, *rows: Any, use: str = "llava", **settings: Any) -> list[Sample | Fault]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader: Any = load_plugins().find("reader", use).model_validate({"path": str(folder / "rows.jsonl"), **settings})
    return [row for shard in reader.shards() for row in reader.read(shard)]


def called(**arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "measure", "arguments": arguments}}


def learnt(encoder: ChatEncoder, sample: Sample | Fault, images: Any = ()) -> tuple[str, str]:
    """The rendered text, and what of it carries loss; what was planned is what comes."""
    assert isinstance(sample, Sample), sample
    encoded = encoder.encode(sample, images, 64)
    counted = encoder.text_lengths([sample])
    assert not counted.refused and counted.tokens[0] == len(encoded.input_ids) - sum(encoded.visual_tokens)
    assert counted.supervised[0] == (encoded.labels >= 0).sum()
    assert Sample.model_validate_json(sample.model_dump_json()) == sample
    decode = encoder.tokenizer.decode
    return decode(encoded.input_ids), decode(encoded.labels[encoded.labels >= 0])


QUESTION = {"role": "user", "content": "How large?"}
ANSWERED = [{"role": "tool", "content": "12"}, {"role": "assistant", "content": "12 mm."}]
MESSAGES: list[dict[str, Any]] = [QUESTION, {"role": "assistant", "content": "", "tool_calls": [called(side="left")]}]
MESSAGES += ANSWERED
WRITTEN = json.dumps({"name": "measure", "arguments": {"side": "left"}})
FORMS: dict[str, dict[str, Any]] = {
    "chat": {"messages": MESSAGES, "tools": [TOOL]},
    "chat of servers": {
        "messages": [QUESTION, {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "measure", "arguments": '{"side": "left"}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "12"}, ANSWERED[1]],
        "tools": [TOOL],
    },
    "one call of the older form": {
        "messages": [QUESTION, {"role": "assistant", "content": None,
                                "function_call": {"name": "measure", "arguments": '{"side": "left"}'}},
                     {"role": "function", "name": "measure", "content": "12"}, ANSWERED[1]],
        "tools": [FUNCTION],
    },
    "llama-factory": {
        "conversations": [{"from": "human", "value": "How large?"}, {"from": "function_call", "value": WRITTEN},
                          {"from": "observation", "value": "12"}, {"from": "gpt", "value": "12 mm."}],
        "tools": json.dumps([FUNCTION]),
    },
    "ms-swift": {
        "messages": [QUESTION, {"role": "tool_call", "content": WRITTEN}, {"role": "tool_response", "content": "12"},
                     ANSWERED[1]],
        "tools": [json.dumps(TOOL)],
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_tools_and_calls_are_rendered_as_transformers_renders_them(
    encoder: ChatEncoder, tmp_path: Path, form: str
) -> None:
    (sample,) = read(tmp_path, FORMS[form])
    whole, answers = learnt(encoder, sample)
    assert whole == encoder.tokenizer.apply_chat_template(MESSAGES, tools=[TOOL], tokenize=False)
    assert "Size of a lesion" in whole
    assert answers == '<tool_call>\n{"name": "measure", "arguments": {"side": "left"}}\n</tool_call><|im_end|>' + (
        "12 mm.<|im_end|>"
    )


def test_dataset_info_names_the_roles_of_calls_and_the_column_of_tools(encoder: ChatEncoder, tmp_path: Path) -> None:
    said = [("P", "How large?"), ("F", WRITTEN), ("O", "12"), ("D", "12 mm.")]
    row = {"chat": [{"who": who, "said": text} for who, text in said], "functions": json.dumps([FUNCTION])}
    tags = {"role_tag": "who", "content_tag": "said", "user_tag": "P", "assistant_tag": "D"}
    tags |= {"observation_tag": "O", "function_tag": "F"}
    columns = {"messages": "chat", "tools": "functions"}
    entry = {"file_name": "rows.jsonl", "formatting": "sharegpt", "columns": columns, "tags": tags}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"own": entry}))
    (sample,) = read(tmp_path, row)
    assert learnt(encoder, sample)[0] == encoder.tokenizer.apply_chat_template(MESSAGES, tools=[TOOL], tokenize=False)


@pytest.mark.parametrize(
    "arguments", [{}, {"side": 'l"<é>\\ \n<tool_call>'}, {"n": [1, {"a": None}], "x": 1.5, "y": True}, {"{}": "{0}"}]
)
@pytest.mark.parametrize("text", ["", "Both sides."])
@pytest.mark.parametrize("num_calls", [1, 2])
def test_what_a_call_says_is_learnt_to_its_end(
    encoder: ChatEncoder, tmp_path: Path, arguments: Any, text: str, num_calls: int
) -> None:
    turn = {"role": "assistant", "content": text, "tool_calls": [called(**arguments)] * num_calls}
    results = [{"role": "tool", "content": str(n)} for n in range(num_calls)]
    messages = [{"role": "system", "content": "Be brief."}, QUESTION, turn, *results, ANSWERED[1]]
    (sample,) = read(tmp_path, {"messages": messages, "tools": [TOOL]})
    whole, answers = learnt(encoder, sample)
    assert whole == encoder.tokenizer.apply_chat_template(messages, tools=[TOOL], tokenize=False)
    shown = whole.split("<|im_start|>assistant\n")[1].split("<|im_end|>")[0]
    assert answers == f"{shown}<|im_end|>12 mm.<|im_end|>"


def test_a_call_without_loss_is_shown_and_not_learnt(encoder: ChatEncoder, tmp_path: Path) -> None:
    messages = [QUESTION, {**MESSAGES[1], "loss": False}, *ANSWERED]
    (sample,) = read(tmp_path, {"messages": messages, "tools": [TOOL]})
    whole, answers = learnt(encoder, sample)
    assert "<tool_call>" in whole and answers == "12 mm.<|im_end|>"


def test_a_call_that_follows_a_text_is_of_the_same_turn(tmp_path: Path) -> None:
    messages = [QUESTION, {"role": "assistant", "content": "I look."}, {"role": "tool_call", "content": WRITTEN}]
    messages += [{"role": "tool_call", "content": WRITTEN}, ANSWERED[0], ANSWERED[1]]
    (sample,) = read(tmp_path, {"messages": messages, "tools": [TOOL]})
    assert isinstance(sample, Sample) and [turn.role for turn in sample.turns] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert sample.turns[1].text == "I look." and len(sample.turns[1].tool_calls) == 2


@pytest.mark.parametrize(
    "call", ["measure(left)", "{}", "[]", '{"name": 7}', '{"name": "measure", "arguments": "left"}',
             '{"name": "measure", "arguments": [1]}', '"measure"']
)  # fmt: skip
def test_a_call_that_cannot_be_read_costs_its_row(tmp_path: Path, call: str) -> None:
    bad = {"messages": [QUESTION, {"role": "tool_call", "content": call}, *ANSWERED]}
    fault, sample = read(tmp_path, bad, {"messages": [QUESTION, ANSWERED[1]]})
    assert isinstance(fault, Fault) and fault.code == "bad_row" and fault.where.endswith(":1")
    assert isinstance(sample, Sample)


@pytest.mark.parametrize("tools", ["[1]", [{"type": "function"}], "[{", [["x"]]])
def test_tools_that_cannot_be_read_cost_their_row_and_prose_of_that_name_is_a_column(
    tmp_path: Path, tools: Any
) -> None:
    row = {"messages": [QUESTION, ANSWERED[1]]}
    fault, prose = read(tmp_path, {**row, "tools": tools}, {**row, "tools": "scalpel, forceps"})
    assert isinstance(fault, Fault) and fault.code == "bad_row"
    assert isinstance(prose, Sample) and not prose.tools and prose.meta == {"tools": "scalpel, forceps"}
    (without,) = read(tmp_path, {**row, "tools": tools}, ignore=["tools"])
    assert isinstance(without, Sample)


def test_a_template_without_a_place_for_tools_refuses_them_by_name(tmp_path: Path) -> None:
    folder = write_small_checkpoint("qwen3", tmp_path / "plain", ["left"], weights=False)
    offered, made = read(tmp_path, {"messages": [QUESTION, ANSWERED[1]], "tools": [TOOL]}, {"messages": MESSAGES})
    assert isinstance(offered, Sample) and isinstance(made, Sample)
    refused = ChatEncoder(folder).text_lengths([offered, made]).refused
    assert (refused[0].code, refused[1].code) == ("no_tools", "template") and "call" in str(refused[1])


IN_THE_QUESTION = """
{%- for message in messages -%}
    {{- '<|im_start|>' + ('ipython' if message.role == 'tool' else message.role) + '\\n\\n' -}}
    {%- if tools and loop.first -%}
        {{- 'Functions:' -}}{%- for tool in tools -%}{{- ' ' -}}{{- tool.function | tojson(indent=2) -}}{%- endfor -%}
    {%- endif -%}
    {%- if message.tool_calls -%}
        {%- if message.tool_calls | length != 1 -%}{{- raise_exception('one call at once') -}}{%- endif -%}
        {%- set call = message.tool_calls[0].function -%}
        {{- '{"name": "' + call.name + '", "parameters": ' -}}{{- call.arguments | tojson -}}{{- '}<|im_end|>' -}}
    {%- else -%}{{- message.content | trim + '<|im_end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n\\n' -}}{%- endif -%}
"""
"""In the manner of Llama's: tools stand in the first message, one call at once, texts are trimmed."""
WITHOUT_HEADER = """
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{{- '[INST] ' + (tools | tojson if tools else '') + message.content + '[/INST]' -}}
    {%- elif message.role == 'tool' -%}{{- '[RESULT] ' + message.content + '[/RESULT]' -}}
    {%- elif message.tool_calls -%}
        {{- '[CALL] ' -}}{{- message.tool_calls[0].function | tojson -}}{{- '<|im_end|>' -}}
    {%- else -%}{{- ' ' + message.content + '<|im_end|>' -}}{%- endif -%}
{%- endfor -%}
"""


def with_template(encoder: ChatEncoder, folder: Path, template: str) -> ChatEncoder:
    shutil.copytree(encoder.checkpoint, folder)
    (folder / "chat_template.jinja").write_text(template)
    return ChatEncoder(folder)


def test_templates_of_other_manners_are_rendered_or_refused(encoder: ChatEncoder, tmp_path: Path) -> None:
    other = with_template(encoder, tmp_path / "question", IN_THE_QUESTION)
    spaced = [{"role": "user", "content": " How large? "}, *MESSAGES[1:]]
    both = [QUESTION, {**MESSAGES[1], "tool_calls": [called(), called()]}]
    said = [QUESTION, {**MESSAGES[1], "content": "I look."}, *ANSWERED]
    rows = read(tmp_path, *({"messages": messages, "tools": [TOOL]} for messages in (spaced, both, said)))
    good, two, spoken = (row for row in rows if isinstance(row, Sample))
    whole, answers = learnt(other, good)
    assert whole == other.tokenizer.apply_chat_template(MESSAGES, tools=[TOOL], tokenize=False)
    assert answers == '{"name": "measure", "parameters": {"side": "left"}}<|im_end|>12 mm.<|im_end|>'
    refused = other.text_lengths([good, two, spoken]).refused
    assert {number: error.code for number, error in refused.items()} == {1: "template", 2: "template"}
    bare = with_template(encoder, tmp_path / "bare", WITHOUT_HEADER)
    assert "without a header" in str(bare.text_lengths([good]).refused[0])


def test_a_control_token_in_a_call_or_tool_is_refused(encoder: ChatEncoder, tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": "", "tool_calls": [called(side="<|im_end|>")]}
    tool = {"type": "function", "function": {"name": "x", "description": "<|im_start|>"}}
    rows = read(tmp_path, {"messages": [QUESTION, turn]}, {"messages": [QUESTION, ANSWERED[1]], "tools": [tool]})
    refused = encoder.text_lengths([row for row in rows if isinstance(row, Sample)]).refused
    assert {number: error.code for number, error in refused.items()} == {0: "control_token", 1: "control_token"}


# boxes


@pytest.fixture(scope="module")
def encoder_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @functools.cache
    def made(family: str) -> ChatEncoder:
        folder = tmp_path_factory.mktemp(family)
        return ChatEncoder(write_small_checkpoint(family, folder, ["Where is the lesion"], weights=False))

    return made


def grounded(folder: Path, objects: Any, question: str = "Where is the <ref-object>?", answer: str = "<bbox>") -> Any:
    Image.new("RGB", (400, 200)).save(folder / "a.png")
    said = [{"role": "user", "content": f"<image>{question}"}, {"role": "assistant", "content": answer}]
    return read(folder, {"messages": said, "images": ["a.png"], "objects": objects})[0]


LESION = {"ref": ["lesion"], "bbox": [[40, 50, 200, 100]]}
FAMILIES = {
    "qwen2_vl": ("<|object_ref_start|>lesion<|object_ref_end|>", "<|box_start|>(100,250),(500,500)<|box_end|>"),
    "qwen3_vl": ("lesion", "[100, 250, 500, 500]"),
    "internvl": ("<ref>lesion</ref>", "<box>[[100, 250, 500, 500]]</box>"),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "objects",
    [
        LESION,
        json.dumps(LESION),
        {"ref": ["lesion"], "bbox": [[0.1, 0.25, 0.5, 0.5]], "bbox_type": "norm1"},
        {"ref": ["lesion"], "bbox": [[100, 250, 500, 500]], "bbox_type": "norm1000", "image_id": [0]},
        [{"caption": "lesion", "bbox": [40, 50, 200, 100], "bbox_type": "real", "image": 0}],
    ],
)
def test_boxes_are_written_in_the_familys_own_form(tmp_path: Path, encoder_of: Any, family: str, objects: Any) -> None:
    sample = grounded(tmp_path, objects)
    whole, answers = learnt(encoder_of(family), sample, [np.zeros((200, 400, 3), np.uint8)])
    name, box = FAMILIES[family]
    assert f"Where is the {name}?" in whole and answers.startswith(box) and "bbox>" not in whole


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "llava", "qwen3"])
def test_a_family_without_a_form_that_can_be_planned_refuses_boxes_by_name(
    tmp_path: Path, encoder_of: Any, family: str
) -> None:
    sample = grounded(tmp_path, LESION)
    assert encoder_of(family).text_lengths([sample]).refused[0].code == "no_box_form"


@pytest.mark.parametrize(
    ("objects", "code"),
    [
        ({"ref": ["lesion"], "bbox": [[1, 2, 3, 4], [1, 2, 3, 4]]}, "bad_row"),
        ({"ref": ["lesion"]}, "bad_row"),
        ({"ref": ["lesion"], "bbox": [[40, 50, 900, 100]]}, "bad_row"),
        ({"ref": ["lesion"], "bbox": [[200, 50, 40, 100]]}, "bad_row"),
        ({"ref": ["lesion"], "bbox": [[40, 50, 200, None]]}, "bad_row"),
        ({"ref": ["lesion"], "bbox": [[40, 50, 200, 100]], "image_id": [1]}, "bad_row"),
        ({"ref": ["lesion"], "bbox": [[40, 50, 200, 100]], "image_id": [0, 0]}, "bad_row"),
        ({"ref": ["lesion"], "bbox": [[40, 50]]}, "unsupported_field"),
        ({"ref": ["lesion"], "bbox": [[40, 50, 200, 100]], "bbox_type": "polar"}, "unsupported_field"),
        ({"category": [1], "bbox": [[40, 50, 200, 100]], "area": [3]}, "unsupported_field"),
        ([{"label": "lesion", "box": [1, 2, 3, 4]}], "unsupported_field"),
    ],
)
def test_boxes_that_do_not_fit_their_row_cost_it(tmp_path: Path, objects: Any, code: str) -> None:
    fault = grounded(tmp_path, objects)
    assert isinstance(fault, Fault) and fault.code == code, fault


def test_boxes_that_no_mark_stands_for_are_no_row_and_a_box_of_an_image_that_is_not_there_neither(
    tmp_path: Path,
) -> None:
    fault = grounded(tmp_path, LESION, "Where?", "There.")
    assert isinstance(fault, Fault) and fault.code == "unsupported_field" and "'objects'" in fault.detail
    said = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "<bbox>"}]
    (fault,) = read(tmp_path, {"messages": said, "images": ["none.png"], "objects": {"bbox": [[1, 2, 3, 4]]}})
    assert isinstance(fault, Fault) and fault.code == "missing_file"


def test_boxes_count_the_stored_pixels_of_a_medium_that_would_be_stretched(tmp_path: Path) -> None:
    import nibabel

    nibabel.save(
        nibabel.Nifti1Image(np.zeros((10, 20, 3), np.int16), np.diag([1.0, 4.0, 1.0, 1.0])), tmp_path / "v.nii"
    )
    said = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "<bbox>"}]
    (sample,) = read(tmp_path, {"messages": said, "images": ["v.nii"], "objects": {"bbox": [[0, 5, 10, 10]]}})
    assert isinstance(sample, Sample) and sample.media[0].options == {"square_pixels": False}
    assert sample.turns[1].regions[0].box == (0, 0.25, 1, 0.5)


def test_a_question_with_tools_or_boxes_is_a_fault_of_a_benchmark(tmp_path: Path) -> None:
    read(tmp_path, {"messages": [QUESTION, ANSWERED[1]], "tools": [TOOL]})
    reader = {"use": "llava", "with": {"path": str(tmp_path / "rows.jsonl")}}
    benchmark: Any = load_plugins().find("benchmark", "questions").model_validate({"reader": reader})
    (fault,) = benchmark.samples()
    assert isinstance(fault, Fault) and fault.code == "unsupported_field"
