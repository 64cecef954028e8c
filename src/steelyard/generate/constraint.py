"""Answers held to a JSON Schema or a regular expression while they are generated.

Belongs here: which token comes next under a constraint (llguidance does the parsing). Not here: the decoding loop.

Greedy decoding needs no mask at most steps: where the likeliest token is allowed, it is the likeliest allowed one.
Only where it is not are the other tokens looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steelyard.errors import ConfigError
from steelyard.records import Constraint

# JSON may be written in many ways; without a bound a small model can go on with spaces until it runs out of tokens.
_JSON_STYLE: Any = {"whitespace_pattern": r"[ \n]{0,4}"}


class Constrainer:
    """Makes matchers for the rows of a batch; the tokenizer is read once.

    `vocabulary` is the width of the model's logits, `stop` the tokens that end a completion.
    """

    def __init__(self, tokenizer: Any, *, vocabulary: int, stop: frozenset[int]) -> None:
        from llguidance import hf

        self._stop = sorted(stop)
        self._tokens = hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=self._stop)
        self._compiled: dict[Constraint, Any] = {}

    def matchers(self, constraint: Constraint, count: int) -> Matchers:
        """Return fresh matchers for `count` rows; raises `ConfigError` when the constraint cannot be followed."""
        if constraint not in self._compiled:
            self._compiled[constraint] = _compile(constraint, self._tokens)
        return Matchers([self._compiled[constraint].deep_copy() for _ in range(count)], self._stop)


class Matchers:
    """Where each row of a batch stands in what it may say."""

    def __init__(self, matchers: Sequence[Any], stop: Sequence[int]) -> None:
        self._matchers = list(matchers)
        self._stop = list(stop)

    def choose(self, logits: Any, rows: Sequence[int]) -> Any:
        """Return each row's likeliest allowed token, (rows,), and take note of it.

        `logits` is (rows, vocabulary); `rows` names the matcher of each of its rows.
        """
        chosen = logits.max(-1).indices
        for place, row in enumerate(rows):
            matcher = self._matchers[row]
            if matcher.is_stopped():  # complete, so that only the end can follow
                chosen[place] = self._stop[int(logits[place, self._stop].max(-1).indices)]
            elif matcher.try_consume_tokens([int(chosen[place])]) == 0:
                chosen[place] = _likeliest_allowed(logits[place], matcher)
                matcher.consume_token(int(chosen[place]))
        return chosen


def check_constraint(constraint: Constraint) -> None:
    """Raise `ConfigError` when a schema or an expression cannot be followed, without any model."""
    from llguidance import LLMatcher

    is_error, messages = LLMatcher.validate_grammar_with_warnings(_grammar(constraint))
    if is_error:
        raise _unfit(constraint, messages[0])


def _compile(constraint: Constraint, tokens: Any) -> Any:
    from llguidance import LLMatcher

    matcher = LLMatcher(tokens, _grammar(constraint))
    if matcher.is_error():
        raise _unfit(constraint, matcher.get_error())
    return matcher


def _grammar(constraint: Constraint) -> str:
    from llguidance import LLMatcher

    if constraint.kind == "json_schema":
        return str(LLMatcher.grammar_from_json_schema(constraint.text, overrides=_JSON_STYLE))
    return str(LLMatcher.grammar_from_regex(constraint.text))


def _likeliest_allowed(logits: Any, matcher: Any) -> int:
    import numpy as np
    import torch

    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    is_allowed = torch.from_numpy(bits[: logits.shape[-1]]).to(device=logits.device, dtype=torch.bool)
    return int(logits.masked_fill(~is_allowed, float("-inf")).max(-1).indices)


def _unfit(constraint: Constraint, fault: str) -> ConfigError:
    name = "task.output.json_schema" if constraint.kind == "json_schema" else "task.output.pattern"
    return ConfigError(
        f"{name} cannot be followed while answers are generated: {fault.strip().splitlines()[0]}",
        remedy="simplify it, or leave is_constrained out of prompt.remedies",
    )
