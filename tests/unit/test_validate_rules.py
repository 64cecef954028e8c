"""The rules of the data contract as checks, and their identity."""

from __future__ import annotations

import pytest

from steelyard.errors import ConfigError
from steelyard.records import Case, Pair
from steelyard.validate.fingerprint import validation_fingerprint
from steelyard.validate.rules import RULES, ValidationRules, row_checks, table_checks


def test_table_checks_without_pairs_ask_nothing_about_pairs():
    """A project without pairs weighs base and RAG: their number is no error."""
    assert {check.table for check in table_checks(ValidationRules(), pairs=0, cases=20)} == {"accepted_cases"}


def test_table_checks_accepted_share_is_exact_at_the_limit():
    """A tenth of 640 rows may be refused, not one more, whatever floating point makes of 0.9."""
    checks = table_checks(ValidationRules(max_refused_share=0.1), pairs=640, cases=20)
    assert [check.minimum for check in checks if check.rule == "accepted_share"] == [576, 18]


def test_table_checks_too_many_pairs_tell_another_remedy_than_too_few():
    """More pairs do not repair too many pairs."""
    remedies = {
        count: next(c.remedy for c in table_checks(ValidationRules(), pairs=count, cases=9) if c.rule == "pair_count")
        for count in (499, 50_001)
    }
    assert "add pairs" in remedies[499]
    assert "fewer" in remedies[50_001]


def test_row_checks_every_rule_is_used_by_a_check():
    """A rule that can be named in a project is one that is checked."""
    checks = [*row_checks(ValidationRules()), *table_checks(ValidationRules(), pairs=1, cases=1)]
    assert {check.rule for check in checks} == set(RULES)


def test_row_checks_warning_reports_any_row_and_critical_tolerates_a_share():
    """A severity override changes what stops the run."""
    rules = ValidationRules(max_refused_share=0.2, severity={"contradicting_pairs": "warning"})
    by_rule = {check.rule: check for check in row_checks(rules)}
    assert (by_rule["contradicting_pairs"].severity, by_rule["contradicting_pairs"].mostly) == ("warning", 1.0)
    assert (by_rule["leaking_pairs"].severity, by_rule["leaking_pairs"].mostly) == ("critical", 0.8)


def test_rules_unknown_name_is_refused_with_the_known_ones():
    """A severity for a rule that does not exist would be ignored in silence."""
    with pytest.raises(ConfigError, match="leaking_pairs"):
        ValidationRules(severity={"leaking": "warning"})


def test_fingerprint_changes_with_data_and_rules_only():
    """The same rows and rules have one fingerprint; any change of them has another."""
    pairs, cases = [Pair("p", "x", "y")], [Case("c", "q", "fact", "a")]
    known = {"documents_digest": "d", "pairs": pairs, "cases": cases, "rules": ValidationRules()}
    same = validation_fingerprint(**known)
    assert same == validation_fingerprint(**known)
    others = [
        {**known, "documents_digest": "e"},
        {**known, "pairs": []},
        {**known, "cases": [Case("c", "q", "fact", "b")]},
        {**known, "rules": ValidationRules(severity={"pair_count": "warning"})},
    ]
    assert same not in {validation_fingerprint(**other) for other in others}
