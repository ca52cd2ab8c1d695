"""`python -m tests.bench.paillier --json`: the Paillier engine against phe (python-paillier) on gmpy2, in one run.

Ours and phe alternate, operation by operation; figures are medians over the repeats. A value is 64-bit fixed point with
room for 2^32 additions: for ours a slot of 96 bits, 31 a ciphertext at 3072 bits; for phe one EncryptedNumber, an
integer at exponent 0. In `weighted_sum` a value is one term, a ciphertext with a 32-bit weight of its own, for both. No
pool and no table is there at the start of an encryption: building the table is part of its time, and reported. All
ciphertexts are distinct. Ours runs on one core, but for `two_processes`.
"""

import argparse
import json
import os
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import phe
import phe.util

from parties.executor_processes import ProcessExecutor
from protocols.executor import InlineExecutor
from protocols.multiexp import weighted_product
from protocols.packing import ValueRange, VectorLayout
from protocols.paillier import encrypt_batch
from protocols.paillier_key import PublicKey, Scheme, generate_key
from protocols.paillier_noise import NoisePlan, noise_plan
from protocols.paillier_vector import (
    EncryptedVector,
    decrypt_total,
    decrypt_vector,
    encrypt_vector,
    sum_within,
)
from protocols.phe_interop import to_phe_ciphertext, to_phe_private

R = TypeVar("R")

VALUE_BITS, ADDITIONS, WEIGHT_BITS = 64, 1 << 32, 32
CHECK_BITS = 64
"""Length of the random weights whose sum checks a whole column: a wrong ciphertext passes once in 2^64."""


@dataclass(frozen=True)
class Sizes:
    """How much each operation does."""

    bits: int = 3072
    column: int = 4096
    """Ciphertexts of a column that is encrypted and summed."""
    textbook: int = 40
    decrypted: int = 100
    terms: int = 2048
    phe_encrypted: int = 20
    phe_decrypted: int = 60
    phe_added: int = 2048


QUICK = Sizes(512, column=64, textbook=8, decrypted=16, terms=32, phe_encrypted=8, phe_decrypted=8, phe_added=32)


@dataclass
class Timed:
    """Seconds a value, one figure a repeat."""

    ours: list[float] = field(default_factory=list)
    phe: list[float] = field(default_factory=list)


