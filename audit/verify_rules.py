"""The rules about a ledger's content, each with the lie that it finds. The bytes are good: whoever lied signed them.

 1 side              entries of a side that the ledger's owner does not have
 2 order             an answer without a call, a call answered twice or after its end, an end of nothing
 3 call              an answer for another call, price or data than was taken
 4 once              a request that was replayed and taken again
 5 references        a contract that nobody signed, versions that go backwards, a change of the log's key out of nowhere
 6 state             a call under a contract that is not in force
 7 acknowledgements  calls taken from a merchant that countersigns nothing
 8 terms             a call of another merchant, other participants, other data, or outside the contract's validity
 9 price             a price that is not tariff times units
10 quota             calls, ciphertexts or privacy beyond what was agreed on
11 fee-cap           earnings beyond what was agreed on
12 times             entries dated back or ahead (`audit.verify_times`)

Rules 8 to 11 need the contract's document (`audit.contract_terms`); without it they are not checked, and the report
says of how many contracts.
"""

from audit.errors import Damage, Rule, VerificationFailedError


def broken(rule: Rule, index: int, detail: str) -> VerificationFailedError:
    """The finding that the entry at `index` breaks a rule."""
    return VerificationFailedError(Damage.ALTERED, index, f"{detail} (rule {rule.value})", rule=rule)
