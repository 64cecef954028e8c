"""The stage that turns a winning arm into one registered model version that answers with citations."""