class Bench:
    """Keys and data of one run, its figures, and whether all that was computed is right."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.key = generate_key(sizes.bits, minimum_bits=sizes.bits)
        self.phe_key = to_phe_private(self.key)
        self.timed: dict[str, Timed] = {}
        self.correct = True
        self.seen: set[int] = set()
        numbers = [secrets.randbits(WEIGHT_BITS) for _ in range(max(sizes.terms, sizes.phe_added))]
        self.numbers = numbers
        self.singles = encrypt_batch(numbers, self.public, executor=InlineExecutor())

    @property
    def public(self) -> PublicKey:
        """The key, which declares DJN."""
        return self.key.public_key

    def layout(self, ciphertexts: int) -> VectorLayout:
        """The layout that fills so many ciphertexts."""
        values = ValueRange.signed(VALUE_BITS, decimals=4)
        one = VectorLayout.plan(values, 1, modulus_bits=self.sizes.bits, additions=ADDITIONS)
        length = ciphertexts * one.slots.slots_per_ciphertext
        return VectorLayout.plan(values, length, modulus_bits=self.sizes.bits, additions=ADDITIONS)

    def run(self, repeats: int) -> None:
        """Repeat every operation, ours and phe's in turn."""
        for _ in range(repeats):
            column = self.encrypt("encrypt", self.public, self.sizes.column)
            self.phe_encrypt("encrypt")
            self.encrypt("encrypt_textbook", PublicKey(self.public.n, Scheme.TEXTBOOK), self.sizes.textbook)
            self.phe_encrypt("encrypt_textbook")
            self.decrypt()
            self.phe_decrypt()
            self.sum_column(*column)
            self.phe_sum()
            self.weighted_sum()
        self.two_processes(repeats)

    def encrypt(self, name: str, key: PublicKey, ciphertexts: int) -> tuple[list[int], EncryptedVector]:
        """Encrypt a fresh column; its table, where it has one, is built within the time."""
        layout = self.layout(ciphertexts)
        values = self.random_values(layout)
        vector, took = seconds(lambda: encrypt_vector(values, layout, key, executor=InlineExecutor()))
        self.record(name, ours=took / len(values))
        self.check_distinct(vector.ciphertexts)
        self.check_column(values, vector)
        return values, vector

    def phe_encrypt(self, name: str) -> None:
        """The same by phe, one ciphertext a value."""
        values = [secrets.randbits(VALUE_BITS - 1) for _ in range(self.sizes.phe_encrypted)]
        encrypt = self.phe_key.public_key.encrypt
        numbers, took = seconds(lambda: [encrypt(value) for value in values])
        self.record(name, phe=took / len(values))
        self.check_distinct([number.ciphertext(be_secure=False) for number in numbers])
        self.check([self.key.decrypt_raw(number.ciphertext(be_secure=False)) for number in numbers] == values)

    def decrypt(self) -> None:
        """Decrypt a column of fresh ciphertexts."""
        layout = self.layout(self.sizes.decrypted)
        values = self.random_values(layout)
        vector = encrypt_vector(values, layout, self.public)
        decrypted, took = seconds(lambda: decrypt_vector(vector, self.key, executor=InlineExecutor()))
        self.record("decrypt", ours=took / len(values))
        self.check(decrypted == values)

    def phe_decrypt(self) -> None:
        """Decrypt by phe what holds one value each."""
        count = self.sizes.phe_decrypted
        numbers = [to_phe_ciphertext(single, self.public) for single in self.singles[:count]]
        decrypted, took = seconds(lambda: [self.phe_key.decrypt(number) for number in numbers])
        self.record("decrypt", phe=took / count)
        self.check(decrypted == self.numbers[:count])

    def sum_column(self, values: Sequence[int], vector: EncryptedVector) -> None:
        """Sum all values of a column under encryption."""
        total, took = seconds(lambda: sum_within(vector))
        self.record("sum", ours=took / len(values))
        self.check(decrypt_total(total, self.key) == sum(values))
        slots, lo = vector.layout.slots, vector.lo
        packed = self.phe_key.raw_decrypt(total.ciphertext)
        sums = [packed >> slot * slots.slot_bits & slots.largest for slot in range(slots.slots_per_ciphertext)]
        self.check(sum(sums) + len(values) * lo == sum(values))

    def phe_sum(self) -> None:
        """Sum phe's numbers, all at one exponent."""
        count = self.sizes.phe_added
        numbers = [to_phe_ciphertext(single, self.public) for single in self.singles[:count]]
        total, took = seconds(lambda: sum(numbers[1:], numbers[0]))
        self.record("sum", phe=took / count)
        self.check(self.phe_key.decrypt(total) == sum(self.numbers[:count]))

    def weighted_sum(self) -> None:
        """One weighted sum: ours by multi-exponentiation, phe's by its scalar product and addition."""
        count = self.sizes.terms
        singles = self.singles[:count]
        weights = [secrets.randbits(WEIGHT_BITS) | 1 << (WEIGHT_BITS - 1) for _ in range(count)]
        expected = sum(weight * number for weight, number in zip(weights, self.numbers, strict=False))
        product, took = seconds(lambda: weighted_product(singles, weights, self.public))
        self.record("weighted_sum", ours=took / count)
        numbers = [to_phe_ciphertext(single, self.public) for single in singles]

        def by_phe() -> phe.EncryptedNumber:
            terms = (number * weight for number, weight in zip(numbers, weights, strict=True))
            return sum(terms, next(terms))

        total, took = seconds(by_phe)
        self.record("weighted_sum", phe=took / count)
        self.check(self.key.decrypt_raw(product) == self.phe_key.decrypt(total) == expected)
        self.check(self.phe_key.raw_decrypt(product) == self.key.decrypt_raw(total.ciphertext()) == expected)

    def two_processes(self, repeats: int) -> None:
        """Encrypt a column with one worker process and with two, started before and without tables."""
        layout = self.layout(self.sizes.column)
        values = self.random_values(layout)
        for _ in range(repeats):
            for workers in (1, 2):
                executor = ProcessExecutor(workers)
                try:
                    vector, took = seconds(lambda on=executor: encrypt_vector(values, layout, self.public, executor=on))
                finally:
                    executor.close()
                self.record(f"encrypt_{workers}_processes", ours=took / len(values))
                self.check_distinct(vector.ciphertexts)
                self.check_column(values, vector)

    def random_values(self, layout: VectorLayout) -> list[int]:
        """Uniform values of the declared range."""
        lo, hi = layout.values.lo, layout.values.hi
        return [lo + secrets.randbelow(hi - lo + 1) for _ in range(layout.slots.length)]

    def check_column(self, values: Sequence[int], vector: EncryptedVector) -> None:
        """Every ciphertext holds its values, under our decryption and phe's: seen from one random weighted sum."""
        plaintexts = vector.layout.slots.pack([value - vector.lo for value in values])
        weights = [secrets.randbits(CHECK_BITS) for _ in plaintexts]
        expected = sum(weight * plaintext for weight, plaintext in zip(weights, plaintexts, strict=True))
        product = weighted_product(vector.ciphertexts, weights, vector.key)
        self.check(self.key.decrypt_raw(product) == expected % self.public.n)
        self.check(self.phe_key.raw_decrypt(product) == expected % self.public.n)

    def check_distinct(self, ciphertexts: Sequence[int]) -> None:
        """No ciphertext of this run was seen before."""
        self.check(len(set(ciphertexts)) == len(ciphertexts) and self.seen.isdisjoint(ciphertexts))
        self.seen.update(ciphertexts)

    def check(self, right: bool) -> None:
        """Remember whether anything was wrong."""
        self.correct = self.correct and right

    def record(self, name: str, *, ours: float | None = None, phe: float | None = None) -> None:
        """Add a figure of one repeat."""
        timed = self.timed.setdefault(name, Timed())
        if ours is not None:
            timed.ours.append(ours)
        if phe is not None:
            timed.phe.append(phe)

    def figures(self, repeats: int) -> dict[str, object]:
        """Medians, ratios and what else was asked."""
        ours = {name: 1 / statistics.median(timed.ours) for name, timed in self.timed.items() if timed.ours}
        by_phe = {name: 1 / statistics.median(timed.phe) for name, timed in self.timed.items() if timed.phe}
        ratio = {name: ours[name] / by_phe[name] for name in by_phe}
        ratio["two_processes"] = ours["encrypt_2_processes"] / ours["encrypt_1_processes"]
        used, largest = noise_plan(self.public, self.sizes.column), noise_plan(self.public, 10**9)
        built, largest_built = measure_table(used), measure_table(largest)
        return {
            "bits": self.sizes.bits,
            "ours": rounded(ours),
            "phe": rounded(by_phe),
            "ratio": rounded(ratio),
            "table_mb": largest_built.megabytes,
            "table_used_mb": built.megabytes,
            "table_build_s": built.seconds,
            "table_largest_build_s": largest_built.seconds,
            "values_a_ciphertext": self.layout(1).slots.slots_per_ciphertext,
            "ciphertexts_a_column": self.sizes.column,
            "repeats": repeats,
            "correct": self.correct,
        }


