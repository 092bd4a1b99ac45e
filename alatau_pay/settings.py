"""Settings: every value that differs between places comes from the environment (12-factor).

``docs/settings.md`` lists the variables. DATABASE_URL and REDIS_URL are put there by
``alatau_pay.engines`` where the operator gave none.
"""

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.checks.security.base import (
    SECRET_KEY_INSECURE_PREFIX,
    SECRET_KEY_MIN_LENGTH,
    SECRET_KEY_MIN_UNIQUE_CHARACTERS,
)
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent


def flag(name: str) -> bool:
    """Whether the environment switches ``name`` on; refuses a value that is neither."""
    value = os.environ.get(name, "0")
    if value not in {"0", "1"}:
        raise ImproperlyConfigured(f"{name} must be 0 or 1, not {value!r}.")
    return value == "1"


def level(name: str) -> str:
    """The level of logging under ``name``, INFO by default."""
    value = os.environ.get(name, "INFO")
    if value not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ImproperlyConfigured(f"{name} must be DEBUG, INFO, WARNING or ERROR, not {value!r}.")
    return value


def seconds(name: str, default: int) -> int:
    """The whole seconds that the environment gives under ``name``; refuses anything else."""
    value = os.environ.get(name, str(default))
    if not value.isascii() or not value.isdigit():
        raise ImproperlyConfigured(f"{name} must be a whole number of seconds, not {value!r}.")
    return int(value)


def whole(name: str, default: int, *, least: int, most: int = 10**9) -> int:
    """The whole number that the environment gives under ``name``, from ``least`` to ``most``."""
    value = os.environ.get(name, str(default))
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        raise ImproperlyConfigured(
            f"{name} must be a whole number from {least} to {most}, not {value!r}."
        )
    return int(value)


SESSION = (
    # A payment page must fail fast rather than queue behind a stuck lock.
    "lock_timeout=10s",
    "statement_timeout=60s",
    # A host that lost its power gives its locks back in half a minute, not in two hours.
    "tcp_keepalives_idle=15",
    "tcp_keepalives_interval=5",
    "tcp_keepalives_count=3",
    "client_connection_check_interval=10s",
)


