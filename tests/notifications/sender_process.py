"""A worker's outbox and nothing else, as a process: ``python -m tests.notifications.sender_process``.

Settings come from the environment, as the worker's do. It ends when its standard input does.
"""

import sys

from backend import worker_outbox
from backend.core import db
from backend.core.config import Config, libpq_url
from notifications import reach

config = Config.from_env()
db.set_engine(db.engine_for(config, pool_size=4, bounds=db.JOBS))
reach.use(config.notices)
sender = worker_outbox.Sender(config.notices, libpq_url(config.database_url))
sender.start()
print("sending", flush=True)
sys.stdin.read()
sender.stop()
