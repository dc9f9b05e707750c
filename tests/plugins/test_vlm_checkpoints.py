"""What training saves, stock transformers opens, family by family: the same weights, logits, tokenizer and template."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pytest
import torch
from small_checkpoints import write_small_checkpoint

from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.families import FAMILIES
from infimed_plugins.vlm.without_progress_bars import without_progress_bars

pytestmark = pytest.mark.newest

TEXTS = ["which plane is this slice of the head seen in?", "axial", "coronal and oblique", "it is the sagittal plane"]


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_stock_transformers_opens_what_a_stage_saved(tmp_path, model_type):
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    torch.set_num_threads(1)
    source = write_small_checkpoint(model_type, tmp_path / "source", TEXTS)
    network = Transformers(checkpoint=str(source)).load(None)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # as a stage would
        for parameter in network.module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    network.save(tmp_path / "saved")
    takes_images = FAMILIES[model_type].takes_images
    stock = AutoModelForImageTextToText if takes_images else AutoModelForCausalLM
    with without_progress_bars():
        module = stock.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    ours, theirs = network.module.state_dict(), module.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert tokenizer.chat_template == network.encoder.tokenizer.chat_template
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        logits = module(input_ids=ids).logits
    assert torch.isfinite(logits).all() and logits.shape[:2] == ids.shape
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert ("preprocessor_config.json" in names) is takes_images
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
