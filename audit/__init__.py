"""Unseen's memory: entries, ledger, proofs, receipts, verification. Imports no other package of the project."""
