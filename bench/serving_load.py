"""How a running assistant answers many clients at once: errors, and seconds at the median and the 95th percentile.

    steelyard serve configs/lifecycle/steelyard.yaml &
    python bench/serving_load.py --cases configs/lifecycle/cases.jsonl --clients 50 --questions 200

What belongs here: the load and its numbers. What does not: starting the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

_TIMEOUT_SECONDS = 600.0  # a queue of slow answers is no error


async def ask(client: httpx.AsyncClient, url: str, question: str) -> tuple[str, float, str]:
    """Return (status, seconds, version that answered) of one question."""
    started = time.perf_counter()
    try:
        reply = await client.post(url, json={"messages": [{"role": "user", "content": question}]})
    except httpx.HTTPError as error:
        return type(error).__name__, time.perf_counter() - started, ""
    version = reply.json().get("model_version", "") if reply.status_code == httpx.codes.OK else ""
    return str(reply.status_code), time.perf_counter() - started, str(version)


async def load(url: str, questions: list[str], *, clients: int) -> list[tuple[str, float, str]]:
    """Let `clients` ask the questions, each client one after the other."""
    waiting = iter(questions)
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=limits) as client:
        await ask(client, url, questions[0])  # loads the model; not counted

        async def one_client() -> list[tuple[str, float, str]]:
            return [await ask(client, url, question) for question in waiting]

        results = await asyncio.gather(*(one_client() for _ in range(clients)))
    return [result for some in results for result in some]


def summary(results: list[tuple[str, float, str]], *, clients: int, seconds: float) -> dict[str, Any]:
    """Return what is worth telling."""
    times = sorted(taken for status, taken, _ in results if status == "200")
    return {
        "clients": clients,
        "questions": len(results),
        "errors": {status: count for status, count in Counter(r[0] for r in results).items() if status != "200"},
        "p50_seconds": round(statistics.median(times), 3) if times else None,
        "p95_seconds": round(times[min(len(times) - 1, int(0.95 * len(times)))], 3) if times else None,
        "questions_per_second": round(len(times) / seconds, 2),
        "versions": sorted({version for _, _, version in results if version}),
    }


def main() -> None:
    """Ask, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8321/v1/chat/completions")
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--questions", type=int, default=200)
    given = parser.parse_args()
    asked = [json.loads(line)["question"] for line in given.cases.read_text(encoding="utf-8").splitlines()]
    questions = [asked[number % len(asked)] for number in range(given.questions)]
    started = time.perf_counter()
    results = asyncio.run(load(given.url, questions, clients=given.clients))
    print(json.dumps(summary(results, clients=given.clients, seconds=time.perf_counter() - started), indent=1))


if __name__ == "__main__":
    main()
