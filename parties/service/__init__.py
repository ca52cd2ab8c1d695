"""gRPC services, one file a service."""
