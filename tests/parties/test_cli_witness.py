"""`unseen witness`, at a regulator that witnesses a provider's log, and at that provider."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.cosignature import CosignerKey
from audit.evidence import Evidence
from audit.keys import KeyPurpose, SigningKey, VerifyingKey
from audit.ledger import Ledger, LedgerIdentity
from audit.names import Role
from audit.replica import Replica
from audit.witness import Submission, Witness
from audit.witness_store import WitnessStore
from parties.cli.app import run
from parties.home import Home
from tests.parties.homes import CLOCK, join, new_home, opened

Unseen = Callable[..., tuple[int, str, str]]


def witness(home: Home, key: VerifyingKey, store: WitnessStore) -> Witness:
    def logs(origin: str) -> tuple[VerifyingKey, ...]:
        return (key,) if origin == key.name else ()

    return Witness(home.signing_key(KeyPurpose.WITNESS), logs, store, CLOCK, lambda *_: None, lambda _: None)


class Watched:
    """The regulator's and a provider's home; the regulator has cosigned the provider's log, and refused another."""

    def __init__(self, folder: Path) -> None:
        self.watch = new_home(folder, "watch", Role.REGULATOR)
        with opened(self.watch) as regulator:
            self.east = join(regulator, new_home(folder, "east", Role.PROVIDER))
            self.watch.directory_path.write_bytes(self.east.directory_bytes())
        key = self.east.signing_key(KeyPurpose.LOG)
        identity = LedgerIdentity("east", Role.PROVIDER, self.east.config.party.legal_entity, self.east.origin)
        with Ledger.open(self.east.ledger_path, identity=identity, key=key, clock=CLOCK) as ledger:
            self.note = ledger.checkpoint()
            entries = [*ledger.read(0, ledger.size)]
        self.fork = sign_checkpoint(Checkpoint(self.east.origin, 1, bytes(32)), key)
        with closing(WitnessStore.open(self.watch.witness_path)) as store:
            cosigning = witness(self.watch, key.verifying_key, store)
            cosigning.add_checkpoint(Submission(0, (), self.note))
            with pytest.raises(Exception, match="another root"):
                cosigning.add_checkpoint(Submission(1, (), self.fork))
            (latest,) = cosigning.logs()
            self.cosigned, self.cosigned_s = latest.note, latest.cosigned_s
        with closing(Replica.open(self.watch.replicas / "east" / "ledger.db")) as replica:
            replica.extend(entries, [], self.cosigned)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(tmp_path_factory.mktemp("watched"))


@pytest.fixture
def unseen(capsys: pytest.CaptureFixture[str]) -> Unseen:
    def command(*arguments: str | Path) -> tuple[int, str, str]:
        code = run(list(map(str, arguments)))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_the_logs_witnessed_are_listed(watched: Watched, unseen: Unseen) -> None:
    code, out, _ = unseen("witness", "list", "--home", watched.watch.path, "--json")
    ((log),) = json.loads(out)["logs"]
    assert code == 0
    assert (log["origin"], log["size"], log["cosigned_s"]) == (watched.east.origin, 1, watched.cosigned_s)
    assert (log["kept"], log["evidence"]) == (1, 1)
    out = unseen("witness", "list", "--home", watched.watch.path)[1]
    time = datetime.fromtimestamp(watched.cosigned_s, tz=UTC)
    assert out.splitlines()[1] == f"{watched.east.origin}\t1\t{time:%Y-%m-%d %H:%M:%S}\t1\t1"
    code, out, _ = unseen("witness", "list", "--home", watched.east.path, "--json")
    assert (code, json.loads(out)) == (0, {"logs": []})
    assert not watched.east.witness_path.exists()


def test_the_cosigned_checkpoint_anchors_a_verification(watched: Watched, unseen: Unseen, tmp_path: Path) -> None:
    file = tmp_path / "anchors" / "east.note"
    code, out, _ = unseen("witness", "checkpoint", "east", "--out", file, "--home", watched.watch.path)
    assert (code, out, file.read_bytes()) == (0, f"{file}\n", watched.cosigned)
    code, out, _ = unseen("ledger", "verify", watched.east.path, "--witness-checkpoint", file, "--json")
    assert (code, json.loads(out)["anchored"]) == (0, True)
    by_origin = unseen("witness", "checkpoint", watched.east.origin, "--home", watched.watch.path)
    assert by_origin == (0, watched.cosigned.decode(), "")
    told = json.loads(unseen("witness", "checkpoint", "east", "--home", watched.watch.path, "--json")[1])
    assert (told["size"], told["note"]) == (1, watched.cosigned.decode())


def test_a_log_that_was_never_cosigned_is_not_found(watched: Watched, unseen: Unseen) -> None:
    for arguments in (("checkpoint", "eas"), ("checkpoint", "shop"), ("evidence", "shop")):
        assert unseen("witness", *arguments, "--home", watched.watch.path)[0] == 3
    assert unseen("witness", "checkpoint", "watch", "--home", watched.east.path)[0] == 3


