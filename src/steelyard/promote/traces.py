"""Every answer in MLflow's own evaluation view: one run an arm, one trace an answer, its scores as assessments.

Belongs here: what such a run and such a trace hold, and writing each once. Not here: scoring, and the run of the
evidence that these runs hang below (see `evidence`).

`mlflow.genai.evaluate` leaves the same things behind, but writes each assessment in a transaction of its own, through
MLflow's global tracking address and active run, and twice when it is repeated. Here a trace goes out whole, with the
client that MLflow's own exporter uses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.fingerprint import digest
from steelyard.metrics import metric
from steelyard.progress import Progress
from steelyard.records import Answer, Arm, Case, Passage, Prompt, Scorecard

ARM_TAG = "steelyard_arm_evidence"
CODE_VERSION = 1  # raise when a trace of the same answer comes out differently; part of its identity
_TRACES_PER_CALL = 100  # MLflow's own limit when traces are linked to a run
_PREVIEW_CHARACTERS = 1_000  # MLflow's column
_SPAN_ID_CHARACTERS = 16
_NANOSECONDS = 1_000_000  # in a millisecond


@dataclass(frozen=True, slots=True)
class ArmTraces:
    """One arm's answers with what belongs in their traces; `answers` and `prompts` are in the order of `cases`."""

    scorecard: Scorecard
    cases: Sequence[Case]
    cases_digest: str
    answers: Sequence[Answer]
    prompts: Sequence[Prompt]
    passages: Mapping[str, Passage]

    @property
    def arm(self) -> Arm:
        """The arm that answered."""
        return self.scorecard.arm


def log_arm(
    client: Any, traces: ArmTraces, *, experiment: str, parent_run: str, tag: str, project: str, progress: Progress
) -> str:
    """Write an arm's evaluation run below the run of the evidence, and return its id.

    `tag` is the identity of the arm's place in the evidence: the same one is written once. A run that a killed
    process left is completed; a trace is named by its content, so none is there twice.
    """
    found = client.search_runs([experiment], f"tags.{ARM_TAG} = '{tag}'", max_results=1)
    run = (
        found[0]
        if found
        else client.create_run(experiment, run_name=traces.arm, tags=_run_tags(traces, tag, parent_run))
    )
    run_id = str(run.info.run_id)
    if run.info.status == "FINISHED":
        return run_id
    _log_summary(client, run_id, traces, project)
    _log_traces(client, traces, experiment=experiment, run_id=run_id, progress=progress)
    client.set_terminated(run_id, status="FINISHED")
    return run_id


def _run_tags(traces: ArmTraces, tag: str, parent_run: str) -> dict[str, str]:
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_TYPE, MLFLOW_RUN_TYPE_GENAI_EVALUATE

    return {
        ARM_TAG: tag,
        "arm": traces.arm,
        MLFLOW_PARENT_RUN_ID: parent_run,
        MLFLOW_RUN_TYPE: MLFLOW_RUN_TYPE_GENAI_EVALUATE,
    }


def _log_summary(client: Any, run_id: str, traces: ArmTraces, project: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

    now = int(time.time() * 1_000)
    scores = {name: score.value for name, score in traces.scorecard.metrics.items() if score.value is not None}
    client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in sorted(scores.items())])
    dataset = Dataset(
        name=f"{project} cases",
        digest=traces.cases_digest[: _SPAN_ID_CHARACTERS * 2],
        source_type="steelyard",
        source=json.dumps({"cases": traces.cases_digest}),
        profile=json.dumps({"num_rows": len(traces.cases)}),
    )
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "evaluation")])])


def _log_traces(client: Any, traces: ArmTraces, *, experiment: str, run_id: str, progress: Progress) -> None:
    from mlflow.tracing.client import TracingClient

    writer, rows = (
        TracingClient(client.tracking_uri),
        list(zip(traces.cases, traces.answers, traces.prompts, strict=True)),
    )
    for start in range(0, len(rows), _TRACES_PER_CALL):
        batch = [
            _Trace(traces, *row, experiment=experiment, run_id=run_id) for row in rows[start : start + _TRACES_PER_CALL]
        ]
        for trace in batch:
            writer.start_trace(trace.info())
        writer.log_spans(experiment, [span for trace in batch for span in trace.spans()])
        client.link_traces_to_run([trace.id for trace in batch], run_id)
        progress.update(
            f"record answers of {traces.arm}", min(start + _TRACES_PER_CALL, len(rows)), len(rows), "answers"
        )


