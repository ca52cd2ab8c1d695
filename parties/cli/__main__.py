"""`python -m parties.cli` is the command `unseen`."""

from parties.cli.app import main

if __name__ == "__main__":
    main()
