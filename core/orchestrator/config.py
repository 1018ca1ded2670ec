"""The settings: environment variables, or `.env`, read once by a composition root and passed on.

Nothing below a composition root reads the environment. A wrong value stops the start with one line that names it.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.orchestrator.contracts import DEFAULT_PROVIDER
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.setting_types import (
    CommaSeparated,
    EncryptionKeys,
    HttpAddress,
    Key,
    KeyEntries,
    Limit,
    NamedAddresses,
    NamedKeys,
    Port,
    Seconds,
    what_is_wrong_with,
)
from core.orchestrator.storage.address import passwords_in, place_of, what_is_wrong_with_database


class Settings(BaseSettings):
    """Every setting, named as its environment variable."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", case_sensitive=True, env_ignore_empty=True, frozen=True
    )

    OPENROUTER_API_KEY: Key = None
    """The key of the OpenRouter account. Without it `orchestrator up` talks to a local stand-in."""
    OPENROUTER_BASE_URL: HttpAddress = "https://openrouter.ai/api/v1"
    DEFAULT_LLM_MODEL: str = "openai/gpt-3.5-turbo"
    """Asked when neither the request nor the persona names a model."""
    LLM_FALLBACK_MODELS: CommaSeparated = []
    """Comma-separated; tried in order when neither the request nor the persona says otherwise."""
    LLM_PROVIDERS: NamedAddresses = {}
    """Further servers that speak OpenAI's chat API, as comma-separated `name=base URL`; their models are then called
    `name:model`."""
    LLM_PROVIDER_KEYS: NamedKeys = {}
    """Their keys, as comma-separated `name=key`; a server without one is called without."""
    LLM_FIRST_TOKEN_TIMEOUT_SECONDS: Seconds = 30
    """From the request to the first data; keep-alive comments are not data."""
    LLM_STALL_TIMEOUT_SECONDS: Seconds = 20
    """Between two pieces of data."""
    LLM_CALL_TIMEOUT_SECONDS: Seconds = 180
    """One upstream call."""
    LLM_RETRY_WAIT_MAX_SECONDS: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 20
    """A longer wait asked for by the upstream means the next model at once."""
    LLM_COOLDOWN_AFTER_FAILURES: Annotated[int, Field(ge=0, le=1000)] = 3
    """A model that failed so many interactions in a row is passed over for a while; 0: none ever is."""
    LLM_COOLDOWN_SECONDS: Seconds = 30
    """How long; then one interaction tries it again."""
    MODEL_CATALOGUE_LIFETIME_SECONDS: Annotated[float, Field(ge=1, le=2_592_000, allow_inf_nan=False)] = 3600
    """How old a provider's list of models may be before it is fetched again."""
    INTERACTION_DEADLINE_SECONDS: Seconds = 300
    """One interaction, from the moment its place in the session has come."""
    HEARTBEAT_TIMEOUT_SECONDS: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 15
    """A worker that gives no sign of life for so long during a call counts as lost."""
    SHUTDOWN_GRACE_SECONDS: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 30
    """After SIGTERM running calls may finish for so long."""
    HISTORY_RETENTION_DAYS: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long Temporal keeps the history of an interaction that has ended."""
    DEFAULT_PERSONA_ID: str = "cherry"
    PERSONAS_DIR: Path = Path(__file__).parents[2] / "personas"
    REPLY_LOG_LIFETIME_SECONDS: Annotated[float, Field(ge=1, le=31_536_000, allow_inf_nan=False)] = 3600
    """How long after its end a reply can be watched event by event; later it comes as a whole."""
    MEMORY_TOKEN_BUDGET: Annotated[int, Field(ge=0, le=10_000_000)] = 4000
    """Estimated tokens of earlier messages that a prompt may hold."""
    DATA_DIR: Path = Path(".orchestrator")
    """Databases and process records; created when missing."""
    DATABASE_URL: SecretStr | None = None
    """`sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST/NAME`; by default a file in `DATA_DIR`."""
    DATABASE_CONNECTIONS: Annotated[int, Field(ge=2, le=1000)] = 16
    """At most so many connections to the database are open in one process, beside the one that follows others."""
    TASK_QUEUE: Annotated[str, Field(min_length=1, max_length=200)] = "interactions"
    TEMPORAL_ADDRESS: str | None = None
    """`host:port`. The other standard TEMPORAL_* variables are read by the Temporal SDK itself."""
    WORKER_CONCURRENT_CALLS: Annotated[int, Field(ge=1, le=10_000)] = 500
    """At most so many model calls run in one worker at a time. They wait for models, not for a processor."""
    WORKER_DEPLOYMENT_NAME: Annotated[str | None, Field(min_length=1, max_length=200, pattern=r"^[^.\s]+$")] = None
    """With WORKER_BUILD_ID: interactions finish on the code they started with, as a version of this deployment."""
    WORKER_BUILD_ID: Annotated[
        str | None, Field(min_length=1, max_length=200, pattern=r"^\S+$", validate_default=True)
    ] = None
    """Names this code, such as a commit or an image's tag."""
    WORKER_METRICS_HOST: str = "127.0.0.1"
    WORKER_METRICS_PORT: Port | None = None
    """Where a worker process answers `GET /metrics` and `GET /healthz`; none: nowhere."""
    PAYLOAD_ENCRYPTION_KEYS: EncryptionKeys = {}
    """Comma-separated `id=KEY`, 32 bytes in base64 each: what histories hold is encrypted with the first and read with
    any."""
    CODEC_ORIGINS: CommaSeparated = []
    """Comma-separated origins of Temporal UIs, such as http://127.0.0.1:8233: they may have histories decrypted."""
    API_HOST: str = "127.0.0.1"
    API_PORT: Port = 8000
    API_KEYS: KeyEntries = []
    """Comma-separated entries as `orchestrator keys create` prints them: who may use the API, and for what."""
    OPEN_INTERACTIONS_LIMIT: Limit = 2000
    """While so many interactions have not ended, new ones are refused with 503; 0: never."""
    OPEN_INTERACTIONS_LIMIT_PER_USER: Limit = 0
    """The same for one user's, with 429; 0: no limit."""
    OPEN_INTERACTIONS_LIMIT_PER_KEY: Limit = 0
    """The same for those of one API key, with 429; 0: no limit."""
    INTERACTIONS_PER_MINUTE_PER_USER: Limit = 0
    """How many one user may begin within any minute; more are refused with 429; 0: no limit."""
    INTERACTIONS_PER_MINUTE_PER_KEY: Limit = 0
    """How many may be begun with one API key within any minute; more are refused with 429; 0: no limit."""
    TEMPORAL_PORT: Port = 7233
    TEMPORAL_UI_PORT: Port = 8233
    PLUGINS: CommaSeparated = []
    """Comma-separated modules to import at the start."""
    LOG_LEVEL: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @field_validator("LLM_PROVIDERS")
    @classmethod
    def _are_http(cls, value: dict[str, str]) -> dict[str, str]:
        for name, url in value.items():
            if name == DEFAULT_PROVIDER:
                raise ValueError("openrouter is set by OPENROUTER_BASE_URL and OPENROUTER_API_KEY")
            if wrong := what_is_wrong_with(url):
                raise ValueError(f"the address of {name} {wrong}")
        return {name: url.rstrip("/") for name, url in value.items()}

    @field_validator("LLM_PROVIDER_KEYS")
    @classmethod
    def _have_providers(cls, value: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        # Without LLM_PROVIDERS in the data that setting is itself wrong, and reported.
        if unknown := value.keys() - info.data.get("LLM_PROVIDERS", value).keys():
            raise ValueError(f"LLM_PROVIDERS names no {', '.join(sorted(unknown))}")
        return value

    @field_validator("WORKER_BUILD_ID")
    @classmethod
    def _has_deployment(cls, value: str | None, info: ValidationInfo) -> str | None:
        if (value is None) != (info.data.get("WORKER_DEPLOYMENT_NAME", value) is None):
            raise ValueError("and WORKER_DEPLOYMENT_NAME must be set together, or neither of them")
        return value

    @field_validator("DATABASE_URL")
    @classmethod
    def _is_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (wrong := what_is_wrong_with_database(value.get_secret_value())):
            raise ValueError(wrong)
        return value

    @property
    def database(self) -> Path | str:
        """Where the database is: a SQLite file, or the address of a PostgreSQL database, which is a secret."""
        if self.DATABASE_URL is None:
            return self.DATA_DIR / "orchestrator.db"
        return place_of(self.DATABASE_URL.get_secret_value())

    @property
    def secrets(self) -> list[str]:
        """Every value that must never be shown."""
        keys = [self.OPENROUTER_API_KEY, *self.LLM_PROVIDER_KEYS.values(), *self.PAYLOAD_ENCRYPTION_KEYS.values()]
        return [*(key.get_secret_value() for key in keys if key is not None), *passwords_in(self.database)]

    @property
    def first_token_timeout(self) -> timedelta:
        """`LLM_FIRST_TOKEN_TIMEOUT_SECONDS` as a duration."""
        return timedelta(seconds=self.LLM_FIRST_TOKEN_TIMEOUT_SECONDS)

    @property
    def stall_timeout(self) -> timedelta:
        """`LLM_STALL_TIMEOUT_SECONDS` as a duration."""
        return timedelta(seconds=self.LLM_STALL_TIMEOUT_SECONDS)

    @property
    def shutdown_grace(self) -> timedelta:
        """`SHUTDOWN_GRACE_SECONDS` as a duration."""
        return timedelta(seconds=self.SHUTDOWN_GRACE_SECONDS)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; keyword arguments that are not None win over the environment.

    Raises:
        ConfigurationError: a value is wrong; one line per value that names the setting, never a secret's value.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise ConfigurationError("; ".join(lines)) from None
    except UnicodeDecodeError:  # its message would show a part of the file
        raise ConfigurationError(".env: is not UTF-8 text") from None
