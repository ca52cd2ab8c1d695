"""Generated from `proto/unseen`: see `unseen.v1`."""
