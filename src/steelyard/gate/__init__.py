"""The gate: from scorecards to a verdict on every arm. Pure functions, no I/O."""
