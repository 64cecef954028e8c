"""The data contract: rules about documents, pairs and cases, checked by Great Expectations before money is spent.

Belongs here: the rules, what they look at, and the report. Not here: reading sources, loading, and where refused rows
are kept (`pipelines`).
"""

from steelyard.validate.contract import CheckResult, ContractError, ValidationReport, validate
from steelyard.validate.fingerprint import validation_fingerprint
from steelyard.validate.rules import RULES, Severity, ValidationRules

__all__ = [
    "RULES",
    "CheckResult",
    "ContractError",
    "Severity",
    "ValidationReport",
    "ValidationRules",
    "validate",
    "validation_fingerprint",
]
