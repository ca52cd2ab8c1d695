"""The committed wire code is what the committed .proto files give."""

import subprocess
from pathlib import Path

from unseen.v1 import catalogue_pb2, compute_pb2, contract_pb2, directory_pb2, ledger_pb2

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "proto" / "unseen" / "v1"


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run(["make", "--silent", "proto", f"PROTO_OUT={tmp_path}"], cwd=ROOT, check=True, capture_output=True)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "unseen" / "v1").iterdir()}
    committed = {path.name: path.read_bytes() for path in COMMITTED.glob("*_pb2*.py*")}
    assert fresh.keys() == committed.keys()
    stale = [name for name in fresh if fresh[name] != committed[name]]
    assert stale == [], "run `make proto` and commit the result"


def test_every_rpc_has_its_own_request_and_response() -> None:
    """`buf lint` asks for the same; this says it where no buf is at hand."""
    seen: list[str] = []
    for module in (catalogue_pb2, compute_pb2, contract_pb2, directory_pb2, ledger_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert method.input_type.name == f"{method.name}Request"
                assert method.output_type.name == f"{method.name}Response"
                seen += [method.input_type.name, method.output_type.name]
    assert len(seen) == len(set(seen))