def test_evidence_is_shown_and_written_out_with_both_notes(watched: Watched, unseen: Unseen, tmp_path: Path) -> None:
    code, out, _ = unseen("witness", "evidence", "--home", watched.watch.path, "--json")
    ((kept),) = json.loads(out)["evidence"]
    assert (code, kept["misbehaviour"], kept["origin"]) == (0, "forked", watched.east.origin)
    assert (kept["held"], kept["offered"]) == (watched.cosigned.decode(), watched.fork.decode())
    _, out, err = unseen("witness", "evidence", "east", "--home", watched.watch.path)
    assert out.splitlines()[1].split("\t")[1:5] == [watched.east.origin, "forked", "1", "1"]
    assert watched.fork.decode() in err
    code, out, _ = unseen("witness", "evidence", "--out", tmp_path / "kept", "--home", watched.watch.path)
    files = [Path(line) for line in out.splitlines()]
    assert [file.name.partition(".")[2] for file in files] == ["held.note", "offered.note", "evidence.json"]
    assert [file.read_bytes() for file in files[:2]] == [watched.cosigned, watched.fork]
    evidence = Evidence.decode(files[2].read_bytes())
    assert evidence.digest == kept["digest"]
    evidence.verify([watched.east.signing_key(KeyPurpose.LOG).verifying_key])
    (tmp_path / "file").write_text("")
    assert unseen("witness", "evidence", "--out", tmp_path / "file", "--home", watched.watch.path)[0] == 2
    assert unseen("witness", "evidence", "--out", tmp_path / "a" / "b", "--home", watched.watch.path)[0] == 2
    assert not (tmp_path / "a").exists()


def test_a_mistyped_path_makes_no_tree_of_folders(watched: Watched, unseen: Unseen, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "note"
    code, _, err = unseen("witness", "checkpoint", "east", "--out", out, "--home", watched.watch.path)
    assert (code, "cannot be written" in err) == (2, True)
    assert not (tmp_path / "a").exists()


def test_nothing_kept_against_a_log_is_not_found(tmp_path: Path, unseen: Unseen) -> None:
    home = new_home(tmp_path, "watch", Role.REGULATOR)
    with opened(home):
        pass
    assert unseen("witness", "evidence", "--home", home.path, "--json") == (0, '{"evidence": [], "files": []}\n', "")
    key = SigningKey.generate("log.example/x")
    with closing(WitnessStore.open(home.witness_path)) as store:
        empty = sign_checkpoint(Checkpoint(key.name, 1, bytes(32)), key)
        witness(home, key.verifying_key, store).add_checkpoint(Submission(0, (), empty))
    assert unseen("witness", "evidence", "log.example/x", "--home", home.path)[0] == 3


@pytest.fixture
def policy_file(watched: Watched) -> Iterator[Path]:
    yield watched.east.policy_path
    watched.east.policy_path.unlink(missing_ok=True)


def test_the_policy_without_a_file_is_the_regulators_cosignature(watched: Watched, unseen: Unseen) -> None:
    code, out, _ = unseen("witness", "policy", "--home", watched.east.path, "--json")
    told = json.loads(out)
    key = CosignerKey(watched.watch.signing_key(KeyPurpose.WITNESS).verifying_key).vkey()
    assert (code, told["source"], told["quorum"]) == (0, "default", "watch")
    assert told["witnesses"] == [{"name": "watch", "vkey": key, "asked_at": "watch"}]
    assert "watch must cosign, by default" in unseen("witness", "policy", "--home", watched.east.path)[2]
    _, out, err = unseen("witness", "policy", "--home", watched.watch.path)
    assert out.splitlines()[1].split("\t")[:2] == ["east", "east"]
    assert "No cosignature is needed, by default" in err


def test_a_policy_file_is_shown_and_a_wrong_line_is_named(watched: Watched, unseen: Unseen, policy_file: Path) -> None:
    watch = CosignerKey(watched.watch.signing_key(KeyPurpose.WITNESS).verifying_key).vkey()
    far, lost = (CosignerKey(SigningKey.generate(f"{name}.example/w").verifying_key).vkey() for name in ("far", "lost"))
    text = (
        f"witness regulator {watch}\nwitness far {far} https://far.example/w\nwitness lost {lost}\n"
        "group two 2 regulator far lost\nquorum two\n"
    )
    policy_file.write_text(text)
    code, out, err = unseen("witness", "policy", "--home", watched.east.path)
    assert code == 0
    rows = [line.split("\t")[:2] for line in out.splitlines()[1:]]
    assert rows == [["regulator", "watch"], ["far", "https://far.example/w"], ["lost", "-"]]
    assert f"2 of regulator, far, lost must cosign, by {policy_file}" in err
    assert "lost cannot be asked" in err
    policy_file.write_text(text.replace("group two 2", "group two 4"))
    code, _, err = unseen("witness", "policy", "--home", watched.east.path)
    assert (code, "line 4" in err, str(policy_file) in err) == (2, True, True)


def test_an_official_reads_chinese(watched: Watched, unseen: Unseen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    out = unseen("witness", "evidence", "--home", watched.watch.path)[1]
    assert "分叉 (forked)" in out
    assert "须有 watch 的见证签名" in unseen("witness", "policy", "--home", watched.east.path)[2]
