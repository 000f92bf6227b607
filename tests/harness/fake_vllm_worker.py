"""Stands in for vLLM's worker: speaks its protocol, draws nothing. The ``model`` says how it behaves."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(os.environ["VLLM_WORKER_FOLDER"])))
from vllm_worker import inbox, send


def answer(order: dict[str, Any]) -> list[dict[str, Any]]:
    """The tokens tell what arrived: the seed modulo 1000 and the last token of the prompt. Last asked, first done."""
    found = []
    for index, request in enumerate(order["requests"]):
        for row, seed in enumerate(request["seeds"]):
            tokens = [seed % 1000, request["prompt"][-1], order["stop"][0]]
            found.append({
                "kind": "finished", "request": index, "row": row, "tokens": tokens,
                "logprobs": [-0.5, -1e-12, -order["temperature"]], "finish_reason": "stop",
            })  # fmt: skip
    return found[::-1]


def serve(channel: socket.socket) -> None:
    messages = inbox(channel)
    mode = messages.get()["model"]
    if mode == "torchvision":
        sys.exit("RuntimeError: operator torchvision::nms does not exist")
    if mode == "no vllm":
        sys.exit("ModuleNotFoundError: No module named 'vllm'")
    if mode == "never ready":
        time.sleep(60)
    if mode == "nonsense":
        channel.sendall(b"\xff" * 16)
        time.sleep(60)
    if mode == "unkind":
        send(channel, {"kind": "surprise"})
    send(channel, {"kind": "ready", "device": "fake", "fitted": 12 if mode == "small" else 10**6, "positions": 20})
    while True:
        order = messages.get()
        if order["kind"] == "abort":
            continue
        if order["kind"] == "sample":
            if mode == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if mode == "error":
                send(channel, {"kind": "error", "message": "ValueError: no room in the KV cache"})
            for message in answer(order):
                send(channel, message)
                if mode == "stalls":
                    time.sleep(60)
                while mode == "endless" and messages.empty():
                    send(channel, {"kind": "alive"})
                    time.sleep(0.01)
        elif order["kind"] == "weights":
            whole = os.path.getsize(order["file"]) and "lm_head.weight" in str(order["shared"])
            send(channel, {"kind": "done"} if whole else {"kind": "error", "message": "weights are missing"})
            continue
        send(channel, {"kind": "done"})


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
