"""How long MLflow takes to hold every answer of an evaluation as a trace with its scores.

    python bench/traces.py            # 136 cases, 4 arms, 12 scores an answer, in a SQLite file of its own
    python bench/traces.py 2000

Prints seconds, and seconds of a core, for writing them and for writing the same ones again as another evaluation; then
how many there are.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from steelyard.progress import Silent
from steelyard.promote.traces import ArmTraces, log_arm
from steelyard.records import ARMS, RETRIEVING_ARMS, Answer, Arm, Case, Message, Passage, Prompt, Score, Scorecard
from steelyard.tracking import Tracking, experiment_id, open_client

_YES_NO = ("fact", "exact_match", "format", "json_valid", "false_refusal", "citation", "citation_support")
_GRADED = ("token_f1", "field_accuracy", "unsupported", "retrieval_recall", "mrr")
_INSTRUCTIONS = Message("system", "Reply with one JSON object. " * 10)
_EXAMPLE = Message("user", "What is the latest release of another thing? " * 20)


def made_up(arm: Arm, count: int) -> ArmTraces:
    """Return an arm's answers to `count` questions, each with a prompt of about 1,200 characters."""
    cases = [Case(f"c{n}", f"What is the latest release of thing {n}?", "fact", f"1.{n}") for n in range(count)]
    scores = {
        case.id: {name: float(n % 2) for name in _YES_NO} | dict.fromkeys(_GRADED, n % 7 / 7)
        for n, case in enumerate(cases)
    }
    passages = {f"p{n}": Passage(f"p{n}", f"d{n}", 0, "Thing", "", "latest 1.0 " * 12, "d.md", 1) for n in range(40)}
    shown = ("p1", "p2") if arm in RETRIEVING_ARMS else ()
    return ArmTraces(
        scorecard=Scorecard(arm, {"fact": Score(0.5, count)}, {}, scores),
        cases=cases,
        cases_digest="0" * 32,
        answers=[Answer(arm, case.id, f'{{"latest": "1.{arm}"}}', shown, (), 300, 30, "") for case in cases],
        prompts=[Prompt((_INSTRUCTIONS, _EXAMPLE, Message("user", case.question)), 2) for case in cases],
        passages=passages,
    )


def main(count: int) -> None:
    """Write and write again; print what it took."""
    with TemporaryDirectory() as folder:
        tracking = Tracking(f"sqlite:///{Path(folder) / 'mlflow.db'}", "bench", Path(folder) / "artifacts")
        client = open_client(tracking.uri)
        experiment = experiment_id(client, tracking)
        for turn in ("first", "again"):
            parent, started = client.create_run(experiment).info.run_id, (time.perf_counter(), time.process_time())
            for arm in ARMS:
                log_arm(
                    client,
                    made_up(arm, count),
                    experiment=experiment,
                    parent_run=parent,
                    tag=f"{turn}-{arm}",
                    project="bench",
                    progress=Silent(),
                )
            wall, busy = time.perf_counter() - started[0], time.process_time() - started[1]
            print(f"{turn}: {count * len(ARMS):,} answers in {wall:.1f} s, {busy:.1f} s of a core")
        found, token = 0, None
        while found == 0 or token:
            page = client.search_traces(locations=[experiment], max_results=500, page_token=token, include_spans=False)
            found, token = found + len(page), page.token
        print(f"traces: {found:,}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 136)
