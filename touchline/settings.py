"""One settings class for every process. Read from `TOUCHLINE_*` variables, else from the local stack, else defaults.

Must not do I/O beyond reading `.touchline/stack.json` and must not import anything of ours but the errors.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from touchline.errors import Misconfigured

__all__ = ["Settings", "load_settings"]

STACK_FILE = Path(".touchline/stack.json")
"""Where `touchline up` writes the addresses of the local stack, relative to the working folder."""

_NAME = r"^[a-z][a-z0-9_]{0,39}$"
_ROLE = "(agent|supervisor|vulnerability|privacy)"
_GROUPS = r"^[a-z][a-z0-9_]*(@[1-9][0-9]{0,5})?(,[a-z][a-z0-9_]*(@[1-9][0-9]{0,5})?)*$"


class Settings(BaseSettings):
    """Every setting, its unit in its name, its limits checked at start; all errors are reported at once."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_", extra="ignore")

    brokers: str = Field("127.0.0.1:9092", min_length=3, description="Kafka bootstrap servers, host:port, comma separated")
    cassandra_hosts: str = Field("127.0.0.1", min_length=1, description="contact points, comma separated")
    cassandra_port: int = Field(9042, ge=1, le=65535)
    local_dc: str = Field("datacenter1", min_length=1)
    registry_url: str | None = Field(None, description="a Confluent-compatible schema registry; output topics then carry its ids")

    topic_prefix: str = Field("touchline", pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    keyspace: str = Field("touchline", pattern=_NAME)
    keyring_keyspace: str = Field("keyring", pattern=_NAME)
    replication_factor: int = Field(1, ge=1, le=5, description="of topics and keyspaces; clusters: 3")
    partitions: int = Field(12, ge=1, le=1000, description="of interaction.v1; fixed for the topic's life")

    tenant: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="where an input names none")
    operator: str = Field("operator", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="who acts at this machine: an id, never a name")
    roles: str = Field("agent", pattern=f"^{_ROLE}(,{_ROLE})*$", description="in which the operator acts, comma separated")
    default_region: str = Field("DE", pattern=r"^[A-Z]{2}$", description="of phone numbers without a country code")
    key_file: Path = Field(Path(".touchline/keys.json"), description="key-encryption and index keys of local mode; mode 0600")
    key_service: str | None = Field(
        None, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", description="`module:factory` of a key service, in place of the key file"
    )
    vulnerability_days_max: int = Field(730, ge=1, le=36_500, description="for how long a customer may be flagged as vulnerable at once")

    identity_handles_per_kind_max: int = Field(10, ge=1, le=100, description="handles of one kind that one customer may have")
    subaddress_domains: str = Field(
        "", pattern=r"^[^\s,@]*(,[^\s,@]+)*$", description="at these mail domains ann+shop@ is ann@; comma separated, none by default"
    )
    blocked_handles: Path | None = Field(None, description="file of values that name nobody (trunk lines, test addresses): KIND:VALUE a line")

    groups: str = Field(
        "resolver,config,view,care", pattern=_GROUPS, description="what a worker runs, comma separated: `care` (all its versions), `care@2` (one)"
    )
    poll_records_max: int = Field(4000, ge=1, le=10_000)
    batches_in_flight_max: int = Field(3, ge=1, le=16)
    cached_subjects_max: int = Field(50_000, ge=100, description="states kept in memory per worker and group")
    instance_id: str | None = Field(None, description="static group membership: a restart under the same id takes over at once")
    session_timeout_ms: int = Field(6000, ge=1000, le=300_000, description="after this silence a worker's partitions are given to others")
    stop_budget_s: float = Field(10.0, gt=0, le=300)
    future_max_s: int = Field(300, ge=0, description="events further in the future than this are quarantined")
    settle_s: int = Field(60, ge=0, description="an alarm that is overdue when it is armed waits so long for what comes along")
    wakes_per_s: int = Field(2000, ge=1, le=100_000, description="customers told of new rules per second, group and worker")
    snapshots_per_s: int = Field(500, ge=1, le=100_000, description="customers published again per second and worker after a promotion")
    metrics_port: int | None = Field(None, ge=1, le=65535, description="serve Prometheus metrics here")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's own signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over the local stack's file."""
        return (init_settings, env_settings, _LocalStack(settings_cls))

    @property
    def role_names(self) -> frozenset[str]:
        """The roles in which the operator acts."""
        return frozenset(self.roles.split(","))

    @property
    def subaddressed(self) -> frozenset[str]:
        """The mail domains of `subaddress_domains`, in lower case."""
        return frozenset(domain.strip().lower() for domain in self.subaddress_domains.split(",") if domain.strip())

    def topic(self, name: str) -> str:
        """Return the full name of a topic: `topic("interaction")` is `touchline.interaction.v1`."""
        return f"{self.topic_prefix}.{name}.v1"


class _LocalStack(PydanticBaseSettingsSource):
    """Addresses from `.touchline/stack.json` (keys `settings` -> setting name -> value), if the file is there."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - pydantic's own signature
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        if not STACK_FILE.exists():
            return {}
        try:
            found = json.loads(STACK_FILE.read_text())["settings"]
        except (OSError, ValueError, KeyError) as error:
            raise Misconfigured(
                f"{STACK_FILE} cannot be read ({type(error).__name__}).", next_step="run `touchline up`, which writes it anew."
            ) from error
        return dict(found)


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - any setting by its name
    """Build the settings, or raise `Misconfigured` naming every wrong setting at once."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        wrong = "; ".join(f"TOUCHLINE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in details)
        raise Misconfigured(f"{error.error_count()} setting(s) are wrong: {wrong}.", next_step="correct them and start again.") from None
