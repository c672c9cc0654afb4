"""Rulesets: the plans of the model as named chains of rules."""
