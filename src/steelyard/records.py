"""The nouns that cross stages: frozen, typed, serialisable.

Belongs here: records and the closed sets of their values. Not here: behaviour that needs a library, a file or a
setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Arm = Literal["base", "rag", "tuned", "hybrid"]
ARMS: tuple[Arm, ...] = ("base", "rag", "tuned", "hybrid")  # ties go to the earlier, simpler arm
RETRIEVING_ARMS: frozenset[Arm] = frozenset({"rag", "hybrid"})
TUNED_ARMS: frozenset[Arm] = frozenset({"tuned", "hybrid"})

CaseKind = Literal["fact", "fresh", "unanswerable", "format", "injection", "retention"]
CASE_KINDS: tuple[CaseKind, ...] = ("fact", "fresh", "unanswerable", "format", "injection", "retention")
PairKind = Literal["fact", "unanswerable"]
Ruling = Literal["promote", "reject", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Document:
    """One source text as it is in one snapshot; `id` stays when the text changes."""

    id: str
    source: str
    uri: str
    title: str
    text: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One training pair: an input, its ideal output and the documents that support it."""

    id: str
    input: str
    output: str
    kind: PairKind = "fact"
    documents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One question that every arm answers.

    `expected` is the ideal answer as text (a JSON object's compact text where the task's output is JSON);
    `cluster` groups cases that rise and fall together (usually the source document); `forbidden` is a text that an
    answer must not hold, for injection cases.
    """

    id: str
    question: str
    kind: CaseKind
    expected: str
    documents: tuple[str, ...] = ()
    cluster: str = ""
    forbidden: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One published state of the documents; `sequence` counts from 1, `digest` covers ids and content."""

    sequence: int
    date: str
    digest: str
    documents: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row that was not taken: where it stood, why, and its text (cut to a readable length)."""

    table: str
    location: str
    reason: str
    payload: str
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """One piece of a document, valid in the snapshots `from_snapshot` up to but not including `to_snapshot`.

    `text` is what is embedded, searched and shown to a model, `heading_path` the titles above it, outermost first.
    """

    id: str
    document_id: str
    ordinal: int
    title: str
    heading_path: str
    text: str
    uri: str
    from_snapshot: int
    to_snapshot: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage that a search found; a larger score is better, comparable within one search only."""

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat to be continued; its first `shared` messages are the same for all prompts of an arm."""

    messages: tuple[Message, ...]
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Constraint:
    """What generated text must match from its first to its last character: a JSON Schema or a regular expression."""

    kind: Literal["json_schema", "regex"]
    text: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """How text is generated: greedy, at most `max_new_tokens`, held to `constraint` where there is one."""

    max_new_tokens: int
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a generator returned for one prompt; `seconds` is the prompt's share of its batch's time."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One arm's answer to one case, with the ids of the passages that stood in its prompt."""

    arm: Arm
    case_id: str
    text: str
    passage_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    prompt_digest: str


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over `n` cases, of which `not_scored` could not be scored; `value` is None when none could."""

    value: float | None
    n: int
    not_scored: int = 0


@dataclass(frozen=True, slots=True)
class Scorecard:
    """One arm's scores, overall and per case kind, and what it costs to set up, update and ask."""

    arm: Arm
    metrics: Mapping[str, Score]
    by_kind: Mapping[str, Mapping[str, Score]]
    by_case: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, slots=True)
class Remedy:
    """A cheap way to better answers that needs no training: worked examples in the prompt, held-to output."""

    examples: int
    is_constrained: bool = False


@dataclass(frozen=True, slots=True)
class RemedyTrial:
    """How RAG did with a remedy on `n` held-out pairs; `form` and `right` are shares, `prompt_tokens` a mean.

    `form` is None where the project asks for no form.
    """

    remedy: Remedy
    form: float | None
    right: float
    prompt_tokens: float
    n: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What the right passage in the prompt repairs, on `n` answerable held-out pairs.

    `retrieval_gap` is the share that RAG gets wrong and the base checkpoint gets right once it is shown the right
    passage; `behaviour_gap` the share that stays wrong. The rest RAG gets right.
    """

    retrieval_gap: float
    behaviour_gap: float
    n: int


@dataclass(frozen=True, slots=True)
class TuneRule:
    """One rule of the tuning decision as it came out; `measured` is None when there is nothing to measure."""

    measure: str
    role: Literal["required", "reason"]
    measured: float | None
    limit: str
    is_held: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class TuneDecision:
    """Whether tuning can pay, why, what would change the answer, and every rule that led to it.

    `is_reused` tells that an adapter of the same pairs, base and recipe is there: nothing needs to be trained.
    `override` says who set the rules aside, and when.
    """

    is_tuning_worthwhile: bool
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]
    rules: tuple[TuneRule, ...] = ()
    is_reused: bool = False
    override: str | None = None

    @property
    def action(self) -> Literal["run", "reuse", "skip"]:
        """What follows."""
        if not self.is_tuning_worthwhile:
            return "skip"
        return "reuse" if self.is_reused else "run"


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A rendered chat and the completion to learn; the loss is taken on the completion only."""

    messages: tuple[Message, ...]
    completion: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained LoRA adapter in PEFT's own format; `digest` covers its weights and settings."""

    fingerprint: str
    digest: str
    steps: int
    tokens: int
    seconds: float
    final_loss: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; `level` is its coverage (0.95), `method` how it was computed, in words."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms on one metric over the same cases: `difference` is the mean of `arm` less that of `baseline`.

    `wins`, `losses` and `ties` count cases; `p_value` is for this comparison alone, `p_corrected` after correction
    for the number of comparisons.
    """

    metric: str
    arm: str
    baseline: str
    difference: float
    interval: Interval | None
    wins: int
    losses: int
    ties: int
    clusters: int
    p_value: float
    p_corrected: float


@dataclass(frozen=True, slots=True)
class Power:
    """What a gate can see: the smallest true difference that `power` of such evaluations would find significant.

    `disagreement` is the share of cases on which two arms are expected to differ; `cases_to_settle` how many cases a
    difference as large as the margin would need, None where no number would do.
    """

    cases: int
    clusters: int
    disagreement: float
    significance: float
    power: float
    detectable: float | None
    cases_to_settle: int | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the gate as it came out: what was measured, what was asked, whether it held."""

    name: str
    measured: float | None
    limit: float | None
    is_passed: bool
    explanation: str
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's ruling on one arm, with every rule that led to it."""

    arm: Arm
    ruling: Ruling
    reasons: tuple[str, ...]
    rules: tuple[Rule, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that the gate found: a verdict an arm, the comparisons behind them, intervals by arm and metric, and power.

    `baseline` is the arm that limits of the kind "at most this much worse" are measured from, or "champion" where the
    current champion answered the same cases.
    """

    verdicts: Mapping[Arm, Verdict]
    comparisons: tuple[Comparison, ...]
    intervals: Mapping[Arm, Mapping[str, Interval]]
    power: Power | None
    baseline: str
