"""Production: refuses to start on unsafe values, and speaks HTTPS only."""

from django.core.exceptions import ImproperlyConfigured

from config.env import BASE_DIR, INSECURE_AUDIT_KEY, INSECURE_SECRET_KEY
from config.settings.base import *

if ENV.secret_key == INSECURE_SECRET_KEY or len(ENV.secret_key) < 50 or len(set(ENV.secret_key)) < 5:
    raise ImproperlyConfigured("SECRET_KEY must be set to a random value of at least 50 characters.")
if any(f"{key_id}:{secret}" == INSECURE_AUDIT_KEY for key_id, secret in AUDIT_KEYS):
    raise ImproperlyConfigured(
        "AUDIT_KEYS or AUDIT_KEYS_FILE must be set: a secret that is not in the database keys the audit trail. "
        "Make one with: python -c \"import secrets; print('first:' + secrets.token_hex(32))\""
    )
if not ENV.allowed_hosts or "*" in ENV.allowed_hosts:
    raise ImproperlyConfigured("ALLOWED_HOSTS must name the hosts that Headgate answers for; '*' is refused.")
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
    raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database in production.")
if not ENV.celery_broker_url.startswith(("redis://", "rediss://", "redis+socket://", "sentinel://")):
    raise ImproperlyConfigured("CELERY_BROKER_URL must name a Redis or Valkey server in production.")

if not ENV.public_url:
    PUBLIC_URL = f"https://{ENV.allowed_hosts[0].removeprefix('.')}"
STATIC_ROOT = BASE_DIR / "var" / "static"  # what `collectstatic` fills when the image is built
STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = False
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
if ENV.behind_tls_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