@dataclass(frozen=True)
class Table:
    """What building a noise source took, in a process that had none."""

    seconds: float
    megabytes: float | None
    """Growth of resident memory, 10^6 bytes; None where the system does not tell."""


def measure_table(plan: NoisePlan) -> Table:
    """Build the source in a fresh process."""
    executor = ProcessExecutor(1)
    try:
        return executor.map(build, [plan])[0]
    finally:
        executor.close()


def build(plan: NoisePlan) -> Table:
    """Build the source here; returns before it is freed."""
    before = resident()
    source, took = seconds(plan)
    after = resident()
    source.noise()
    grown = None if before is None or after is None else round((after - before) / 1e6, 1)
    return Table(round(took, 3), grown)


def resident() -> int | None:
    """Resident bytes of this process, where Linux tells."""
    figures = Path("/proc/self/statm")
    if not figures.exists():
        return None
    return int(figures.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def seconds(run: Callable[[], R]) -> tuple[R, float]:
    """What a call returns, and its wall-clock seconds."""
    started = time.perf_counter()
    result = run()
    return result, time.perf_counter() - started


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """Three significant figures or more, to be read."""
    return {name: round(figure, 2 if figure < 1000 else None) for name, figure in figures.items()}


def measure(sizes: Sizes, repeats: int) -> dict[str, object]:
    """Run all of it."""
    if not phe.util.HAVE_GMP:
        raise SystemExit("phe runs without gmpy2 here; the comparison would flatter ours")
    bench = Bench(sizes)
    bench.run(repeats)
    return bench.figures(repeats)


def main() -> int:
    """Print the figures; exit 1 unless all that was computed is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="short keys and columns: checks the bench, measures nothing"
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    figures = measure(QUICK if options.quick else Sizes(), options.repeats)
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        sys.stdout.write("".join(f"{name:22} {value}\n" for name, value in figures.items()))
    return 0 if figures["correct"] else 1


if __name__ == "__main__":
    sys.exit(main())
