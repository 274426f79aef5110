"""Runs jasmind and its delivery reports with the configuration file in the argument. jasmind.py itself holds a lock in
/tmp while it runs, so that there can be only one on a machine."""

import os
import sys
from pathlib import Path

import txamqp

folder = os.getcwd()
os.environ.update(ROOT_PATH=folder, CONFIG_PATH=folder, LOG_PATH=folder)
os.environ["AMQP_BROKER_SPEC"] = str(Path(txamqp.__file__).parent / "specs/standard/amqp0-9-1.stripped.xml")

from jasmin.bin.jasmind import JasminDaemon, Options  # noqa: E402 (it reads the environment)
from twisted.internet import reactor  # noqa: E402

options = Options()
options.parseOptions(["--config", sys.argv[1], "--enable-dlr-thrower", "--enable-dlr-lookup"])
JasminDaemon(options).start()
reactor.run()
