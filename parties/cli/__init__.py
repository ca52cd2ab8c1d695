"""The command `unseen`, one file a command."""
