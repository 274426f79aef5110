"""The smallest RapidSMS whose HTTP backend passes each message to Celery on RabbitMQ."""

import os

SECRET_KEY = "of no use to anyone"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "rapidsms.sqlite3"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rapidsms",
    "rapidsms.router.celery",
    "rapidsms.backends.database",
    "rapidsms.backends.http",
]
INSTALLED_BACKENDS = {"bench": {"ENGINE": "rapidsms.backends.database.DatabaseBackend"}}
RAPIDSMS_ROUTER = "rapidsms.router.celery.CeleryRouter"
USE_TZ = True
CELERY_BROKER_URL = os.environ["BENCH_AMQP"]
