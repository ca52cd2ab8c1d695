"""A party's settings: `party.toml`, overridden by the environment (`UNSEEN_...`), overridden by flags.

`UNSEEN_LIMITS__SKEW_MS=60000` is `skew_ms` of the section `[limits]`. Whatever is malformed or unknown is refused with
the file and the line; nothing is ignored.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from audit.errors import MalformedError
from audit.names import LEGAL_ENTITY_PATTERN, Role, check_domain, check_party_name
from parties.errors import ConfigError

MAX_CONFIG_BYTES: Final = 256 * 1024
_STRICT: Final = ConfigDict(extra="forbid", strict=False)
_ENDPOINT: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Limits:
    """What this party takes in, at most. Everything over a limit is refused before it is parsed.

    Attributes:
        message_bytes: one gRPC message, in either direction; default 8 MiB. gRPC itself refuses a longer one.
        skew_ms: how far another party's clock may be off; default 2 minutes.
        deadline_max_ms: the longest deadline a call may carry; default 1 hour.
        deadline_default_ms: the deadline of calls that this party makes itself; default 30 seconds.
        handshake_ms: how long a TLS handshake and the first call on its connection may take; default 10 seconds.
        threads: calls answered at the same time; default 32.
        waiting_calls: calls accepted beyond that, waiting for a thread; default 128. More answer RESOURCE_EXHAUSTED.
        page_size: items of one page of a list; default 100.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    message_bytes: Annotated[int, Field(ge=64 * 1024, le=64 * 1024 * 1024)] = 8 * 1024 * 1024
    skew_ms: Annotated[int, Field(ge=1000, le=3_600_000)] = 120_000
    deadline_max_ms: Annotated[int, Field(ge=1000, le=86_400_000)] = 3_600_000
    deadline_default_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 30_000
    handshake_ms: Annotated[int, Field(ge=100, le=120_000)] = 10_000
    threads: Annotated[int, Field(ge=2, le=1024)] = 32
    waiting_calls: Annotated[int, Field(ge=0, le=65_536)] = 128
    page_size: Annotated[int, Field(ge=1, le=1000)] = 100


@dataclass(frozen=True, slots=True)
class PartySection:
    """`[party]`: who this home belongs to. Set by `unseen init`; the certificate and the directory say the same."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    role: Role
    legal_entity: Annotated[str, Field(min_length=1, max_length=64)]
    domain: str


@dataclass(frozen=True, slots=True)
class NetworkSection:
    """`[network]`: `endpoint` is what others dial (HOST:PORT), `listen` what the server binds; default the endpoint.

    `http_proxy` lets outgoing calls use the proxy of the environment (`https_proxy`); default false. `reflection` lets
    enrolled parties list the services and their messages; default false.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    endpoint: str = ""
    listen: str = ""
    http_proxy: bool = False
    reflection: bool = False


@dataclass(frozen=True, slots=True)
class RegulatorSection:
    """`[regulator]`: the pinned root of trust, written by `unseen enrol accept`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str = ""
    endpoint: str = ""
    vkey: str = ""


@dataclass(frozen=True, slots=True)
class TelemetrySection:
    """`[telemetry]`: the log's form and level on stderr; `metrics` = a loopback HOST:PORT for Prometheus, or empty."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    log: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class ComputeSection:
    """`[compute]`: worker processes, and the Paillier keys that this party makes and accepts.

    Attributes:
        workers: processes for encryption and decryption; 0 (default) = one for each core, -1 = none, all in the server.
        paillier_bits: length of the key that a merchant makes on first use; default 3072.
        unsafe_minimum_modulus_bits: the shortest foreign modulus accepted; default 2048. Anything below is for tests
            alone: such keys can be factored.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    workers: Annotated[int, Field(ge=-1, le=1024)] = 0
    paillier_bits: Annotated[int, Field(ge=256, le=8192, multiple_of=16)] = 3072
    unsafe_minimum_modulus_bits: Annotated[int, Field(ge=256, le=8192)] = 2048


@dataclass(frozen=True, slots=True)
class WitnessSection:
    """`[witness]`: who cosigns this party's log, how long it goes on unheard, and where it serves as a witness itself.

    Attributes:
        policy: a file of c2sp.org/tlog-policy, relative to the home; default `witness.policy` where there is one, else
            the regulator's cosignature is needed (at the regulator itself: none).
        max_silence_ms: calls are refused when the last checkpoint with the policy's cosignatures is older; default
            1 hour, from 1 second to 7 days.
        interval_ms: how often new entries are looked for, and cosigned; default 1 second.
        ask_timeout_ms: how long one witness may take for one answer; default 3 seconds.
        http: a HOST:PORT on which c2sp.org/tlog-witness is served over HTTPS, or empty (default).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    policy: str = ""
    max_silence_ms: Annotated[int, Field(ge=1_000, le=604_800_000)] = 3_600_000
    interval_ms: Annotated[int, Field(ge=50, le=600_000)] = 1_000
    ask_timeout_ms: Annotated[int, Field(ge=100, le=60_000)] = 3_000
    http: str = ""