def database_from(url: str) -> dict[str, object]:
    """The Django database entry for a ``postgresql://`` URL; a socket folder stands in ?host=."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured("DATABASE_URL must start with postgresql://.")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "postgres",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", "") or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"options": " ".join(f"-c {one}" for one in SESSION), **query},
    }


def rates_from(text: str) -> dict[str, Decimal]:
    """Prices by symbol from ``BTC=45000000,USDT=475``."""
    try:
        pairs = [pair.split("=") for pair in text.split(",") if pair.strip()]
        return {symbol.strip(): Decimal(price.strip()) for symbol, price in pairs}
    except (ValueError, InvalidOperation):
        raise ImproperlyConfigured("FIXED_RATES must look like BTC=45000000,USDT=475.") from None


def secret_from(name: str) -> str:
    """The secret under ``name``; refuses what is short, poor or known from an example (R105)."""
    value = os.environ.get(name, "")
    if (
        len(value) < SECRET_KEY_MIN_LENGTH
        or len(set(value)) < SECRET_KEY_MIN_UNIQUE_CHARACTERS
        or value.startswith(SECRET_KEY_INSECURE_PREFIX)
    ):
        raise ImproperlyConfigured(
            f"Set {name} to a random string of {SECRET_KEY_MIN_LENGTH} characters or more, of "
            "your own."
        )
    return value


def refuse_known_password(name: str) -> None:
    """Refuse a password in a URL of the environment that everybody tries first (R105)."""
    parts = urlsplit(os.environ.get(name, ""))
    # A Unix socket needs none.
    if parts.hostname and unquote(parts.password or "").lower() in KNOWN_PASSWORDS:
        raise ImproperlyConfigured(f"{name} has no password, or one that everybody tries first.")


KNOWN_PASSWORDS = frozenset(
    {"", "admin", "alatau", "change-me", "changeme", "default", "example", "pass", "password"}
    | {"pgserver", "postgres", "redis", "root", "secret", "test", "123456", "12345678"}
)
DEVNET = flag("DEVNET")
DEBUG = flag("DEBUG")
if DEBUG and not DEVNET:
    raise ImproperlyConfigured("DEBUG shows secrets to whoever meets an error: only with DEVNET.")
if DEVNET:
    SECRET_KEY = os.environ.get("SECRET_KEY") or get_random_secret_key()
else:
    SECRET_KEY = secret_from("SECRET_KEY")
    for url_name in ("DATABASE_URL", "REDIS_URL"):
        refuse_known_password(url_name)

PUBLIC_URL = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000")
LIVE_URL = os.environ.get("LIVE_URL", "")
ALLOWED_HOSTS = [
    host
    for host in os.environ.get("ALLOWED_HOSTS", urlsplit(PUBLIC_URL).hostname or "").split(",")
    if host
]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

NETWORKS_FILE = os.environ.get("NETWORKS_FILE", "")
"""Path of the JSON registry of networks and assets (docs/networks.md)."""
DEVNET_WALLET_URL = os.environ.get("DEVNET_WALLET_URL", "")
"""Loopback address of the test wallet; refused unless every network is a devnet."""
FIXED_RATES = rates_from(os.environ.get("FIXED_RATES", ""))
"""Tenge for one whole unit, by symbol; for a devnet only."""

CALENDAR_FILE = os.environ.get("CALENDAR_FILE", "")
"""Path of the JSON table of days worked, or not, against the calendar (docs/bank-files.md)."""
RATES_FILE = os.environ.get("RATES_FILE", "")
"""Path of the JSON list of exchanges and markets (docs/rates.md); a default list without it."""
RATE_INTERVAL_S = whole("RATE_INTERVAL_S", 30, least=1)
OFFICIAL_RATE_INTERVAL_S = whole("OFFICIAL_RATE_INTERVAL_S", 3600, least=1)
RATE_TIMEOUT_S = whole("RATE_TIMEOUT_S", 10, least=1)
RATE_AGE_S_MAX = whole("RATE_AGE_S_MAX", 120, least=1)
RATE_SOURCES_MIN = whole("RATE_SOURCES_MIN", 3, least=1 if DEVNET else 3)
RATE_OUTLIER_BP_MAX = whole("RATE_OUTLIER_BP_MAX", 200, least=1)
RATE_JUMP_BP_MAX = whole("RATE_JUMP_BP_MAX", 1000, least=1)
RATE_JUMP_WINDOW_S = whole("RATE_JUMP_WINDOW_S", 600, least=1)
RATE_LAST_GOOD_S = whole("RATE_LAST_GOOD_S", 300, least=1)
RATE_BREAKER_FAILURES = whole("RATE_BREAKER_FAILURES", 3, least=1)
RATE_BREAKER_PAUSE_S = whole("RATE_BREAKER_PAUSE_S", 60, least=1)
OFFICIAL_RATE_AGE_DAYS_MAX = whole("OFFICIAL_RATE_AGE_DAYS_MAX", 7, least=1)
OFFICIAL_RATE_JUMP_BP_MAX = whole("OFFICIAL_RATE_JUMP_BP_MAX", 1000, least=1)
RATE_SPREAD_BP = whole("RATE_SPREAD_BP", 0, least=0, most=5000)
"""Hundredths of a percent by which a coin is quoted below its rate; the operator's."""

PAYER_NAME = os.environ.get("PAYER_NAME", "")
PAYER_BIN = os.environ.get("PAYER_BIN", "")
PAYER_IBAN = os.environ.get("PAYER_IBAN", "")
PAYER_KBE = os.environ.get("PAYER_KBE", "17")
"""The operator that pays the shops, and the account that it pays from (docs/payouts.md)."""

CONFIRM_WITHIN_S = seconds("CONFIRM_WITHIN_S", 24 * 60 * 60)
"""How long after an invoice's end a payment seen in time may take to come into a block."""

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_linear_migrations",
    "rest_framework",
    "chains",
    "settlement",
    "merchants",
    "alatau_pay",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
]
ROOT_URLCONF = "alatau_pay.urls"
WSGI_APPLICATION = "alatau_pay.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database_from(os.environ.get("DATABASE_URL", "postgresql:///postgres"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}

LANGUAGE_CODE = "kk"
LANGUAGES = [("kk", "Қазақша"), ("ru", "Русский"), ("en", "English")]
"""Each in its own words: whoever looks for a language reads that one."""
LANGUAGE_COOKIE_AGE = 365 * 24 * 60 * 60
LANGUAGE_COOKIE_SAMESITE = "Lax"
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "Asia/Almaty"
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT", BASE_DIR / "staticfiles"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVNET
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEVNET

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'", *([LIVE_URL] if LIVE_URL else [])],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "manifest-src": ["'self'"],
    }
}

# TLS ends at the operator's proxy; the devnet is plain HTTP on loopback.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if flag("TRUST_PROXY") else None
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVNET
LANGUAGE_COOKIE_SECURE = SECURE_SSL_REDIRECT
SECURE_HSTS_SECONDS = 0 if DEVNET else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}

LOGGING_CONFIG = "alatau_pay.logs.configure"
LOGGING = {"level": level("LOG_LEVEL"), "readable": DEVNET}
