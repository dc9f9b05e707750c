"""A server that draws answers as vLLM's does, for tests: a checkpoint behind chat completions, loaded anew when asked.

``python drawing_server.py CHECKPOINT`` prints its port. It speaks what vLLM 0.32 does: ``/v1/models``,
``/v1/chat/completions`` with ``n``, ``seed``, ``return_token_ids`` and log-probabilities, ``/collective_rpc`` with
``reload_weights``, ``/reset_prefix_cache``, ``/reset_encoder_cache`` and ``/v1/load_lora_adapter``. Nothing of InfiMed
is imported: transformers alone renders, prepares images and generates. A test POSTs to ``/fault`` what shall go wrong
from then on.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


class Engine:
    """The model that is served; one question at a time."""

    def __init__(self, checkpoint: str) -> None:
        self.fault = ""
        self.num_loaded = 0
        self.num_answers = 0
        self.asked: list[str] = []
        self.lock = threading.Lock()
        self.base = checkpoint
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
        self.model = self.opened(checkpoint)
        self.adapted: Any = None
        self.scheduled: set[str] = set()  # pictures that the scheduler takes for encoded
        self.encoded: set[str] = set()  # those that a worker has indeed

    def opened(self, folder: str) -> Any:
        return AutoModelForImageTextToText.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def reload(self, folder: str) -> None:
        model = self.opened(folder)
        self.num_loaded += 1
        if self.fault != "stale":
            self.model = model
        self.encoded.clear()  # the scheduler is not told

    def adapt(self, folder: str) -> None:
        from peft import PeftModel

        self.adapted = PeftModel.from_pretrained(self.opened(self.base), folder).eval()
        self.num_loaded += 1

    def prompt(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        urls = [
            part["image_url"]["url"]
            for message in messages
            if isinstance(message["content"], list)
            for part in message["content"]
            if part["type"] == "image_url"
        ]
        if any(url in self.scheduled and url not in self.encoded for url in urls):
            os._exit(1)  # "Encoder cache miss" ends the engine, and the server with it
        self.scheduled.update(urls)
        self.encoded.update(urls)
        pictures = [Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB") for url in urls]
        told = [
            {"role": m["role"], "content": m["content"] if isinstance(m["content"], str) else [
                {"type": "image"} if part["type"] == "image_url" else part for part in m["content"]
            ]}
            for m in messages
        ]  # fmt: skip
        text = self.tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
        inputs: dict[str, Any] = {}
        place = self.model.config.image_token_id
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if pictures:
            inputs = dict(self.processor(pictures, return_tensors="pt"))
            counts = iter((inputs["image_grid_thw"].prod(-1) // self.processor.merge_size**2).tolist())
            ids = [one for token in ids for one in ([token] * next(counts) if token == place else [token])]
        inputs["input_ids"] = torch.tensor([ids])
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == place).long()
        return inputs

    def answers(self, body: dict[str, Any]) -> dict[str, Any]:
        inputs = self.prompt(body["messages"])
        if self.fault == "other prompt":
            inputs["input_ids"][0, 0] += 1
        model = self.adapted if body["model"] == "infimed-policy" else self.model
        size, choices = inputs["input_ids"].shape[1], []
        for number in range(body["n"]):
            if self.fault == "dies" and self.num_answers >= 20:
                os._exit(1)
            torch.manual_seed(body["seed"] + number)
            with torch.inference_mode():
                made = model.generate(
                    **inputs, max_new_tokens=body["max_tokens"], do_sample=True, temperature=body["temperature"],
                    top_p=body["top_p"], top_k=body["top_k"], eos_token_id=body["stop_token_ids"],
                    suppress_tokens=[int(token) for token in body["logit_bias"]], pad_token_id=0,
                    return_dict_in_generate=True, output_logits=True,
                )  # fmt: skip
            tokens = made.sequences[0, size:].tolist()
            logs = [
                step[0].float().log_softmax(-1)[token].item() for step, token in zip(made.logits, tokens, strict=True)
            ]
            ended = tokens[-1] in body["stop_token_ids"]
            self.num_answers += 1
            choices.append({
                "index": number, "finish_reason": "stop" if ended else "length",
                "message": {"role": "assistant", "content": self.tokenizer.decode(tokens, skip_special_tokens=True)},
                "logprobs": {"content": [{"token": str(t), "logprob": x} for t, x in zip(tokens, logs, strict=True)]},
                "token_ids": tokens,
            })  # fmt: skip
        reply: dict[str, Any] = {"choices": choices, "prompt_token_ids": inputs["input_ids"][0].tolist()}
        if self.fault == "no tokens":
            for choice in choices:
                del choice["token_ids"]
        return reply


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        engine = self.server.engine
        if self.path == "/v1/models":
            self.reply(200, {"data": [{"id": engine.base}]})
        else:
            self.reply(200, {"loaded": engine.num_loaded, "answers": engine.num_answers, "paths": engine.asked})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        engine = self.server.engine
        with engine.lock:
            engine.asked.append(self.path)
            if self.path == "/fault":
                engine.fault = body["fault"]
                self.reply(200, {})
            elif self.path == "/v1/chat/completions":
                self.reply(200, engine.answers(body))
            elif engine.fault == "no development mode":
                self.reply(404, {"detail": "Not Found"})
            elif self.path == "/collective_rpc" and body["method"] == "reload_weights":
                self.weights(lambda: engine.reload(body["kwargs"]["weights_path"]), {"results": [None]})
            elif self.path == "/v1/load_lora_adapter" and body["load_inplace"]:
                told = f"Success: LoRA adapter '{body['lora_name']}' added successfully."
                self.weights(lambda: engine.adapt(body["lora_path"]), told)
            elif self.path == "/reset_prefix_cache":
                self.reply(200, {"success": True})
            elif self.path == "/reset_encoder_cache":
                engine.scheduled.clear()
                engine.encoded.clear()
                self.reply(200, None)
            else:
                self.reply(404, {"detail": "Not Found"})

    def weights(self, load: Any, said: dict[str, Any] | str) -> None:
        try:
            load()
        except Exception as error:
            self.reply(500, {"error": {"message": str(error)}})
        else:
            self.reply(200, said)

    def reply(self, status: int, body: dict[str, Any] | str | None) -> None:
        """JSON; a text as it is, and nothing for ``None``: vLLM replies both."""
        content = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Be silent."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, checkpoint: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = Engine(checkpoint)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serving = Server(str(Path(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(serving.server_address[1], flush=True)
    serving.serve_forever()
