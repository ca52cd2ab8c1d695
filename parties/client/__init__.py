"""Clients: the merchant and the peers of a computing party."""