class _Trace:
    """One answer as MLflow's entities."""

    def __init__(
        self, traces: ArmTraces, case: Case, answer: Answer, prompt: Prompt, *, experiment: str, run_id: str
    ) -> None:
        self._case, self._answer, self._prompt = case, answer, prompt
        self._passages = [traces.passages[key] for key in answer.passage_ids]
        self._scores = traces.scorecard.by_case.get(case.id, {})
        self._experiment, self._run_id = experiment, run_id
        self._now = int(time.time() * 1_000)
        self._digest = digest([CODE_VERSION, experiment, case, answer, self._scores])
        self.id = f"tr-{self._digest}"

    def info(self) -> Any:
        """Return the trace without its spans: what is listed, searched and compared."""
        from mlflow.entities import TraceInfo, TraceLocation, TraceState
        from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey

        return TraceInfo(
            trace_id=self.id,
            trace_location=TraceLocation.from_experiment_id(self._experiment),
            request_time=self._now,
            state=TraceState.OK,
            request_preview=self._case.question[:_PREVIEW_CHARACTERS],
            response_preview=self._answer.text[:_PREVIEW_CHARACTERS],
            trace_metadata={
                TraceMetadataKey.SOURCE_RUN: self._run_id,
                TraceMetadataKey.TOKEN_USAGE: json.dumps(self._usage()),
            },
            tags={
                TraceTagKey.TRACE_NAME: self._answer.arm,
                TraceTagKey.SPANS_LOCATION: "TRACKING_STORE",
                "arm": self._answer.arm,
                "case": self._case.id[:250],
                "kind": self._case.kind,
                "passages": ", ".join(self._answer.passage_ids)[:4_000],
            },
            assessments=list(self._assessments()),
        )

    def _usage(self) -> dict[str, int]:
        read, written = self._answer.prompt_tokens, self._answer.completion_tokens
        return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}

    def _assessments(self) -> Iterator[Any]:
        from mlflow.entities import AssessmentSource, Expectation, Feedback
        from mlflow.entities.assessment_error import AssessmentError

        source = AssessmentSource("CODE", "steelyard")
        made = [Expectation("expected_response", self._case.expected, source=AssessmentSource("HUMAN", "cases"))]
        for name, value in self._scores.items():
            if metric(name).unit == "tokens":
                continue  # MLflow has a place of its own for them
            if value is None:
                error = AssessmentError("NOT_SCORED", f"{name} could not be computed for this answer")
                made.append(Feedback(name, error=error, source=source))
            else:
                made.append(Feedback(name, bool(value) if metric(name).is_yes_no else value, source=source))
        for assessment in made:
            assessment.assessment_id = f"a-{digest([self._digest, assessment.name])}"
            assessment.trace_id, assessment.span_id = self.id, self._span_id("arm")
            assessment.metadata = {"mlflow.assessment.sourceRunId": self._run_id}
            yield assessment

    def spans(self) -> Iterator[Any]:
        """Return the answer's steps: the arm, what it retrieved, what the model was given and wrote."""
        question, text = self._case.question, self._answer.text
        yield self._span("arm", {"question": question}, text, kind="CHAIN", name=self._answer.arm, parent=None)
        if self._passages:
            yield self._span(
                "retrieve", {"query": question}, [_shown(item) for item in self._passages], kind="RETRIEVER"
            )
        messages = [{"role": message.role, "content": message.content} for message in self._prompt.messages]
        reply = {"messages": [{"role": "assistant", "content": text}]}
        usage = {"mlflow.chat.tokenUsage": self._usage()}
        yield self._span("generate", {"messages": messages}, reply, kind="CHAT_MODEL", attributes=usage)

    def _span_id(self, part: str) -> str:
        return digest([self._digest, part])[:_SPAN_ID_CHARACTERS]

    def _span(
        self,
        part: str,
        inputs: Any,
        outputs: Any,
        *,
        kind: str,
        name: str | None = None,
        parent: str | None = "arm",
        attributes: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return one step; when it ran is not known any more, so it takes no time."""
        from mlflow.entities import Span

        values = {
            "mlflow.traceRequestId": self.id,
            "mlflow.spanType": kind,
            "mlflow.spanInputs": inputs,
            "mlflow.spanOutputs": outputs,
            **(attributes or {}),
        }
        return Span.from_dict(
            {
                "name": name or part,
                "trace_id": self.id,
                "span_id": self._span_id(part),
                "parent_span_id": None if parent is None else self._span_id(parent),
                "start_time_unix_nano": self._now * _NANOSECONDS,
                "end_time_unix_nano": self._now * _NANOSECONDS,
                "status": {"code": "STATUS_CODE_OK", "message": ""},
                "attributes": {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()},
                "events": [],
            }
        )


def _shown(passage: Passage) -> dict[str, Any]:
    """Return a passage in the form that MLflow's own retrievers use."""
    metadata = {"doc_uri": passage.uri, "chunk_id": passage.id, "document": passage.document_id}
    return {"id": passage.id, "page_content": passage.text, "metadata": metadata}