class PartyConfig(BaseSettings):
    """The settings of one party, frozen. `load_config` makes it."""

    model_config = SettingsConfigDict(
        env_prefix="UNSEEN_", env_nested_delimiter="__", extra="forbid", frozen=True, case_sensitive=False
    )

    party: PartySection
    network: NetworkSection = NetworkSection()
    regulator: RegulatorSection = RegulatorSection()
    limits: Limits = Limits()
    telemetry: TelemetrySection = TelemetrySection()
    compute: ComputeSection = ComputeSection()
    witness: WitnessSection = WitnessSection()


Overrides = Mapping[str, Mapping[str, str | int | bool]]
"""Flags: section -> key -> value."""


def load_config(path: Path, overrides: Overrides | None = None) -> PartyConfig:
    """Read the settings of `path` under the environment and `overrides`.

    Raises:
        ConfigError: the file is missing, too large or no TOML; a key is unknown, a value out of range; with the file
            and the line, or the environment variable, to mend.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror}); is this a home made by `unseen init`?", file=str(path)
        ) from error
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"is larger than {MAX_CONFIG_BYTES} bytes", file=str(path))
    try:
        text = data.decode("utf-8")
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", file=str(path), line=data[: error.start].count(b"\n") + 1) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise ConfigError(f"is no valid TOML: {error}", file=str(path), line=line) from error
    flags: dict[str, Any] = {name: dict(section) for name, section in (overrides or {}).items()}
    try:
        config = _settings_over(table)(**flags)
    except ValidationError as error:
        raise _located(error, path, text) from error
    except SettingsError as error:
        raise ConfigError(f"an UNSEEN_ environment variable cannot be read: {error}") from error
    _check_values(config, path, text)
    return config


def _settings_over(table: Mapping[str, Any]) -> type[PartyConfig]:
    class WithFile(PartyConfig):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, InitSettingsSource(settings_cls, dict(table))

    return WithFile


def _located(error: ValidationError, path: Path, text: str) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    keys = [str(part) for part in first["loc"]]
    section, key = [*keys, "", ""][:2]
    name = f"[{section}] {key}".rstrip()
    unknown = first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}
    problem = "is missing" if first["type"] == "missing" else f"is refused: {first['msg']}"
    reason = "is unknown here: is it a typing error?" if unknown else problem
    variable = "UNSEEN_" + "__".join(part.upper() for part in keys)
    if variable in (name.upper() for name in os.environ):
        return ConfigError(f"the environment variable {variable} ({name}) {reason}")
    return ConfigError(f"{name} {reason}", file=str(path), line=locate_key(text, section, key))


def locate_key(text: str, section: str, key: str) -> int | None:
    """Return the line (from 1) of `key` in `[section]` of a TOML text; without the key, of the section; else None."""
    found, current = None, ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]", line)
        if header:
            current = header[1]
            found = number if current == section else found
        elif not current and re.match(rf"\s*{re.escape(section)}\s*[.=]", line):
            found = number
        elif current == section and key and re.match(rf"\s*\"?{re.escape(key)}\"?\s*[.=]", line):
            return number
    return found


def _check_values(config: PartyConfig, path: Path, text: str) -> None:
    def refuse(section: str, key: str, detail: str) -> ConfigError:
        return ConfigError(f"[{section}] {key}: {detail}", file=str(path), line=locate_key(text, section, key))

    try:
        check_party_name(config.party.name)
    except MalformedError as error:
        raise refuse("party", "name", str(error)) from error
    try:
        check_domain(config.party.domain)
    except MalformedError as error:
        raise refuse("party", "domain", str(error)) from error
    if LEGAL_ENTITY_PATTERN.fullmatch(config.party.legal_entity) is None:
        raise refuse("party", "legal_entity", "a registered code of letters, digits and .:_- is wanted")
    addresses = {
        ("network", "endpoint"): config.network.endpoint,
        ("network", "listen"): config.network.listen,
        ("regulator", "endpoint"): config.regulator.endpoint,
        ("telemetry", "metrics"): config.telemetry.metrics,
        ("witness", "http"): config.witness.http,
    }
    for (section, key), address in addresses.items():
        try:
            if address:
                check_endpoint(address)
        except ConfigError as error:
            raise refuse(section, key, str(error)) from error
    host = config.telemetry.metrics.rpartition(":")[0]
    if host not in {"", "localhost", "127.0.0.1", "[::1]"}:
        raise refuse("telemetry", "metrics", "metrics are served without TLS, so on the loopback address only")


def check_endpoint(endpoint: str) -> None:
    """Raise `ConfigError` unless `endpoint` is HOST:PORT ([HOST]:PORT for IPv6), the port 0 to 65535."""
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None or int(found[1]) > 65535:
        raise ConfigError(f"{endpoint!r:.80} is not HOST:PORT, such as bureau.example:7443")
