"""The promises of the embedding scorer and filter, kept with small CLIP and SigLIP models that are really trained."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimed_core import InfimedError, Media, MediaLoader, Sample, Turn
from infimed_core.records import open_run
from infimed_core.testing import check_component, run
from infimed_plugins.embedding.duplicates import EmbeddingDuplicates
from infimed_plugins.embedding.encoder import open_encoder
from infimed_plugins.embedding.scorer import EmbeddingScorer
from infimed_plugins.executors.local import Serial
from infimed_plugins.image.modality import Image as ImageModality

MEDIA = MediaLoader({"image": ImageModality()})
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (230, 230, 230)}
PLACES = ("upper", "lower")


def picture(colour: str, place: str, seed: int = 0) -> bytes:
    """A bright half on a dark noisy ground."""
    import io

    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 40, (32, 32, 3))
    pixels = noise.astype(np.int64)
    rows = slice(0, 16) if place == "upper" else slice(16, 32)
    pixels[rows] += np.array(COLOURS[colour]) * 8 // 10
    target = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target, format="PNG")
    return target.getvalue()


def caption(colour: str, place: str) -> str:
    return f"a {colour} lesion in the {place} half of the field"


def make_checkpoint(folder: Path, kind: str, steps: int = 60) -> Path:
    """A tiny CLIP or SigLIP with a word tokenizer, trained for some steps on colours and places."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipImageProcessorPil,
        SiglipModel,
    )

    torch.manual_seed(0)
    torch.set_num_threads(1)
    words = sorted({word for c in COLOURS for p in PLACES for word in caption(c, p).split()} | {"no", "effusion", "."})
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3} | {word: n + 4 for n, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": 2, "bos_token_id": 1,
        "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    if kind == "clip":
        model: Any = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
        processor: Any = CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, resample=2
        )
    else:
        model = SiglipModel(SiglipConfig(text_config=text | {"projection_size": 32}, vision_config=vision))
        processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    processor.save_pretrained(folder)
    pairs = [(c, p) for c in COLOURS for p in PLACES]
    images = [MEDIA.load(Media(data=picture(c, p, seed))) for seed in range(4) for c, p in pairs]
    texts = [caption(c, p) for _ in range(4) for c, p in pairs]
    settings: dict[str, Any] = {"padding": "max_length" if kind == "siglip" else True, "max_length": 16}
    batch = dict(fast(texts, return_tensors="pt", truncation=True, **settings))
    batch["pixel_values"] = processor(images=images, return_tensors="pt")["pixel_values"]
    if kind == "siglip":
        batch.pop("attention_mask", None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    same = torch.tensor([[a == b for b in texts] for a in texts], dtype=torch.float)
    model.train()
    for _ in range(steps):
        batch.pop("token_type_ids", None)
        logits = model(**batch).logits_per_image
        loss = torch.nn.functional.cross_entropy(logits, same / same.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("clip") / "checkpoint", "clip")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("siglip") / "checkpoint", "siglip", steps=120)


def sample(name: str, colour: str, place: str, text: str | None = None, seed: int = 50, **tags: str) -> Sample:
    turns = (
        Turn(role="user", content=(0, "Describe it.")),
        Turn(role="assistant", content=(caption(colour, place) if text is None else text,)),
    )
    media = (Media(data=picture(colour, place, seed)),)
    return Sample(id=name, turns=turns, media=media, tags={"modality": "fundus"} | tags)


def data_set() -> list[Sample]:
    pairs = [(c, p) for c in COLOURS for p in PLACES]
    return [sample(f"{c}-{p}-{n}", c, p, seed=50 + n) for n in range(3) for c, p in pairs]


def fitted(checkpoint: Path, folder: Path, samples: list[Sample], **settings: Any) -> Any:
    settings = {"least_negatives": 4, **settings}
    return EmbeddingScorer(model=str(checkpoint), **settings).fitted(samples, MEDIA, folder)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_own_captions_rank_above_shuffled_ones(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    samples = data_set()
    scorer = fitted(request.getfixturevalue(kind), tmp_path, samples)
    clean = [score.parts["alignment"] for score in scorer.score(samples, MEDIA)]
    other = samples[5:] + samples[:5]
    shuffled = [
        one.model_copy(update={"turns": two.turns, "id": f"x-{one.id}"})
        for one, two in zip(samples, other, strict=True)
        if one.turns != two.turns
    ]
    wrong = [score.parts["alignment"] for score in scorer.score(shuffled, MEDIA)]
    auroc = np.mean([[(a > b) + 0.5 * (a == b) for b in wrong] for a in clean])
    assert auroc >= 0.95
    assert np.mean(clean) > 0.9


def test_a_score_depends_on_no_other_sample_of_the_call_nor_on_the_batch(clip: Path, tmp_path: Path) -> None:
    samples = data_set()
    scorer = fitted(clip, tmp_path, samples)
    whole = scorer.score(samples, MEDIA)
    alone = [scorer.score([one], MEDIA)[0] for one in samples]
    small = fitted(clip, tmp_path, samples, batch_size=3).score(samples, MEDIA)
    for a, b, c in zip(whole, alone, small, strict=True):
        assert a.parts == b.parts == c.parts
    assert scorer.identity() == fitted(clip, tmp_path, samples, batch_size=3).identity()
    check_component(scorer)


def test_the_bank_does_not_depend_on_the_order_of_the_samples(clip: Path, tmp_path: Path) -> None:
    samples = data_set()
    one = fitted(clip, tmp_path / "one", samples, negatives=8)
    two = fitted(clip, tmp_path / "two", samples[::-1], negatives=8)
    assert one.score(samples[:4], MEDIA) == two.score(samples[:4], MEDIA)


def test_few_negatives_no_text_and_a_broken_image_are_none_with_their_reasons(clip: Path, tmp_path: Path) -> None:
    samples = data_set()
    scorer = fitted(clip, tmp_path, samples)
    rare = sample("rare", "red", "upper", modality="OCT")
    broken = sample("broken", "red", "upper").model_copy(update={"media": (Media(data=b"no image"),)})
    empty = Sample(id="empty", turns=(Turn(role="user", content=(0,)),), media=rare.media)
    few, bad, none = scorer.score([rare, broken, empty], MEDIA)
    assert few.parts["alignment"] is None and "too_few_negatives" in few.reasons
    assert (bad.value, bad.status) == (None, "error")
    assert (none.value, none.reasons) == (None, ("no_text",))


def test_negation_is_told_as_unchecked_and_a_long_text_as_cut(clip: Path, tmp_path: Path) -> None:
    samples = data_set()
    scorer = fitted(clip, tmp_path, samples)
    (score,) = scorer.score([sample("n", "red", "upper", text="no effusion in the upper half " * 4)], MEDIA)
    assert score.raw["negation_unchecked"] == 1.0
    assert score.raw["text_cut"] == 1.0


def test_a_model_that_is_not_there_or_embeds_nothing_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InfimedError, match="cannot be opened"):
        open_encoder(str(tmp_path / "nowhere"), None, 4, "cpu")
    with pytest.raises(InfimedError, match=r"names no weights.*open_clip:ViT-B-32@WEIGHTS"):
        open_encoder("open_clip:ViT-B-32", None, 4, "cpu")
    if importlib.util.find_spec("open_clip") is None:
        with pytest.raises(InfimedError, match="pip install open_clip_torch"):
            open_encoder("open_clip:ViT-B-32@openai", None, 4, "cpu")


