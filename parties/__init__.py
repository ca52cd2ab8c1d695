"""The network: identity, services, clients, command line."""
