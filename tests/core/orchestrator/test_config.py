import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from core.orchestrator.config import Settings, load_settings
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.storage.address import name_of

ROOT = Path(__file__).parents[3]

DEFAULTS: dict[str, Any] = {
    "OPENROUTER_API_KEY": None,
    "OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1",
    "DEFAULT_LLM_MODEL": "openai/gpt-3.5-turbo",
    "LLM_FALLBACK_MODELS": [],
    "LLM_PROVIDERS": {},
    "LLM_PROVIDER_KEYS": {},
    "LLM_FIRST_TOKEN_TIMEOUT_SECONDS": 30,
    "LLM_STALL_TIMEOUT_SECONDS": 20,
    "LLM_CALL_TIMEOUT_SECONDS": 180,
    "LLM_RETRY_WAIT_MAX_SECONDS": 20,
    "LLM_COOLDOWN_AFTER_FAILURES": 3,
    "LLM_COOLDOWN_SECONDS": 30,
    "MODEL_CATALOGUE_LIFETIME_SECONDS": 3600,
    "INTERACTION_DEADLINE_SECONDS": 300,
    "HEARTBEAT_TIMEOUT_SECONDS": 15,
    "SHUTDOWN_GRACE_SECONDS": 30,
    "HISTORY_RETENTION_DAYS": 30,
    "REPLY_LOG_LIFETIME_SECONDS": 3600,
    "DEFAULT_PERSONA_ID": "cherry",
    "PERSONAS_DIR": ROOT / "personas",
    "MEMORY_TOKEN_BUDGET": 4000,
    "DATA_DIR": Path(".orchestrator"),
    "DATABASE_URL": None,
    "DATABASE_CONNECTIONS": 16,
    "TASK_QUEUE": "interactions",
    "TEMPORAL_ADDRESS": None,
    "WORKER_CONCURRENT_CALLS": 500,
    "WORKER_DEPLOYMENT_NAME": None,
    "WORKER_BUILD_ID": None,
    "WORKER_METRICS_HOST": "127.0.0.1",
    "WORKER_METRICS_PORT": None,
    "PAYLOAD_ENCRYPTION_KEYS": {},
    "CODEC_ORIGINS": [],
    "API_HOST": "127.0.0.1",
    "API_PORT": 8000,
    "API_KEYS": [],
    "OPEN_INTERACTIONS_LIMIT": 2000,
    "OPEN_INTERACTIONS_LIMIT_PER_USER": 0,
    "OPEN_INTERACTIONS_LIMIT_PER_KEY": 0,
    "INTERACTIONS_PER_MINUTE_PER_USER": 0,
    "INTERACTIONS_PER_MINUTE_PER_KEY": 0,
    "TEMPORAL_PORT": 7233,
    "TEMPORAL_UI_PORT": 8233,
    "PLUGINS": [],
    "LOG_LEVEL": "info",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read no setting of whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_every_setting_has_its_default() -> None:
    assert load_settings().model_dump() == DEFAULTS


def test_the_environment_sets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_FALLBACK_MODELS", " a/b , c/d:free,, ")
    monkeypatch.setenv("PLUGINS", "one,two.three")
    monkeypatch.setenv("API_PORT", "8080")
    monkeypatch.setenv("LLM_CALL_TIMEOUT_SECONDS", "0.5")
    monkeypatch.setenv("OPENROUTER_BASE_URL", "http://localhost:1/v1/")
    settings = load_settings()
    assert settings.LLM_FALLBACK_MODELS == ["a/b", "c/d:free"]
    assert settings.PLUGINS == ["one", "two.three"]
    assert (settings.API_PORT, settings.LLM_CALL_TIMEOUT_SECONDS) == (8080, 0.5)
    assert settings.OPENROUTER_BASE_URL == "http://localhost:1/v1"


def test_further_providers_are_pairs_and_their_keys_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PROVIDERS", " ollama = http://127.0.0.1:11434/v1, vllm=https://gpu:8000/v1/,, ")
    monkeypatch.setenv("LLM_PROVIDER_KEYS", "vllm=sk-a=b==")
    settings = load_settings()
    assert settings.LLM_PROVIDERS == {"ollama": "http://127.0.0.1:11434/v1", "vllm": "https://gpu:8000/v1"}
    assert settings.secrets == ["sk-a=b=="]
    assert "sk-a=b" not in repr(settings)


@pytest.mark.parametrize(
    ("providers", "keys", "complaint"),
    [
        ("ollama", "", "LLM_PROVIDERS: .*name=value pairs"),
        ("=http://a/v1", "", "LLM_PROVIDERS: .*name=value pairs"),
        ("Big Server=http://a/v1", "", "LLM_PROVIDERS: .*name=value pairs"),
        ("ollama=localhost:11434", "", "LLM_PROVIDERS: .*ollama must start with http://"),
        ("openrouter=http://a/v1", "", "LLM_PROVIDERS: .*OPENROUTER_BASE_URL"),
        ("a=http://[::1", "", "LLM_PROVIDERS: the address of a is no address"),
        ("a=http://", "", "LLM_PROVIDERS: the address of a must name a host"),
        ("a=http://x:99999/v1", "", "LLM_PROVIDERS: the address of a is no address"),
        ("a=http://x y/v1", "", "LLM_PROVIDERS: the address of a must name a host"),
        ("a=http://user:sk-secret@x/v1", "", "LLM_PROVIDERS: the address of a must not hold a user"),
        ("a=http://x/v1?sk-secret", "", "LLM_PROVIDERS: the address of a must end with its path"),
        ("a=http://x/v1,a=http://y/v1", "", "LLM_PROVIDERS: names a twice"),
        ("ollama=http://a/v1", "olama=sk-secret", "LLM_PROVIDER_KEYS: .*LLM_PROVIDERS names no olama"),
        ("ollama=http://a/v1", "sk-secret", "LLM_PROVIDER_KEYS: .*name=value pairs"),
    ],
)
def test_a_wrong_pair_is_named_and_no_key_is_shown(
    monkeypatch: pytest.MonkeyPatch, providers: str, keys: str, complaint: str
) -> None:
    monkeypatch.setenv("LLM_PROVIDERS", providers)
    monkeypatch.setenv("LLM_PROVIDER_KEYS", keys)
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        load_settings()
    assert "sk-secret" not in str(raised.value)


def test_an_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_PORT=1111\nTASK_QUEUE=file\nSOMEBODY_ELSES=1\n")
    monkeypatch.setenv("API_PORT", "2222")
    assert (load_settings().API_PORT, load_settings().TASK_QUEUE) == (2222, "file")
    assert load_settings(API_PORT=3333).API_PORT == 3333
    assert load_settings(API_PORT=None).API_PORT == 2222


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_an_empty_setting_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert load_settings().model_dump() == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENROUTER_BASE_URL", "openrouter.ai"),
        ("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "0"),
        ("LLM_STALL_TIMEOUT_SECONDS", "-1"),
        ("LLM_CALL_TIMEOUT_SECONDS", "inf"),
        ("LLM_RETRY_WAIT_MAX_SECONDS", "nan"),
        ("INTERACTION_DEADLINE_SECONDS", "soon"),
        ("HEARTBEAT_TIMEOUT_SECONDS", "0.5"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("HISTORY_RETENTION_DAYS", "0"),
        ("HISTORY_RETENTION_DAYS", "1.5"),
        ("MEMORY_TOKEN_BUDGET", "-1"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "postgresql+asyncpg://db/x"),
        ("DATABASE_URL", "postgresql://ada:hush@hush@db/x"),
        ("DATABASE_URL", "postgresql://ada:hush/hush@db/x"),
        ("DATABASE_URL", "postgresql://ada:hush#hush@db/x"),
        ("DATABASE_URL", "postgresql://ada:hush@db:port/x"),
        ("DATABASE_CONNECTIONS", "1"),
        ("TASK_QUEUE", "q" * 201),
        ("WORKER_CONCURRENT_CALLS", "0"),
        ("WORKER_DEPLOYMENT_NAME", "a.b"),
        ("WORKER_BUILD_ID", "a b"),
        ("WORKER_BUILD_ID", "alone"),
        ("WORKER_METRICS_PORT", "0"),
        ("PAYLOAD_ENCRYPTION_KEYS", "alone"),
        ("PAYLOAD_ENCRYPTION_KEYS", "a=c2hvcnQ="),
        ("PAYLOAD_ENCRYPTION_KEYS", f"a={'?' * 43}="),
        ("API_KEYS", " , "),
        ("API_KEYS", " "),
        ("API_KEYS", "name=a,,name=b"),
        ("OPEN_INTERACTIONS_LIMIT", "-1"),
        ("DATABASE_URL", "postgresql://u@h:99999/x"),
        ("DATABASE_URL", "postgresql://u@h:1,g:0/x"),
        ("DATABASE_URL", "postgresql://"),
        ("API_PORT", "0"),
        ("API_PORT", "65536"),
        ("TEMPORAL_PORT", "http"),
        ("TEMPORAL_UI_PORT", "8233.5"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as raised:
        load_settings()
    assert "\n" not in str(raised.value)
    assert "hush" not in str(raised.value)


def test_a_deployment_needs_a_build_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_DEPLOYMENT_NAME", "orchestrator")
    with pytest.raises(ConfigurationError, match="WORKER_DEPLOYMENT_NAME must be set together"):
        load_settings()
    monkeypatch.setenv("WORKER_BUILD_ID", "1.0")
    assert load_settings().WORKER_BUILD_ID == "1.0"


def test_an_encryption_key_is_a_secret_of_32_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    key = b64encode(bytes(range(32))).decode()
    monkeypatch.setenv("PAYLOAD_ENCRYPTION_KEYS", f"b={key}, a={key}")
    settings = load_settings()
    assert list(settings.PAYLOAD_ENCRYPTION_KEYS) == ["b", "a"]
    assert settings.secrets == [key, key]
    assert key not in repr(settings)


def test_all_wrong_settings_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "x")
    monkeypatch.setenv("LOG_LEVEL", "x")
    with pytest.raises(ConfigurationError, match=r"API_PORT.*LOG_LEVEL"):
        load_settings()


def test_an_env_file_that_is_no_text_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"TASK_QUEUE=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"\.env"):
        load_settings()


def test_a_key_is_in_no_message_and_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-or-v1-0123456789"
    monkeypatch.setenv("OPENROUTER_API_KEY", key)
    settings = load_settings()
    assert settings.OPENROUTER_API_KEY is not None
    assert settings.OPENROUTER_API_KEY.get_secret_value() == key
    assert key not in f"{settings!r} {settings} {settings.model_dump_json()}"
    for name in DEFAULTS:
        if name not in ("OPENROUTER_API_KEY", "PERSONAS_DIR", "DATA_DIR"):
            monkeypatch.setenv(name, key)  # pasted into the wrong line
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert key not in str(raised.value)


def test_blanks_around_a_key_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", " sk-or-v1-0123456789\n")
    key = load_settings().OPENROUTER_API_KEY
    assert key is not None
    assert key.get_secret_value() == "sk-or-v1-0123456789"


def test_the_database_lies_in_the_data_directory_unless_it_has_an_address() -> None:
    assert load_settings(DATA_DIR=Path("/data")).database == Path("/data/orchestrator.db")
    assert load_settings(DATABASE_URL="sqlite:////var/x.db").database == Path("/var/x.db")
    assert load_settings(DATABASE_URL="sqlite:///x.db").database == Path("x.db")
    for address in ("postgresql://ada@db:5433/x?sslmode=require", "postgres:///x?host=/run", "postgresql://a,b:1/x"):
        assert load_settings(DATABASE_URL=address).database == address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:p%40ss%2Fword@db/x",
        "postgresql://ada@db/x?password=p%40ss%2Fword",
        "postgres://ada:p%40ss%2Fword@db:1,other:2/x?sslpassword=p%40ss%2Fword",
    ],
)
def test_a_password_in_the_address_of_the_database_is_a_secret_in_every_form(url: str) -> None:
    settings = load_settings(DATABASE_URL=url)
    assert set(settings.secrets) == {"p%40ss%2Fword", "p@ss/word"}
    assert "ss/word" not in repr(settings) + str(settings) + name_of(settings.database)
    assert "%2F" not in repr(settings) + str(settings) + name_of(settings.database)


def test_personas_are_found_wherever_the_command_is_run(tmp_path: Path) -> None:
    code = "from core.orchestrator.config import *; print((load_settings().PERSONAS_DIR / 'cherry.yaml').exists())"
    environment = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
