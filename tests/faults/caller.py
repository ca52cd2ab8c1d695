"""A merchant's process that does nothing but ask, until it is killed. It writes a line for every answer it has got.

    python -m tests.faults.caller HOME CONTRACT

A line is "done CALL" once `aggregate` has returned, so that the books must know of the call for ever, or
"failed REASON". At its start it finishes what an earlier process left behind.
"""

from __future__ import annotations

import sys
import time

from audit.errors import AuditError
from parties.client.merchant import Merchant
from parties.errors import PartyError
from sandbox.errors import SandboxError

TIMEOUT_SECONDS = 4.0


def main(home: str, contract: str) -> None:
    with Merchant.open(home, say=lambda text: None) as merchant:
        for result in merchant.resume():
            tell(f"done {result.call}")
        while True:
            try:
                tell(f"done {merchant.aggregate(contract, statistics=['count'], timeout=TIMEOUT_SECONDS).call}")
            except (AuditError, PartyError, SandboxError) as error:
                tell(f"failed {type(error).__name__} {getattr(error, 'party', '')}")
                time.sleep(0.1)


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
