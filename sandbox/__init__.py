"""Decisions: catalogue, contract, authorisation, admission, release rules, sessions, data sources."""
