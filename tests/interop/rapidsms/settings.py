"""The RapidSMS project of its documentation; the addresses come from the environment."""

import os

GATEWAY = os.environ["GATEWAY"]
OWN = os.environ["OWN"]

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
USE_TZ = True
# The form in which Kannel and Postern write dates.
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DATABASE"],
        "OPTIONS": {"timeout": 30},
    }
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rapidsms",
    "rapidsms.backends.kannel",
    "rapidsms.contrib.handlers",
    "rapidsms.contrib.echo",
]
RAPIDSMS_ROUTER = "rapidsms.router.blocking.BlockingRouter"
INSTALLED_BACKENDS = {
    "kannel": {
        "ENGINE": "rapidsms.backends.kannel.KannelBackend",
        "sendsms_url": GATEWAY + "/cgi-bin/sendsms",
        # The backends of RapidSMS's documentation.
        "sendsms_params": {
            "smsc": "usb0-modem",
            "from": "2000",
            "username": "rapidsms",
            "password": "hush-hush",
        },
        "charset": "UTF-8",
        "delivery_report_url": OWN,
    },
    "vumi": {
        "ENGINE": "rapidsms.backends.vumi.VumiBackend",
        "sendsms_url": GATEWAY + "/api/v1/go/http_api_nostream/line/messages.json",
        "sendsms_user": "rapidsms",
        "sendsms_pass": "hush-hush",
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
