"""What a verification found, as a person and a program are told."""

from dataclasses import dataclass

from audit.canonical import JsonObject
from audit.errors import Damage, Rule
from audit.verify_cosignatures import Cosigned


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    Attributes:
        party, origin: whose ledger, by its first entry; empty where that cannot be read.
        entries: how many were found good.
        root, chain: over those, lowercase hexadecimal.
        checkpoints: the log's own, verified.
        anchored: compared with a checkpoint from outside, and equal.
        revoked_signatures: made by keys that the directory has since revoked, counted ones included.
        cosigned: the largest size that a witness of the directory cosigned; None without directory or cosignature.
        uncounted: entries signed by a key since revoked that no witness had seen before, but that an honest party may
            have signed before it heard: indices, at most a thousand; `uncounted_entries` is how many there are.
        contracts_unchecked: contracts with calls here whose terms were not at hand.
        damage: None when nothing is wrong.
        index: the first bad entry, as near as the evidence tells.
        detail: what is wrong.
        rule: which rule about its content that entry breaks; None where the damage is of another kind.
    """

    party: str
    origin: str
    entries: int
    root: str
    chain: str
    checkpoints: int
    anchored: bool
    revoked_signatures: int = 0
    cosigned: Cosigned | None = None
    uncounted: tuple[int, ...] = ()
    uncounted_entries: int = 0
    contracts_unchecked: int = 0
    damage: Damage | None = None
    index: int | None = None
    detail: str = ""
    rule: Rule | None = None

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong."""
        return self.damage is None

    def to_json(self) -> JsonObject:
        """For `--json`; cosigned, damage, index, detail and rule only where there are any."""
        body: JsonObject = {
            "verified": self.verified,
            "party": self.party,
            "origin": self.origin,
            "entries": self.entries,
            "root": self.root,
            "chain": self.chain,
            "checkpoints": self.checkpoints,
            "anchored": self.anchored,
            "revoked_signatures": self.revoked_signatures,
            "uncounted": list(self.uncounted),
            "uncounted_entries": self.uncounted_entries,
            "contracts_unchecked": self.contracts_unchecked,
        }
        if self.cosigned is not None:
            body["cosigned"] = {
                "size": self.cosigned.size,
                "time_s": self.cosigned.time_s,
                "by": list(self.cosigned.by),
            }
        if self.damage is not None:
            body |= {"damage": self.damage.value, "detail": self.detail}
            if self.index is not None:
                body["index"] = self.index
            if self.rule is not None:
                body["rule"] = self.rule.value
        return body