def test_a_model_of_open_clip_gives_the_vectors_that_open_clip_gives(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip needs torchvision")
    import torch
    from PIL import Image as Pillow
    from safetensors.torch import save_file

    size = {"width": 64, "layers": 2, "heads": 2}
    vision = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32}
    text = {"context_length": 16, "vocab_size": 49408, **size}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}}
    config["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    made = open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text)
    save_file(made.state_dict(), tmp_path / "open_clip_model.safetensors")
    encoder = open_encoder(f"open_clip:local-dir:{tmp_path}", None, 2, "cpu")

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    images = [np.random.default_rng(seed).integers(0, 256, (40, 50, 3)).astype(np.uint8) for seed in range(5)]
    texts = ["a red disc", "a long text " * 20, "no effusion"]
    with torch.inference_mode():
        wanted = model.eval().encode_image(torch.stack([transform(Pillow.fromarray(image)) for image in images]))
        named = model.encode_text(tokenizer(texts))
    np.testing.assert_allclose(encoder.images(images), torch.nn.functional.normalize(wanted, dim=1), atol=1e-5)
    found, cut = encoder.texts(texts)
    np.testing.assert_allclose(found, torch.nn.functional.normalize(named, dim=1), atol=1e-5)
    assert cut.tolist() == [False, True, False]


def test_near_duplicates_are_rejected_and_different_images_with_the_same_text_are_not(clip: Path) -> None:
    samples = [
        sample("a", "red", "upper", seed=1),
        sample("again", "red", "upper", seed=2),
        sample("other-image", "blue", "lower", text=caption("red", "upper"), seed=3),
        sample("other-text", "red", "upper", text=caption("white", "lower"), seed=4),
    ]
    text_only = [
        Sample(id=name, turns=(Turn(role="user", content=("Say.",)), Turn(role="assistant", content=(words,))))
        for name, words in (("t1", "a red lesion in the half"), ("t2", "a red lesion in the half"))
    ]
    filter_ = EmbeddingDuplicates(model=str(clip), image_similarity=0.95)
    filtered = filter_.check(samples + text_only, {}, MEDIA, Serial())
    assert set(filtered.rejected) == {"again", "t2"}
    assert filtered.details["num_duplicates"] == 2
    kept = filter_.model_copy(update={"remove": False}).check(samples, {}, MEDIA, Serial())
    assert kept.rejected == {} and kept.details["num_duplicates"] == 1


def test_in_a_run_the_bank_is_made_from_the_data_and_a_second_run_scores_nothing_again(
    clip: Path, tmp_path: Path
) -> None:
    rows = []
    for number, one in enumerate(data_set()):
        path = tmp_path / f"{number}.png"
        path.write_bytes(one.media[0].data or b"")
        body = one.model_dump(mode="json") | {"media": [{"uri": str(path)}]}
        rows.append(json.dumps(body))
    (tmp_path / "samples.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    document = {
        "run": {"name": "embedded", "directory": str(tmp_path / "runs")},
        "data": {
            "sources": [{"use": "jsonl", "with": {"path": str(tmp_path / "samples.jsonl")}}],
            "executor": {"use": "serial"},
        },
        "quality": {"scorers": [{"use": "embedding", "with": {"model": str(clip), "least_negatives": 4}}]},
    }
    record = run(document, tmp_path)
    step = next(step for step in record.steps if step.name == "score")
    assert (step.num_in, step.num_out, step.status) == (24, 24, "done")
    parts = [row.scores["embedding"].parts["alignment"] for row in open_run(tmp_path / "runs" / "embedded").samples()]
    assert np.mean([part for part in parts if part is not None]) > 0.9
    again = run(document, tmp_path)
    assert next(step for step in again.steps if step.name == "score").status == "reused"
